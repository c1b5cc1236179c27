"""Which passages support a sentence, how likely that is, and where in them it stands."""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tidemill.analysis.sentences import sentences
from tidemill.core.context import Asker
from tidemill.core.deployment import Deployment
from tidemill.core.document import Span
from tidemill.core.embedding import EmbeddingRequest, floats_of
from tidemill.core.errors import Configuration, ContextTooLong, ModelFailed, ModelNotFound, NotPermitted, Unavailable
from tidemill.core.ids import new_id
from tidemill.knowledge.grounding.classifier import Classifier, shipped
from tidemill.knowledge.grounding.features import CONTRADICTED, DENIED, MISSING, across, lexical, nearest, with_cosines
from tidemill.knowledge.grounding.words import Words, is_vietnamese, without_numbers, words_of
from tidemill.llm.embeddings import Embedder

NEAR = 10
"""Sentences of a passage set whose vectors are compared, where words tell which are near."""
MOST_ACROSS = 48
"""The same where they can't, since the passages are in another language."""
LONGEST = 700
"""Characters of a sentence that are embedded."""
OPPOSITE = 0.2
"""The most confidence in a sentence of which the passages say the opposite: too rare in the data for its weight to be
learnt, and too bad to be shown."""
SURE_ACROSS = 0.85
"""The least confidence across two languages, where vectors alone tell: from here on 95 of 100 held on XQuAD."""
BESIDE = 0.12
"""What a neighbour has to add to the part of the terms that is covered, for the span to take it in."""

NO_VECTORS = (ContextTooLong, ModelNotFound, Configuration, Unavailable, ModelFailed, NotPermitted)
"""Without the embedding model, or where a text may not go to it, words alone are compared."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a passage."""

    number: int
    span: Span
    text: str
    words: Words


@dataclass(frozen=True, slots=True)
class Supported:
    """What supports a sentence.

    Attributes:
        confidence: how likely it is that these passages say it, 0 to 1.
        spans: where, by the passage's number; the passages that contribute, the best first.
        foreign: whether they are in another language.
    """

    confidence: float
    spans: Mapping[int, Span] = field(default_factory=dict)
    foreign: bool = False

    def enough(self, threshold: float) -> bool:
        """Whether it counts as support from this confidence on."""
        return self.confidence >= (max(threshold, SURE_ACROSS) if self.foreign else threshold)


NOTHING = Supported(0.0)


class Passages:
    """The passages of one answer, taken apart once, with the vectors of their sentences as far as they were needed.

    Attributes:
        numbers: of the passages.
        lexical_only: whether words alone were compared, since there were no vectors.
    """

    def __init__(self, texts: Mapping[int, str], withheld: Mapping[int, Sequence[Span]] | None = None) -> None:
        self.numbers = tuple(texts)
        self.lexical_only = False
        self.vectors: dict[str, Sequence[float]] = {}
        hidden = withheld or {}
        self._sentences = {
            number: [
                Sentence(number, span, said, words_of(said))
                for span in sentences(text)
                if (said := span.of(text)) and not any(_meets(span, one) for one in hidden.get(number, ()))
            ]
            for number, text in texts.items()
        }

    def of(self, numbers: Iterable[int]) -> list[Sentence]:
        """The sentences of these passages, one passage after the other."""
        return [one for number in numbers for one in self._sentences.get(number, ())]


