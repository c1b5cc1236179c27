"""How well answers keep to what they were given, from judgements that others made.

Each function is a share from 0 to 1, or `None` where there is nothing to divide by: an answer that claims nothing has
no faithfulness, and it would be wrong to call that 0 or 1.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rates:
    """Precision, recall, and F1, their harmonic mean. Source: van Rijsbergen, Information Retrieval (1979), ch. 7."""

    precision: float | None
    recall: float | None
    f1: float | None


def rates(chosen: Sequence[bool], right: Sequence[bool]) -> Rates:
    """Of decisions: which were chosen, and which it would have been right to choose, case by case."""
    both = sum(one and other for one, other in zip(chosen, right, strict=True))
    precision, recall = _share(both, sum(chosen)), _share(both, sum(right))
    divisor = sum(chosen) + sum(right)
    return Rates(precision, recall, _share(2 * both, divisor))


def faithfulness(supported: Sequence[bool]) -> float | None:
    """The share of an answer's claims that the passages support.

    Source: Es et al., Ragas: automated evaluation of retrieval augmented generation (2023), `F = |V| / |S|`.
    """
    return _share(sum(supported), len(supported))


def answer_relevancy(cosines: Sequence[float]) -> float | None:
    """How near the answer is to its question: the mean of cosines between the question and what the answer is about.

    Source: Es et al. (2023), `AR = 1/n Σ cos(q, q_i)`. There q_i are questions that a model makes of the answer; who
    calls this says what the cosines are of.
    """
    return sum(cosines) / len(cosines) if cosines else None


def context_precision(relevant: Sequence[bool]) -> float | None:
    """Whether what is relevant stands before what is not: `Σ precision@i · relevant(i) / Σ relevant(i)`.

    `relevant` says it of each passage, in the ranking's order. Source: the metric of this name in Ragas, which is
    average precision over what was retrieved (Manning et al., Introduction to Information Retrieval, §8.4).
    """
    seen, total = 0, 0.0
    for place, one in enumerate(relevant, 1):
        if one:
            seen += 1
            total += seen / place
    return total / seen if seen else None


def context_recall(found: Sequence[bool]) -> float | None:
    """The share of what the right answer says that stands in the passages. Source: the metric of this name in Ragas."""
    return _share(sum(found), len(found))


def citation_recall(supported: Sequence[bool]) -> float | None:
    """The share of sentences that what they cite supports; one without a citation is not supported.

    Source: Gao et al., Enabling large language models to generate text with citations (2023), §4.
    """
    return _share(sum(supported), len(supported))


def citation_precision(useful: Sequence[bool]) -> float | None:
    """The share of citations that help to support the sentence that they stand behind. Source: Gao et al. (2023)."""
    return _share(sum(useful), len(useful))


def best_threshold(scores: Sequence[float], labels: Sequence[bool]) -> float:
    """The threshold of the highest F1, the lowest of several; a score at it counts as chosen."""
    best, threshold = -1.0, 0.0
    for candidate in sorted(set(scores)):
        found = rates([score >= candidate for score in scores], labels).f1 or 0.0
        if found > best:
            best, threshold = found, candidate
    return threshold


def roc_area(scores: Sequence[float], labels: Sequence[bool]) -> float | None:
    """The chance that a right one has a higher score than a wrong one; of equal scores half.

    Source: Hanley and McNeil, The meaning and use of the area under a ROC curve (1982).
    """
    right = [score for score, label in zip(scores, labels, strict=True) if label]
    wrong = [score for score, label in zip(scores, labels, strict=True) if not label]
    if not right or not wrong:
        return None
    above = sum((one > other) + 0.5 * (one == other) for one in right for other in wrong)
    return above / (len(right) * len(wrong))


def covers(shown: Collection[int], named: Sequence[Collection[int]]) -> bool:
    """Whether what was shown holds one of the sets of evidence that people named whole."""
    return any(set(one) <= set(shown) for one in named)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
