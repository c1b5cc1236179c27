"""DOCX and PPTX, once their archive is known to be harmless. Runs in the child process."""

import io
import re
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from html import unescape
from typing import Any

import mammoth
import pptx
from pptx.exc import PackageNotFoundError

from tidemill.core.document import CleanDocument, DocumentKind
from tidemill.readers.draft import Draft, clean
from tidemill.readers.html_text import TITLE, MarkdownWriter
from tidemill.readers.markup import markdown_headings
from tidemill.readers.port import Unreadable
from tidemill.settings.knowledge import ReadingSettings

MOST_FILES = 10_000
MOST_TIMES_PACKED = 200
"""How often its packed size a file may have, once it is larger than a megabyte."""
_FREE = 1_000_000
_PIECE = 1 << 16
_DTD = tuple("<!DOCTYPE".encode(encoding) for encoding in ("ascii", "utf-16-le", "utf-16-be"))
_DEEPEST_GROUP = 20
_STYLES = f"p[style-name='Title'] => h1.{TITLE}:fresh\np[style-name='Subtitle'] => p:fresh"


def read_office(data: bytes, path: str, limits: ReadingSettings) -> CleanDocument:
    """The text of a Word document or a presentation. Macros are not run, and nothing that it links to is fetched.

    Raises:
        Unreadable: another archive, corrupt, encrypted, a bomb, or without text.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _check(archive, path, limits.max_unpacked_bytes)
            names = set(archive.namelist())
        if any(name.startswith("ppt/") for name in names):
            found = _read_slides(data, path, limits)
        elif any(name.startswith("word/") for name in names):
            found = _read_word(data)
        else:
            kind = "a spreadsheet" if any(name.startswith("xl/") for name in names) else "an archive"
            advice = "Save its sheets as CSV" if kind == "a spreadsheet" else "Unpack it"
            raise Unreadable(f"{path} is {kind}, which is not read. {advice}, then add that.", "unsupported")
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, NotImplementedError, PackageNotFoundError) as error:
        raise Unreadable(f"{path} is damaged: {error}. Save it anew, then add it again.", "corrupt") from None
    if not found.text.strip():
        raise Unreadable(f"{path} has no text.", "no_text")
    return found


def _check(archive: zipfile.ZipFile, path: str, most: int) -> None:
    """What its files say of their sizes, then what they have; that none is encrypted or declares entities."""
    files = archive.infolist()
    if len(files) > MOST_FILES:
        raise Unreadable(f"{path} holds {len(files):,} files, and at most {MOST_FILES:,} are unpacked.", "too_large")
    if any(file.flag_bits & 1 for file in files):
        raise Unreadable(f"{path} is protected by a password. Save it without one, then add it again.", "encrypted")
    total = sum(file.file_size for file in files)
    swollen = [file for file in files if file.file_size > max(_FREE, file.compress_size * MOST_TIMES_PACKED)]
    if total > most or swollen:
        raise Unreadable(
            f"{path} would unpack to {total:,} bytes, which is too many or far too many for what is packed (the "
            "setting knowledge.reading.max_unpacked_bytes).",
            "too_large",
        )
    unpacked = 0
    for file in files:
        if file.filename.lower().endswith((".xml", ".rels")):
            for piece in _pieces(archive, file):
                unpacked += len(piece)
                if any(mark in piece for mark in _DTD):
                    raise Unreadable(
                        f"{path} declares entities in {file.filename}, which no Office program writes.", "hostile"
                    )
            if unpacked > most:
                raise Unreadable(f"{path} unpacks to more than {most:,} bytes.", "too_large")


def _pieces(archive: zipfile.ZipFile, file: zipfile.ZipInfo) -> Iterator[bytes]:
    """The file's bytes, each piece with the end of the one before it."""
    with archive.open(file) as opened:
        end = b""
        while piece := opened.read(_PIECE):
            yield end + piece
            end = piece[-32:]


