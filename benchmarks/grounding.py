"""Grounding: how well it is found whether passages support a claim, on WiCE's development set.

`BENCH_DATA` names a folder with `wice_claim_dev.jsonl` (https://github.com/ryokamoi/wice); vectors are kept
in `BENCH_VECTORS`. The regression is fitted and each method's threshold chosen on four fifths of the articles, and
measured on the last fifth, five times over; nothing is measured on an article of which anything was fitted.
"""

import asyncio
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.grounding_data import Vectors, Wice, read_wice
from benchmarks.grounding_fit import Floats, Rows, best_f1, folds, isotonic, logistic, scores, wice_rows
from tidemill.knowledge.grounding.features import lexical
from tidemill.knowledge.grounding.words import words_of

REPEATS = 5
THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
"""Of which 0.5 is the setting's default."""
BINS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_WORD = re.compile(r"\w+")


def run() -> None:
    """Prints precision, recall, F1 and AUROC of each method, the reliability of the confidence, and spans found."""
    folder = Path(os.environ.get("BENCH_DATA", ""))
    file = folder / "wice_claim_dev.jsonl"
    if not os.environ.get("BENCH_DATA") or not file.is_file():
        print("grounding: not run; BENCH_DATA names no folder with wice_claim_dev.jsonl\n")
        return
    asyncio.run(_run(file, Path(os.environ.get("BENCH_VECTORS") or tempfile.mkdtemp(prefix="tidemill-bench-"))))


async def _run(file: Path, cache: Path) -> None:
    claims = read_wice(file)
    vectors = await Vectors.of(claims, None, cache)
    rows = wice_rows(claims, vectors)
    real = np.flatnonzero(~rows.made)
    strict = np.array([float(one.label == "supported") for one in claims])
    partly = np.array([float(one.label != "not_supported") for one in claims])
    alone = {
        "words in the evidence": np.array([_overlap(one) for one in claims]),
        "highest cosine": np.array(
            [max(vectors.cosine(one.text, one.evidence[place]) for place in one.near) for one in claims]
        ),
    }
    for title, labels in (("supported", strict), ("supported, in part at least", partly)):
        target = rows if labels is strict else replace(rows.of(~rows.made), labels=labels)
        print(f"grounding  {title}: {labels.sum():.0f} of {len(labels)} claims")
        for name, found in alone.items():
            print(f"grounding    {name:<24} {_measured(target, found)}")
        print(f"grounding    {'grounding':<24} {_measured(target, None)}")
    _reliability(rows, real, partly)
    _spans(claims)
    print()


def _measured(rows: Rows, given: Floats | None) -> str:
    """Precision, recall and F1 at thresholds chosen elsewhere, and the area under the ROC curve.

    `given` are scores that need no fitting, one for each claim; `None` fits the regression.
    """
    real = np.flatnonzero(~rows.made)
    labels = rows.labels[real]
    figures = []
    for seed in range(REPEATS):
        fold = folds(rows.groups, seed)
        kept, ranks = np.zeros(len(real), bool), np.zeros(len(real))
        for one in range(5):
            test = fold[real] == one
            if given is None:
                model = logistic(rows.of(fold != one))
                found = scores(model, rows.values[real])
            else:
                found = given
            kept[test] = found[test] >= best_f1(found[~test], labels[~test])
            ranks[test] = found[test]
        right = (kept & (labels == 1)).sum()
        precision, recall = right / max(1, kept.sum()), right / labels.sum()
        above = ranks[labels == 1][:, None] - ranks[labels == 0]
        figures.append((precision, recall, 2 * precision * recall / (precision + recall), (above > 0).mean()))
    precision, recall, f1, area = np.mean(figures, axis=0)
    return f"precision {precision:.3f}  recall {recall:.3f}  F1 {f1:.3f}  AUROC {area:.3f}"


def _reliability(rows: Rows, real: NDArray[np.int64], partly: Floats) -> None:
    """What share of the claims of each confidence is right, where neither regression nor calibration had seen them."""
    fold = folds(rows.groups, 7)
    chance = np.zeros(len(real))
    for one in range(5):
        train = rows.of(fold != one)
        inner = folds(train.groups, 8)
        seen = np.zeros(len(train.labels))
        for part in range(5):
            seen[inner == part] = scores(logistic(train.of(inner != part)), train.values[inner == part])
        points = isotonic(seen[~train.made], train.labels[~train.made])
        test = fold[real] == one
        at, to = np.array(points).T
        chance[test] = np.interp(scores(logistic(train), rows.values[real][test]), at, to)
    labels = rows.labels[real]
    gap = 0.0
    for low, high in pairwise(BINS):
        inside = (chance >= low) & ((chance < high) | (high == 1.0))
        if not inside.any():
            continue
        gap += abs(chance[inside].mean() - labels[inside].mean()) * inside.mean()
        print(
            f"grounding    confidence {low:.1f}–{high:.1f}: {inside.sum():3} claims, mean {chance[inside].mean():.2f}, "
            f"supported {labels[inside].mean():.2f}, in part at least {partly[inside].mean():.2f}"
        )
    print(f"grounding    expected calibration error {gap:.3f}, Brier {((chance - labels) ** 2).mean():.3f}")
    for least in THRESHOLDS:
        kept = chance >= least
        print(
            f"grounding    support_threshold {least}: {kept.sum():3} kept, supported {labels[kept].mean():.3f}, in "
            f"part at least {partly[kept].mean():.3f}; of the supported ones {labels[kept].sum() / labels.sum():.3f}"
        )


def _spans(claims: Sequence[Wice]) -> None:
    """How often the sentence that is shown as evidence is one of those that people named."""
    right = total = chance = 0.0
    for one in claims:
        gold = frozenset[int]().union(*one.gold) if one.gold else frozenset()
        if gold:
            found = lexical(one.text, [words_of(text) for text in one.evidence])
            right += found.best in gold
            chance += len(gold) / len(one.evidence)
            total += 1
    print(f"grounding    the sentence that is shown is one of those people named: {right / total:.3f} of {total:.0f}"
          f" claims (at random {chance / total:.3f})")  # fmt: skip


def _overlap(one: Wice) -> float:
    """The part of a claim's words that stand anywhere in its evidence."""
    wanted = set(_WORD.findall(one.text.lower()))
    there = {word for text in one.evidence for word in _WORD.findall(text.lower())}
    return len(wanted & there) / max(1, len(wanted))
