"""Documents in the search index, without a crawler or a reader before it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from tidemill.core.classification import Level
from tidemill.core.document import Chunk, Span
from tidemill.store.database import Pool
from tidemill.store.search_index import Written, remove, write

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def cut(*texts: str, heading: str = "") -> list[Chunk]:
    """Chunks of these texts, one after the other."""
    start, found = 0, []
    for ordinal, text in enumerate(texts):
        digest = hashlib.sha256(f"{heading}\n{text}".encode()).hexdigest()
        span = Span(start, start + len(text))
        found.append(Chunk(ordinal, span, text, heading, digest, len(text.split())))
        start = span.end + 1
    return found


@dataclass
class Index:
    """Writes sources and documents as rows."""

    pool: Pool
    scopes: dict[UUID, int] = field(default_factory=dict)

    async def source(
        self, name: str = "handbook", *, level: Level = Level.INTERNAL, departments: Sequence[UUID] = ()
    ) -> UUID:
        """A source with its scope."""
        source = uuid4()
        async with self.pool.connection() as connection:
            await connection.execute(
                "INSERT INTO sources (id, name, kind, location, owner_id, level, departments, strategy, options, "
                "created_at) VALUES (%s, %s, 'folder', '/', %s, %s, %s, 'auto', '{}', %s)",
                (source, name, uuid4(), level, list(departments), NOON),
            )
            cursor = await connection.execute(
                "INSERT INTO scopes (source_id, level_rank, departments) VALUES (%s, %s, %s) RETURNING id",
                (source, level.rank, list(departments)),
            )
            row = await cursor.fetchone()
        assert row is not None
        self.scopes[source] = int(str(row["id"]))
        return source

    async def document(self, source: UUID, path: str, *texts: str, heading: str = "", **columns: Any) -> UUID:
        """A document with these chunks; `columns` are those of its row."""
        document = uuid4()
        values: dict[str, Any] = {"language": "en", "kind": "document", "title": path, **columns}
        names = ", ".join(values)
        places = ", ".join(["%s"] * len(values))
        async with self.pool.connection() as connection, connection.transaction():
            await connection.execute("INSERT INTO document_texts VALUES ('none', '') ON CONFLICT DO NOTHING")
            await connection.execute(
                f"INSERT INTO documents (id, source_id, path, raw_digest, raw_bytes, text_digest, metadata, "
                f"chunked_by, created_at, changed_at, scope_id, {names}) "
                f"VALUES (%s, %s, %s, 'none', 0, 'none', '{{}}', 'test', %s, %s, %s, {places})".encode(),
                (document, source, path, NOON, NOON, self.scopes[source], *values.values()),
            )
            await write(connection, document, self.scopes[source], cut(*texts, heading=heading))
        return document

    async def rewrite(self, source: UUID, document: UUID, chunks: Sequence[Chunk]) -> Written:
        """The document with these chunks in the place of the others."""
        async with self.pool.connection() as connection, connection.transaction():
            return await write(connection, document, self.scopes[source], chunks)

    async def remove(self, document: UUID) -> int:
        """Takes what was made of a document away."""
        async with self.pool.connection() as connection, connection.transaction():
            return await remove(connection, document)

    async def rows(self, query: str, *values: object) -> list[dict[str, object]]:
        """What a query gives."""
        async with self.pool.connection() as connection:
            return await (await connection.execute(query.encode(), values)).fetchall()