def _read_word(data: bytes) -> CleanDocument:
    converted: Any = mammoth.convert_to_html(
        io.BytesIO(data),
        style_map=_STYLES,
        include_embedded_style_map=False,
        external_file_access=False,
        convert_image=mammoth.images.img_element(lambda _: {}),
    )
    writer = MarkdownWriter()
    writer.feed(converted.value)
    writer.close()
    text = clean(writer.markdown())
    headings = list(markdown_headings(text))
    title, author, made = _core_properties(data)
    first = min(headings, key=lambda heading: heading.depth).title if headings else None
    return CleanDocument(
        text, DocumentKind.DOCUMENT, "markdown", headings, title=title or first, author=author, published_at=made
    )


def _core_properties(data: bytes) -> tuple[str | None, str | None, datetime | None]:
    """Title, creator, and the time of the last change (ECMA-376, part 2, 11)."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if "docProps/core.xml" not in archive.namelist():
            return None, None, None
        xml = archive.read("docProps/core.xml").decode("utf-8", "replace")
    made = _property(xml, "dcterms:modified") or _property(xml, "dcterms:created")
    return _property(xml, "dc:title"), _property(xml, "dc:creator"), _moment(made)


def _property(xml: str, name: str) -> str | None:
    found = re.search(rf"<{name}(?:\s[^>]{{0,200}})?>([^<]{{1,2000}})<", xml)
    if found is None:
        return None
    return clean(unescape(found[1])).strip() or None


def _moment(text: str | None) -> datetime | None:
    try:
        made = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return made.replace(tzinfo=made.tzinfo or UTC) if made else None


def _read_slides(data: bytes, path: str, limits: ReadingSettings) -> CleanDocument:
    try:
        deck = pptx.Presentation(io.BytesIO(data))
    except (KeyError, ValueError) as error:
        raise Unreadable(f"{path} is no presentation that can be opened: {error}", "corrupt") from None
    if len(deck.slides) > limits.max_pages:
        raise Unreadable(
            f"{path} has {len(deck.slides):,} slides, and at most {limits.max_pages:,} are read (the setting "
            "knowledge.reading.max_pages).",
            "too_large",
        )
    draft = Draft()
    for number, slide in enumerate(deck.slides, 1):
        start = draft.length
        title = slide.shapes.title
        heading = title.text_frame.text if title is not None else ""
        draft.heading(1, heading if heading.strip() else f"Slide {number}", "# ")
        for shape in slide.shapes:
            if title is None or shape.shape_id != title.shape_id:
                _add_shape(draft, shape)
        notes = slide.notes_slide.notes_text_frame if slide.has_notes_slide else None
        if notes is not None and notes.text.strip():
            draft.add(notes.text)
        draft.page(number, start)
    about = deck.core_properties
    made = about.modified or about.created
    return CleanDocument(
        draft.text,
        DocumentKind.DOCUMENT,
        "markdown",
        draft.headings,
        draft.pages,
        title=about.title.strip() or (draft.headings[0].title if draft.headings else None),
        author=about.author.strip() or None,
        published_at=made.replace(tzinfo=UTC) if made else None,
    )


def _add_shape(draft: Draft, shape: Any, depth: int = 0) -> None:
    if hasattr(shape, "shapes") and depth < _DEEPEST_GROUP:
        for inner in shape.shapes:
            _add_shape(draft, inner, depth + 1)
    elif getattr(shape, "has_table", False):
        rows = [[" ".join(cell.text.split()).replace("|", "\\|") for cell in row.cells] for row in shape.table.rows]
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        if lines:
            draft.add("\n".join([lines[0], "| " + " | ".join(["---"] * len(rows[0])) + " |", *lines[1:]]))
    elif getattr(shape, "has_text_frame", False):
        lines = [line for line in shape.text_frame.text.replace("\x0b", "\n").split("\n") if line.strip()]
        draft.add("\n".join(f"- {line.strip()}" for line in lines) if len(lines) > 1 else "\n".join(lines))
