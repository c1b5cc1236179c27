"""A clean text while it is written."""

import re
import unicodedata

from tidemill.core.document import Heading, Page, Span
from tidemill.core.text import storable

_LINE_ENDS = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_CONTROLS = re.compile("[\x01-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff\ufffe\uffff]")
_SPACES = " \t\u00a0"
_MOST_MARKS = 30
"""As many as https://www.unicode.org/reports/tr15/#Stream_Safe_Text_Format allows on one character. NFC takes a time
that grows with the square of their number."""
_MARKS_AMONG = re.compile(f"[^\x00-\u02ff]{{{_MOST_MARKS + 1},}}")
_GAPS = re.compile(r"\n{4,}")


def clean(text: str) -> str:
    """In NFC, with `\\n` for each end of line, and without what no one sees: controls, marks of byte order, spaces at
    the ends of lines, more than two blank lines on end, more than 30 marks on one character."""
    text = _CONTROLS.sub("", _LINE_ENDS.sub("\n", storable(text)))
    text = "\n".join(line.rstrip(_SPACES) for line in text.split("\n"))
    return unicodedata.normalize("NFC", _MARKS_AMONG.sub(_thinned, _GAPS.sub("\n\n\n", text)))


def _thinned(found: re.Match[str]) -> str:
    kept, marks = [], 0
    for character in found[0]:
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks <= _MOST_MARKS:
            kept.append(character)
    return "".join(kept)


class Draft:
    """Pieces one after the other, with a blank line between them; `text` at the end. Each is cleaned as it comes."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0
        self.headings: list[Heading] = []
        self.pages: list[Page] = []

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self._parts)

    @property
    def length(self) -> int:
        """Its characters so far."""
        return self._length

    def add(self, piece: str, between: str = "\n\n") -> Span:
        """A piece, where it is more than white space; where it stands."""
        piece = clean(piece).strip("\n")
        if not piece.strip():
            return Span(self._length, self._length)
        if self._parts:
            self._append(between)
        start = self._length
        self._append(piece)
        return Span(start, self._length)

    def heading(self, depth: int, title: str, mark: str = "") -> None:
        """A heading on a line of its own, with what marks it before it."""
        title = clean(" ".join(title.split()))
        span = self.add(mark + title)
        if span.end > span.start:
            self.headings.append(Heading(depth, title, Span(span.start + len(mark), span.end)))

    def page(self, number: int, start: int) -> None:
        """What was added since `start` is this page."""
        if self._length > start:
            text_start = start + 2 if start else 0  # after the blank line before it
            self.pages.append(Page(number, Span(text_start, self._length)))

    def _append(self, text: str) -> None:
        self._parts.append(text)
        self._length += len(text)
