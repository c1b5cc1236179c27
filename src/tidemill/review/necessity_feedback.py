"""Trains a necessity model on what people made of comments, and says whether it is better than the one in use.

A line of the file is a JSON object: `project` and `number` (the pull request; no pull request is on both sides of a
split), `path`, `hunk` (from its `@@` line on), `needed` (whether a person had something to do there), and, where they
are known, `severity` of the worst finding on it and the file's `changes` and `mends` (see `FileHistory`). Other fields
are not looked at.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from tidemill.analysis.diff import parse_diff
from tidemill.analysis.hunk_features import FEATURES
from tidemill.analysis.necessity import NecessityModel, made_model, signals_of
from tidemill.analysis.necessity_training import (
    Fitted,
    Quality,
    Sample,
    fit,
    held_out,
    interval_of_gain,
    quality,
    reliability,
)
from tidemill.core.change import FileHistory
from tidemill.core.errors import InvalidInput
from tidemill.core.finding import Severity
from tidemill.core.json import Json

LEAST_SAMPLES, LEAST_OF_A_KIND, LEAST_GROUPS = 200, 40, 20
_PATH = 4096


@dataclass(frozen=True, slots=True)
class Training:
    """What came of it.

    Attributes:
        model: fitted on all samples.
        before: how good the scores of the model in use are on them; of the others, `after`, each sample was scored by
            a model that had not seen its pull request.
        gain: of the AUC, the middle 95 %.
        samples: how many there were.
    """

    model: NecessityModel
    before: Quality
    after: Quality
    gain: tuple[float, float]
    samples: int

    @property
    def better(self) -> bool:
        """It tells more, beyond chance, and its probabilities are no worse."""
        return self.gain[0] > 0 and self.after.calibration_error <= self.before.calibration_error + 0.01


def read_samples(lines: Iterable[str]) -> list[Sample]:
    """The examples of a file.

    Raises:
        InvalidInput: a line is no such object; the message names it.
    """
    found = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                found.append(_sample(json.loads(line)))
            except KeyError as error:
                raise InvalidInput(f"Line {number} is no example: it has no field {error}.") from error
            except (ValueError, TypeError, AttributeError) as error:
                raise InvalidInput(
                    f"Line {number} is no example: it is no JSON object of that form ({error})."
                ) from error
            except InvalidInput as error:
                raise InvalidInput(f"Line {number} is no example: {error.message}") from error
    return found


def _sample(row: dict[str, Json]) -> Sample:
    path, hunk, needed = row["path"], row["hunk"], row["needed"]
    if not (isinstance(path, str) and isinstance(hunk, str) and isinstance(needed, bool)) or "\n" in path:
        raise InvalidInput("`path` and `hunk` are texts, and `needed` is true or false.")
    name = path[:_PATH]
    text = f"diff --git a/{name} b/{name}\n--- a/{name}\n+++ b/{name}\n{hunk.rstrip(chr(10))}\n"
    files = parse_diff(text).files
    if len(files) != 1 or len(files[0].hunks) != 1:
        raise InvalidInput("`hunk` is one hunk, from its `@@` line on.")
    signals = dict(signals_of(files[0].hunks[0], files[0], history=_history(row)))
    severity = row.get("severity")
    if isinstance(severity, str) and Severity(severity).rank:
        signals["finding"] = float(Severity(severity).rank)
    return Sample(signals, needed, f"{row['project']}#{row['number']}")


def _history(row: Mapping[str, Json]) -> FileHistory | None:
    changes, mends = row.get("changes"), row.get("mends")
    if changes is None and mends is None:
        return None
    if type(changes) is not int or type(mends) is not int or not 0 <= mends <= changes:
        raise InvalidInput("`changes` and `mends` are whole numbers, and no more commits mend than change.")
    return FileHistory(changes, mends)


def train(samples: Sequence[Sample], present: NecessityModel, *, source: str, at: datetime) -> Training:
    """Fits weights that are drawn to those of the model in use, so that few examples change little.

    Raises:
        InvalidInput: there are too few examples to measure with.
    """
    needed = sum(one.needed for one in samples)
    groups = [one.group for one in samples]
    kinds = min(needed, len(samples) - needed)
    if len(samples) < LEAST_SAMPLES or kinds < LEAST_OF_A_KIND or len(set(groups)) < LEAST_GROUPS:
        raise InvalidInput(
            f"There are {len(samples)} examples of {len(set(groups))} pull requests, {needed} of them needed. To "
            f"measure a model takes {LEAST_SAMPLES} of {LEAST_GROUPS}, {LEAST_OF_A_KIND} of either kind."
        )
    start = {**present.by_hand, **present.fitted}
    names = sorted({*FEATURES, *start} & ({name for one in samples for name in one.features} | {*start}))
    labels = [one.needed for one in samples]
    old = Fitted(present.base, start).scores(samples)
    new = held_out(
        samples,
        lambda fitted_on, asked: fit([samples[at] for at in fitted_on], names, start=start).scores(
            [samples[at] for at in asked]
        ),
    )
    after = quality(labels, new, groups)
    gain = interval_of_gain(labels, new, old, groups)
    trained: dict[str, Json] = {
        "how": "logistic regression with a ridge towards the weights of the model before",
        "from": source,
        "at": at.isoformat(),
        "before": present.version,
        "pieces": len(samples),
        "needed": needed,
        "groups": len(set(groups)),
        "held out": {name: round(value, 4) for name, value in asdict(after).items()},
        "gain of the AUC": [round(gain[0], 4), round(gain[1], 4)],
        "reliability": [
            {"count": row.count, "said": round(row.said, 4), "was": round(row.was, 4)}
            for row in reliability(labels, new)
        ],
    }
    model = made_model(fit(samples, names, start=start), trained, by_hand={})
    return Training(model, quality(labels, old, groups), after, gain, len(samples))
