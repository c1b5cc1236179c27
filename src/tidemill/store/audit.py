"""The rows of the audit log, which are only ever added."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

from tidemill.core.audit import AuditEntry
from tidemill.store.database import Connection, Pool

CHAIN = 7304771232
"""The advisory lock under which an entry is chained to the one before; held from there to the commit."""


class AuditRepository:
    """The audit log, in the order of its commits."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A transaction for a change and its entries."""
        async with self._pool.connection() as connection, connection.transaction():
            yield connection

    async def lock_last(self, connection: Connection) -> AuditEntry | None:
        """The last entry; no one else adds one until the transaction ends."""
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (CHAIN,))
        row = await (await connection.execute("SELECT * FROM audit_log ORDER BY seq DESC LIMIT 1")).fetchone()
        return _entry(row) if row else None

    async def add(self, connection: Connection, entry: AuditEntry) -> None:
        """Writes the next entry."""
        await connection.execute(
            "INSERT INTO audit_log (seq, at, actor, actor_id, key_id, action, target, target_id, details, hash) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (
                entry.seq,
                entry.at,
                entry.actor,
                entry.actor_id,
                entry.key_id,
                entry.action,
                entry.target,
                entry.target_id,
                json.dumps(entry.details),
                bytes.fromhex(entry.hash),
            ),
        )

    async def page(
        self, *, limit: int, after: int = 0, since: datetime | None = None, until: datetime | None = None
    ) -> list[AuditEntry]:
        """Entries after a number, oldest first; from `since` on and before `until` where they are given."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT * FROM audit_log WHERE seq > %(after)s "
                "AND (%(since)s::timestamptz IS NULL OR at >= %(since)s) "
                "AND (%(until)s::timestamptz IS NULL OR at < %(until)s) ORDER BY seq LIMIT %(limit)s",
                {"after": after, "since": since, "until": until, "limit": limit},
            )
            return [_entry(row) for row in await cursor.fetchall()]


def _entry(row: dict[str, object]) -> AuditEntry:
    return AuditEntry(**{**row, "hash": bytes(row["hash"]).hex()})  # type: ignore[call-overload]
