"""What the guardrails found, and the fingerprints of stored texts that not everyone may see."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from tidemill.core.classification import Level
from tidemill.core.guardrail import Action, Direction, Guardrail, GuardrailEvent
from tidemill.store.database import Pool


@dataclass(frozen=True, slots=True)
class StoredText:
    """A stored text above internal of which no fingerprints are kept yet; request and answer are JSON texts."""

    inference_id: UUID
    owner_id: UUID | None
    level: Level
    expires_at: datetime
    request: str = field(repr=False)
    response: str = field(repr=False)


class GuardrailRepository:
    """Rows of events and of fingerprints."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(self, events: Sequence[GuardrailEvent]) -> None:
        """Writes events."""
        rows = [
            (
                event.id,
                event.inference_id,
                event.owner_id,
                event.task,
                event.guardrail,
                event.direction,
                event.action,
                list(event.rules),
                event.count,
                event.created_at,
            )
            for event in events
        ]
        statement = (
            "INSERT INTO guardrail_events (id, inference_id, owner_id, task, guardrail, direction, action, rules, "
            "count, created_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
        )
        async with self._pool.connection() as connection:
            if len(rows) == 1:
                await connection.execute(statement, rows[0])
                return
            async with connection.pipeline(), connection.transaction():
                await connection.cursor().executemany(statement, rows)

    async def page(
        self,
        *,
        limit: int,
        before: UUID | None = None,
        since: datetime | None = None,
        guardrail: Guardrail | None = None,
        inference_id: UUID | None = None,
    ) -> list[GuardrailEvent]:
        """Events, newest first, from before the one with this id."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT * FROM guardrail_events WHERE (%(before)s::uuid IS NULL OR id < %(before)s) "
                "AND (%(since)s::timestamptz IS NULL OR created_at >= %(since)s) "
                "AND (%(guardrail)s::text IS NULL OR guardrail = %(guardrail)s) "
                "AND (%(inference)s::uuid IS NULL OR inference_id = %(inference)s) ORDER BY id DESC LIMIT %(limit)s",
                {"before": before, "since": since, "guardrail": guardrail, "inference": inference_id, "limit": limit},
            )
            return [_event(row) for row in await cursor.fetchall()]

    async def forget_events(self, before: datetime) -> int:
        """Deletes older events."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute("DELETE FROM guardrail_events WHERE created_at < %s", (before,))
            return cursor.rowcount

    async def unread(self, now: datetime) -> StoredText | None:
        """A stored text above internal of which no fingerprints are kept yet."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT t.inference_id, i.owner_id, t.level, t.expires_at, t.request::text AS request, "
                "t.response::text AS response FROM inference_texts t JOIN inferences i ON i.id = t.inference_id "
                "WHERE NOT t.fingerprinted AND t.level IN ('confidential', 'secret') AND t.expires_at > %s "
                "ORDER BY t.inference_id LIMIT 1",
                (now,),
            )
            row = await cursor.fetchone()
        return None if row is None else StoredText(**{**row, "level": Level(str(row["level"]))})  # type: ignore[arg-type]

    async def keeps(self, hashes: Collection[int], level: Level, owner_id: UUID | None, until: datetime) -> bool:
        """Whether all of these are kept of one text of this level and owner, for so long."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT FROM text_fingerprints WHERE hash = ANY(%s) AND level = %s AND expires_at >= %s "
                "AND owner_id IS NOT DISTINCT FROM %s GROUP BY inference_id HAVING count(*) = %s LIMIT 1",
                (list(hashes), level, until, owner_id, len(hashes)),
            )
            return await cursor.fetchone() is not None

    async def remember(self, text: StoredText, hashes: Collection[int], until: datetime) -> None:
        """Writes the fingerprints of one stored text, where that is still there, and that it has them."""
        async with self._pool.connection() as connection, connection.transaction():
            cursor = await connection.execute(
                "UPDATE inference_texts SET fingerprinted = true WHERE inference_id = %s", (text.inference_id,)
            )
            if cursor.rowcount:
                await connection.execute(
                    "INSERT INTO text_fingerprints (hash, level, inference_id, owner_id, expires_at) "
                    "SELECT hash, %s, %s, %s, %s FROM unnest(%s::bigint[]) AS hash ON CONFLICT DO NOTHING",
                    (text.level, text.inference_id, text.owner_id, until, list(hashes)),
                )

    async def any_of(self, levels: Collection[Level], now: datetime) -> bool:
        """Whether there is a fingerprint of one of these levels."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT FROM text_fingerprints WHERE level = ANY(%s) AND expires_at > %s LIMIT 1",
                ([str(level) for level in levels], now),
            )
            return await cursor.fetchone() is not None

    async def seen(
        self, hashes: Collection[int], levels: Collection[Level], owner_id: UUID | None, now: datetime
    ) -> dict[int, set[UUID]]:
        """In which stored texts of these levels each fingerprint is, save those of this owner's own."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT hash, inference_id FROM text_fingerprints WHERE hash = ANY(%s) AND level = ANY(%s) "
                "AND expires_at > %s AND owner_id IS DISTINCT FROM %s",
                (list(hashes), [str(level) for level in levels], now, owner_id),
            )
            found: dict[int, set[UUID]] = {}
            for row in await cursor.fetchall():
                found.setdefault(int(str(row["hash"])), set()).add(UUID(str(row["inference_id"])))
            return found

    async def forget_fingerprints(self, now: datetime) -> int:
        """Deletes the fingerprints whose time is over."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute("DELETE FROM text_fingerprints WHERE expires_at <= %s", (now,))
            return cursor.rowcount


def _event(row: dict[str, object]) -> GuardrailEvent:
    return GuardrailEvent(
        **{  # type: ignore[arg-type]
            **row,
            "guardrail": Guardrail(str(row["guardrail"])),
            "direction": Direction(str(row["direction"])),
            "action": Action(str(row["action"])),
        }
    )
