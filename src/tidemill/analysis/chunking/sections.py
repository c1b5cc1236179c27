"""Texts that have an order of their own: sections under headings, definitions in definitions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tidemill.analysis.chunking.packing import Atom, Measure, pack
from tidemill.core.document import Heading, Span

LONGEST_HEADING = 300
BETWEEN = " > "


@dataclass(slots=True)
class Section:
    """A part of a text, with the parts in it, in order and apart."""

    start: int
    end: int
    heading: str
    depth: int = 0
    parts: "list[Section]" = field(default_factory=list)


class Cutter:
    """How the text of a section is made into atoms."""

    def atoms(self, text: str, span: Span, measure: Measure) -> Iterator[Atom]:
        """The atoms of a span that stands outside of all parts."""
        raise NotImplementedError


def under_headings(text: str, headings: Sequence[Heading]) -> Section:
    """The tree of a text's headings. A section begins with the line of its heading."""
    root = Section(0, len(text), "")
    path = [root]
    titles: list[str] = []
    for heading in sorted(headings, key=lambda heading: heading.span.start):
        start = max(text.rfind("\n", 0, heading.span.start) + 1, path[-1].start)
        if path[-1] is not root and start == path[-1].start:
            continue
        while len(path) > 1 and path[-1].depth >= heading.depth:
            path.pop().end = start
            titles.pop()
        titles.append(heading.title)
        section = Section(start, len(text), path_of(titles), heading.depth)
        path[-1].parts.append(section)
        path.append(section)
    return root


def path_of(titles: Sequence[str]) -> str:
    """A path of titles, the innermost kept where it gets too long."""
    path = BETWEEN.join(title for title in titles if title)
    return path if len(path) <= LONGEST_HEADING else "…" + path[1 - LONGEST_HEADING :]


def cut(text: str, root: Section, measure: Measure, overlap: int, cutter: Cutter) -> Iterator[tuple[Span, str]]:
    """The chunks of a tree, each with its heading: a section that has room in one chunk is one; of another its own text
    is packed, and its parts are cut in their turn."""
    waiting: list[Section | tuple[Span, str]] = [root]
    while waiting:
        item = waiting.pop()
        if isinstance(item, tuple):
            span, heading = item
            for found in pack(text, list(cutter.atoms(text, span, measure)), measure, overlap):
                yield found, heading
        elif measure.fits(text[item.start : item.end].rstrip()):
            yield Span(item.start, item.end), item.heading or _first_heading(text, item)
        else:
            waiting.extend(reversed(list(_in_order(text, item))))


def _first_heading(text: str, section: Section) -> str:
    """Of a text without a heading of its own: that of its one part, where there is nothing before it."""
    if section.parts and not text[section.start : section.parts[0].start].strip():
        only = len(section.parts) == 1
        return section.parts[0].heading if only else ""
    return ""


def _in_order(text: str, section: Section) -> Iterator[Section | tuple[Span, str]]:
    """What stands between the parts, and the parts. A line alone goes with what follows it, closing brackets with what
    stands before them: neither says anything by itself."""
    at = section.start
    parts = list(section.parts)
    for place, part in enumerate(parts):
        between = text[at : part.start]
        if len(between.strip().splitlines()) == 1 and not (place and _says_nothing(between)):
            part.start = at
        elif place and _says_nothing(between):
            parts[place - 1].end = part.start
        at = part.end
    if parts and _says_nothing(text[at : section.end]):
        parts[-1].end = at = section.end
    at = section.start
    for part in parts:
        if text[at : part.start].strip():
            yield Span(at, part.start), section.heading
        yield part
        at = part.end
    if text[at : section.end].strip():
        yield Span(at, section.end), section.heading


def _says_nothing(text: str) -> bool:
    return not any(character.isalnum() for character in text)
