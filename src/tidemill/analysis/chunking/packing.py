"""Atoms, which are cut no further, and how chunks are packed from them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tidemill.analysis.graphemes import boundary_before, is_boundary
from tidemill.analysis.sentences import trimmed
from tidemill.core.document import Span

Counter = Callable[[str], int]
"""How many tokens a text has. What it gives for the empty text is taken for what it adds to every text."""

CHARACTERS_A_TOKEN = 4
"""Where the search for a cut begins; it ends where the counter says."""
NEAR_ENOUGH = 0.9
MOST_PROBES = 8


@dataclass(frozen=True, slots=True)
class Atom:
    """A piece that fits into a chunk. The lower its rank, the better a place its start is to begin a chunk at."""

    start: int
    end: int
    rank: int
    tokens: int


class Measure:
    """The room of a chunk, by a counter.

    Args:
        count: the counter.
        size: the most tokens of a chunk, with what the counter adds to every text.

    Attributes:
        room: the tokens that are left for the text itself.
    """

    def __init__(self, count: Counter, size: int) -> None:
        self._count = count
        self._added = max(count(""), 0)
        self.room = max(size - self._added, 1)

    def __call__(self, text: str) -> int:
        """The tokens of the text itself."""
        return max(self._count(text) - self._added, 0)

    def fits(self, text: str) -> bool:
        """Whether a chunk has room for it. Of far too long a text no tokens are counted."""
        return len(text) <= self.room * CHARACTERS_A_TOKEN * 8 and self(text) <= self.room


def pack(text: str, atoms: Sequence[Atom], measure: Measure, overlap: int) -> Iterator[Span]:
    """Spans of whole atoms in their order, none larger than there is room; a span ends where a good place to begin the
    next one is, if that leaves it at least half full. Each repeats at most `overlap` tokens of the one before it.
    """
    first = begin = 0
    while begin < len(atoms):
        first, end = _filled(atoms, first, begin, measure.room)
        if end < len(atoms):
            end = _good_end(atoms, begin, end)
        while measure(text[atoms[first].start : atoms[end - 1].end]) > measure.room:
            if first < begin:
                first += 1
            elif end > begin + 1:
                end -= 1
            else:
                break
        yield Span(atoms[first].start, atoms[end - 1].end)
        repeated = end
        room = overlap
        while repeated - 1 > first and atoms[repeated - 1].tokens <= room:
            repeated -= 1
            room -= atoms[repeated].tokens
        first, begin = repeated, end


def _filled(atoms: Sequence[Atom], first: int, begin: int, room: int) -> tuple[int, int]:
    """Where the chunk begins, with what it repeats, and where it is full. It holds one new atom at least."""
    total = sum(atom.tokens for atom in atoms[first:begin])
    while first < begin and total + atoms[begin].tokens > room:
        total -= atoms[first].tokens
        first += 1
    end = begin
    while end < len(atoms) and (end == begin or total + atoms[end].tokens <= room):
        total += atoms[end].tokens
        end += 1
    return first, end


def _good_end(atoms: Sequence[Atom], begin: int, end: int) -> int:
    """The last of the best places to end at, in the second half of what was taken."""
    half = sum(atom.tokens for atom in atoms[begin:end]) / 2
    best, taken = end, 0
    for place in range(begin + 1, end + 1):
        taken += atoms[place - 1].tokens
        if taken >= half and atoms[place].rank <= atoms[best].rank:
            best = place
    return best


def pieces(text: str, span: Span, measure: Measure, rank: int) -> Iterator[Atom]:
    """A span that is too large, cut between words, and within words that are too large themselves."""
    at = span.start
    while at < span.end:
        while at < span.end and text[at].isspace():
            at += 1
        if at < span.end:
            end = fitting(text, at, span.end, measure, measure.room)
            yield Atom(at, end, rank if at == span.start else rank + 1, measure(text[at:end]))
            at = end


def atom_or_pieces(text: str, span: Span, measure: Measure, rank: int) -> Iterator[Atom]:
    """The span as one atom where it fits, in pieces where it does not; nothing for white space."""
    span = trimmed(text, span)
    if span.start == span.end:
        return
    if measure.fits(span.of(text)):
        yield Atom(span.start, span.end, rank, measure(span.of(text)))
    else:
        yield from pieces(text, span, measure, rank)


def fitting(text: str, start: int, end: int, measure: Measure, room: int) -> int:
    """How far the text from `start` has room: to the end of a word where it can be, of one character at least."""
    fits, over = start, end + 1
    probe = min(end, start + room * CHARACTERS_A_TOKEN)
    for _ in range(MOST_PROBES):
        tokens = measure(text[start:probe])
        fits, over = (probe, over) if tokens <= room else (fits, probe)
        if fits == end or (fits == probe and tokens >= room * NEAR_ENOUGH) or over - fits <= 1:
            break
        guess = start + int((probe - start) * (room + 1) / (tokens + 1) * 0.97)
        probe = guess if fits < guess < over else (fits + over) // 2
        probe = min(probe, end)
    while (place := _cut(text, start, max(fits, start + 1), end)) > start + 1 and measure(text[start:place]) > room:
        shorter = boundary_before(text, start + (place - start) // 2, start)
        if shorter >= place:
            break
        fits = shorter
    return place


def _cut(text: str, start: int, at: int, end: int) -> int:
    """The last place up to `at` that is between words, or else between characters as people see them."""
    if at >= end:
        return end
    for place in range(at, start + (at - start) * 2 // 3, -1):
        if (text[place].isspace() or text[place - 1].isspace()) and is_boundary(text, place):
            return place
    place = boundary_before(text, at, start)
    if is_boundary(text, place):
        return place
    return at  # one character of many code points that is too large for a chunk
