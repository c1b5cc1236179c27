"""Fits the classifiers that say whether passages support a sentence, and writes their weights.

`python -m benchmarks.grounding_fit DATA CACHE [--write]`: `DATA` has `wice_claim_dev.jsonl`
(https://github.com/ryokamoi/wice) and `xquad.{en,vi}.json` (https://github.com/google-deepmind/xquad); in
`CACHE` vectors are kept between runs. What is printed was measured on articles that were not fitted on.
"""

import asyncio
import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.grounding_data import Vectors, Wice, read_wice, read_xquad
from tidemill.knowledge.grounding.classifier import Classifier
from tidemill.knowledge.grounding.features import (
    ACROSS,
    CONTRADICTED,
    DENIED,
    MISSING,
    NAMES,
    across,
    lexical,
    with_cosines,
)
from tidemill.knowledge.grounding.support import OPPOSITE, SURE_ACROSS
from tidemill.knowledge.grounding.words import opposite_of, words_of

Floats = NDArray[np.float64]
FOLDS = 5
RIDGE = 5.0
NEAREST = (0, 3)
"""Which of the other paragraphs that are nearest to a claim are taken as those that do not say it."""
WEIGHT_OF_MADE = 0.3
"""Of a claim that was changed so that it is wrong, beside one that is as it was."""
WRITTEN = Path("src/tidemill/knowledge/grounding/weights.json")
_VERB = re.compile(r"\b(is|was|were|are|has|have|had|will|can|must|may|là|được|phải|cần|có)\b")
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Rows:
    """Feature rows with labels; `made` are those of claims that were changed, `group` the article of each."""

    values: Floats
    labels: Floats
    made: NDArray[np.bool_]
    groups: NDArray[np.int64]

    def of(self, chosen: NDArray[np.bool_]) -> "Rows":
        """Some of the rows."""
        return Rows(self.values[chosen], self.labels[chosen], self.made[chosen], self.groups[chosen])


def logistic(rows: Rows) -> tuple[Floats, Floats, Floats]:
    """Mean, scale, and weights with the bias last, by Newton's method with a ridge on the weights."""
    mean, scale = rows.values.mean(0), rows.values.std(0) + 1e-9
    inputs = np.c_[(rows.values - mean) / scale, np.ones(len(rows.labels))]
    importance = np.where(rows.made, WEIGHT_OF_MADE, 1.0)
    ridge = np.eye(inputs.shape[1]) * RIDGE
    ridge[-1, -1] = 0
    weights = np.zeros(inputs.shape[1])
    for _ in range(50):
        chance = 1 / (1 + np.exp(-inputs @ weights))
        gradient = inputs.T @ (importance * (chance - rows.labels)) + ridge @ weights
        curvature = (inputs * (importance * chance * (1 - chance))[:, None]).T @ inputs + ridge
        weights -= np.linalg.solve(curvature, gradient)
    return mean, scale, weights


def scores(model: tuple[Floats, Floats, Floats], values: Floats) -> Floats:
    """Of the regression, and of the rule beside it."""
    mean, scale, weights = model
    found: Floats = 1 / (1 + np.exp(-np.c_[(values - mean) / scale, np.ones(len(values))] @ weights))
    ruled = (CONTRADICTED,) if values.shape[1] == len(NAMES) else (DENIED, MISSING)
    for rule in ruled:
        found[values[:, rule] > 0] = np.minimum(found[values[:, rule] > 0], OPPOSITE)
    return found


