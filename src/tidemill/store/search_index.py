"""What makes a document findable, written with the document: its chunks, their postings, and what is to be embedded."""

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from tidemill.analysis.terms import terms, without_diacritics
from tidemill.core.document import Chunk, embedded_text
from tidemill.store.database import Connection, Pool

LOCK = 7304771251
"""Advisory: shared by whoever writes or deletes chunks; alone for whoever makes a space, so that a space misses no
chunk, for whoever stores vectors, so that none comes for a chunk that is being deleted, and for whoever forgets terms,
so that none goes that is about to be used."""
MOST = 32_767
"""The highest frequency that is counted: a `smallint`."""

ADD = """
INSERT INTO chunks (document_id, scope_id, ordinal, span_start, span_end, page, heading, text, hash, tokens, terms)
SELECT %(document)s, %(scope)s, * FROM unnest(%(ordinals)s::int[], %(starts)s::int[], %(ends)s::int[],
    %(pages)s::int[], %(headings)s::text[], %(texts)s::text[], %(hashes)s::text[], %(tokens)s::int[], %(terms)s::int[])
RETURNING id, ordinal
"""
MOVE = """
UPDATE chunks SET ordinal = moved.ordinal, span_start = moved.span_start, span_end = moved.span_end,
    page = moved.page, tokens = moved.tokens
FROM unnest(%s::bigint[], %s::int[], %s::int[], %s::int[], %s::int[], %s::int[])
    AS moved(id, ordinal, span_start, span_end, page, tokens)
WHERE chunks.id = moved.id
"""
RESCOPE = """
WITH moved AS (
    UPDATE chunks SET scope_id = %(scope)s FROM chunks AS before
    WHERE chunks.id = before.id AND chunks.document_id = %(document)s AND chunks.scope_id <> %(scope)s
    RETURNING chunks.id, before.scope_id AS scope, chunks.terms
),
listed AS (UPDATE postings SET scope_id = %(scope)s FROM moved WHERE chunk_id = moved.id),
placed AS (UPDATE chunk_vectors SET scope_id = %(scope)s FROM moved WHERE chunk_id = moved.id),
changes AS (
    SELECT scope, -count(*) AS chunks, -sum(terms) AS terms FROM moved GROUP BY scope
    UNION ALL
    SELECT %(scope)s, count(*), sum(terms) FROM moved HAVING count(*) > 0
)
INSERT INTO scope_sizes (scope_id, chunks, terms) SELECT scope, chunks, terms FROM changes ORDER BY scope
ON CONFLICT (scope_id) DO UPDATE
SET chunks = scope_sizes.chunks + excluded.chunks, terms = scope_sizes.terms + excluded.terms
"""
NEW_TERMS = """
INSERT INTO terms (term, plain)
SELECT term, plain FROM unnest(%(terms)s::text[], %(plain)s::text[]) AS asked(term, plain)
WHERE NOT EXISTS (SELECT 1 FROM terms AS known WHERE known.term = asked.term)
ORDER BY term ON CONFLICT (term) DO NOTHING
"""
UNUSED_TERMS = "SELECT id FROM terms WHERE (SELECT 1 FROM postings WHERE term_id = terms.id LIMIT 1) IS NULL"
"""Looks each term up in the index: a join would read all postings, of which there are a hundred times as many."""
FORGET_TERMS = "DELETE FROM terms WHERE id = ANY(%s) AND NOT EXISTS (SELECT 1 FROM postings WHERE term_id = terms.id)"
FORGOTTEN_AT_ONCE = 10_000
SHARE_VECTORS = """
INSERT INTO chunk_vectors (space_id, chunk_id, scope_id, vector)
SELECT DISTINCT ON (there.space_id, added.id) there.space_id, added.id, added.scope_id, there.vector
FROM chunks AS added
JOIN chunks AS same ON same.hash = added.hash AND same.scope_id = added.scope_id AND same.id <> added.id
JOIN chunk_vectors AS there ON there.chunk_id = same.id
WHERE added.id = ANY(%(chunks)s)
ON CONFLICT DO NOTHING
"""
QUEUE = """
INSERT INTO chunks_to_embed (chunk_id, space_id)
SELECT added.id, spaces.id FROM unnest(%(chunks)s::bigint[]) AS added(id) CROSS JOIN embedding_spaces AS spaces
WHERE NOT EXISTS (SELECT 1 FROM chunk_vectors WHERE space_id = spaces.id AND chunk_id = added.id)
ON CONFLICT DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class Written:
    """What writing a document changed: how many chunks are new, stayed, and are gone."""

    added: int
    kept: int
    removed: int


async def write(connection: Connection, document_id: UUID, scope_id: int, chunks: Sequence[Chunk]) -> Written:
    """Makes a document findable by these chunks and no others, within the caller's transaction.

    A chunk whose hash stays keeps its row, its postings and its vectors, wherever in the document it now stands. A new
    chunk whose hash some other chunk of the scope has gets that one's vectors; those of other scopes are not looked at,
    for whoever adds a text would see by it that the same one is there, and hidden from them. Each other new chunk gets
    a line in `chunks_to_embed` for each space. Write one document in a transaction: terms that two transactions add in
    different orders would make them wait for each other. A document whose scope is another now takes all along.
    """
    await connection.execute("SELECT pg_advisory_xact_lock_shared(%s)", (LOCK,))
    await connection.execute(RESCOPE, {"document": document_id, "scope": scope_id})
    kept, gone = await _compare(connection, document_id, chunks)
    if gone:
        await _delete(connection, gone)
    moved = [(row, chunk) for row, chunk in kept if row != _place(row.id, chunk)]
    if moved:
        await _move(connection, moved)
    there = {chunk.ordinal for _, chunk in kept}
    new = [chunk for chunk in chunks if chunk.ordinal not in there]
    if new:
        await _add(connection, document_id, scope_id, new)
    return Written(len(new), len(kept), len(gone))


async def remove(connection: Connection, document_id: UUID) -> int:
    """Takes all that `write` made of a document away, within the caller's transaction; how many chunks there were."""
    await connection.execute("SELECT pg_advisory_xact_lock_shared(%s)", (LOCK,))
    cursor = await connection.execute("SELECT id FROM chunks WHERE document_id = %s", (document_id,))
    gone = [int(str(row["id"])) for row in await cursor.fetchall()]
    if gone:
        await _delete(connection, gone)
    return len(gone)


