"""How good a ranking is, for one question: nDCG, recall, reciprocal rank, precision.

A ranking names what was found, the best first; what is named twice counts where it stands first. `relevant` has a grade
above 0 for each thing that answers the question. Without anything relevant nothing can be said: `ValueError`.
"""

import math
from collections.abc import Mapping, Sequence


def ndcg(ranking: Sequence[str], relevant: Mapping[str, int], k: int) -> float:
    """Normalised discounted cumulative gain of the first `k`, from 0 to 1.

    `DCG = Σ grade(i) / log2(i + 1)` over places i from 1, divided by that of the best ranking there is. Source:
    Järvelin and Kekäläinen, Cumulated gain-based evaluation of IR techniques (2002), with the discount of trec_eval's
    `ndcg_cut`, which takes grades as they are.
    """
    _check(relevant, k)
    found = _discounted([relevant.get(one, 0) for one in _first(ranking, k)])
    return found / _discounted(sorted(relevant.values(), reverse=True)[:k])


def recall(ranking: Sequence[str], relevant: Mapping[str, int], k: int) -> float:
    """The share of what is relevant that stands among the first `k`. Source: Manning et al., Introduction to
    Information Retrieval, §8.3."""
    _check(relevant, k)
    return _hits(ranking, relevant, k) / len(relevant)


def precision(ranking: Sequence[str], relevant: Mapping[str, int], k: int) -> float:
    """The share of `k` places that hold something relevant; a shorter ranking leaves places empty, as in trec_eval's
    `P`. Source: Manning et al., §8.4."""
    _check(relevant, k)
    return _hits(ranking, relevant, k) / k


def reciprocal_rank(ranking: Sequence[str], relevant: Mapping[str, int], k: int) -> float:
    """One divided by the place of the first that is relevant; 0 where none is among the first `k`.

    The mean of it over questions is the MRR. Source: Voorhees, The TREC-8 question answering track report (1999).
    """
    _check(relevant, k)
    return next((1 / place for place, one in enumerate(_first(ranking, k), 1) if one in relevant), 0.0)


def _check(relevant: Mapping[str, int], k: int) -> None:
    if k < 1:
        raise ValueError("k is at least 1")
    if not relevant or min(relevant.values()) < 1:
        raise ValueError("something is relevant, and each grade is above 0")


def _first(ranking: Sequence[str], k: int) -> list[str]:
    return list(dict.fromkeys(ranking))[:k]


def _hits(ranking: Sequence[str], relevant: Mapping[str, int], k: int) -> int:
    return sum(one in relevant for one in _first(ranking, k))


def _discounted(gains: Sequence[int]) -> float:
    return sum(gain / math.log2(place + 1) for place, gain in enumerate(gains, 1))
