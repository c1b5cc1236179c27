"""How much a hunk deserves a reader's time: a sum of named signals, squashed to 0…1.

A model is data: the weights of what can be counted of the changed lines were fitted on real review comments
(`benchmarks/necessity.py`); the weights of what those can't tell were set by hand, and are to be fitted on feedback.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from tidemill.analysis.hunk_features import hunk_features
from tidemill.analysis.paths import PathKind, kind_of
from tidemill.analysis.syntax import Language, language_of
from tidemill.core.change import FileDiff, FileHistory, Hunk
from tidemill.core.errors import InvalidInput
from tidemill.core.finding import Finding, Necessity
from tidemill.core.json import Json, JsonObject

if TYPE_CHECKING:  # numpy, which fitting needs and scoring does not, is heavy
    from tidemill.analysis.necessity_training import Fitted

FORMAT = 1
BY_HAND: Mapping[str, float] = {
    "finding": 0.5,  # for each rank of the worst finding: an engine has proved something, look at the rest
    "risky path": 0.8,  # auth, payment, migration: mistakes here cost most
    "often changed": 0.1,  # for each doubling of the last year's changes of the file
    "often mended": 1.0,  # the share of them that mended something: where mistakes were, there are more
    "test": -1.0,  # wrong tests cost less than wrong code
    "document": -2.0,
    "lock": -6.0,  # never worth a model's time
    "generated": -6.0,
    "vendored": -6.0,
}
"""What pieces of one hunk have in common, so that no weight can be fitted for it on them; findings of engines, which
need whole files; and a file's history, which the comments come without."""
_MOST_DOUBLINGS = 6.0
_NO_SHARE = 2
"""Changes without a mend that each file is taken to have had beside its own: one mend of one change tells little."""

_RISKY_PATH = re.compile(
    r"(?:^|[/_.-])(?:auth\w*|login|session|oauth\w*|sso|acl|permission\w*|crypt\w*|cipher|payment\w*|billing|checkout"
    r"|invoice\w*|migrations?|sql|secur\w*|token\w*|password\w*|secret\w*|admin|webhook\w*|upload\w*|deploy\w*)(?=[/_.-])",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class NecessityModel:
    """Weights, and where they come from.

    Attributes:
        version: the first digits of the sha256 of all the rest.
        base: what every sum begins with.
        fitted: the weight of each feature of `hunk_features` (and, after feedback, of others).
        by_hand: the weight of each signal that was not fitted.
        trained: how, from what, and how well; for people.
    """

    version: str
    base: float
    fitted: Mapping[str, float]
    by_hand: Mapping[str, float]
    trained: Mapping[str, Json] = field(default_factory=dict)

    def weight(self, name: str) -> float:
        """Of a feature; 0 for one that it does not know."""
        return self.fitted.get(name, self.by_hand.get(name, 0.0))


def made_model(fitted: "Fitted", trained: Mapping[str, Json], by_hand: Mapping[str, float] = BY_HAND) -> NecessityModel:
    """A model of fitted weights; those by hand only for what was not fitted."""
    weights = {name: round(weight, 4) for name, weight in fitted.weights.items()}
    rest = {name: weight for name, weight in by_hand.items() if name not in weights}
    body = _body(round(fitted.base, 4), weights, rest, trained)
    return NecessityModel(_version(body), round(fitted.base, 4), weights, rest, trained)


def model_json(model: NecessityModel) -> JsonObject:
    """As a file holds it."""
    return {"version": model.version, **_body(model.base, model.fitted, model.by_hand, model.trained)}


def model_from_json(document: Mapping[str, Any]) -> NecessityModel:
    """What `model_json` wrote.

    Raises:
        InvalidInput: it is no such document, or was changed afterwards.
    """
    try:
        if document["format"] != FORMAT:
            raise InvalidInput(f"A necessity model of format {document['format']!r}; this version reads {FORMAT}.")
        model = NecessityModel(
            str(document["version"]),
            float(document["base"]),
            {str(name): float(weight) for name, weight in document["fitted"].items()},
            {str(name): float(weight) for name, weight in document["by_hand"].items()},
            dict(document["trained"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInput(f"This is no necessity model ({type(error).__name__}: {error}).") from error
    if _version(_body(model.base, model.fitted, model.by_hand, model.trained)) != model.version:
        raise InvalidInput(f"The necessity model {model.version} was changed after it was made. Train it again.")
    return model


def score_hunk(
    hunk: Hunk,
    file: FileDiff,
    findings: Sequence[Finding] = (),
    history: FileHistory | None = None,
    *,
    model: NecessityModel,
) -> Necessity:
    """The score of one hunk, and the signals whose sum the logistic function squashes to it.

    Args:
        hunk: the hunk.
        file: its file.
        findings: of this file, or of any; those on lines that the hunk adds count.
        history: of the file, where it is known.
        model: the weights.
    """
    found = {name: model.weight(name) * value for name, value in signals_of(hunk, file, findings, history).items()}
    signals = {"base": model.base} | {name: added for name, added in found.items() if added}
    return Necessity(score=1 / (1 + math.exp(-max(-60.0, min(60.0, sum(signals.values()))))), signals=signals)


def signals_of(
    hunk: Hunk, file: FileDiff, findings: Sequence[Finding] = (), history: FileHistory | None = None
) -> Mapping[str, float]:
    """All that a model may weigh, by name: features of the lines, the path, the file's history, what engines found."""
    found = dict(hunk_features(hunk.lines, python=language_of(file.path) is Language.PYTHON))
    if rank := worst_rank(hunk, findings):
        found["finding"] = float(rank)
    kind = kind_of(file.path)
    if kind is not PathKind.SOURCE:
        found[kind.value] = 1.0
    elif _RISKY_PATH.search(file.path):
        found["risky path"] = 1.0
    if history is not None:
        found["often changed"] = min(math.log2(1 + history.changes), _MOST_DOUBLINGS)
        found["often mended"] = history.mends / (history.changes + _NO_SHARE)
    return found


def worst_rank(hunk: Hunk, findings: Sequence[Finding]) -> int:
    """Of the findings on lines that the hunk adds; 0 where there is none."""
    return max((one.severity.rank for one in _on(hunk, findings)), default=0)


def _on(hunk: Hunk, findings: Sequence[Finding]) -> list[Finding]:
    if not findings:
        return []
    lines = {line.new for line in hunk.added}
    return [finding for finding in findings if finding.path == hunk.path and finding.line in lines]


def _body(
    base: float, fitted: Mapping[str, float], by_hand: Mapping[str, float], trained: Mapping[str, Json]
) -> dict[str, Json]:
    return {
        "format": FORMAT,
        "base": base,
        "fitted": dict(fitted),
        "by_hand": dict(by_hand),
        "trained": dict(trained),
    }


def _version(body: Mapping[str, Json]) -> str:
    return sha256(json.dumps(body, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:12]
