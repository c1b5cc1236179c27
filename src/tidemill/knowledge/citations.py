"""The numbers in an answer: read, held to the passages, mended, and shown.

A number is believed only where its passage says what the sentence says. One that no passage has is removed; one that
does not support its sentence gives way to one that does; a sentence that something supports and that cites nothing is
given its number.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from tidemill.analysis.sentences import sentences
from tidemill.core.answer import CheckedSentence, Citation, Evidence, Given, Unsupported
from tidemill.core.context import Asker
from tidemill.core.document import Span
from tidemill.knowledge.grounding.support import NOTHING, Grounding, Passages, Supported
from tidemill.knowledge.grounding.words import words_of

WIDEST = 50
"""Numbers that one range such as `[1-3]` may stand for."""
TOGETHER = 2
"""Passages that a sentence without citations may rest on together."""
MARK = "[?]"
"""Stands behind a sentence that nothing supports, where such sentences are kept."""
_NUMBERS = r"\d{1,4}(?:\s{0,3}[,;–-]\s{0,3}\d{1,4}){0,30}"
_CITATION = re.compile(rf"\s?(?:\[\^?(?P<plain>{_NUMBERS})\]|【(?P<wide>{_NUMBERS})】)(?:\(\S{{0,300}}?\))?")
_PART = re.compile(r"(\d{1,4})(?:\s*[–-]\s*(\d{1,4}))?")
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_LEADING = re.compile(rf"(?:\s*(?:\[\^?{_NUMBERS}\]|【{_NUMBERS}】))+[.;,]?")
_BEGUN = re.compile(r"\s*(?:[\[【][\d\s,;–^\]】\[-]*)?")
_MARKER = re.compile(r"\s*(?:#{1,6}\s+|(?:[-*+•]|\(?\d{1,3}[.)])\s+|>\s*)+")
_EMPHASIS = re.compile(r"\*\*|__|(?<!\w)[*_]|[*_](?!\w)")
_ENDING = re.compile(r"[.!?…:;]+[\"'”’»)*_]*\s*\Z")
_NOT = r"(?: not|n't|n’t)"
_REFUSAL = re.compile(
    rf"\b(?:can(?:not|'t|’t)|could{_NOT}|did{_NOT}|do{_NOT}|unable to) (?:find|locate|see|answer)\b"
    rf"|\b(?:passages?|documents?|context|sources?)\b[^.]{{0,30}}\b(?:do(?:es)?{_NOT}|no)\b[^.]{{0,20}}"
    r"\b(?:say|mention|contain|answer|provide|state|information)"
    r"|\bno (?:relevant )?information\b"
    r"|không (?:tìm thấy|có thông tin|có dữ liệu)"
    r"|(?:tài liệu|đoạn|ngữ cảnh)[^.]{0,30}không (?:nói|đề cập|nêu|chứa|cung cấp)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Cited:
    """One citation in a text: the numbers for which it stands, and where."""

    numbers: tuple[int, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Piece:
    """A sentence of a model's answer as it came, with the white space that stood before it."""

    text: str
    gap: str = ""


def citations_in(text: str) -> list[Cited]:
    """Every citation of a text: `[1]`, `[1, 2]`, `[1-3]`, `【1】`; what stands in code is none."""
    code = [match.span() for match in _CODE.finditer(text)]
    found = []
    for match in _CITATION.finditer(text):
        if any(start <= match.start() < end for start, end in code):
            continue
        numbers: dict[int, None] = {}
        for first, last in _PART.findall(match["plain"] or match["wide"]):
            end = min(int(last), int(first) + WIDEST) if last else int(first)
            numbers |= dict.fromkeys(range(int(first), end + 1))
        found.append(Cited(tuple(numbers), Span(*match.span())))
    return found


