"""The rows of uploaded files, and the blobs that they share."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Literal, LiteralString
from uuid import UUID

from tidemill.core.classification import Level
from tidemill.core.file import File, Purpose
from tidemill.store.blobs import BlobStore, IncomingBlob
from tidemill.store.database import Connection, Pool
from tidemill.store.shared_blobs import delete_unreferred, lock_blob

LIVE: LiteralString = "owner_id = %(owner)s AND (expires_at IS NULL OR expires_at > %(now)s)"


class FileRepository:
    """Files of owners. A blob goes with the last row that refers to it, whoever's row that is."""

    def __init__(self, pool: Pool, blobs: BlobStore) -> None:
        self._pool = pool
        self._blobs = blobs

    async def add(self, file: File, incoming: IncomingBlob, *, owner_max_bytes: int) -> bool:
        """Keeps a finished blob and writes its row; whether the owner's files had room for it."""
        values = {**asdict(file), "owner": file.owner_id, "now": file.created_at}
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s::text, 1))", (file.owner_id,))
            await lock_blob(connection, file.digest)
            if await self._used(connection, file.owner_id, file.created_at) + file.bytes > owner_max_bytes:
                return False
            await connection.execute(
                "INSERT INTO files (id, owner_id, filename, purpose, bytes, digest, level, created_at, expires_at) "
                "VALUES (%(id)s, %(owner_id)s, %(filename)s, %(purpose)s, %(bytes)s, %(digest)s, %(level)s, "
                "%(created_at)s, %(expires_at)s)",
                values,
            )
            await self._blobs.place(incoming)
        return True

    async def get(self, file_id: UUID, owner_id: UUID, now: datetime) -> File | None:
        """One file of an owner, its time not over, or `None`."""
        rows = await self._all(
            f"SELECT * FROM files WHERE id = %(id)s AND {LIVE}",  # noqa: S608 - a constant
            {"id": file_id, "owner": owner_id, "now": now},
        )
        return _file(rows[0]) if rows else None

    async def list(
        self,
        owner_id: UUID,
        now: datetime,
        *,
        purpose: Purpose | None,
        limit: int,
        order: Literal["asc", "desc"],
        after: UUID | None,
    ) -> Sequence[File]:
        """An owner's files by the time of their upload, from the one after `after` on."""
        beyond: LiteralString = "<" if order == "desc" else ">"
        direction: LiteralString = "DESC" if order == "desc" else "ASC"
        rows = await self._all(
            f"SELECT * FROM files WHERE {LIVE} "  # noqa: S608 - constants
            "AND (%(purpose)s::text IS NULL OR purpose = %(purpose)s) AND (%(after)s::uuid IS NULL OR "
            f"(created_at, id) {beyond} (SELECT created_at, id FROM files WHERE id = %(after)s)) "
            f"ORDER BY created_at {direction}, id {direction} LIMIT %(limit)s",
            {"owner": owner_id, "now": now, "purpose": purpose, "after": after, "limit": limit},
        )
        return [_file(row) for row in rows]

    async def used(self, owner_id: UUID, now: datetime) -> int:
        """The bytes of an owner's files together; content that two of them share counts twice."""
        async with self._pool.connection() as connection:
            return await self._used(connection, owner_id, now)

    async def delete(self, file_id: UUID, owner_id: UUID) -> bool:
        """Deletes a file, and its blob with the last row that refers to it; whether there was one."""
        return await self._delete("id = %(id)s AND owner_id = %(owner)s", {"id": file_id, "owner": owner_id}) > 0

    async def expire(self, now: datetime) -> int:
        """Deletes the files whose time is over; returns how many there were."""
        return await self._delete("expires_at <= %(now)s", {"now": now})

    async def erase_owner(self, owner_ids: Sequence[UUID]) -> int:
        """Deletes the files of these owners; returns how many there were."""
        return await self._delete("owner_id = ANY(%(owners)s)", {"owners": [*owner_ids]})

    async def _delete(self, condition: LiteralString, parameters: Mapping[str, object]) -> int:
        """One transaction for each file, with its blob."""
        rows = await self._all(f"SELECT id, digest FROM files WHERE {condition}", parameters)  # noqa: S608 - constants
        deleted = 0
        for row in rows:
            async with self._pool.connection() as connection, connection.transaction():
                await lock_blob(connection, row["digest"])
                deleted += (await connection.execute("DELETE FROM files WHERE id = %s", (row["id"],))).rowcount
                await delete_unreferred(connection, self._blobs, row["digest"])
        return deleted

    async def _used(self, connection: Connection, owner_id: UUID, now: datetime) -> int:
        cursor = await connection.execute(
            f"SELECT coalesce(sum(bytes), 0)::bigint AS bytes FROM files WHERE {LIVE}",  # noqa: S608 - a constant
            {"owner": owner_id, "now": now},
        )
        row = await cursor.fetchone()
        assert row is not None  # noqa: S101 - an aggregate always has a row
        return int(str(row["bytes"]))

    async def _all(self, query: LiteralString, parameters: Mapping[str, object]) -> Sequence[dict[str, Any]]:
        async with self._pool.connection() as connection:
            return await (await connection.execute(query, parameters)).fetchall()


def _file(row: Mapping[str, Any]) -> File:
    return File(**{**row, "purpose": Purpose(row["purpose"]), "level": Level(row["level"])})
