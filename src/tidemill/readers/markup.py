"""Texts whose marks a person can read: Markdown, reStructuredText; plain text and code, which have none."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from tidemill.core.document import CleanDocument, DocumentKind, Heading, Span
from tidemill.readers.draft import clean

_FRONT = re.compile(r"\A---[ \t]*\n(.{0,20000}?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_FIELD = re.compile(r"^([A-Za-z_]{1,40}) {0,8}:(.*)$", re.MULTILINE)
_FENCE = re.compile(r" {0,12}(`{3,}|~{3,})")
_HASHES = re.compile(r" {0,3}(#{1,6})(?=[ \t])")
_UNDERLINE = re.compile(r" {0,3}(=+|-{2,})[ \t]*$")
_DATE = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})")
_ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1{2,}[ \t]*$")
_RST_FIELD = re.compile(r"^:([A-Za-z ]{1,40}):[ \t](.*)$", re.MULTILINE)
_EMPHASIS = re.compile(r"[*_`]{1,3}([^*_`]+)[*_`]{1,3}")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_LONGEST_TITLE = 300


def read_markdown(text: str) -> CleanDocument:
    """Markdown, with its front matter taken for what it says of the document."""
    text = clean(text)
    fields: dict[str, str] = {}
    if front := _FRONT.match(text):
        fields = {name.lower(): value.strip().strip("\"'") for name, value in _FIELD.findall(front[1])}
        text = text[front.end() :]
    text = text.strip("\n")
    headings = list(markdown_headings(text))
    return _said_of(CleanDocument(text, DocumentKind.DOCUMENT, "markdown", headings), fields)


def markdown_headings(text: str) -> Iterator[Heading]:
    """The headings of a Markdown text, by hashes or underlined; not those within code."""
    closing, before, at = "", None, 0
    for line in text.split("\n"):
        fence = _FENCE.match(line)
        if fence:
            if not closing:
                closing = fence[1]
            elif fence[1].startswith(closing) and not line.strip().strip(closing[0]):
                closing = ""
        elif not closing:
            if found := _HASHES.match(line):
                title = line[found.end() :].rstrip(" \t#").strip()
                if title:
                    start = at + line.index(title, found.end())
                    yield Heading(len(found[1]), _plain(title), Span(start, start + len(title)))
            elif before and (found := _UNDERLINE.match(line)):
                start, title = before
                yield Heading(1 if found[1][0] == "=" else 2, _plain(title.strip()), Span(start, start + len(title)))
        heads = line.strip() and not closing and not _HASHES.match(line) and line[0] not in " \t|>-*+<"
        before = (at, line.rstrip()) if heads and not _UNDERLINE.match(line) and not fence else None
        at += len(line) + 1


def _plain(title: str) -> str:
    if len(title) > _LONGEST_TITLE:
        return title[:_LONGEST_TITLE] + "…"
    return _EMPHASIS.sub(r"\1", _LINK.sub(r"\1", title))


def read_restructured(text: str) -> CleanDocument:
    """reStructuredText, with its adorned titles as Markdown's; the depth of each adornment by where it comes first."""
    lines = clean(text).split("\n")
    styles: list[tuple[str, bool]] = []
    written: list[str] = []
    at = 0
    while at < len(lines):
        over = _ADORNMENT.match(lines[at])
        title_at = at + 1 if over else at
        title = lines[title_at].strip() if title_at < len(lines) else ""
        under = _ADORNMENT.match(lines[title_at + 1]) if title_at + 1 < len(lines) else None
        adorned = under and title and not _ADORNMENT.match(title) and len(lines[title_at + 1].strip()) >= len(title) - 1
        if under and adorned and (not over or over[1] == under[1]) and (over or not lines[at][:1].isspace()):
            style = (under[1], bool(over))
            styles.extend([style] if style not in styles else [])
            at = title_at + 2
            written.append("#" * min(styles.index(style) + 1, 6) + " " + title)
            written.extend([""] if at < len(lines) and lines[at].strip() else [])
        else:
            written.append(lines[at])
            at += 1
    fields = {name.lower(): value.strip() for name, value in _RST_FIELD.findall("\n".join(written[:40]))}
    joined = clean("\n".join(written)).strip("\n")
    headings = list(markdown_headings(joined))
    return _said_of(CleanDocument(joined, DocumentKind.DOCUMENT, "markdown", headings), fields)


def read_plain(text: str) -> CleanDocument:
    """Plain text."""
    return CleanDocument(clean(text).strip("\n"), DocumentKind.DOCUMENT, "plain")


def read_code(text: str) -> CleanDocument:
    """Code, and what is written for machines."""
    return CleanDocument(clean(text).strip("\n"), DocumentKind.CODE, "code")


def _said_of(document: CleanDocument, fields: Mapping[str, str]) -> CleanDocument:
    outermost = min((heading.depth for heading in document.headings), default=0)
    first = next((heading.title for heading in document.headings if heading.depth == outermost), None)
    return replace(
        document,
        title=fields.get("title") or first,
        author=fields.get("author") or fields.get("authors") or None,
        licence=fields.get("licence") or fields.get("license") or None,
        published_at=date_in(fields.get("date") or fields.get("published") or ""),
    )


def date_in(text: str) -> datetime | None:
    """The date that an ISO 8601 text begins with, at midnight UTC; `None` where it is none."""
    found = _DATE.match(text.strip())
    if found is None:
        return None
    try:
        return datetime(int(found[1]), int(found[2]), int(found[3]), tzinfo=UTC)
    except ValueError:
        return None