@dataclass(frozen=True, slots=True)
class _Place:
    id: int
    ordinal: int
    start: int
    end: int
    page: int | None
    tokens: int


def _place(row_id: int, chunk: Chunk) -> _Place:
    return _Place(row_id, chunk.ordinal, chunk.span.start, chunk.span.end, chunk.page, chunk.tokens)


async def _compare(
    connection: Connection, document_id: UUID, chunks: Sequence[Chunk]
) -> tuple[list[tuple[_Place, Chunk]], list[int]]:
    """Which stored chunks stay as which new ones, and the ids of those that don't."""
    cursor = await connection.execute(
        "SELECT id, ordinal, span_start, span_end, page, tokens, hash FROM chunks WHERE document_id = %s "
        "ORDER BY ordinal FOR UPDATE",
        (document_id,),
    )
    stored: defaultdict[object, deque[_Place]] = defaultdict(deque)
    for row in await cursor.fetchall():
        numbers = (row["id"], row["ordinal"], row["span_start"], row["span_end"], row["page"], row["tokens"])
        stored[row["hash"]].append(_Place(*numbers))  # type: ignore[arg-type]
    kept = [(stored[chunk.hash].popleft(), chunk) for chunk in chunks if stored[chunk.hash]]
    return kept, [place.id for places in stored.values() for place in places]


async def _delete(connection: Connection, chunks: Sequence[int]) -> None:
    await connection.execute("DELETE FROM postings WHERE chunk_id = ANY(%s)", (chunks,))
    await connection.execute("DELETE FROM chunks WHERE id = ANY(%s)", (chunks,))


async def _move(connection: Connection, moved: Sequence[tuple[_Place, Chunk]]) -> None:
    rows = [_place(row.id, chunk) for row, chunk in moved]
    await connection.execute(
        MOVE,
        (
            [row.id for row in rows],
            [row.ordinal for row in rows],
            [row.start for row in rows],
            [row.end for row in rows],
            [row.page for row in rows],
            [row.tokens for row in rows],
        ),
    )


async def _add(connection: Connection, document_id: UUID, scope_id: int, chunks: Sequence[Chunk]) -> None:
    counted = [terms(embedded_text(chunk.heading, chunk.text)) for chunk in chunks]
    lengths = [sum(one.values()) for one in counted]
    cursor = await connection.execute(
        ADD,
        {
            "document": document_id,
            "scope": scope_id,
            "ordinals": [chunk.ordinal for chunk in chunks],
            "starts": [chunk.span.start for chunk in chunks],
            "ends": [chunk.span.end for chunk in chunks],
            "pages": [chunk.page for chunk in chunks],
            "headings": [chunk.heading for chunk in chunks],
            "texts": [chunk.text for chunk in chunks],
            "hashes": [chunk.hash for chunk in chunks],
            "tokens": [chunk.tokens for chunk in chunks],
            "terms": lengths,
        },
    )
    ids = {int(str(row["ordinal"])): int(str(row["id"])) for row in await cursor.fetchall()}
    numbers = await term_numbers(connection, {term for one in counted for term in one})
    async with (
        connection.cursor() as writing,
        writing.copy(
            "COPY postings (term_id, scope_id, chunk_id, frequency, length) FROM STDIN (FORMAT BINARY)"
        ) as copy,
    ):
        copy.set_types(["int4", "int4", "int8", "int2", "int4"])
        for chunk, found, length in zip(chunks, counted, lengths, strict=True):
            for term, count in found.items():
                await copy.write_row((numbers[term], scope_id, ids[chunk.ordinal], min(count, MOST), length))
    await connection.execute(SHARE_VECTORS, {"chunks": list(ids.values())})
    await connection.execute(QUEUE, {"chunks": list(ids.values())})


async def forget_terms(pool: Pool) -> int:
    """Deletes the terms that no chunk has any more, such as the names in a document that is gone; how many there were.

    Nobody writes while some of them are deleted, since whoever adds a chunk has looked its terms' numbers up before.
    """
    async with pool.connection() as connection:
        cursor = await connection.execute(UNUSED_TERMS)
        unused = [int(str(row["id"])) for row in await cursor.fetchall()]
    forgotten = 0
    for some in range(0, len(unused), FORGOTTEN_AT_ONCE):
        async with pool.connection() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
            cursor = await connection.execute(FORGET_TERMS, (unused[some : some + FORGOTTEN_AT_ONCE],))
            forgotten += cursor.rowcount
    return forgotten


async def term_numbers(connection: Connection, wanted: set[str]) -> Mapping[str, int]:
    """The number of each term, which it gets where it is new."""
    ordered = sorted(wanted)
    plain = [without_diacritics(term) for term in ordered]
    marked = [without if without != term else None for term, without in zip(ordered, plain, strict=True)]
    await connection.execute(NEW_TERMS, {"terms": ordered, "plain": marked})
    cursor = await connection.execute("SELECT id, term FROM terms WHERE term = ANY(%s)", (ordered,))
    return {str(row["term"]): int(str(row["id"])) for row in await cursor.fetchall()}
