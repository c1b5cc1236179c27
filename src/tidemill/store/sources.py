"""Sources, the scopes that say who sees their documents, and uploads."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from tidemill.core.classification import Level
from tidemill.core.document import ChunkStrategy, Source, SourceKind
from tidemill.core.search import Reader
from tidemill.store.blobs import BlobStore, IncomingBlob
from tidemill.store.database import Connection, Pool
from tidemill.store.duplicates import name_anew
from tidemill.store.search_index import LOCK
from tidemill.store.shared_blobs import delete_unreferred, lock_blob

BATCH = 200
"""Contents that are deleted in one transaction."""
SEES = (
    "array_position(ARRAY['public', 'internal', 'confidential', 'secret'], level) - 1 <= %(level)s "
    "AND (%(all)s OR departments = '{}' OR departments && %(departments)s::uuid[])"
)
LIST = f"""
SELECT * FROM sources WHERE {SEES} AND (%(after)s::text IS NULL OR name > %(after)s) ORDER BY name LIMIT %(limit)s
"""  # noqa: S608 - constants
SCOPE = """
INSERT INTO scopes (source_id, text_rank, level_rank, departments)
SELECT id, %(text)s,
    greatest(%(text)s, array_position(ARRAY['public', 'internal', 'confidential', 'secret'], level) - 1), departments
FROM sources WHERE id = %(source)s
ON CONFLICT (source_id, text_rank) DO UPDATE SET text_rank = excluded.text_rank RETURNING id
"""
DIGESTS = """
SELECT DISTINCT digest FROM (
    (SELECT raw_digest AS digest FROM documents WHERE source_id = %(source)s LIMIT %(limit)s)
    UNION ALL (SELECT raw_digest FROM document_versions WHERE source_id = %(source)s LIMIT %(limit)s)
    UNION ALL (SELECT digest FROM source_uploads WHERE source_id = %(source)s LIMIT %(limit)s)
) AS found
"""
REMOVE = """
DELETE FROM sources WHERE id = %(source)s
AND NOT EXISTS (SELECT 1 FROM documents WHERE source_id = %(source)s)
AND NOT EXISTS (SELECT 1 FROM document_versions WHERE source_id = %(source)s)
AND NOT EXISTS (SELECT 1 FROM source_uploads WHERE source_id = %(source)s)
"""
ASK_AGAIN = """
INSERT INTO chunks_to_embed (chunk_id, space_id)
SELECT chunks.id, spaces.id FROM scopes JOIN chunks ON chunks.scope_id = scopes.id CROSS JOIN embedding_spaces AS spaces
WHERE scopes.source_id = %s
AND NOT EXISTS (SELECT 1 FROM chunk_vectors WHERE chunk_id = chunks.id AND space_id = spaces.id)
ON CONFLICT DO NOTHING
"""
FORGET_TEXTS = """
DELETE FROM document_texts WHERE digest = ANY(%s)
AND NOT EXISTS (SELECT 1 FROM documents WHERE text_digest = document_texts.digest)
"""


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A document that someone uploaded."""

    path: str
    digest: str
    bytes: int
    uploaded_at: datetime


