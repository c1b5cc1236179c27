"""The warehouse: documents with their versions, texts and failures, each change with all that is derived of it.

One transaction writes a document: its row, its text, the version that it is, its scope, its chunks with their
postings, what is to be embedded of it, and what finds its near duplicates.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import LiteralString
from uuid import UUID

from tidemill.core.classification import Level
from tidemill.core.document import Chunk, DocumentKind, RawDocument
from tidemill.core.json import Json
from tidemill.core.search import Reader
from tidemill.core.sync import DocumentFailure, StoredDocument
from tidemill.store.blobs import BlobStore
from tidemill.store.database import Connection, Pool
from tidemill.store.duplicates import name_anew, original_of, sign
from tidemill.store.search_index import Written, remove, write
from tidemill.store.shared_blobs import delete_unreferred, lock_blob
from tidemill.store.sources import FORGET_TEXTS, scope_of
from tidemill.store.syncs import hold

LEVELS = tuple(Level)

KNOWN = """
SELECT path, id, raw_digest AS digest, etag, chunked_by, false AS failed FROM documents WHERE source_id = %(source)s
UNION ALL
SELECT path, NULL, digest, etag, tried_by, true FROM document_failures WHERE source_id = %(source)s
ORDER BY failed
"""
COLUMNS: LiteralString = (
    "raw_digest, raw_bytes, text_digest, media_type, title, url, kind, platform, author, language, licence, etag, "
    "published_at, modified_at, metadata, signature, duplicate_of, similarity, chunked_by, scope_id, changed_at"
)
VALUES: LiteralString = (
    "%(raw_digest)s, %(raw_bytes)s, %(text_digest)s, %(media_type)s, %(title)s, %(url)s, %(kind)s, %(platform)s, "
    "%(author)s, %(language)s, %(licence)s, %(etag)s, %(published_at)s, %(modified_at)s, %(metadata)s, "
    "%(signature)s, %(duplicate_of)s, %(similarity)s, %(chunked_by)s, %(scope_id)s, %(at)s"
)
PUT: LiteralString = (
    f"INSERT INTO documents (id, source_id, path, created_at, {COLUMNS}) "  # noqa: S608 - constants
    f"VALUES (%(id)s, %(source_id)s, %(path)s, %(at)s, {VALUES}) "
    f"ON CONFLICT (id) DO UPDATE SET ({COLUMNS}) = ROW ({VALUES})"
)
RAW = """
SELECT raw_digest, path, media_type, title, url, kind, platform, author, licence, published_at, modified_at, etag
FROM documents WHERE id = %s
"""
LIST = """
SELECT documents.*, scopes.level_rank, visible.original,
    (SELECT count(*) FROM chunks WHERE document_id = documents.id) AS chunks
FROM documents JOIN scopes ON scopes.id = documents.scope_id
LEFT JOIN LATERAL (
    SELECT first.id AS original FROM documents AS first JOIN scopes AS its ON its.id = first.scope_id
    WHERE first.id = documents.duplicate_of AND its.level_rank <= %(level)s
    AND (%(all)s OR its.departments = '{}' OR its.departments && %(departments)s::uuid[])
) AS visible ON true
WHERE documents.source_id = %(source)s AND scopes.level_rank <= %(level)s
AND (%(all)s OR scopes.departments = '{}' OR scopes.departments && %(departments)s::uuid[])
AND (%(after)s::text IS NULL OR documents.path > %(after)s) AND (%(id)s::uuid IS NULL OR documents.id = %(id)s)
ORDER BY documents.path LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True)
class KnownDocument:
    """What is stored of a path: a document, or, where `failed`, of which version it is known that it can't be had.

    Attributes:
        id: of the document; `None` where there never was one.
        digest: of its bytes; `None` of a failure to fetch them.
        chunked_by: how it was read and cut; of a failure, how that was tried.
        failed: whether that version can't be read.
        unfetched: whether the last try to fetch it failed, so that what is stored may not be the newest.
    """

    id: UUID | None
    digest: str | None
    etag: str | None
    chunked_by: str | None
    failed: bool = False
    unfetched: bool = False


