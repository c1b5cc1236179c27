"""The rows of batches and of their lines."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from tidemill.core.generation import Batch, BatchLine, BatchState, LineFault, LineOutcome
from tidemill.store.database import Pool
from tidemill.store.generation_jobs import maker_of

PAGE = 100
"""Lines that are held in memory at once: each may be as large as a request."""


class BatchRepository:
    """Batches, each seen by its owner alone. What a line asks and what came of it are kept until the batch ends."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(self, batch: Batch) -> None:
        """Writes a new batch."""
        maker = batch.maker
        async with self._pool.connection() as connection:
            await connection.execute(
                "INSERT INTO batches (id, owner_id, key_id, user_id, level, endpoint, state, input_file_id, "
                "output_seconds, metadata, request_id, trace_id, cache, language, max_cost_usd, created_at, "
                "expires_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s::json, %s, %s, %s, %s, %s, %s, %s)",
                (
                    batch.id, maker.owner_id, maker.key_id, maker.user_id, maker.level, batch.endpoint, batch.state,
                    batch.input_file_id, batch.output_seconds,
                    None if batch.metadata is None else json.dumps(batch.metadata), maker.request_id, maker.trace_id,
                    maker.cache, maker.language, maker.max_cost_usd, batch.created_at, batch.expires_at,
                ),
            )  # fmt: skip

    async def find(self, batch_id: UUID) -> Batch | None:
        """A batch, whoever's it is."""
        found = await self._all("SELECT * FROM batches WHERE id = %(id)s", {"id": batch_id})
        return found[0] if found else None

    async def page(self, owner_id: UUID, *, limit: int, after: UUID | None) -> list[Batch]:
        """An owner's batches, newest first, from the one after `after` on."""
        return await self._all(
            "SELECT * FROM batches WHERE owner_id = %(owner)s AND (%(after)s::uuid IS NULL OR id < %(after)s) "
            "ORDER BY id DESC LIMIT %(limit)s",
            {"owner": owner_id, "after": after, "limit": limit},
        )

    async def unfinished(self, owner_id: UUID | None = None) -> list[Batch]:
        """Every batch that has not ended; of one owner where one is given."""
        return await self._all(
            "SELECT * FROM batches WHERE ended_at IS NULL AND (%(owner)s::uuid IS NULL OR owner_id = %(owner)s)",
            {"owner": owner_id},
        )

    async def add_lines(self, batch_id: UUID, pages: AsyncIterator[Sequence[BatchLine]], now: datetime) -> int:
        """Writes all lines, and that the batch is in progress, in one commit; returns how many there are.

        Nothing is written where `pages` raises.
        """
        total = 0
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute("DELETE FROM batch_lines WHERE batch_id = %s", (batch_id,))
            async for page in pages:
                total += len(page)
                async with connection.cursor() as cursor:
                    await cursor.executemany(
                        "INSERT INTO batch_lines (batch_id, place, custom_id, body) VALUES (%s, %s, %s, %s::json)",
                        [(batch_id, line.place, line.custom_id, line.body) for line in page],
                    )
            await connection.execute(
                "UPDATE batches SET state = 'in_progress', total = %s, started_at = %s "
                "WHERE id = %s AND state = 'validating'",
                (total, now, batch_id),
            )
        return total

    async def open_lines(self, batch_id: UUID) -> list[BatchLine]:
        """The first lines of which nothing came so far."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT place, custom_id, body::text AS body FROM batch_lines WHERE batch_id = %s AND good IS NULL "
                "ORDER BY place LIMIT %s",
                (batch_id, PAGE),
            )
            return [BatchLine(**row) for row in await cursor.fetchall()]  # type: ignore[arg-type]

    async def keep(self, batch_id: UUID, outcome: LineOutcome) -> None:
        """Keeps what came of a line, and counts it, once."""
        count: LiteralString = "completed" if outcome.good else "failed"
        async with self._pool.connection() as connection:
            await connection.execute(
                "WITH kept AS (UPDATE batch_lines SET good = %(good)s, response = %(response)s::json, "  # noqa: S608
                "error = %(error)s::json WHERE batch_id = %(id)s AND place = %(place)s AND good IS NULL RETURNING 1) "
                f"UPDATE batches SET {count} = {count} + 1 WHERE id = %(id)s AND EXISTS (SELECT FROM kept)",
                {
                    "id": batch_id,
                    "place": outcome.place,
                    "good": outcome.good,
                    "response": outcome.response,
                    "error": outcome.error,
                },
            )

    async def cancel(self, batch_id: UUID, now: datetime) -> bool:
        """Asks for the end of a batch; whether it had not come to its end before."""
        changed = await self._change(
            "UPDATE batches SET state = 'cancelling', cancelling_at = %(now)s "
            "WHERE id = %(id)s AND state IN ('validating', 'in_progress')",
            {"id": batch_id, "now": now},
        )
        return changed > 0

    async def decide(
        self,
        batch_id: UUID,
        ends_as: BatchState,
        files: tuple[UUID, UUID],
        now: datetime,
        *,
        faults: Sequence[LineFault] = (),
        left: str | None = None,
    ) -> None:
        """Keeps how a batch ends, once, and the ids that its files will have.

        Args:
            batch_id: which one.
            ends_as: the state in which it ends.
            files: ids for the answers and for the errors.
            now: the time.
            faults: what is wrong with the batch as a whole.
            left: the error, as JSON, of each line that was not asked; those lines are left out where `None`.
        """
        async with self._pool.connection() as connection, connection.transaction():
            cursor = await connection.execute(
                "UPDATE batches SET ends_as = %s, output_file_id = %s, error_file_id = %s, finalizing_at = %s, "
                "errors = %s::json, state = CASE WHEN state = 'cancelling' THEN state ELSE 'finalizing' END "
                "WHERE id = %s AND ends_as IS NULL AND ended_at IS NULL",
                (ends_as, *files, now, json.dumps([asdict(one) for one in faults]) if faults else None, batch_id),
            )
            if cursor.rowcount and left is not None:
                cursor = await connection.execute(
                    "UPDATE batch_lines SET good = false, error = %s::json WHERE batch_id = %s AND good IS NULL",
                    (left, batch_id),
                )
                await connection.execute(
                    "UPDATE batches SET failed = failed + %s WHERE id = %s", (cursor.rowcount, batch_id)
                )

    async def outcomes(self, batch_id: UUID, *, good: bool) -> AsyncIterator[list[LineOutcome]]:
        """What came of the lines, in their order, some at a time: of those that were answered, or of the others."""
        after = -1
        while True:
            async with self._pool.connection() as connection:
                cursor = await connection.execute(
                    "SELECT place, custom_id, good, response::text AS response, error::text AS error FROM batch_lines "
                    "WHERE batch_id = %s AND good = %s AND place > %s ORDER BY place LIMIT %s",
                    (batch_id, good, after, PAGE),
                )
                page = [LineOutcome(**row) for row in await cursor.fetchall()]  # type: ignore[arg-type]
            if not page:
                return
            after = page[-1].place
            yield page

    async def end(self, batch_id: UUID, now: datetime, *, output: UUID | None, error: UUID | None) -> None:
        """Ends a batch as was decided, with the files that there are, and forgets its lines."""
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute(
                "UPDATE batches SET state = ends_as, ended_at = %s, output_file_id = %s, error_file_id = %s "
                "WHERE id = %s AND ended_at IS NULL AND ends_as IS NOT NULL",
                (now, output, error, batch_id),
            )
            await connection.execute("DELETE FROM batch_lines WHERE batch_id = %s", (batch_id,))

    async def fail(self, batch_id: UUID, faults: Sequence[LineFault], now: datetime) -> None:
        """Ends a batch that was never in progress, or that can't go on at all, without files."""
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute(
                "UPDATE batches SET state = 'failed', ends_as = 'failed', errors = %s::json, ended_at = %s, "
                "output_file_id = NULL, error_file_id = NULL WHERE id = %s AND ended_at IS NULL",
                (json.dumps([asdict(one) for one in faults]), now, batch_id),
            )
            await connection.execute("DELETE FROM batch_lines WHERE batch_id = %s", (batch_id,))

    async def ended(self, before: datetime) -> list[UUID]:
        """Batches that ended earlier, a thousand at most."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute("SELECT id FROM batches WHERE ended_at < %s LIMIT 1000", (before,))
            return [UUID(str(row["id"])) for row in await cursor.fetchall()]

    async def delete(self, batch_ids: Sequence[UUID]) -> int:
        """Deletes batches with their lines."""
        return await self._change("DELETE FROM batches WHERE id = ANY(%(ids)s)", {"ids": [*batch_ids]})

    async def _change(self, query: LiteralString, parameters: Mapping[str, object]) -> int:
        async with self._pool.connection() as connection:
            return (await connection.execute(query, parameters)).rowcount

    async def _all(self, query: LiteralString, parameters: Mapping[str, object]) -> list[Batch]:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(query, parameters)
            return [_batch(row) for row in await cursor.fetchall()]


def _batch(row: Mapping[str, Any]) -> Batch:
    own = ("id", "endpoint", "input_file_id", "created_at", "expires_at", "metadata", "output_seconds",
           "output_file_id", "error_file_id", "total", "completed", "failed", "started_at", "finalizing_at",
           "cancelling_at", "ended_at")  # fmt: skip
    return Batch(
        **{name: row[name] for name in own},
        maker=maker_of(row),
        state=BatchState(row["state"]),
        ends_as=BatchState(row["ends_as"]) if row["ends_as"] else None,
        errors=tuple(LineFault(**one) for one in row["errors"] or ()),
    )