def split(text: str, language: str | None) -> list[Piece]:
    """An answer's sentences; a number that stands behind a sentence's full stop belongs to that sentence."""
    pieces: list[Piece] = []
    end = 0
    for span in sentences(text, language):
        gap, said = text[end : span.start], span.of(text)
        if pieces and "\n" not in gap and (leading := _LEADING.match(said)):
            pieces[-1] = Piece(pieces[-1].text + gap + leading[0].rstrip(".;,"), pieces[-1].gap)
            said, gap = said[leading.end() :].lstrip(), " "
        if said:
            pieces.append(Piece(said, gap))
        end = span.end
    return pieces


def complete(text: str, language: str | None) -> tuple[list[Piece], str]:
    """The sentences at the beginning of a text that is still being written, and what is left of it.

    A sentence is complete when another one has begun after it, and what has begun is no citation of the one before.
    """
    pieces = split(text, language)
    if not pieces:
        return [], text
    *done, last = pieces
    if not done or _BEGUN.fullmatch(last.text):
        return [], text
    return done, last.gap + last.text + text[_end_of(text) :]


def _end_of(text: str) -> int:
    return len(text.rstrip())


def is_refusal(text: str) -> bool:
    """Whether a sentence says that the documents do not answer the question."""
    return _REFUSAL.search(text) is not None


def claim_of(text: str) -> str:
    """What a sentence claims: without numbers of lists, citations and emphasis."""
    for cited in reversed(citations_in(text)):
        text = text[: cited.span.start] + text[cited.span.end :]
    return _EMPHASIS.sub("", _MARKER.sub("", text, count=1)).strip()


def is_claim(text: str) -> bool:
    """Whether a sentence says something that could be wrong: no heading, no "Here are the steps:", no "Yes."."""
    claim = claim_of(text)
    words = words_of(claim)
    if text.lstrip().startswith("#") or (len(words.terms) < 2 and not words.numbers):
        return False
    return not (claim.endswith(":") and not words.numbers)


class CitationCheck:
    """Holds the sentences of one answer to its passages.

    Args:
        grounding: says what supports a sentence.
        passages: taken apart.
        threshold: from which confidence on a sentence counts as supported.
        unsupported: what becomes of a sentence that is not.
        asker: for whom what is compared is embedded.
        premise: numbers of the question (see `Grounding.support`).
    """

    def __init__(
        self,
        grounding: Grounding,
        passages: Passages,
        *,
        threshold: float,
        unsupported: Unsupported,
        asker: Asker,
        premise: Collection[str] = (),
    ) -> None:
        self._grounding = grounding
        self._passages = passages
        self._threshold = threshold
        self._unsupported = unsupported
        self._asker = asker
        self._premise = premise

    async def check(self, pieces: Sequence[Piece]) -> list[CheckedSentence]:
        """The sentences, each with the numbers that hold. Those that nothing supports have `supported` false."""
        claims = [claim_of(one.text) for one in pieces if is_claim(one.text) and not is_refusal(one.text)]
        await self._grounding.embed(self._passages, claims, self._asker)
        return [self._checked(one) for one in pieces]

    def _checked(self, piece: Piece) -> CheckedSentence:
        if not is_claim(piece.text) or is_refusal(piece.text):
            return CheckedSentence(_with_numbers(piece.text, ()), 0.0, False, is_claim=False)
        cited = [number for one in citations_in(piece.text) for number in one.numbers]
        valid = [number for number in dict.fromkeys(cited) if number in self._passages.numbers]
        found, by_model = self._found(claim_of(piece.text), valid)
        supported = found.enough(self._threshold)
        evidence = tuple(Evidence(number, span, found.confidence) for number, span in found.spans.items())
        cited_text = _with_numbers(piece.text, sorted(found.spans))
        if supported:
            return CheckedSentence(cited_text, found.confidence, True, evidence, cited_text, model_cited=by_model)
        text = _with_numbers(piece.text, ())
        marked = f"{text} {MARK}" if self._unsupported is Unsupported.MARK else text
        return CheckedSentence(marked, found.confidence, False, evidence, cited_text)

    def _found(self, claim: str, cited: Sequence[int]) -> tuple[Supported, bool]:
        """What supports a claim best, and whether the model had cited that."""
        single = {number: self._support(claim, [number]) for number in self._passages.numbers}
        if cited:
            together = self._support(claim, cited) if len(cited) > 1 else single[cited[0]]
            if together.enough(self._threshold):
                return self._needed(together, {number: single[number] for number in cited}), True
        ranked = sorted(single.items(), key=lambda one: (not one[1].enough(self._threshold), -one[1].confidence))
        if not ranked:
            return NOTHING, False
        best = ranked[0][1]
        if best.enough(self._threshold) or len(ranked) < TOGETHER:
            return best, False
        both = self._support(claim, [number for number, _ in ranked[:TOGETHER]])
        return (both if both.enough(self._threshold) else best), False

    def _needed(self, together: Supported, single: Mapping[int, Supported]) -> Supported:
        """Without those of the cited passages that neither support the claim by themselves nor help the others to."""
        enough = {number: one for number, one in single.items() if one.enough(self._threshold)}
        if enough:
            spans = {number: span for one in enough.values() for number, span in one.spans.items()}
            return Supported(max(one.confidence for one in enough.values()), spans)
        return together

    def _support(self, claim: str, numbers: Sequence[int]) -> Supported:
        return self._grounding.support(claim, self._passages, numbers, self._premise)


