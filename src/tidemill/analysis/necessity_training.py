"""Fits a necessity model, and says how good a score is: logistic regression, areas, calibration.

AUC and average precision are as in https://scikit-learn.org/stable/modules/model_evaluation.html; the calibration
error is the expected one (ECE) over bins of equally many scores: Guo and others 2017, https://arxiv.org/abs/1706.04599.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
RIDGE = 30.0
FOLDS = 5
BINS = 10
_STEPS = 50


@dataclass(frozen=True, slots=True)
class Sample:
    """One example.

    Attributes:
        features: of `hunk_features`, and others by name.
        needed: a person had something to say.
        group: the pull request: no group is on both sides of a split.
    """

    features: Mapping[str, float]
    needed: bool
    group: str


@dataclass(frozen=True, slots=True)
class Fitted:
    """Weights of features as they come, and what is added to every sum."""

    base: float
    weights: Mapping[str, float]

    def scores(self, samples: Sequence[Sample]) -> Floats:
        """The probability for each sample."""
        sums = [
            self.base + sum(self.weights.get(name, 0.0) * value for name, value in one.features.items())
            for one in samples
        ]
        return _logistic(np.array(sums, dtype=np.float64))


@dataclass(frozen=True, slots=True)
class Bin:
    """A row of a reliability table: of `count` samples, what was said on average, and what share was so."""

    count: int
    said: float
    was: float


@dataclass(frozen=True, slots=True)
class Quality:
    """How good scores are. `within` is the AUC in one group, on average over groups with both kinds."""

    auc: float
    within: float
    precision: float
    calibration_error: float


def fit(
    samples: Sequence[Sample],
    features: Sequence[str],
    *,
    ridge: float = RIDGE,
    start: Mapping[str, float] | None = None,
) -> Fitted:
    """Logistic regression on standardized features, by Newton's method.

    Args:
        samples: to fit on.
        features: the names of those that are weighed.
        ridge: how strongly weights are drawn to those of `start`.
        start: weights of features as they come; 0 where absent. A feature that all samples have alike keeps its own.
    """
    values = matrix(samples, features)
    labels = np.array([one.needed for one in samples], dtype=np.float64)
    mean, scale = values.mean(0), values.std(0)
    scale[scale < 1e-9] = np.inf
    inputs = np.c_[(values - mean) / scale, np.ones(len(labels))]
    penalty = np.eye(inputs.shape[1]) * ridge
    penalty[-1, -1] = 1e-6
    drawn_to = np.array([(start or {}).get(name, 0.0) for name in features])
    centre = np.r_[drawn_to * np.where(np.isfinite(scale), scale, 0.0), 0.0]
    weights = centre.copy()
    for _ in range(_STEPS):
        chance = _logistic(inputs @ weights)
        gradient = inputs.T @ (chance - labels) + penalty @ (weights - centre)
        curvature = (inputs * (chance * (1 - chance))[:, None]).T @ inputs + penalty
        step = np.linalg.solve(curvature, gradient)
        weights -= step
        if np.abs(step).max() < 1e-9:
            break
    plain = np.where(np.isfinite(scale), weights[:-1] / scale, drawn_to)
    named = {name: float(weight) for name, weight in zip(features, plain, strict=True)}
    return Fitted(float(weights[-1] - plain @ mean), named)


def matrix(samples: Sequence[Sample], features: Sequence[str]) -> Floats:
    """A row for each sample, a column for each feature."""
    return np.array([[one.features.get(name, 0.0) for name in features] for one in samples], dtype=np.float64)


def held_out(
    samples: Sequence[Sample], score: Callable[[Sequence[int], Sequence[int]], Floats], *, folds: int = FOLDS
) -> Floats:
    """The score of each sample from a model that was fitted without its group.

    Args:
        samples: all of them.
        score: takes the positions to fit on and those to score, and gives the scores of these.
        folds: how many parts the groups are dealt to.
    """
    found = np.zeros(len(samples))
    parts = fold_of([one.group for one in samples], folds)
    for part in range(folds):
        train = [at for at, own in enumerate(parts) if own != part]
        test = [at for at, own in enumerate(parts) if own == part]
        if test:
            found[test] = score(train, test)
    return found


def fold_of(groups: Sequence[str], folds: int = FOLDS) -> list[int]:
    """The fold of each sample: groups dealt out in a fixed random order."""
    distinct = sorted(set(groups))
    order = np.random.default_rng(0).permutation(len(distinct))
    dealt = {distinct[int(at)]: number % folds for number, at in enumerate(order)}
    return [dealt[group] for group in groups]


def quality(labels: Sequence[bool], scores: Floats, groups: Sequence[str]) -> Quality:
    """All figures of one set of scores."""
    truth = np.array(labels, dtype=bool)
    members: dict[str, list[int]] = {}
    for at, group in enumerate(groups):
        members.setdefault(group, []).append(at)
    mixed = [at for at in members.values() if truth[at].any() and not truth[at].all()]
    within = float(np.mean([area(truth[at], scores[at]) for at in mixed])) if mixed else 0.5
    return Quality(area(truth, scores), within, average_precision(truth, scores), calibration_error(truth, scores))


def area(labels: NDArray[np.bool_], scores: Floats) -> float:
    """AUC: how often one that was needed scores higher than one that was not; half for equal scores."""
    positive, negative = scores[labels], scores[~labels]
    if not len(positive) or not len(negative):
        return 0.5
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, side="left")
    upto = np.searchsorted(ordered, positive, side="right")
    return float((below + upto).mean() / 2 / len(negative))


def average_precision(labels: NDArray[np.bool_], scores: Floats) -> float:
    """The mean precision over the steps of recall; equal scores are one step."""
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(labels[order])
    ends = np.r_[np.nonzero(np.diff(scores[order]))[0], len(scores) - 1]
    gained = np.diff(np.r_[0, hits[ends]])
    return float((gained * hits[ends] / (ends + 1)).sum() / max(int(labels.sum()), 1))


def reliability(labels: Sequence[bool] | NDArray[np.bool_], scores: Floats, *, bins: int = BINS) -> list[Bin]:
    """Bins of equally many samples, lowest scores first."""
    truth = np.asarray(labels, dtype=bool)
    order = np.argsort(scores, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return [Bin(len(part), float(scores[part].mean()), float(truth[part].mean())) for part in parts]


def calibration_error(labels: NDArray[np.bool_], scores: Floats, *, bins: int = BINS) -> float:
    """The mean distance of what was said from what was."""
    table = reliability(labels, scores, bins=bins)
    return sum(one.count * abs(one.said - one.was) for one in table) / max(len(scores), 1)


def interval_of_gain(
    labels: Sequence[bool], scores: Floats, other: Floats, groups: Sequence[str], *, draws: int = 500
) -> tuple[float, float]:
    """By how much the AUC of scores is over that of others: the middle 95 % when groups are drawn again."""
    truth = np.array(labels, dtype=bool)
    chance = np.random.default_rng(1)
    members: dict[str, list[int]] = {}
    for at, group in enumerate(groups):
        members.setdefault(group, []).append(at)
    names = sorted(members)
    gains = []
    for _ in range(draws):
        drawn = np.concatenate([members[names[int(k)]] for k in chance.integers(0, len(names), len(names))])
        gains.append(area(truth[drawn], scores[drawn]) - area(truth[drawn], other[drawn]))
    return float(np.quantile(gains, 0.025)), float(np.quantile(gains, 0.975))


def _logistic(sums: Floats) -> Floats:
    found: Floats = 1 / (1 + np.exp(-np.clip(sums, -60, 60)))
    return found
