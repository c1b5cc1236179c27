"""What a review says: findings of engines and comments of a model, each on one line of the new side."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tidemill.core.json import Json


class Severity(StrEnum):
    """How much a finding matters, least first."""

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for the least severe; for comparing."""
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that an engine or a model found.

    Attributes:
        engine: what found it: `ruff`, `bandit`, `secrets`, `model`.
        rule: the engine's own identifier of the rule (for a model: the category).
        path: the file, on the new side.
        line: 1-based line, on the new side.
        severity: how much it matters.
        title: the rule in a few words.
        message: what is wrong and what to do, for a person. Never holds a secret.
        quote: the text of that line as the new side has it (masked where it holds a secret).
        fingerprint: the same finding has the same fingerprint however often a review runs.
        details: more for machines (CWE, link, confidence); JSON.
    """

    engine: str
    rule: str
    path: str
    line: int
    severity: Severity
    title: str
    message: str
    quote: str
    fingerprint: str
    details: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Necessity:
    """How much a hunk deserves a person's (or the model's) time, and why.

    `score` is between 0 and 1; `signals` maps each signal's name to what it added to the score before the
    squashing, so that a person can add it up.
    """

    score: float
    signals: Mapping[str, float]
