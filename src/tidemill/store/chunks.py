"""Chunks with what names them, as a search shows them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tidemill.core.classification import Level
from tidemill.core.document import DocumentKind, Span
from tidemill.core.search import Hit, Scores
from tidemill.store.database import Connection
from tidemill.store.postings import Scopes

FOUND = """
SELECT chunks.id, chunks.document_id, sources.name AS source, documents.path, documents.title, chunks.text,
    chunks.heading, chunks.span_start, chunks.span_end, chunks.page, chunks.hash, scopes.level_rank, documents.kind,
    documents.url, documents.author, documents.platform, documents.language,
    coalesce(documents.published_at, documents.modified_at) AS published_at
FROM chunks
JOIN documents ON documents.id = chunks.document_id
JOIN sources ON sources.id = documents.source_id
JOIN scopes ON scopes.id = chunks.scope_id
WHERE chunks.id = ANY(%(chunks)s) AND chunks.scope_id = ANY(%(scopes)s)
"""
LANGUAGES = """
SELECT chunks.id, chunks.hash, documents.language
FROM chunks JOIN documents ON documents.id = chunks.document_id
WHERE chunks.id = ANY(%(chunks)s) AND chunks.scope_id = ANY(%(scopes)s)
"""
AUTHORS = """
SELECT DISTINCT author FROM documents WHERE scope_id = ANY(%s) AND author IS NOT NULL
"""


LEVELS = tuple(Level)


@dataclass(frozen=True, slots=True)
class Kinship:
    """What fusion and the removal of duplicates need of a chunk."""

    hash: str
    language: str | None


async def kinships(connection: Connection, chunks: Sequence[int], scopes: Scopes) -> Mapping[int, Kinship]:
    """The hash of each chunk and the language of its document."""
    rows = await (await connection.execute(LANGUAGES, _values(chunks, scopes), prepare=False)).fetchall()
    return {
        int(str(row["id"])): Kinship(str(row["hash"]), None if row["language"] is None else str(row["language"]))
        for row in rows
    }


async def hits(connection: Connection, scores: Mapping[int, Scores], scopes: Scopes) -> Sequence[Hit]:
    """The chunks as hits, in the order of the scores. One that is no longer there, or not visible, is left out."""
    rows = await (await connection.execute(FOUND, _values(list(scores), scopes), prepare=False)).fetchall()
    found = {int(str(row["id"])): row for row in rows}
    return [_hit(found[chunk], one) for chunk, one in scores.items() if chunk in found]


async def authors(connection: Connection, scopes: Scopes) -> Sequence[str]:
    """Who wrote the documents that are visible."""
    rows = await (await connection.execute(AUTHORS, (list(scopes.ids),))).fetchall()
    return [str(row["author"]) for row in rows]


def _values(chunks: Sequence[int], scopes: Scopes) -> dict[str, object]:
    return {"chunks": list(chunks), "scopes": list(scopes.ids)}


def _hit(row: Mapping[str, object], scores: Scores) -> Hit:
    return Hit(
        chunk_id=int(str(row["id"])),
        document_id=row["document_id"],  # type: ignore[arg-type]
        source=str(row["source"]),
        path=str(row["path"]),
        title=str(row["title"]),
        text=str(row["text"]),
        heading=str(row["heading"]),
        span=Span(int(str(row["span_start"])), int(str(row["span_end"]))),
        scores=scores,
        level=LEVELS[int(str(row["level_rank"]))],
        kind=DocumentKind(str(row["kind"])),
        url=row["url"],  # type: ignore[arg-type]
        page=row["page"],  # type: ignore[arg-type]
        author=row["author"],  # type: ignore[arg-type]
        platform=row["platform"],  # type: ignore[arg-type]
        language=row["language"],  # type: ignore[arg-type]
        published_at=row["published_at"],  # type: ignore[arg-type]
    )
