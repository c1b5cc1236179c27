"""What came of a run, as JSON, and two of them side by side."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeGuard

from tidemill.analysis.paired_test import PairedTest, paired_test
from tidemill.core.json import Json
from tidemill.evaluation.data import BadData

OBJECT = "evaluation"
"""What marks a file as a result."""

Figures = Mapping[str, float | None]
"""Metrics of one question by name; `None` where there is nothing to say."""


@dataclass(frozen=True, slots=True)
class Result:
    """A run.

    Attributes:
        kind: `retrieval` or `grounding`.
        data: what it was measured on: name, format, digest, and how much of it.
        versions: the exact versions of all that took part, and the digest of the settings.
        options: how it was asked.
        metrics: over all questions.
        questions: the same for each, by its id, for comparisons.
    """

    kind: str
    data: Mapping[str, Json]
    versions: Mapping[str, Json]
    options: Mapping[str, Json]
    metrics: Figures
    questions: Mapping[str, Figures]
    created_at: datetime
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """The result as it is written to files."""
        return {
            "object": OBJECT,
            "kind": self.kind,
            "created_at": self.created_at.isoformat(),
            "seconds": round(self.seconds, 3),
            "data": dict(self.data),
            "versions": dict(self.versions),
            "options": dict(self.options),
            "metrics": dict(self.metrics),
            "questions": {name: dict(figures) for name, figures in self.questions.items()},
        }


def means(questions: Mapping[str, Figures]) -> dict[str, float | None]:
    """The mean of each metric over the questions that have it, in the order in which the metrics appear."""
    values: dict[str, list[float]] = {}
    for figures in questions.values():
        for name, value in figures.items():
            values.setdefault(name, [])
            if value is not None:
                values[name].append(value)
    return {name: sum(found) / len(found) if found else None for name, found in values.items()}


@dataclass(frozen=True, slots=True)
class Compared:
    """A metric of two runs: means over the questions where both have it, and the test of their difference."""

    metric: str
    a: float
    b: float
    test: PairedTest


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs over the same data.

    Attributes:
        differences: the versions and options in which they differ, with the value of each.
        metrics: each metric that both have.
    """

    differences: Mapping[str, tuple[Json, Json]]
    metrics: Sequence[Compared]


def load(path: Path) -> dict[str, Any]:
    """A result that was written to a file.

    Raises:
        BadData: it is none.
    """
    try:
        value = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise BadData(path, "is not there. `tidemill eval retrieval … --out FILE` writes one.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise BadData(path, f"can't be read as a result: {error}.") from error
    if not _is_result(value):
        raise BadData(path, "is no result of an evaluation. `tidemill eval retrieval … --out FILE` writes one.")
    return value


def compare(a: Path, b: Path, seed: int = 0) -> Comparison:
    """In what two runs differ, and each metric that both have, question by question.

    Raises:
        BadData: they are of different kinds or data, or have no question in common.
    """
    first, second = load(a), load(b)
    for name, one, other in (
        ("kinds", first.get("kind"), second.get("kind")),
        ("data", first["data"].get("digest"), second["data"].get("digest")),
    ):
        if one != other:
            raise BadData(b, f"is of other {name} than {a} ({other} and {one}). Compare two runs over the same.")
    found = []
    shared = [one for one in first["questions"] if one in second["questions"]]
    for metric in dict.fromkeys(name for one in shared for name in first["questions"][one]):
        pairs = [
            (first["questions"][one][metric], second["questions"][one][metric])
            for one in shared
            if _number(first["questions"][one].get(metric)) and _number(second["questions"][one].get(metric))
        ]
        if pairs:
            ours, theirs = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
            test = paired_test(ours, theirs, seed)
            found.append(Compared(metric, sum(ours) / len(ours), sum(theirs) / len(theirs), test))
    if not found:
        raise BadData(
            b, f"has no question in common with {a} that both have a figure for; `--k` must be the same, too."
        )
    return Comparison(_differences(first, second), found)


def _differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, tuple[Json, Json]]:
    ours, theirs = ({**one["versions"], **one["options"]} for one in (first, second))
    names = dict.fromkeys([*ours, *theirs])
    return {name: (ours.get(name), theirs.get(name)) for name in names if ours.get(name) != theirs.get(name)}


def _is_result(value: object) -> TypeGuard[dict[str, Any]]:
    if not isinstance(value, dict) or value.get("object") != OBJECT:
        return False
    parts = [value.get(name) for name in ("data", "versions", "options", "questions")]
    return all(isinstance(one, dict) for one in parts) and all(
        isinstance(one, dict) for one in value["questions"].values()
    )


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
