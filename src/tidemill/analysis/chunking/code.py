"""Code by its definitions; a long definition by its statements, and by lines where nothing parses the language."""

from bisect import bisect_right
from collections.abc import Iterator

from tidemill.analysis.chunking.packing import Atom, Measure, pieces
from tidemill.analysis.chunking.sections import LONGEST_HEADING, Cutter, Section
from tidemill.analysis.syntax import definitions, statement_depths
from tidemill.core.document import Span

_COMMENTS = ("#", "//", "/*", "*", "--")
_NO_STATEMENT = 50
_DEEPEST = 20


def by_definitions(text: str, path: str) -> Section:
    """The tree of a file's definitions, each with the comment that stands directly above it."""
    starts = line_starts(text)
    lines = text.split("\n")
    root = Section(0, len(text), "")
    around = [root]
    for definition in definitions(text, path):
        first = definition.start
        while first > 1 and lines[first - 2].strip().startswith(_COMMENTS) and starts[first - 2] >= around[-1].start:
            first -= 1
        start, end = starts[first - 1], starts[definition.end] if definition.end < len(starts) else len(text)
        while len(around) > 1 and around[-1].end <= start:
            around.pop()
        last = around[-1].parts[-1].end if around[-1].parts else around[-1].start
        start, end = max(start, last), min(end, around[-1].end)
        if start >= end:
            continue  # on a line that belongs to the definition before it
        section = Section(start, end, definition.name[-LONGEST_HEADING:])
        around[-1].parts.append(section)
        around.append(section)
    return root


def line_starts(text: str) -> list[int]:
    """Where each line begins."""
    starts = [0]
    while (at := text.find("\n", starts[-1])) >= 0:
        starts.append(at + 1)
    return starts


class CodeCutter(Cutter):
    """Lines of code; the less deeply nested the statement that begins on a line, the better a chunk begins there."""

    def __init__(self, text: str, path: str) -> None:
        self._starts = line_starts(text)
        self._depths = statement_depths(text, path)

    def atoms(self, text: str, span: Span, measure: Measure) -> Iterator[Atom]:
        """A line each, with its indent."""
        line = bisect_right(self._starts, span.start) - 1
        blank = True
        while line < len(self._starts) and self._starts[line] < span.end:
            start = max(self._starts[line], span.start)
            end = min(self._starts[line + 1] if line + 1 < len(self._starts) else len(text), span.end)
            body = text[start:end].rstrip()
            line += 1
            if not body:
                blank = True
                continue
            rank = self._rank(line, body, blank=blank)
            blank = False
            if measure.fits(body):
                yield Atom(start, start + len(body), rank, measure(body))
            else:
                yield from pieces(text, Span(start, start + len(body)), measure, rank)

    def _rank(self, line: int, body: str, *, blank: bool) -> int:
        if self._depths:
            depth = self._depths.get(line)
            return _NO_STATEMENT if depth is None else min(depth, _DEEPEST) * 2 - blank
        return min(len(body) - len(body.lstrip()), _DEEPEST) * 2 - blank
