"""The rows of alerts."""

import json
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from uuid import UUID

from tidemill.core.alert import Alert, AlertSeverity, AlertState
from tidemill.store.database import Pool

LOCK = 7304771242
"""Advisory: one process at a time looks at the rules."""
_COLUMNS = (
    "id, rule, severity, state, value, threshold, summary, began_at, fired_at, resolved_at, deliveries::text AS told"
)


class AlertRepository:
    """Alerts; of each rule at most one that is not resolved."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def alone(self) -> AbstractAsyncContextManager[bool]:
        """Whether no other process looks at the rules; none begins while the block runs."""
        return self._pool.alone(LOCK)

    async def open(self) -> dict[str, Alert]:
        """Those that are not resolved, by their rules."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(f"SELECT {_COLUMNS} FROM alerts WHERE state <> 'resolved'")  # noqa: S608 - no input
            return {alert.rule: alert for alert in map(_alert, await cursor.fetchall())}

    async def untold(self, since: datetime) -> list[Alert]:
        """Those that fired or were resolved since then, oldest first; whom they were told is in `deliveries`."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                f"SELECT {_COLUMNS} FROM alerts WHERE fired_at IS NOT NULL "  # noqa: S608 - no input
                "AND coalesce(resolved_at, fired_at) > %s ORDER BY fired_at",
                (since,),
            )
            return [_alert(row) for row in await cursor.fetchall()]

    async def recent(self, *, state: AlertState | None, limit: int) -> list[Alert]:
        """The newest, of one state where it is given."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                f"SELECT {_COLUMNS} FROM alerts WHERE %(state)s::text IS NULL OR state = %(state)s "  # noqa: S608 - no input
                "ORDER BY began_at DESC, id DESC LIMIT %(limit)s",
                {"state": state, "limit": limit},
            )
            return [_alert(row) for row in await cursor.fetchall()]

    async def put(self, alert: Alert) -> None:
        """Adds an alert, or changes the one of its id; its deliveries stay as they are."""
        async with self._pool.connection() as connection:
            await connection.execute(
                "INSERT INTO alerts (id, rule, severity, state, value, threshold, summary, began_at, fired_at, "
                "resolved_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (id) DO UPDATE SET "
                "state = excluded.state, value = excluded.value, fired_at = excluded.fired_at, "
                "resolved_at = excluded.resolved_at",
                (
                    alert.id, alert.rule, alert.severity, alert.state, alert.value, alert.threshold, alert.summary,
                    alert.began_at, alert.fired_at, alert.resolved_at,
                ),
            )  # fmt: skip

    async def drop(self, alert_id: UUID) -> None:
        """Deletes an alert that never fired."""
        async with self._pool.connection() as connection:
            await connection.execute("DELETE FROM alerts WHERE id = %s AND state = 'pending'", (alert_id,))

    async def told(self, alert_id: UUID, what: str, at: datetime) -> None:
        """Notes that a channel was told."""
        async with self._pool.connection() as connection:
            await connection.execute(
                "UPDATE alerts SET deliveries = deliveries || jsonb_build_object(%s::text, %s::text) WHERE id = %s",
                (what, at.isoformat(), alert_id),
            )

    async def forget(self, before: datetime) -> int:
        """Deletes what was resolved before then; returns how many there were."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute("DELETE FROM alerts WHERE resolved_at < %s", (before,))
            return cursor.rowcount


def _alert(row: Mapping[str, object]) -> Alert:
    return Alert(
        id=row["id"],  # type: ignore[arg-type]
        rule=str(row["rule"]),
        severity=AlertSeverity(str(row["severity"])),
        state=AlertState(str(row["state"])),
        value=float(str(row["value"])),
        threshold=float(str(row["threshold"])),
        summary=str(row["summary"]),
        began_at=row["began_at"],  # type: ignore[arg-type]
        fired_at=row["fired_at"],  # type: ignore[arg-type]
        resolved_at=row["resolved_at"],  # type: ignore[arg-type]
        deliveries=json.loads(str(row["told"])),
    )