@dataclass(frozen=True, slots=True)
class DocumentRow:
    """A document to be written. `text_level` is what its text alone says; `signature` finds near duplicates."""

    id: UUID
    source_id: UUID
    path: str
    raw_digest: str
    raw_bytes: int
    text_digest: str
    text: str
    text_level: Level
    media_type: str | None
    title: str
    url: str | None
    kind: DocumentKind
    platform: str | None
    author: str | None
    language: str | None
    licence: str | None
    etag: str | None
    published_at: datetime | None
    modified_at: datetime | None
    metadata: Mapping[str, Json]
    signature: bytes | None
    chunked_by: str


class DocumentRepository:
    """Documents. Whatever a sync writes is written only while that sync runs.

    Every method that takes a `sync_id` raises `SyncEnded` where it does not.
    """

    def __init__(self, pool: Pool, blobs: BlobStore) -> None:
        self._pool = pool
        self._blobs = blobs

    async def known(self, source_id: UUID) -> dict[str, KnownDocument]:
        """All that is stored of a source, by path. A failure tells of what came after the document that is stored."""
        found: dict[str, KnownDocument] = {}
        async with self._pool.connection() as connection:
            cursor = await connection.execute(KNOWN, {"source": source_id})
            for row in await cursor.fetchall():
                path = str(row["path"])
                before = found.get(path)
                if before is not None and row["digest"] is None:
                    found[path] = replace(before, unfetched=True)
                    continue
                found[path] = KnownDocument(
                    id=before.id if before else row["id"],  # type: ignore[arg-type]
                    digest=row["digest"],  # type: ignore[arg-type]
                    etag=row["etag"],  # type: ignore[arg-type]
                    chunked_by=row["chunked_by"],  # type: ignore[arg-type]
                    failed=bool(row["failed"]),
                )
        return found

    async def put(
        self, sync_id: UUID, document: DocumentRow, data: bytes, chunks: Sequence[Chunk], at: datetime
    ) -> Written:
        """Writes a document that is new or changed, with all that is derived of it."""
        async with self._pool.connection() as connection, connection.transaction():
            await hold(connection, sync_id)
            cursor = await connection.execute(
                "SELECT raw_digest, text_digest FROM documents WHERE id = %s FOR NO KEY UPDATE", (document.id,)
            )
            before = await cursor.fetchone()
            texts = {document.text_digest} | ({str(before["text_digest"])} if before else set())
            for digest in sorted({document.raw_digest, *texts}):
                await lock_blob(connection, digest)
            await self._blobs.put(data)
            await connection.execute(
                "INSERT INTO document_texts (digest, text) VALUES (%s, %s) ON CONFLICT DO NOTHING",
                (document.text_digest, document.text),
            )
            scope = await scope_of(connection, document.source_id, document.text_level.rank)
            if before is not None and before["text_digest"] != document.text_digest:
                await name_anew(connection, [document.id])
            alike = await original_of(connection, document.id, document.text_digest, document.signature)
            values = {name: getattr(document, name) for name in DocumentRow.__slots__ if name != "text"}
            values |= {"metadata": json.dumps(document.metadata), "scope_id": scope, "at": at}
            await connection.execute(PUT, values | {"duplicate_of": alike.original, "similarity": alike.similarity})
            if before is None or before["raw_digest"] != document.raw_digest:
                await _next_version(connection, document, at)
            await sign(connection, document.id, document.signature)
            written = await write(connection, document.id, scope, chunks)
            await connection.execute(
                "DELETE FROM document_failures WHERE source_id = %s AND path = %s", (document.source_id, document.path)
            )
            await connection.execute(FORGET_TEXTS, (sorted(texts),))
        return written

    async def touch(self, sync_id: UUID, source_id: UUID, path: str, etag: str | None) -> None:
        """Notes under which tag the origin has the version that is known, so that it need not be fetched again.

        A failure to fetch it is over with that.
        """
        async with self._pool.connection() as connection, connection.transaction():
            await hold(connection, sync_id)
            for table in ("documents", "document_failures"):
                await connection.execute(
                    f"UPDATE {table} SET etag = %s WHERE source_id = %s AND path = %s".encode(),  # noqa: S608
                    (etag, source_id, path),
                )
            await connection.execute(
                "DELETE FROM document_failures WHERE source_id = %s AND path = %s AND digest IS NULL", (source_id, path)
            )

    async def raw(self, document_id: UUID) -> RawDocument | None:
        """A document as it was fetched, from its stored bytes; `None` where it is gone."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(RAW, (document_id,))).fetchone()
        if row is None:
            return None
        data = await self._blobs.get(str(row.pop("raw_digest")))
        return RawDocument(**{**row, "kind": DocumentKind(str(row["kind"]))}, data=data)  # type: ignore[arg-type]

    async def fail(self, sync_id: UUID, source_id: UUID, failure: DocumentFailure) -> None:
        """Records that a document can't be had. What an earlier version of it gave stays."""
        async with self._pool.connection() as connection, connection.transaction():
            await hold(connection, sync_id)
            await connection.execute(
                "INSERT INTO document_failures (source_id, path, sync_id, code, reason, digest, etag, tried_by, at) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (source_id, path) DO UPDATE SET "
                "(sync_id, code, reason, digest, etag, tried_by, at) = ROW (excluded.sync_id, excluded.code, "
                "excluded.reason, excluded.digest, excluded.etag, excluded.tried_by, excluded.at)",
                (
                    source_id,
                    failure.path,
                    sync_id,
                    failure.code,
                    failure.reason,
                    failure.digest,
                    failure.etag,
                    failure.tried_by,
                    failure.at,
                ),
            )

    async def gone(self, sync_id: UUID, source_id: UUID, path: str, at: datetime) -> int:
        """Removes what is derived of a document that its source no longer has; returns how many chunks that were.

        The bytes stay, as the version that has ended.
        """
        async with self._pool.connection() as connection, connection.transaction():
            await hold(connection, sync_id)
            await connection.execute(
                "DELETE FROM document_failures WHERE source_id = %s AND path = %s", (source_id, path)
            )
            cursor = await connection.execute(
                "SELECT id, text_digest FROM documents WHERE source_id = %s AND path = %s FOR NO KEY UPDATE",
                (source_id, path),
            )
            row = await cursor.fetchone()
            if row is None:
                return 0
            document = UUID(str(row["id"]))
            await lock_blob(connection, str(row["text_digest"]))
            await name_anew(connection, [document])
            removed = await remove(connection, document)
            await connection.execute("DELETE FROM documents WHERE id = %s", (document,))
            await connection.execute(FORGET_TEXTS, ([row["text_digest"]],))
            await _end_versions(connection, document, at)
        return removed

    async def page(
        self, source_id: UUID, reader: Reader, *, limit: int, after: str | None = None
    ) -> Sequence[StoredDocument]:
        """The documents of a source that a reader may see, by path, from the one after `after` on."""
        return await self._list(source_id, reader, limit=limit, after=after, document=None)

    async def find(self, source_id: UUID, reader: Reader, document_id: UUID) -> StoredDocument | None:
        """One document of a source, where the reader may see it."""
        found = await self._list(source_id, reader, limit=1, after=None, document=document_id)
        return found[0] if found else None

    async def failures(self, source_id: UUID, *, limit: int, after: str | None = None) -> Sequence[DocumentFailure]:
        """What could not be had of a source, by path."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT path, code, reason, digest, etag, at, tried_by FROM document_failures WHERE source_id = %s "
                "AND (%s::text IS NULL OR path > %s) ORDER BY path LIMIT %s",
                (source_id, after, after, limit),
            )
            return [DocumentFailure(**row) for row in await cursor.fetchall()]  # type: ignore[arg-type]

    async def totals(self, source_ids: Sequence[UUID]) -> Mapping[UUID, tuple[int, int]]:
        """How many documents and failures each of these sources has."""
        query = (
            "SELECT asked.id, (SELECT count(*) FROM documents WHERE source_id = asked.id) AS documents, "
            "(SELECT count(*) FROM document_failures WHERE source_id = asked.id) AS failures "
            "FROM unnest(%s::uuid[]) AS asked(id)"
        )
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(query, (list(source_ids),))).fetchall()
        return {UUID(str(row["id"])): (int(str(row["documents"])), int(str(row["failures"]))) for row in rows}

    async def forget_versions(self, before: datetime) -> int:
        """Deletes versions that ended before a time, with their bytes where nothing else has them; how many."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT DISTINCT raw_digest FROM document_versions WHERE ended_at < %s LIMIT 1000", (before,)
            )
            digests = [str(row["raw_digest"]) for row in await cursor.fetchall()]
        forgotten = 0
        for digest in digests:
            async with self._pool.connection() as connection, connection.transaction():
                await lock_blob(connection, digest)
                cursor = await connection.execute(
                    "DELETE FROM document_versions WHERE raw_digest = %s AND ended_at < %s", (digest, before)
                )
                forgotten += cursor.rowcount
                await delete_unreferred(connection, self._blobs, digest)
        return forgotten

    async def _list(
        self, source_id: UUID, reader: Reader, *, limit: int, after: str | None, document: UUID | None
    ) -> Sequence[StoredDocument]:
        values = {
            "source": source_id,
            "level": reader.level.rank,
            "all": reader.all_departments,
            "departments": list(reader.departments),
            "after": after,
            "id": document,
            "limit": limit,
        }
        async with self._pool.connection() as connection:
            return [_stored(row) for row in await (await connection.execute(LIST, values)).fetchall()]


