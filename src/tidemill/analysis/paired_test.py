"""Whether two configurations differ, where both answered the same questions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

REPEATS = 10_000
CONFIDENCE = 0.95
BLOCK = 1_000_000
"""Numbers that are drawn at once."""


@dataclass(frozen=True, slots=True)
class PairedTest:
    """The mean of B minus A, an interval around it, and how surprising it would be if neither were better.

    Attributes:
        low, high: the 95 % bootstrap interval of the mean difference.
        p: two-sided.
        pairs: questions that both have.
    """

    difference: float
    low: float
    high: float
    p: float
    pairs: int


def paired_test(a: Sequence[float], b: Sequence[float], seed: int = 0, repeats: int = REPEATS) -> PairedTest:
    """Compares two sequences, question by question.

    `p` is that of the randomisation test: under the null hypothesis each difference may as well have the other sign, so
    signs are drawn `repeats` times, and `p = (1 + as far from 0 or farther) / (1 + repeats)`, which is never 0. Source:
    Smucker, Allan and Carterette, A comparison of statistical significance tests for information retrieval evaluation
    (2007). The interval is the percentile bootstrap's over questions: Efron and Tibshirani, An Introduction to the
    Bootstrap (1993), ch. 13. The same seed gives the same figures.

    Raises:
        ValueError: there are no pairs, or not as many of one as of the other.
    """
    if len(a) != len(b) or not a:
        raise ValueError("both sides have the same questions, and at least one")
    differences = np.asarray(b, float) - np.asarray(a, float)
    observed = float(differences.mean())
    draws = np.random.default_rng(seed)
    slack = 1e-12 * max(1.0, float(np.abs(differences).max()))
    far = 0
    means: list[NDArray[np.float64]] = []
    step = max(1, BLOCK // len(differences))
    for start in range(0, repeats, step):
        rows = min(step, repeats - start)
        signs = draws.integers(0, 2, (rows, len(differences))) * 2 - 1
        far += int((np.abs((signs * differences).mean(axis=1)) >= abs(observed) - slack).sum())
        means.append(differences[draws.integers(0, len(differences), (rows, len(differences)))].mean(axis=1))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return PairedTest(observed, float(low), float(high), (1 + far) / (1 + repeats), len(differences))
