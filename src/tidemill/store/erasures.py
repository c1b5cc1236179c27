"""The rows of erasures: what is under way, and the receipts of what is done. They hold ids and counts, no person."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from tidemill.core.json import Json
from tidemill.store.database import Connection, Pool


@dataclass(frozen=True, slots=True)
class Erasure:
    """One erasure. `receipt` is there once it is finished; `counts` grows with each step, in one commit with it."""

    id: UUID
    user_id: UUID
    actor: str
    actor_id: UUID | None
    counts: Mapping[str, int]
    started_at: datetime
    finished_at: datetime | None = None
    receipt: Mapping[str, Json] | None = None


class ErasureRepository:
    """Erasures, one for each person at most."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @asynccontextmanager
    async def alone(self, user_id: UUID) -> AsyncIterator[None]:
        """A block that only one process at a time is in for this person; others wait before it."""
        async with self._pool.locking() as connection:
            await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s::text, 2))", (user_id,))
            yield

    async def of_user(self, user_id: UUID) -> Erasure | None:
        """The erasure of this person, or `None`."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute("SELECT * FROM erasures WHERE user_id = %s", (user_id,))
            row = await cursor.fetchone()
        return _erasure(row) if row else None

    async def latest(self, *, limit: int) -> list[Erasure]:
        """The newest erasures."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute("SELECT * FROM erasures ORDER BY started_at DESC LIMIT %s", (limit,))
            return [_erasure(row) for row in await cursor.fetchall()]

    async def since(self, time: datetime) -> list[Erasure]:
        """Erasures that are not finished, and those that were after this time."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT * FROM erasures WHERE finished_at IS NULL OR finished_at > %s ORDER BY started_at", (time,)
            )
            return [_erasure(row) for row in await cursor.fetchall()]

    async def begin(self, connection: Connection, erasure: Erasure) -> None:
        """Writes a new erasure; nothing happens where the person has one."""
        await connection.execute(
            "INSERT INTO erasures (id, user_id, actor, actor_id, counts, started_at) VALUES (%s, %s, %s, %s, '{}', %s) "
            "ON CONFLICT (user_id) DO NOTHING",
            (erasure.id, erasure.user_id, erasure.actor, erasure.actor_id, erasure.started_at),
        )

    async def count(self, connection: Connection, erasure_id: UUID, counts: Mapping[str, int]) -> None:
        """Adds to the counts, in the transaction of the step that was counted."""
        cursor = await connection.execute("SELECT counts FROM erasures WHERE id = %s FOR UPDATE", (erasure_id,))
        row = await cursor.fetchone()
        before = dict(row["counts"]) if row else {}  # type: ignore[call-overload]
        total = {**before, **{name: before.get(name, 0) + count for name, count in counts.items()}}
        await connection.execute("UPDATE erasures SET counts = %s WHERE id = %s", (json.dumps(total), erasure_id))

    async def finish(self, connection: Connection, erasure_id: UUID, receipt: Mapping[str, Json], at: datetime) -> None:
        """Writes the receipt; one that is there stays."""
        await connection.execute(
            "UPDATE erasures SET receipt = %s, finished_at = %s WHERE id = %s AND finished_at IS NULL",
            (json.dumps(receipt), at, erasure_id),
        )


def _erasure(row: dict[str, object]) -> Erasure:
    return Erasure(**row)  # type: ignore[arg-type]
