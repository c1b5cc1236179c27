"""The rows of kept answers, and the files of large ones."""

import asyncio
from array import array
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import LiteralString
from uuid import UUID

from tidemill.store.answer_files import AnswerFiles
from tidemill.store.database import Pool

TOUCH = timedelta(minutes=1)
"""The last use of a row is at most so far behind, so that not every hit writes."""
LOCK = 7304771242
"""Advisory: one process at a time looks after the bounds."""

FIND = """
WITH touched AS (
    UPDATE answer_cache SET used_at = %(now)s WHERE key = %(key)s AND used_at < %(touch)s AND expires_at > %(now)s
)
SELECT value, blob, owner_id, expires_at FROM answer_cache WHERE key = %(key)s AND expires_at > %(now)s
"""
PUT = """
WITH before AS (SELECT blob FROM answer_cache WHERE key = %(key)s)
INSERT INTO answer_cache (key, task, config_hash, access, owner_id, value, blob, size, semantic_scope,
    embedding_version, embedding, created_at, used_at, expires_at)
VALUES (%(key)s, %(task)s, %(config_hash)s, %(access)s, %(owner_id)s, %(value)s, %(blob)s, %(size)s, %(scope)s,
    %(version)s, %(embedding)s::vector, %(now)s, %(now)s, %(expires_at)s)
ON CONFLICT (key) DO UPDATE SET value = excluded.value, blob = excluded.blob, size = excluded.size,
    owner_id = excluded.owner_id, semantic_scope = excluded.semantic_scope,
    embedding_version = excluded.embedding_version, embedding = excluded.embedding,
    created_at = excluded.created_at, used_at = excluded.used_at, expires_at = excluded.expires_at
RETURNING (SELECT blob FROM before) AS old
"""
NEAREST = """
SELECT key, value, blob, owner_id, expires_at, 1 - (embedding <=> %(embedding)s::vector) AS similarity
FROM answer_cache WHERE semantic_scope = %(scope)s AND embedding_version = %(version)s AND expires_at > %(now)s
ORDER BY embedding <=> %(embedding)s::vector LIMIT 1
"""
OVER: Mapping[str, LiteralString] = {
    "rows": "key IN (SELECT key FROM (SELECT key, sum(size) OVER (ORDER BY used_at DESC, key) AS total "
    "FROM answer_cache WHERE blob IS NULL) AS ranked WHERE total > %(most)s)",
    "files": "key IN (SELECT key FROM (SELECT key, sum(size) OVER (ORDER BY used_at DESC, key) AS total "
    "FROM answer_cache WHERE blob IS NOT NULL) AS ranked WHERE total > %(most)s)",
}
"""Which of each kind are over its bytes: what was not used for longest."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a kept question means: its vector (little-endian float32), by which model, and what may not differ."""

    scope: bytes
    version: str
    vector: bytes


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """One answer to be kept. `key` has 32 bytes; `value` is the encoded answer."""

    key: bytes
    value: bytes
    task: str
    config_hash: str
    access: str
    owner_id: UUID | None
    meaning: Meaning | None = None


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """One answer as it was found. `in_file` says where; `similarity` is 1 where it was found by its key."""

    value: bytes
    owner_id: UUID | None
    expires_at: datetime
    in_file: bool
    similarity: float = 1.0


@dataclass(frozen=True, slots=True)
class Amount:
    """How many there are, and their bytes."""

    entries: int
    bytes: int


