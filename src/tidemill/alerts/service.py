"""Looks at the rules, and sees to it that whoever is to be told is told once."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tidemill.alerts.channels import Channel
from tidemill.alerts.course import next_alert
from tidemill.core.alert import Alert, AlertRule, AlertSeverity, AlertState
from tidemill.core.clock import Clock
from tidemill.core.errors import NotFound, TidemillError
from tidemill.core.ids import new_id
from tidemill.store.alert_metrics import AlertMetricRepository
from tidemill.store.alerts import AlertRepository

TELL_FOR = timedelta(hours=6)
"""For so long a channel that can't be told is tried again, at every look."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Watched:
    """A rule, what its metric is now, and its alert where it has an open one."""

    rule: AlertRule
    value: float | None
    alert: Alert | None


class Alerts:
    """The service for alerts.

    Args:
        rules: what is watched.
        metrics: measure it.
        rows: the alerts.
        channels: who is told, by name.
        clock: gives times.
    """

    def __init__(
        self,
        rules: Sequence[AlertRule],
        metrics: AlertMetricRepository,
        rows: AlertRepository,
        channels: Mapping[str, Channel],
        clock: Clock,
    ) -> None:
        self._rules = rules
        self._metrics = metrics
        self._rows = rows
        self._channels = channels
        self._clock = clock

    @property
    def channels(self) -> list[str]:
        """The names of those who are told."""
        return list(self._channels)

    async def run(self) -> None:
        """One look at every rule, and the telling; nothing where another process is at it."""
        async with self._rows.alone() as alone:
            if not alone:
                return
            now = self._clock()
            open_alerts = await self._rows.open()
            for rule in self._rules:
                await self._look(rule, open_alerts.pop(rule.name, None), now)
            for gone in open_alerts.values():  # their rules are no more
                await self._settle(gone, now)
            await self._tell(now)

    async def watched(self) -> list[Watched]:
        """Every rule as it stands now; changes nothing."""
        now, open_alerts = self._clock(), await self._rows.open()
        return [Watched(rule, await self._measure(rule, now), open_alerts.get(rule.name)) for rule in self._rules]

    async def recent(self, state: AlertState | None, limit: int) -> list[Alert]:
        """The newest alerts."""
        return await self._rows.recent(state=state, limit=limit)

    async def test(self, channel: str) -> None:
        """Tells one channel of an alert that is none.

        Raises:
            NotFound: there is no such channel.
            TidemillError: it can't be told, and why.
        """
        if channel not in self._channels:
            names = ", ".join(self._channels) or "none; set `alerts.webhook`, `alerts.slack` or `alerts.email`"
            raise NotFound(f"There is no channel {channel!r}. There are: {names}.", param="channel")
        now = self._clock()
        state, severity = AlertState.FIRING, AlertSeverity.INFO
        await self._channels[channel].tell(
            Alert(new_id(), "test", severity, state, 0.0, 0.0, "This is a test; nothing is wrong.", now, fired_at=now)
        )

    async def _look(self, rule: AlertRule, before: Alert | None, now: datetime) -> None:
        after = next_alert(rule, before, await self._measure(rule, now), now, new_id)
        if after is not None and after != before:
            await self._rows.put(after)
            if before is None or after.state is not before.state:
                log.warning("The alert %s is %s (%g).", rule.name, after.state, after.value)
        elif after is None and before is not None:
            await self._rows.drop(before.id)

    async def _settle(self, alert: Alert, now: datetime) -> None:
        if alert.state is AlertState.PENDING:
            await self._rows.drop(alert.id)
        else:
            await self._rows.put(replace(alert, state=AlertState.RESOLVED, resolved_at=now))

    async def _measure(self, rule: AlertRule, now: datetime) -> float | None:
        since = now - timedelta(seconds=rule.window)
        return await self._metrics.measure(rule.metric, since=since, now=now, task=rule.task)

    async def _tell(self, now: datetime) -> None:
        due = [
            (alert, name)
            for alert in await self._rows.untold(now - TELL_FOR)
            for name in self._channels
            if _what(alert, name) not in alert.deliveries and _worth(alert, name)
        ]
        await asyncio.gather(*(self._tell_one(alert, name, now) for alert, name in due))

    async def _tell_one(self, alert: Alert, name: str, now: datetime) -> None:
        try:
            await self._channels[name].tell(alert)
        except TidemillError as error:
            log.warning("The channel %s was not told of the alert %s: %s", name, alert.rule, error.message)
        else:
            await self._rows.told(alert.id, _what(alert, name), now)


def _what(alert: Alert, channel: str) -> str:
    return f"{'resolved' if alert.state is AlertState.RESOLVED else 'fired'}:{channel}"


def _worth(alert: Alert, channel: str) -> bool:
    """Who never heard that an alert fires need not hear that it is over."""
    return alert.state is not AlertState.RESOLVED or f"fired:{channel}" in alert.deliveries