def isotonic(score: Floats, label: Floats) -> list[tuple[float, float]]:
    """Rising points (score, share of right ones), by pooling adjacent violators; blocks of fewer than 15 are joined."""
    order = np.argsort(score, kind="stable")
    blocks: list[list[float]] = []  # sum of labels, count, sum of scores
    for place in order:
        blocks.append([label[place], 1.0, score[place]])
        while len(blocks) > 1 and (
            blocks[-2][0] / blocks[-2][1] >= blocks[-1][0] / blocks[-1][1] or blocks[-2][1] < 15
        ):
            last = blocks.pop()
            blocks[-1] = [a + b for a, b in zip(blocks[-1], last, strict=True)]
    points = [(total / count, (right + 1) / (count + 2)) for right, count, total in blocks]
    rising = np.maximum.accumulate([probability for _, probability in points])
    return [(round(at, 4), round(float(p), 4)) for (at, _), p in zip(points, rising, strict=True)]


def folds(groups: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """A fold for each row; rows of one article have the same one."""
    names = np.unique(groups)
    drawn = np.random.default_rng(seed).permutation(len(names)) % FOLDS
    return np.array(drawn[np.searchsorted(names, groups)], np.int64)


def out_of_fold(rows: Rows, seed: int) -> Floats:
    """Each row's score by a model that saw no row of its article."""
    fold = folds(rows.groups, seed)
    found = np.zeros(len(rows.labels))
    for one in range(FOLDS):
        found[fold == one] = scores(logistic(rows.of(fold != one)), rows.values[fold == one])
    return found


def wice_rows(claims: Sequence[Wice], vectors: Vectors, *, made: bool = True) -> Rows:
    """The claims as they are, and, with `made`, those that hold with another number or a denial put in."""
    values, labels, changed, groups = [], [], [], []
    for claim in claims:
        words = [words_of(one) for one in claim.evidence]
        cosines = [vectors.cosine(claim.text, claim.evidence[place]) for place in claim.near]
        texts = [(claim.text, float(claim.label == "supported"), False)]
        if made and claim.label == "supported":
            texts += [(text, 0.0, True) for text in wrong(claim.text)]
        for text, label, is_made in texts:
            values.append(with_cosines(lexical(text, words), cosines))
            labels.append(label)
            changed.append(is_made)
            groups.append(claim.article)
    return Rows(np.array(values), np.array(labels), np.array(changed), np.array(groups))


def xquad_rows(vectors: Vectors, folder: Path) -> Rows:
    """Vietnamese sentences and clauses, each against the English paragraph that says the same, against that without its
    nearest sentence, and against two of the other paragraphs that are nearest: a search gives no others to answer from.
    """
    pairs = list(read_xquad(folder))
    paragraphs = list(dict.fromkeys(tuple(english) for _, _, english in pairs))
    words = [[words_of(one) for one in english] for english in paragraphs]
    values, labels, changed, groups = [], [], [], []

    def add(article: int, features: list[float], label: float, *, made: bool = False) -> None:
        values.append(features)
        labels.append(label)
        changed.append(made)
        groups.append(article)

    for article, said, right in pairs:
        cosines = [[vectors.cosine(said, one) for one in english] for english in paragraphs]
        own, claim = paragraphs.index(tuple(right)), words_of(said)
        add(article, across(claim, words[own], cosines[own]), 1.0)
        others = sorted((place for place in range(len(paragraphs)) if place != own), key=lambda at: -max(cosines[at]))
        for place in (others[rank] for rank in NEAREST):
            add(article, across(claim, words[place], cosines[place]), 0.0)
        if len(right) > 1:  # what is left is near, and does not say it
            best = max(range(len(right)), key=cosines[own].__getitem__)
            kept = [place for place in range(len(right)) if place != best]
            add(article, across(claim, [words[own][at] for at in kept], [cosines[own][at] for at in kept]), 0.0)
        for turned in wrong(said):
            add(article, across(words_of(turned), words[own], cosines[own]), 0.0, made=True)
    return Rows(np.array(values), np.array(labels), np.array(changed), np.array(groups))


def wrong(text: str) -> list[str]:
    """The text with one number changed, with a denial put in, and with an opposite, where it can have them."""
    found = []
    if numbers := list(_NUMBER.finditer(text)):
        one = numbers[-1]
        found.append(f"{text[: one.start()]}{int(one[0]) + 3}{text[one.end() :]}")
    if (verb := _VERB.search(text)) and not words_of(text).denies:
        vietnamese = not verb[0].isascii() or not text.isascii()
        end = verb.start() if vietnamese else verb.end()
        found.append(f"{text[:end]} {'không ' if vietnamese else 'not'}{text[end:]}")
    if (opposite := opposite_of(text)) is not None:
        found.append(opposite)
    return found


def fitted(
    rows: Rows, features: tuple[str, ...], origin: str, threshold: Callable[[Floats, Floats], float]
) -> dict[str, object]:
    """What is written: the regression over all rows, calibrated on scores of models that had not seen the row."""
    mean, scale, weights = logistic(rows)
    real = ~rows.made
    calibration = calibrated(rows)
    model = Classifier(features, tuple(mean), tuple(scale), tuple(weights[:-1]), weights[-1], tuple(calibration), 0.5)
    chances = np.array([model.probability(one) for one in rows.values[real]])
    return {
        "origin": origin,
        "features": list(features),
        "mean": [round(float(one), 6) for one in mean],
        "scale": [round(float(one), 6) for one in scale],
        "weights": [round(float(one), 6) for one in weights[:-1]],
        "bias": round(float(weights[-1]), 6),
        "calibration": calibration,
        "threshold": round(threshold(chances, rows.labels[real]), 4),
    }


def calibrated(rows: Rows) -> list[tuple[float, float]]:
    """Points between scores and probabilities, from claims as they are that no model had seen."""
    real = ~rows.made
    return isotonic(np.concatenate([out_of_fold(rows, seed)[real] for seed in range(3)]), np.tile(rows.labels[real], 3))


def best_f1(chances: Floats, labels: Floats) -> float:
    """The threshold with the highest F1."""

    def f1(least: float) -> float:
        kept = chances >= least
        return float(2 * (kept & (labels == 1)).sum() / max(1, kept.sum() + labels.sum()))

    return float(max(np.unique(chances), key=f1))


async def main(data: Path, cache: Path, *, write: bool) -> None:
    """Fits both, and prints how well each does on articles that it was not fitted on."""
    claims = read_wice(data / "wice_claim_dev.jsonl")
    vectors = await Vectors.of(claims, data, cache)
    within = wice_rows(claims, vectors)
    other = xquad_rows(vectors, data)
    for name, rows in (("within", within), ("across", other)):
        found = out_of_fold(rows, 0)
        for kind, chosen in (("as they are", ~rows.made), ("all", np.ones(len(found), bool))):
            right, bad = found[chosen & (rows.labels == 1)], found[chosen & (rows.labels == 0)]
            print(f"{name:<8} {kind:<12} {chosen.sum()} rows, AUROC {(right[:, None] > bad).mean():.3f}")
        chance = np.interp(found, *np.array(calibrated(rows)).T)
        for least in (0.5, SURE_ACROSS):
            kept, labels = chance >= least, rows.labels
            print(
                f"{name:<8} from {least} on   {labels[kept & ~rows.made].mean():.3f} of those kept hold, and "
                f"{labels[kept].sum() / labels.sum():.3f} of those that hold are kept"
            )
    written = {
        "within": fitted(
            within,
            NAMES,
            "WiCE dev, 349 claims; those that hold with a wrong number, a denial or an opposite, too",
            best_f1,
        ),
        "across": fitted(
            other,
            ACROSS,
            "XQuAD, Vietnamese sentences and clauses, and English paragraphs, the nearest among them; with a wrong "
            "number, a denial or an opposite, too",
            best_f1,
        ),
    }
    for name, one in written.items():
        print(name, json.dumps(one, indent=None))
    if write:
        text = json.dumps(written, indent=1, ensure_ascii=False)
        WRITTEN.write_text(text + "\n", "utf-8")  # noqa: ASYNC240 - a benchmark


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), write="--write" in sys.argv))