class AnswerCacheRepository:
    """Kept answers, which processes on one database share; files only those that share a data folder, too.

    Args:
        pool: the database.
        files: holds large answers.
        over: bytes from which on an answer is a large one.
    """

    def __init__(self, pool: Pool, files: AnswerFiles, *, over: int) -> None:
        self._pool = pool
        self._files = files
        self._over = over

    async def find(self, key: bytes, now: datetime) -> StoredAnswer | None:
        """The answer, where its time is not over and its file is there. Notes its use."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(FIND, {"key": key, "now": now, "touch": now - TOUCH})
            row = await cursor.fetchone()
        return None if row is None else await self._stored(row)

    async def nearest(self, meaning: Meaning, now: datetime, *, at_least: float) -> StoredAnswer | None:
        """The answer to the nearest question of the same scope, where that is near enough. An exact search."""
        values = {
            "scope": meaning.scope,
            "version": meaning.version,
            "embedding": _vector(meaning.vector),
            "now": now,
        }
        async with self._pool.connection() as connection:
            row = await (await connection.execute(NEAREST, values)).fetchone()
            if row is None or float(str(row["similarity"])) < at_least:
                return None
            await connection.execute("UPDATE answer_cache SET used_at = %s WHERE key = %s", (now, row["key"]))
        return await self._stored(row)

    def is_large(self, value: bytes) -> bool:
        """Whether it becomes a file."""
        return len(value) > self._over

    async def put(self, answer: KeptAnswer, now: datetime, expires_at: datetime) -> None:
        """Keeps an answer in the place of one of its key. A file is there before the row that names it."""
        large = self.is_large(answer.value)
        blob = await asyncio.to_thread(self._files.put, answer.key, answer.value) if large else None
        meaning = answer.meaning
        values = {
            "key": answer.key,
            "task": answer.task,
            "config_hash": answer.config_hash,
            "access": answer.access,
            "owner_id": answer.owner_id,
            "value": None if large else answer.value,
            "blob": blob,
            "size": len(answer.value),
            "scope": meaning.scope if meaning else None,
            "version": meaning.version if meaning else None,
            "embedding": _vector(meaning.vector) if meaning else None,
            "now": now,
            "expires_at": expires_at,
        }
        async with self._pool.connection() as connection:
            row = await (await connection.execute(PUT, values)).fetchone()
        old = row["old"] if row else None
        if old is not None and old != blob:
            await asyncio.to_thread(self._files.delete, [str(old)])

    async def forget(self, before: datetime) -> int:
        """Deletes what ended by then; returns how many there were."""
        return await self._delete("expires_at <= %(before)s", {"before": before})

    async def clear(self) -> int:
        """Deletes everything."""
        return await self._delete("true", {})

    async def erase(self, owners: Collection[UUID]) -> int:
        """Deletes what these owners asked first. Files go first, so that one that was killed finds its rows again."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT blob FROM answer_cache WHERE owner_id = ANY(%s) AND blob IS NOT NULL", (list(owners),)
            )
            blobs = [str(row["blob"]) for row in await cursor.fetchall()]
        await asyncio.to_thread(self._files.delete, blobs)
        return await self._delete("owner_id = ANY(%(owners)s)", {"owners": list(owners)})

    async def amounts(self) -> tuple[Amount, Amount]:
        """What there is in rows, and what in files."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT count(*) FILTER (WHERE blob IS NULL) AS rows, "
                "coalesce(sum(size) FILTER (WHERE blob IS NULL), 0) AS row_bytes, "
                "count(blob) AS files, coalesce(sum(size) FILTER (WHERE blob IS NOT NULL), 0) AS file_bytes "
                "FROM answer_cache"
            )
            row = await cursor.fetchone()
        assert row is not None  # noqa: S101 - an aggregate has a row
        rows, row_bytes, files, file_bytes = (
            int(str(row[name])) for name in ("rows", "row_bytes", "files", "file_bytes")
        )
        return Amount(rows, row_bytes), Amount(files, file_bytes)

    async def fit(self, now: datetime, *, row_bytes: int, file_bytes: int) -> None:
        """Deletes what has ended, then what was not used for longest until the rest fits, then files without a row.

        One process does so at a time; nothing happens where another is at it.
        """
        async with self._pool.alone(LOCK) as alone:
            if not alone:
                return
            await self.forget(now)
            for amount, most, kind in zip(await self.amounts(), (row_bytes, file_bytes), OVER, strict=True):
                if amount.bytes > most:
                    await self._delete(OVER[kind], {"most": most})
            await self._delete_orphans()

    async def _delete_orphans(self) -> None:
        old = await asyncio.to_thread(self._files.old)
        async with self._pool.connection() as connection:
            cursor = await connection.execute("SELECT blob FROM answer_cache WHERE blob = ANY(%s)", (old,))
            named = {str(row["blob"]) for row in await cursor.fetchall()}
        await asyncio.to_thread(self._files.delete_orphans, old, named)

    async def _delete(self, which: LiteralString, values: dict[str, object]) -> int:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                f"DELETE FROM answer_cache WHERE {which} RETURNING blob",  # noqa: S608 - conditions of this module
                values,
            )
            rows = await cursor.fetchall()
        await asyncio.to_thread(self._files.delete, [str(row["blob"]) for row in rows if row["blob"] is not None])
        return len(rows)

    async def _stored(self, row: dict[str, object]) -> StoredAnswer | None:
        blob = row["blob"]
        value = row["value"] if blob is None else await asyncio.to_thread(self._files.get, str(blob))
        if value is None:
            return None
        return StoredAnswer(
            bytes(value),  # type: ignore[call-overload]
            row["owner_id"],  # type: ignore[arg-type]
            row["expires_at"],  # type: ignore[arg-type]
            in_file=blob is not None,
            similarity=float(str(row.get("similarity", 1.0))),
        )


def _vector(vector: bytes) -> str:
    """A vector as pgvector reads it."""
    numbers = array("f")
    numbers.frombytes(vector)
    return f"[{','.join(map(repr, numbers))}]"
