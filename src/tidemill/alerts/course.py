"""What becomes of an alert when its rule is looked at again. Pure."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from tidemill.core.alert import Alert, AlertRule, AlertState


def next_alert(
    rule: AlertRule, open_alert: Alert | None, value: float | None, now: datetime, new_id: Callable[[], UUID]
) -> Alert | None:
    """The rule's alert after a look at its metric; `None` where there is none, or is none any more.

    A rule that is broken makes a pending alert; one that stays broken for `hold` fires; one that is no more broken
    resolves what fired and drops what was pending. Where there is no value, as of a rate over no requests, nothing is
    too much.

    Args:
        rule: what is watched.
        open_alert: its alert that has not been resolved.
        value: of the metric; `None` where there is none.
        now: the time of the look.
        new_id: gives the id of a new alert.
    """
    if value is None or not rule.broken_by(value):
        if open_alert is None or open_alert.state is AlertState.PENDING:
            return None
        return replace(open_alert, state=AlertState.RESOLVED, resolved_at=now)
    alert = open_alert or Alert(
        new_id(), rule.name, rule.severity, AlertState.PENDING, value, rule.threshold, rule.summary, began_at=now
    )
    alert = replace(alert, value=value)
    if alert.state is AlertState.PENDING and now - alert.began_at >= timedelta(seconds=rule.hold):
        return replace(alert, state=AlertState.FIRING, fired_at=now)
    return alert
