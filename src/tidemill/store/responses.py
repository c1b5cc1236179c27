"""Stored responses: what was asked and answered at `/v1/responses`, so that the next one can go on from it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from tidemill.core.classification import Level
from tidemill.core.json import Json, JsonObject
from tidemill.store.database import Pool

CHAIN = """
WITH RECURSIVE chain AS (
    SELECT id, previous_id, 0 AS back FROM responses WHERE id = %(id)s AND owner_id = %(owner)s
    UNION ALL
    SELECT r.id, r.previous_id, c.back + 1 FROM responses r JOIN chain c ON r.id = c.previous_id
    WHERE r.owner_id = %(owner)s
)
"""
"""A response, and those that it goes on from, as far as they are there."""
IN_ORDER = """
kept AS (
    SELECT id FROM responses WHERE id IN (SELECT id FROM chain) AND expires_at < %(end)s ORDER BY id FOR UPDATE
)
"""
"""Those that are to be kept longer, locked in order: two that go on from the same ones would wait for each other."""


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """One response. `input` are its own items; what came before is in the one that `previous_id` names.

    `level` is the highest among its own items, its instructions, metadata and tools, and its answer.
    """

    id: UUID
    owner_id: UUID
    previous_id: UUID | None
    inference_id: UUID | None
    input: Sequence[JsonObject]
    response: Mapping[str, Json]
    level: Level
    created_at: datetime
    expires_at: datetime


class ResponseRepository:
    """Responses, each seen by its owner alone."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(self, row: StoredResponse) -> None:
        """Writes a response, and keeps those that it goes on from as long as itself."""
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute(
                "INSERT INTO responses (id, owner_id, previous_id, inference_id, input, response, level, created_at, "
                "expires_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
                (
                    row.id,
                    row.owner_id,
                    row.previous_id,
                    row.inference_id,
                    json.dumps(row.input),
                    json.dumps(row.response),
                    row.level,
                    row.created_at,
                    row.expires_at,
                ),
            )
            if row.previous_id is not None:
                await connection.execute(
                    f"{CHAIN}, {IN_ORDER} UPDATE responses SET expires_at = %(end)s "  # noqa: S608 - no input
                    "WHERE id IN (SELECT id FROM kept)",
                    {"id": row.previous_id, "owner": row.owner_id, "end": row.expires_at},
                )

    async def get(self, response_id: UUID, owner_id: UUID) -> StoredResponse | None:
        """One response of this owner, or `None`."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT * FROM responses WHERE id = %s AND owner_id = %s", (response_id, owner_id)
            )
            row = await cursor.fetchone()
        return _stored(row) if row else None

    async def chain(self, response_id: UUID, owner_id: UUID) -> list[StoredResponse]:
        """A response and all that it goes on from, oldest first; empty where there is none of this owner."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                f"{CHAIN} SELECT r.* FROM responses r JOIN chain USING (id) ORDER BY chain.back DESC",  # noqa: S608
                {"id": response_id, "owner": owner_id},
            )
            return [_stored(row) for row in await cursor.fetchall()]

    async def chain_bytes(self, response_id: UUID, owner_id: UUID) -> int:
        """How large what `chain` reads is."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                f"{CHAIN} SELECT sum(octet_length(r.input::text) + octet_length(r.response::text)) AS bytes "  # noqa: S608
                "FROM responses r JOIN chain USING (id)",
                {"id": response_id, "owner": owner_id},
            )
            row = await cursor.fetchone()
        return int(row["bytes"] or 0) if row else 0  # type: ignore[call-overload]

    async def delete(self, response_id: UUID, owner_id: UUID) -> bool:
        """Deletes one response of this owner; whether there was one."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "DELETE FROM responses WHERE id = %s AND owner_id = %s", (response_id, owner_id)
            )
            return cursor.rowcount > 0

    async def forget(self, now: datetime) -> int:
        """Deletes the responses whose time is over and returns how many there were."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute("DELETE FROM responses WHERE expires_at <= %s", (now,))
            return cursor.rowcount


def _stored(row: Mapping[str, object]) -> StoredResponse:
    return StoredResponse(**{**row, "level": Level(str(row["level"]))})  # type: ignore[arg-type]
