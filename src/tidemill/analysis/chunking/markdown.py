"""Markdown by its headings; within a section by blocks, with code fences and tables whole where they fit."""

import re
from collections.abc import Iterator

from tidemill.analysis.chunking.packing import Atom, Measure, atom_or_pieces
from tidemill.analysis.chunking.prose import sentence_atoms
from tidemill.analysis.chunking.sections import Cutter
from tidemill.core.document import Span

BLOCK, ITEM, LINE = 0, 1, 2
_FENCE = re.compile(r"[ \t]{0,12}(`{3,}|~{3,})")
_ITEM = re.compile(r"[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]")


class MarkdownCutter(Cutter):
    """Blocks of Markdown."""

    def atoms(self, text: str, span: Span, measure: Measure) -> Iterator[Atom]:
        """Fences, tables and list items whole where they fit, else by lines or sentences; other text by sentences."""
        for kind, block in blocks(text, span):
            if kind == "text":
                yield from sentence_atoms(text, block, measure, BLOCK)
            elif measure.fits(block.of(text)):
                yield from atom_or_pieces(text, block, measure, ITEM if kind == "item" else BLOCK)
            elif kind == "item":
                yield from sentence_atoms(text, block, measure, ITEM)
            else:
                yield from _lines(text, block, measure, 2 if kind == "table" else 1)


def blocks(text: str, span: Span) -> Iterator[tuple[str, Span]]:
    """Each block with its kind: `fence`, `table`, `item` or `text`."""
    kind, start, closing, at = "text", span.start, "", span.start
    while at < span.end:
        newline = text.find("\n", at, span.end)
        end = newline + 1 if newline >= 0 else span.end
        line = text[at:end]
        found = kind if closing else _kind(text, at, end, span.end, line, kind)
        fence = _FENCE.match(line)
        if found != kind or (found == "item" and _ITEM.match(line)) or (fence and not closing):
            if start < at:
                yield kind, Span(start, at)
            kind, start = found, at
        at = end
        if fence and not closing:
            closing = fence[1]
        elif fence and closing and line.strip().strip(closing[0]) == "" and len(fence[1]) >= len(closing):
            yield kind, Span(start, at)
            kind, start, closing = "text", at, ""
    if start < span.end:
        yield kind, Span(start, span.end)


def _kind(text: str, at: int, end: int, limit: int, line: str, before: str) -> str:
    if _FENCE.match(line):
        return "fence"
    if "|" in line:
        if before == "table":
            return "table"
        following = text[end : text.find("\n", end, limit) + 1 or limit]  # the rule under the columns' names
        if "-" in following and "|" in following and not following.strip("|-: \t\n"):
            return "table"
    if _ITEM.match(line):
        return "item"
    if before == "item" and (line[:1] in " \t" or line.isspace()):
        return "item"
    if before == "item" and line.strip() and not text[max(0, at - 2) : at].isspace():
        return "item"  # a line that goes on with the item, without an indent
    return "text"


def _lines(text: str, block: Span, measure: Measure, first: int) -> Iterator[Atom]:
    """By lines, the first so many of them together."""
    at, rank = block.start, BLOCK
    while at < block.end:
        end = at
        for _ in range(first):
            newline = text.find("\n", end, block.end)
            end = newline + 1 if newline >= 0 else block.end
        yield from atom_or_pieces(text, Span(at, end), measure, rank)
        at, first, rank = end, 1, LINE
