"""Running text: by sentences, by tokens alone, and by where it changes its subject."""

from collections.abc import Callable, Iterator, Sequence
from operator import mul

from tidemill.analysis.chunking.packing import Atom, Measure, atom_or_pieces, fitting, pack
from tidemill.analysis.sentences import paragraphs, sentences, trimmed
from tidemill.core.document import Span

Vectors = Callable[[Sequence[str]], Sequence[Sequence[float]]]
"""A vector for each text, of length 1."""

PARAGRAPH, SENTENCE = 0, 2
_BREAKS = 0.1
"""The share of a text's sentence ends, those with the greatest change of subject, at which a chunk may end early."""
_LEAST_FILL = 0.25


def sentence_atoms(text: str, span: Span, measure: Measure, first_rank: int = PARAGRAPH) -> Iterator[Atom]:
    """The sentences within a span; the first of a paragraph is a better beginning than the others."""
    piece = span.of(text)
    begins = {trimmed(piece, block).start for block in paragraphs(piece) if _after_blank(piece, block.start)}
    for found in sentences(piece):
        rank = first_rank if found.start in begins else SENTENCE
        yield from atom_or_pieces(text, Span(span.start + found.start, span.start + found.end), measure, rank)


def by_tokens(text: str, span: Span, measure: Measure, overlap: int) -> Iterator[Span]:
    """Windows of as many tokens as there is room for, whatever stands in them; cut between words."""
    begin = at = _next_word(text, span.start, span.end)
    while at < span.end:
        end = fitting(text, begin, span.end, measure, measure.room)
        if end <= at:
            begin = at  # what would be repeated leaves no room for anything new
            continue
        yield Span(begin, end)
        begin = _repeated(text, begin, end, measure, overlap)
        at = _next_word(text, end, span.end)
        begin = at if begin == end else begin


def _next_word(text: str, at: int, end: int) -> int:
    while at < end and text[at].isspace():
        at += 1
    return at


def _repeated(text: str, start: int, end: int, measure: Measure, overlap: int) -> int:
    """Where the last words before `end` begin that have at most `overlap` tokens."""
    place = end
    at = end
    while overlap > 0:
        while at > start and text[at - 1].isspace():
            at -= 1
        while at > start and not text[at - 1].isspace():
            at -= 1
        if at <= start or measure(text[at:end]) > overlap:
            return place
        place = at
    return place


def by_meaning(text: str, span: Span, measure: Measure, overlap: int, vectors: Vectors) -> Iterator[Span]:
    """Sentences, in chunks that end where the subject changes most: where the vectors of what stands before and after
    (two sentences each) are furthest apart, among the text's tenth of such places, once a chunk is a quarter full."""
    atoms = list(sentence_atoms(text, span, measure))
    if len(atoms) < 3:
        yield from pack(text, atoms, measure, overlap)
        return
    last = len(atoms) - 1
    pairs = vectors([text[atoms[at].start : atoms[min(at + 1, last)].end] for at in range(len(atoms))])
    closeness = [sum(map(mul, pairs[max(at - 2, 0)], pairs[at])) for at in range(1, len(atoms))]
    furthest = sorted(closeness)[max(int(len(closeness) * _BREAKS), 1) - 1]
    group: list[Atom] = []
    for place, atom in enumerate(atoms):
        filled = sum(each.tokens for each in group) >= measure.room * _LEAST_FILL
        if place and filled and closeness[place - 1] <= furthest:
            yield from pack(text, group, measure, overlap)
            group = []
        group.append(atom)
    yield from pack(text, group, measure, overlap)


def _after_blank(text: str, at: int) -> bool:
    """Whether this line's start is the text's, or the line before it is blank."""
    return at == 0 or not text[text.rfind("\n", 0, at - 1) + 1 : at].strip()
