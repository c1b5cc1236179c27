"""The rows of syncs: their state and what they counted."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from uuid import UUID

from tidemill.core.errors import Conflict
from tidemill.core.sync import COUNTS, Sync, SyncCounts, SyncState
from tidemill.store.database import Connection, Pool

OLD = """
SELECT id FROM source_syncs AS old WHERE finished_at < %s AND EXISTS
(SELECT 1 FROM source_syncs AS newer WHERE newer.source_id = old.source_id AND newer.created_at > old.created_at)
LIMIT 1000
"""


class SyncEnded(Conflict):
    """A sync that may write no more: it was cancelled, or its source deleted."""


class SyncRepository:
    """Syncs. Of each source one at most is queued or running."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(self, sync: Sync) -> Sync | None:
        """Writes a new sync and returns it, or the one that is queued or running; `None` where the source is gone.

        A sync that is running then runs once more, for what comes after it has looked.
        """
        async with self._pool.connection() as connection, connection.transaction():
            row = await (
                await connection.execute("SELECT id FROM sources WHERE id = %s FOR UPDATE", (sync.source_id,))
            ).fetchone()
            if row is None:
                return None
            cursor = await connection.execute(
                "UPDATE source_syncs SET again = state = 'running' "
                "WHERE source_id = %s AND state IN ('queued', 'running') RETURNING *",
                (sync.source_id,),
            )
            if (found := await cursor.fetchone()) is not None:
                return _sync(found)
            await connection.execute(
                "INSERT INTO source_syncs (id, source_id, state, requested_by, counts, created_at) "
                "VALUES (%s, %s, 'queued', %s, %s, %s)",
                (sync.id, sync.source_id, sync.requested_by, json.dumps(asdict(sync.counts)), sync.created_at),
            )
        return sync

    async def find(self, sync_id: UUID) -> Sync | None:
        """One sync, or `None`."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute("SELECT * FROM source_syncs WHERE id = %s", (sync_id,))
            row = await cursor.fetchone()
        return None if row is None else _sync(row)

    async def of(self, source_id: UUID, *, limit: int) -> Sequence[Sync]:
        """The newest syncs of a source."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT * FROM source_syncs WHERE source_id = %s ORDER BY created_at DESC, id DESC LIMIT %s",
                (source_id, limit),
            )
            return [_sync(row) for row in await cursor.fetchall()]

    async def unfinished(self) -> Sequence[Sync]:
        """Syncs that are queued or running, oldest first."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT * FROM source_syncs WHERE state IN ('queued', 'running') ORDER BY created_at, id"
            )
            return [_sync(row) for row in await cursor.fetchall()]

    async def begin(self, sync_id: UUID, at: datetime) -> Sync:
        """Marks a queued sync as running.

        Raises:
            SyncEnded: it has ended, or is gone with its source.
        """
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "UPDATE source_syncs SET state = 'running', started_at = coalesce(started_at, %s) "
                "WHERE id = %s AND state IN ('queued', 'running') RETURNING *",
                (at, sync_id),
            )
            row = await cursor.fetchone()
        if row is None:
            raise ended(sync_id)
        return _sync(row)

    async def tell(self, sync_id: UUID, counts: SyncCounts) -> None:
        """Notes how far it has come.

        Raises:
            SyncEnded: as `begin` does.
        """
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "UPDATE source_syncs SET counts = %s WHERE id = %s AND state = 'running'",
                (json.dumps(asdict(counts)), sync_id),
            )
        if not cursor.rowcount:
            raise ended(sync_id)

    async def end(self, sync_id: UUID, state: SyncState, at: datetime, error: str | None = None) -> Sync | None:
        """Marks a sync as ended, and a source whose sync was good as synced; `None` where it had ended before."""
        async with self._pool.connection() as connection, connection.transaction():
            cursor = await connection.execute(
                "UPDATE source_syncs SET state = %s, error = %s, finished_at = %s "
                "WHERE id = %s AND state IN ('queued', 'running') RETURNING *",
                (state, error, at, sync_id),
            )
            row = await cursor.fetchone()
            if row is None:
                return None
            if state is SyncState.DONE:
                await connection.execute("UPDATE sources SET synced_at = %s WHERE id = %s", (at, row["source_id"]))
        return _sync(row)

    async def old(self, before: datetime) -> Sequence[UUID]:
        """Syncs that ended before a time, save the last one of each source."""
        async with self._pool.connection() as connection:
            return [UUID(str(row["id"])) for row in await (await connection.execute(OLD, (before,))).fetchall()]


async def hold(connection: Connection, sync_id: UUID) -> None:
    """Keeps a sync running, and its source there, until the transaction ends.

    Raises:
        SyncEnded: it runs no more.
    """
    query = "SELECT 1 FROM source_syncs WHERE id = %s AND state = 'running' FOR SHARE"
    if await (await connection.execute(query, (sync_id,))).fetchone() is None:
        raise ended(sync_id)


def ended(sync_id: UUID) -> SyncEnded:
    """The error of a sync that may write no more."""
    return SyncEnded(f"The sync {sync_id} was cancelled, or its source is deleted.")


def _sync(row: Mapping[str, object]) -> Sync:
    counts = row["counts"]
    assert isinstance(counts, dict)  # noqa: S101 - as it was written
    return Sync(
        id=row["id"],  # type: ignore[arg-type]
        source_id=row["source_id"],  # type: ignore[arg-type]
        state=SyncState(str(row["state"])),
        requested_by=row["requested_by"],  # type: ignore[arg-type]
        counts=SyncCounts(**{name: counts.get(name, 0) for name in COUNTS}),
        error=row["error"],  # type: ignore[arg-type]
        again=bool(row["again"]),
        created_at=row["created_at"],  # type: ignore[arg-type]
        started_at=row["started_at"],  # type: ignore[arg-type]
        finished_at=row["finished_at"],  # type: ignore[arg-type]
    )
