"""Where the sentences of a text stand, for Vietnamese and English.

A sentence ends at `.`, `!`, `?` or `…` where what follows begins one; not after an abbreviation, an initial, a number
in a list, or within a number. Paragraphs, headings, list items and rows of tables end what they hold.
"""

import re
from collections.abc import Iterator

from tidemill.core.document import Span

_ENGLISH = (
    "mr mrs ms dr prof sr jr st vs cf fig figs eq sec ch vol nos approx dept est gen gov hon inc ltd co corp "
    "jan feb mar apr jun jul aug sep sept oct nov dec mon tue wed thu fri sat sun e.g i.e al ca resp viz incl excl"
)
_VIETNAMESE = (
    "tp tx tt q p h x ths ts pgs gs gs.ts pgs.ts ks bs cn ncs tr tbt đ.c đc đt sđt stt vd nxb thcs thpt ubnd hđnd "
    "đhqg t.s th.s p.gs ông bà kts ls cv gđ pgđ tgđ cty"
)
_ABBREVIATIONS = {
    "en": frozenset(_ENGLISH.split()),
    "vi": frozenset(_VIETNAMESE.split()) - {"ông", "bà", "h", "x", "p", "q"},
}
_BOTH = _ABBREVIATIONS["en"] | _ABBREVIATIONS["vi"]
_BEFORE_NUMBERS = frozenset({"no", "nos", "p", "pp", "fig", "q", "art", "số", "đ", "k", "vol", "ver", "v"})
"""Abbreviations where a number follows, and words elsewhere."""

_END = re.compile(r"[.!?…。！？]+[\"'”’»)\]*_`]{0,8}")
_WORD_BEFORE = re.compile(r"[^\W_](?:[\w.]{0,20})\Z")
_WIDE = "。！？"
_ITEM = re.compile(
    r"[ \t]{0,40}(?:[-*+•–▪◦·]|\(?(?:\d{1,4}|[a-zđ]|[ivx]{1,6})[.)]|[A-ZĐ]\)|[IVX]{1,6}[.)]"
    r"|\d{1,3}(?:\.\d{1,3}){1,4}\.?)[ \t]"
)
_HEADING = re.compile(r"[ \t]{0,3}#{1,6}[ \t]")
_ROW = re.compile(r"[ \t]{0,3}\|")
_QUOTED = re.compile(r"[ \t]{0,3}>")
_LINE = re.compile(r"[^\n]*\n?")
_MOST_BEFORE = 24
_INITIAL = re.compile(r"[^\W\d_]\.")
_SENTENCE_STARTERS = (
    "the a an it he she they we you i this that these those in on at if when as for but and or there then so "
    "ông bà anh chị em nó họ ta tôi chúng công người khi nếu việc các những mỗi mọi một trong theo sau trước nhưng và "
    "hoặc thì vì do để với tại từ đến phòng ban"
)
_STARTERS = frozenset(_SENTENCE_STARTERS.split())
"""Words that begin sentences far more often than they continue a name."""


def sentences(text: str, language: str | None = None) -> list[Span]:
    """Where each sentence stands, without white space around it: in order, apart, and nothing else left out.

    Args:
        text: any.
        language: an ISO 639-1 code, which says whose abbreviations count; `None` for both languages'.
    """
    abbreviations = _ABBREVIATIONS.get(language or "", _BOTH)
    return [span for block in paragraphs(text) for span in _within(text, block, abbreviations) if span.end > span.start]


def paragraphs(text: str) -> Iterator[Span]:
    """The blocks that no sentence crosses: paragraphs, headings, list items with what belongs to them, rows."""
    start = at = 0
    alone = False
    while at < len(text):
        match = _LINE.match(text, at)
        assert match is not None  # noqa: S101 - it matches the empty string
        line, end = match[0], match.end()
        blank = not line.strip()
        own = bool(_HEADING.match(line) or _ROW.match(line))
        if blank or own or alone or _ITEM.match(line) or (_QUOTED.match(line) and not _QUOTED.match(text, start)):
            if text[start:at].strip():
                yield Span(start, at)
            start = at
        alone, at = own, end
    if text[start:].strip():
        yield Span(start, len(text))


def _within(text: str, block: Span, abbreviations: frozenset[str]) -> Iterator[Span]:
    start = block.start
    if _ROW.match(text, start, block.end):
        yield trimmed(text, block)
        return
    at = start
    for marker in (_HEADING, _ITEM):
        found = marker.match(text, at, block.end)
        at = found.end() if found else at
    while match := _END.search(text, at, block.end):
        at = match.end()
        if _ends(text, match, block.end, abbreviations):
            yield trimmed(text, Span(start, at))
            start = at
    yield trimmed(text, Span(start, block.end))


def _ends(text: str, match: re.Match[str], limit: int, abbreviations: frozenset[str]) -> bool:
    """Whether a sentence ends with these marks."""
    at = match.end()
    if at >= limit:
        return True
    if match[0][0] in _WIDE:
        return True
    if not text[at].isspace():
        return False
    following = text[at : at + _MOST_BEFORE].lstrip()
    first = following[:1]
    if first and (first.islower() or first in ",;:)]}"):
        return False
    if match[0] != ".":
        return True
    return not _is_abbreviation(text, match.start(), first, abbreviations)


def _is_abbreviation(text: str, stop: int, first: str, abbreviations: frozenset[str]) -> bool:
    before = _WORD_BEFORE.search(text[max(0, stop - _MOST_BEFORE) : stop])
    if before is None:
        return False
    word = before[0]
    folded = word.lower()
    if first.isdigit() and folded in _BEFORE_NUMBERS:
        return True
    if len(word) == 1 and word.isupper() and not first.isdigit():
        return _is_initial(text, stop)
    return folded in abbreviations


def _is_initial(text: str, stop: int) -> bool:
    """A single capital is an initial where another one follows, a text begins with it, or a name stands around it;
    else it ends a sentence, as in "plan B."."""
    after = text[stop + 1 : stop + 1 + _MOST_BEFORE].split()
    if not after or _INITIAL.fullmatch(after[0]):
        return bool(after)
    words = text[max(0, stop - _MOST_BEFORE) : stop - 1].split()
    if words and not (words[-1][:1].isupper() or words[-1].endswith(("(", ","))):
        return False
    return after[0].lower().strip(",;:") not in _STARTERS


def trimmed(text: str, span: Span) -> Span:
    """The span without the white space at its ends; empty where it has nothing else."""
    piece = span.of(text)
    start = span.start + len(piece) - len(piece.lstrip())
    return Span(start, max(start, span.start + len(piece.rstrip())))
