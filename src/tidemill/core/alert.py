"""Alerts: what is watched, when it is too much, and what became of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class AlertSeverity(StrEnum):
    """How soon somebody should look."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class AlertState(StrEnum):
    """How far an alert has come: over its threshold, for long enough, and no more."""

    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class AlertRule:
    """What is watched.

    Attributes:
        metric: one of `tidemill.store.alert_metrics.METRICS`.
        threshold: the value is too much above it, or too little below it where `below` is true.
        window: seconds over which the metric is taken.
        hold: seconds for which it has to stay so before anyone is told.
        task: only inferences of this task; all where `None`.
        summary: what a person is told.
    """

    name: str
    metric: str
    threshold: float
    window: float
    hold: float
    severity: AlertSeverity
    summary: str
    below: bool = False
    task: str | None = None

    def broken_by(self, value: float) -> bool:
        """Whether the value is on the wrong side of the threshold."""
        return value < self.threshold if self.below else value > self.threshold


@dataclass(frozen=True, slots=True)
class Alert:
    """One time that a rule was broken, from the moment at which it was noticed.

    Attributes:
        value: the last one that was measured while the rule was broken.
        summary: what is told; of the rule as it was then.
        fired_at: when it had held for long enough.
        deliveries: when each channel was told, under `fired:CHANNEL` and `resolved:CHANNEL`, as ISO 8601.
    """

    id: UUID
    rule: str
    severity: AlertSeverity
    state: AlertState
    value: float
    threshold: float
    summary: str
    began_at: datetime
    fired_at: datetime | None = None
    resolved_at: datetime | None = None
    deliveries: Mapping[str, str] = field(default_factory=dict)