class SourceRepository:
    """Sources, each under its name."""

    def __init__(self, pool: Pool, blobs: BlobStore) -> None:
        self._pool = pool
        self._blobs = blobs

    async def add(self, connection: Connection, source: Source) -> bool:
        """Writes a new source and its scope, in the caller's transaction; False where there is one of its name."""
        cursor = await connection.execute(
            "INSERT INTO sources (id, name, kind, location, owner_id, level, departments, strategy, options, "
            "sync_every, created_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (name) DO NOTHING",
            (
                source.id,
                source.name,
                source.kind,
                source.location,
                source.owner_id,
                source.level,
                list(source.departments),
                source.strategy,
                json.dumps(dict(source.options)),
                source.sync_every,
                source.created_at,
            ),
        )
        if cursor.rowcount:
            await scope_of(connection, source.id, 0)
        return bool(cursor.rowcount)

    async def find(self, source_id: UUID) -> Source | None:
        """One source, or `None`."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute("SELECT * FROM sources WHERE id = %s", (source_id,))
            row = await cursor.fetchone()
        return None if row is None else _source(row)

    async def page(self, reader: Reader, *, limit: int, after: str | None = None) -> Sequence[Source]:
        """The sources that a reader may see, by name, from the one after `after` on."""
        values = {**_seeing(reader), "after": after, "limit": limit}
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(LIST.encode(), values)).fetchall()
        return [_source(row) for row in rows]

    async def due(self, now: datetime) -> Sequence[Source]:
        """The sources whose next sync is due, and that have none under way."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT * FROM sources WHERE sync_every IS NOT NULL AND NOT EXISTS (SELECT 1 FROM source_syncs "
                "WHERE source_id = sources.id AND (state IN ('queued', 'running') "
                "OR created_at > %(now)s - make_interval(secs => sync_every)))",
                {"now": now},
            )
            return [_source(row) for row in await cursor.fetchall()]

    async def change(self, connection: Connection, source: Source) -> None:
        """Writes name, level, departments, strategy, options and the time between syncs, and who sees the documents."""
        await connection.execute(
            "UPDATE sources SET name = %s, level = %s, departments = %s, strategy = %s, options = %s, sync_every = %s "
            "WHERE id = %s",
            (
                source.name,
                source.level,
                list(source.departments),
                source.strategy,
                json.dumps(dict(source.options)),
                source.sync_every,
                source.id,
            ),
        )
        await connection.execute(
            "UPDATE scopes SET level_rank = greatest(text_rank, %s), departments = %s WHERE source_id = %s",
            (source.level.rank, list(source.departments), source.id),
        )
        await connection.execute(ASK_AGAIN, (source.id,))

    async def named(self, connection: Connection, name: str) -> UUID | None:
        """The source of this name."""
        row = await (await connection.execute("SELECT id FROM sources WHERE name = %s", (name,))).fetchone()
        return None if row is None else UUID(str(row["id"]))

    async def empty(self, source_id: UUID, now: datetime) -> None:
        """Ends the source's syncs and deletes all that was collected from it, contents that no other has among them.

        It is done in parts, and can be done again where it was broken off.
        """
        while True:
            async with self._pool.connection() as connection, connection.transaction():
                await connection.execute(
                    "UPDATE source_syncs SET state = 'cancelled', again = false, finished_at = %s "
                    "WHERE source_id = %s AND state IN ('queued', 'running')",
                    (now, source_id),
                )
                cursor = await connection.execute(DIGESTS, {"source": source_id, "limit": BATCH})
                digests = [str(row["digest"]) for row in await cursor.fetchall()]
                await self._forget(connection, source_id, digests)
            if not digests:
                return

    async def _forget(self, connection: Connection, source_id: UUID, digests: Sequence[str]) -> None:
        values = (source_id, list(digests))
        cursor = await connection.execute(
            "SELECT id, text_digest FROM documents WHERE source_id = %s AND raw_digest = ANY(%s)", values
        )
        found = await cursor.fetchall()
        texts = sorted({str(row["text_digest"]) for row in found})
        for digest in sorted({*digests, *texts}):
            await lock_blob(connection, digest)
        await connection.execute("SELECT pg_advisory_xact_lock_shared(%s)", (LOCK,))
        await name_anew(connection, [UUID(str(row["id"])) for row in found], leaving=source_id)
        await connection.execute("DELETE FROM documents WHERE source_id = %s AND raw_digest = ANY(%s)", values)
        await connection.execute("DELETE FROM document_versions WHERE source_id = %s AND raw_digest = ANY(%s)", values)
        await connection.execute("DELETE FROM source_uploads WHERE source_id = %s AND digest = ANY(%s)", values)
        await connection.execute(FORGET_TEXTS, (texts,))
        for digest in digests:
            await delete_unreferred(connection, self._blobs, digest)

    async def remove(self, connection: Connection, source_id: UUID) -> bool:
        """Deletes an emptied source; False where there is none, or where something came after it was emptied.

        Of that the contents would stay behind: empty it again.
        """
        await connection.execute("SELECT 1 FROM sources WHERE id = %s FOR UPDATE", (source_id,))
        return (await connection.execute(REMOVE, {"source": source_id})).rowcount == 1

    async def upload(
        self, source_id: UUID, path: str, incoming: IncomingBlob, owner_id: UUID | None, now: datetime
    ) -> bool:
        """Keeps a finished upload under its path, in the place of an earlier one; False where the source is gone."""
        async with self._pool.connection() as connection, connection.transaction():
            cursor = await connection.execute("SELECT id FROM sources WHERE id = %s FOR KEY SHARE", (source_id,))
            if await cursor.fetchone() is None:
                return False
            await lock_blob(connection, incoming.digest)
            await connection.execute(
                "INSERT INTO source_uploads (source_id, path, digest, bytes, owner_id, uploaded_at) "
                "VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (source_id, path) DO UPDATE "
                "SET digest = excluded.digest, bytes = excluded.bytes, owner_id = excluded.owner_id, "
                "uploaded_at = excluded.uploaded_at",
                (source_id, path, incoming.digest, incoming.size, owner_id, now),
            )
            await self._blobs.place(incoming)
        return True

    async def uploads(self, source_id: UUID) -> Sequence[Uploaded]:
        """What was uploaded to a source, by path."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT path, digest, bytes, uploaded_at FROM source_uploads WHERE source_id = %s ORDER BY path",
                (source_id,),
            )
            return [Uploaded(**row) for row in await cursor.fetchall()]  # type: ignore[arg-type]

    async def take_back(self, source_id: UUID, path: str) -> bool:
        """Forgets an upload; the next sync removes its document. False where there is none."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "DELETE FROM source_uploads WHERE source_id = %s AND path = %s", (source_id, path)
            )
            return cursor.rowcount == 1


async def scope_of(connection: Connection, source_id: UUID, text_rank: int) -> int:
    """The scope of a source's texts of this rank, which is made where there is none."""
    row = await (await connection.execute(SCOPE, {"source": source_id, "text": text_rank})).fetchone()
    assert row is not None  # noqa: S101 - the source is there: the caller's transaction holds it
    return int(str(row["id"]))


def _seeing(reader: Reader) -> dict[str, object]:
    return {"level": reader.level.rank, "departments": list(reader.departments), "all": reader.all_departments}


def _source(row: Mapping[str, object]) -> Source:
    return Source(
        id=row["id"],  # type: ignore[arg-type]
        name=str(row["name"]),
        kind=SourceKind(str(row["kind"])),
        location=str(row["location"]),
        owner_id=row["owner_id"],  # type: ignore[arg-type]
        created_at=row["created_at"],  # type: ignore[arg-type]
        level=Level(str(row["level"])),
        departments=frozenset(row["departments"]),  # type: ignore[call-overload]
        strategy=ChunkStrategy(str(row["strategy"])),
        options=row["options"],  # type: ignore[arg-type]
        sync_every=row["sync_every"],  # type: ignore[arg-type]
        synced_at=row["synced_at"],  # type: ignore[arg-type]
    )
