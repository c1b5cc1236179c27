"""PDF, by PDFium. Runs in the child process."""

import ctypes
import re
from collections import Counter
from datetime import UTC, datetime

import pypdfium2
import pypdfium2.raw as pdfium

from tidemill.core.document import CleanDocument, DocumentKind
from tidemill.readers.draft import Draft
from tidemill.readers.port import Unreadable
from tidemill.settings.knowledge import ReadingSettings

_PASSWORD, _SECURITY = 4, 5
"""FPDF_ERR_PASSWORD and FPDF_ERR_SECURITY of fpdfview.h."""
_LARGER = 1.15
_LONGEST_HEADING = 120
_DEEPEST = 3
_EDGE_PAGES = 3
_HYPHENS = re.compile("[\x02\ufffe]\r?\n?")
_MADE = re.compile(r"D:(\d{4})(\d{2})(\d{2})")

Line = tuple[str, float]
"""A line and the size of its first character, in points; 0 where that is not known."""


def read_pdf(data: bytes, path: str, limits: ReadingSettings) -> CleanDocument:
    """The text of a PDF, page by page; a line in larger type than most is a heading.

    Raises:
        Unreadable: encrypted, corrupt, of too many pages, or without text.
    """
    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) in (_PASSWORD, _SECURITY):
            raise Unreadable(
                f"{path} is protected by a password. Save it without one, then add it again.", "encrypted"
            ) from None
        raise Unreadable(f"{path} is no PDF that can be opened: it is damaged or incomplete.", "corrupt") from None
    count = len(document)
    if count > limits.max_pages:
        raise Unreadable(
            f"{path} has {count:,} pages, and at most {limits.max_pages:,} are read (the setting "
            "knowledge.reading.max_pages). Split it.",
            "too_large",
        )
    pages = []
    length = 0
    for number in range(count):
        pages.append(_lines(document, number, path))
        length += sum(len(line) for line, _ in pages[-1])
        if length > limits.max_characters:
            break  # refused by its length in the end; what follows need not be read
    draft = _draft(_without_running_heads(pages))
    if not draft.text.strip():
        raise Unreadable(
            f"{path} has {count:,} pages and no text: it may be a scan. Recognize its text (OCR), then add it again.",
            "no_text",
        )
    about = document.get_metadata_dict()
    return CleanDocument(
        draft.text,
        DocumentKind.DOCUMENT,
        headings=draft.headings,
        pages=draft.pages,
        title=about.get("Title", "").strip() or None,
        author=about.get("Author", "").strip() or None,
        published_at=_made(about.get("CreationDate", "")),
    )


def _lines(document: pypdfium2.PdfDocument, number: int, path: str) -> list[Line]:
    try:
        page = document[number]
        text_page = page.get_textpage()
    except pypdfium2.PdfiumError:
        raise Unreadable(
            f"Page {number + 1} of {path} is damaged. Save the PDF anew, then add it.", "corrupt"
        ) from None
    text = text_page.get_text_range()
    same_places = text_page.count_chars() == len(text)
    lines, at = [], 0
    for line in text.split("\n"):
        size = pdfium.FPDFText_GetFontSize(text_page, ctypes.c_int(at)) if same_places and line.strip() else 0.0
        lines.append((line.rstrip("\r"), round(size, 1)))
        at += len(line) + 1
    text_page.close()
    page.close()
    return lines


def _without_running_heads(pages: list[list[Line]]) -> list[list[Line]]:
    """Without the first and last lines that most pages share but for their numbers."""
    if len(pages) < _EDGE_PAGES:
        return pages
    edges = Counter(key for lines in pages for key in {_shape(line) for line, _ in (*lines[:1], *lines[-1:])} if key)
    running = {key for key, count in edges.items() if count > len(pages) / 2}
    return [
        [line for at, line in enumerate(lines) if at not in (0, len(lines) - 1) or _shape(line[0]) not in running]
        for lines in pages
    ]


def _shape(line: str) -> str:
    return re.sub(r"\d+", "0", line.strip())


def _draft(pages: list[list[Line]]) -> Draft:
    sizes: Counter[float] = Counter()
    for lines in pages:
        for line, size in lines:
            sizes[size] += len(line)
    sizes.pop(0.0, None)
    body = sizes.most_common(1)[0][0] if sizes else 0.0
    large = sorted((size for size in sizes if size >= body * _LARGER), reverse=True)
    draft = Draft()
    for number, lines in enumerate(pages, 1):
        start = draft.length
        waiting: list[str] = []
        for line, size in lines:
            if size in large and 1 < len(line.strip()) <= _LONGEST_HEADING:
                draft.add(_HYPHENS.sub("", "\n".join(waiting)))
                waiting = []
                draft.heading(min(large.index(size) + 1, _DEEPEST), line)
            else:
                waiting.append(line)
        draft.add(_HYPHENS.sub("", "\n".join(waiting)))
        draft.page(number, start)
    return draft


def _made(text: str) -> datetime | None:
    found = _MADE.match(text)
    try:
        return datetime(int(found[1]), int(found[2]), int(found[3]), tzinfo=UTC) if found else None
    except ValueError:
        return None
