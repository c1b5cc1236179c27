"""The rows of kept answers, and the files of large ones."""

import asyncio
from array import array
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import LiteralString
from uuid import UUID

from tidemill.store.answer_files import AnswerFiles
from tidemill.store.database import Pool
from tidemill.store.groups import Grouped

TOUCH = timedelta(minutes=1)
"""The last use of a row is at most so far behind, so that not every hit writes."""
SECONDS = 0.05
"""How long answers are gathered that are put in one statement."""
LOCK = 7304771242
"""Advisory: one process at a time looks after the bounds."""

FIND = """
WITH touched AS (
    UPDATE answer_cache SET used_at = %(now)s WHERE key = %(key)s AND used_at < %(touch)s AND expires_at > %(now)s
)
SELECT value, blob, owner_id, expires_at FROM answer_cache WHERE key = %(key)s AND expires_at > %(now)s
"""
PUT = """
WITH given AS (
    SELECT * FROM unnest(%(keys)s::bytea[], %(tasks)s::text[], %(configs)s::text[], %(accesses)s::text[],
        %(owners)s::uuid[], %(values)s::bytea[], %(blobs)s::text[], %(sizes)s::integer[], %(scopes)s::bytea[],
        %(versions)s::text[], %(embeddings)s::text[], %(times)s::timestamptz[], %(ends)s::timestamptz[])
        AS g (key, task, config_hash, access, owner_id, value, blob, size, semantic_scope, embedding_version,
        embedding, at, expires_at)
), before AS (SELECT key, blob FROM answer_cache WHERE key = ANY(%(keys)s::bytea[]) AND blob IS NOT NULL),
put AS (
    INSERT INTO answer_cache (key, task, config_hash, access, owner_id, value, blob, size, semantic_scope,
        embedding_version, embedding, created_at, used_at, expires_at)
    SELECT key, task, config_hash, access, owner_id, value, blob, size, semantic_scope, embedding_version,
        embedding::vector, at, at, expires_at FROM given ORDER BY key
    ON CONFLICT (key) DO UPDATE SET value = excluded.value, blob = excluded.blob, size = excluded.size,
        owner_id = excluded.owner_id, semantic_scope = excluded.semantic_scope,
        embedding_version = excluded.embedding_version, embedding = excluded.embedding,
        created_at = excluded.created_at, used_at = excluded.used_at, expires_at = excluded.expires_at
)
SELECT before.blob AS old FROM before JOIN given ON given.key = before.key
WHERE given.blob IS DISTINCT FROM before.blob
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


@dataclass(frozen=True, slots=True)
class _Put:
    """An answer on its way to becoming a row; `blob` names its file, where it is large."""

    answer: KeptAnswer
    blob: str | None
    at: datetime
    expires_at: datetime


class AnswerCacheRepository:
    """Kept answers, which processes on one database share; files only those that share a data folder, too.

    Args:
        pool: the database.
        files: holds large answers.
        over: bytes from which on an answer is a large one.
        fast: for finding and putting. Commits there need not wait for the disk: what is lost is made again.
    """

    def __init__(self, pool: Pool, files: AnswerFiles, *, over: int, fast: Pool | None = None) -> None:
        self._pool = pool
        self._fast = fast or pool
        self._files = files
        self._over = over
        self._putting = Grouped(self._put_all, seconds=SECONDS)

    async def find(self, key: bytes, now: datetime) -> StoredAnswer | None:
        """The answer, where its time is not over and its file is there. Notes its use."""
        async with self._fast.connection() as connection:
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
        async with self._fast.connection() as connection:
            row = await (await connection.execute(NEAREST, values)).fetchone()
            if row is None or float(str(row["similarity"])) < at_least:
                return None
            await connection.execute("UPDATE answer_cache SET used_at = %s WHERE key = %s", (now, row["key"]))
        return await self._stored(row)

    def is_large(self, value: bytes) -> bool:
        """Whether it becomes a file."""
        return len(value) > self._over

    async def put(self, answer: KeptAnswer, now: datetime, expires_at: datetime) -> None:
        """Keeps an answer in the place of one of its key, a moment later, with others that come until then.

        A file is there before the row that names it.
        """
        large = self.is_large(answer.value)
        blob = await asyncio.to_thread(self._files.put, answer.key, answer.value) if large else None
        await self._putting.add(_Put(answer, blob, now, expires_at))

    async def _put_all(self, group: Sequence["_Put"]) -> list[None]:
        """Writes a group in one statement; of two answers of one key the later."""
        rows = list({one.answer.key: one for one in group}.values())
        meanings = [one.answer.meaning for one in rows]
        values = {
            "keys": [one.answer.key for one in rows],
            "tasks": [one.answer.task for one in rows],
            "configs": [one.answer.config_hash for one in rows],
            "accesses": [one.answer.access for one in rows],
            "owners": [one.answer.owner_id for one in rows],
            "values": [one.answer.value if one.blob is None else None for one in rows],
            "blobs": [one.blob for one in rows],
            "sizes": [len(one.answer.value) for one in rows],
            "scopes": [meaning.scope if meaning else None for meaning in meanings],
            "versions": [meaning.version if meaning else None for meaning in meanings],
            "embeddings": [_vector(meaning.vector) if meaning else None for meaning in meanings],
            "times": [one.at for one in rows],
            "ends": [one.expires_at for one in rows],
        }
        async with self._fast.connection() as connection:
            found = await (await connection.execute(PUT, values)).fetchall()
        if found:
            await asyncio.to_thread(self._files.delete, [str(row["old"]) for row in found])
        return [None] * len(group)

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