def _with_numbers(text: str, numbers: Sequence[int]) -> str:
    """The sentence with these numbers and no others: where the model had put them, else at its end."""
    left = list(numbers)
    for cited in reversed(citations_in(text)):
        holding = [number for number in cited.numbers if number in numbers]
        left = [number for number in left if number not in holding]
        shown = f" {''.join(f'[{number}]' for number in dict.fromkeys(holding))}" if holding else ""
        text = text[: cited.span.start] + shown + text[cited.span.end :]
    text = re.sub(r"\s+([.,;!?…])(?=\s|\Z)", r"\1", text).rstrip()
    if left:
        shown = "".join(f"[{number}]" for number in left)
        ending = _ENDING.search(text)
        place = ending.start() if ending else len(text)
        text = f"{text[:place].rstrip()} {shown}{text[place:]}"
    return text


def reference(number: int, given: Given, language: str) -> str:
    """How a passage is called: `[1] Purchasing, page 2`, or in Vietnamese `[1] Mua hàng, trang 2`."""
    return f"[{number}] {source_name(given, language)}"


def source_name(given: Given, language: str) -> str:
    """The same without the number."""
    if given.page is None:
        return given.title
    return f"{given.title}, {'trang' if language == 'vi' else 'page'} {given.page}"


def citation_map(
    checked: Sequence[CheckedSentence], passages: Mapping[int, Given], language: str, text: str
) -> list[Citation]:
    """Each number that the answer's text cites, once, with where each sentence that cites it finds its support."""
    found: dict[int, list[tuple[Evidence, Span]]] = {}
    end = 0
    for sentence in checked:
        start = text.find(sentence.text, end)
        if start < 0:
            continue  # cut away
        end = start + len(sentence.text)
        for evidence in sentence.evidence if sentence.supported else ():
            found.setdefault(evidence.number, []).append((evidence, Span(start, end)))
    return [_citation(number, passages[number], found[number], language) for number in sorted(found)]


def _citation(number: int, given: Given, found: Sequence[tuple[Evidence, Span]], language: str) -> Citation:
    evidence = max((one for one, _ in found), key=lambda one: one.confidence)
    return Citation(
        number=number,
        chunk_id=given.chunk_id,
        reference=reference(number, given, language),
        title=given.title,
        text=given.text,
        span=evidence.span,
        used_content=evidence.span.of(given.text),
        confidence=evidence.confidence,
        document_id=given.document_id,
        page=given.page,
        url=given.url,
        path=given.path,
        source=given.source,
        start=given.start,
        spans=tuple(one.span for one, _ in found),
        sentences=tuple(sentence for _, sentence in found),
    )