async def _next_version(connection: Connection, document: DocumentRow, at: datetime) -> None:
    await _end_versions(connection, document.id, at)
    await connection.execute(
        "INSERT INTO document_versions (document_id, source_id, path, raw_digest, fetched_at) "
        "VALUES (%s, %s, %s, %s, %s) ON CONFLICT (document_id, fetched_at) "
        "DO UPDATE SET raw_digest = excluded.raw_digest, ended_at = NULL",
        (document.id, document.source_id, document.path, document.raw_digest, at),
    )


async def _end_versions(connection: Connection, document_id: UUID, at: datetime) -> None:
    await connection.execute(
        "UPDATE document_versions SET ended_at = %s WHERE document_id = %s AND ended_at IS NULL", (at, document_id)
    )


def _stored(row: Mapping[str, object]) -> StoredDocument:
    return StoredDocument(
        id=row["id"],  # type: ignore[arg-type]
        path=str(row["path"]),
        title=str(row["title"]),
        url=row["url"],  # type: ignore[arg-type]
        kind=DocumentKind(str(row["kind"])),
        level=LEVELS[int(str(row["level_rank"]))],
        bytes=int(str(row["raw_bytes"])),
        chunks=int(str(row["chunks"])),
        language=row["language"],  # type: ignore[arg-type]
        author=row["author"],  # type: ignore[arg-type]
        platform=row["platform"],  # type: ignore[arg-type]
        licence=row["licence"],  # type: ignore[arg-type]
        metadata=row["metadata"],
        duplicate_of=row["original"],  # type: ignore[arg-type]
        similarity=row["similarity"] if row["original"] else None,  # type: ignore[arg-type]
        published_at=row["published_at"],  # type: ignore[arg-type]
        modified_at=row["modified_at"],  # type: ignore[arg-type]
        created_at=row["created_at"],  # type: ignore[arg-type]
        changed_at=row["changed_at"],  # type: ignore[arg-type]
    )