class Grounding:
    """Holds sentences to passages.

    Args:
        embedder: the embedding port.
        deployment: of the embedding model, looked up when it is needed; raises `ModelNotFound`.
        within, across: the classifiers for one language and for two.
    """

    def __init__(
        self,
        embedder: Embedder,
        deployment: Callable[[], Deployment],
        within: Classifier | None = None,
        across: Classifier | None = None,
    ) -> None:
        self._embedder = embedder
        self._deployment = deployment
        self._within = within or shipped("within")
        self._across = across or shipped("across")

    async def embed(self, passages: Passages, claims: Sequence[str], asker: Asker) -> None:
        """Fetches the vectors that `support` needs for these claims; without a model it notes that there are none."""
        if passages.lexical_only:
            return
        wanted: dict[str, None] = {}
        everything = passages.of(passages.numbers)
        for claim in claims:
            wanted[claim[:LONGEST]] = None
            for number in passages.numbers:
                there = passages.of([number])
                wanted |= dict.fromkeys(there[at].text[:LONGEST] for at in self._near(claim, there))
            wanted |= dict.fromkeys(everything[at].text[:LONGEST] for at in self._near(claim, everything))
        missing = [text for text in wanted if text.strip() and text not in passages.vectors]
        if not missing:
            return
        try:
            deployment = self._deployment()
            context = asker.context(new_id(), deployment)
            made = await self._embedder.embed(EmbeddingRequest(deployment.model, missing, context=context))
        except NO_VECTORS as error:
            log.warning("Sentences are held to passages by their words alone. %s", error.message)
            passages.lexical_only = True
            return
        passages.vectors |= {text: floats_of(one) for text, one in zip(missing, made.vectors, strict=True)}

    def support(
        self, claim: str, passages: Passages, numbers: Sequence[int], premise: Collection[str] = ()
    ) -> Supported:
        """How well these passages together support a claim; `embed` was called for it before.

        `premise` are numbers of the question. One that is within bounds that the sentence names on which the claim
        rests need not be there itself: what holds from 20 to 100 is rightly said of 60. Passages in the claim's
        language and those in another are two cases: what can be compared by words is not told by vectors alone.
        """
        words = words_of(claim)
        if not words.terms and not words.numbers:
            return NOTHING
        cases: dict[bool, list[Sentence]] = {}
        for number in numbers:
            if there := passages.of([number]):
                cases.setdefault(_two_languages(claim, there), []).extend(there)
        found = []
        for foreign, there in cases.items():
            cosines = self._cosines(claim, there, passages)
            hold = self._across_languages if foreign else self._within_language
            found.append(hold(claim, there, cosines, premise))
        return max(found, key=lambda one: (one.enough(0.0), one.confidence), default=NOTHING)

    def _within_language(
        self, claim: str, there: Sequence[Sentence], cosines: Sequence[float | None], premise: Collection[str]
    ) -> Supported:
        sentences = [one.words for one in there]
        if asked := _asked_alone(claim, there, premise):
            few = lexical(without_numbers(claim, asked), sentences).few
            held = {number for number in asked if any(sentences[place].holds(number) for place in few)}
            claim = without_numbers(claim, held)
        found = lexical(claim, sentences)
        known = [cosine for cosine in cosines if cosine is not None] or [self._neutral(self._within)]
        values = with_cosines(found, known)
        confidence = self._within.probability(values)
        if values[CONTRADICTED]:
            confidence = min(confidence, OPPOSITE)
        return Supported(confidence, self._spans(claim, there, found.few))

    def _across_languages(
        self, claim: str, there: Sequence[Sentence], cosines: Sequence[float | None], premise: Collection[str]
    ) -> Supported:
        """By vectors, numbers and names alone. Without vectors nothing can be said, and so nothing is supported."""
        known = [(place, cosine) for place, cosine in enumerate(cosines) if cosine is not None]
        if not known:
            return NOTHING
        best = there[max(known, key=lambda one: one[1])[0]]
        held = {number for number in _asked_alone(claim, there, premise) if best.words.holds(number)}
        words = words_of(without_numbers(claim, held))
        values = across(words, [there[place].words for place, _ in known], [cosine for _, cosine in known])
        confidence = self._across.probability(values)
        if values[DENIED] or values[MISSING]:
            confidence = min(confidence, OPPOSITE)
        return Supported(confidence, {best.number: best.span}, foreign=True)

    def _near(self, claim: str, there: Sequence[Sentence]) -> list[int]:
        if _two_languages(claim, there):
            return list(range(len(there)))[:MOST_ACROSS]
        return nearest(words_of(claim), [one.words for one in there], NEAR)

    def _cosines(self, claim: str, there: Sequence[Sentence], passages: Passages) -> list[float | None]:
        """Of the claim with each sentence; `None` for those that were not embedded."""
        own = passages.vectors.get(claim[:LONGEST])
        if own is None:
            return [None] * len(there)
        near = set(self._near(claim, there))
        vectors = [passages.vectors.get(one.text[:LONGEST]) if at in near else None for at, one in enumerate(there)]
        return [None if one is None else sum(a * b for a, b in zip(own, one, strict=True)) for one in vectors]

    @staticmethod
    def _neutral(classifier: Classifier) -> float:
        return classifier.mean[classifier.features.index("cosine")]

    @staticmethod
    def _spans(claim: str, there: Sequence[Sentence], few: Sequence[int]) -> dict[int, Span]:
        """For each passage the sentence that says most, with its neighbour where that adds what counts."""
        spans: dict[int, Span] = {}
        terms = words_of(claim).terms
        for place in few:
            one = there[place]
            if one.number in spans:
                continue
            missing = [term for term in terms if term not in one.words.terms]
            span = one.span
            for beside in (place - 1, place + 1):
                if 0 <= beside < len(there) and there[beside].number == one.number:
                    added = sum(term in there[beside].words.terms for term in missing) / max(1, len(terms))
                    if added >= BESIDE and beside in few:
                        span = Span(min(span.start, there[beside].span.start), max(span.end, there[beside].span.end))
                        break
            spans[one.number] = span
        return spans


def _asked_alone(claim: str, there: Sequence[Sentence], premise: Collection[str]) -> set[str]:
    """The claim's numbers that are the question's, and that no sentence has; none that the claim gives as a bound."""
    words = words_of(claim)
    said = {number for one in there for number in one.words.numbers}
    return {number for number in words.numbers.intersection(premise) - said if not words.bounded_by(number)}


def _two_languages(claim: str, there: Sequence[Sentence]) -> bool:
    if not there or not any(letter.isalpha() for letter in claim):
        return False  # a number alone is of any language
    return is_vietnamese(claim) != is_vietnamese(" ".join(one.text for one in there[:8]))


def _meets(one: Span, other: Span) -> bool:
    return one.start < other.end and other.start < one.end
