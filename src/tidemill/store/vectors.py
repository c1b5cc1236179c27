"""Vectors of chunks: the spaces that they live in, what is still to be embedded, and which are nearest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

from psycopg import sql

from tidemill.core.classification import Level
from tidemill.core.document import embedded_text
from tidemill.core.embedding import floats_of
from tidemill.core.errors import Conflict, NotFound
from tidemill.store.database import Connection, Pool
from tidemill.store.narrowing import Narrowing
from tidemill.store.postings import Scopes
from tidemill.store.search_index import LOCK

EXACT = 40_000
"""Vectors up to which all are compared; of more, the index is asked, whose answers may miss one in a hundred."""
EFFORT = 500
"""`hnsw.ef_search`: how many the index keeps in sight. Of 100,000 vectors of texts with 200 it missed six in a hundred,
with 400 one in two hundred; `python -m benchmarks retrieval_speed` measures it."""
LONGEST_SCAN = 40_000
"""`hnsw.max_scan_tuples`: vectors that the index looks at where a filter refuses most of them."""
MOST_DIMENSIONS = 2000
"""What pgvector's index holds of the type `vector`; longer ones are all compared."""

LEVELS = tuple(Level)
SPACE: LiteralString = "SELECT id, model, version, dimensions, state, created_at FROM embedding_spaces"
PENDING = """
SELECT DISTINCT ON (chunks.hash) chunks.hash, chunks.heading, chunks.text,
    (SELECT min(level_rank) FROM chunks AS same JOIN scopes ON scopes.id = same.scope_id WHERE same.hash = chunks.hash)
        AS level_rank
FROM (SELECT chunk_id FROM chunks_to_embed WHERE space_id = %(space)s ORDER BY chunk_id DESC LIMIT %(limit)s) AS queued
JOIN chunks ON chunks.id = queued.chunk_id
ORDER BY chunks.hash
"""
PUT = """
WITH made AS (SELECT * FROM unnest(%(hashes)s::text[], %(vectors)s::text[]) AS made(hash, vector)),
done AS (
    DELETE FROM chunks_to_embed USING chunks, made
    WHERE space_id = %(space)s AND chunks.id = chunk_id AND chunks.hash = made.hash
    RETURNING chunk_id
)
INSERT INTO chunk_vectors (space_id, chunk_id, scope_id, vector)
SELECT %(space)s, chunks.id, chunks.scope_id, made.vector::vector
FROM done JOIN chunks ON chunks.id = done.chunk_id JOIN made ON made.hash = chunks.hash
ON CONFLICT DO NOTHING
"""
EXACT_BEST = """
SELECT found.chunk_id, -(found.vector <#> %(query)s::vector) AS score
FROM chunk_vectors AS found {narrowed}
{where} found.space_id = %(space)s AND found.scope_id = ANY(%(scopes)s)
ORDER BY found.vector <#> %(query)s::vector, found.chunk_id LIMIT %(limit)s
"""
INDEXED_BEST = """
SELECT found.chunk_id, -((found.vector::vector({dimensions})) <#> %(query)s::vector({dimensions})) AS score
FROM chunk_vectors AS found {narrowed}
{where} found.space_id = {space} AND found.scope_id = ANY(%(scopes)s)
ORDER BY (found.vector::vector({dimensions})) <#> %(query)s::vector({dimensions}) LIMIT %(limit)s
"""
SCORES = """
SELECT chunk_id, -(vector <#> %(query)s::vector) AS score
FROM chunk_vectors WHERE space_id = %(space)s AND chunk_id = ANY(%(chunks)s)
"""
FEEDBACK = """
WITH averaged AS (
    SELECT l2_normalize(avg(vector)) AS mean FROM chunk_vectors
    WHERE space_id = %(space)s AND chunk_id = ANY(%(leaders)s)
)
SELECT chunk_id, -(vector <#> mean) AS score, -(mean <#> %(query)s::vector) AS of_query
FROM chunk_vectors CROSS JOIN averaged WHERE space_id = %(space)s AND chunk_id = ANY(%(chunks)s)
"""
TUNING = """
SELECT set_config('hnsw.ef_search', %s, true), set_config('hnsw.iterative_scan', 'relaxed_order', true),
    set_config('hnsw.max_scan_tuples', %s, true), set_config('jit', 'off', true)
"""


@dataclass(frozen=True, slots=True)
class Space:
    """The vectors of one version of one embedding model. `current` says whether searches ask it."""

    id: int
    model: str
    version: str
    dimensions: int
    current: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ToEmbed:
    """A text without a vector, the hash of the chunks that have it, and the lowest level of a document with it."""

    hash: str
    text: str
    level: Level


class VectorSpaces:
    """The spaces, and the work that fills them."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def all(self) -> Sequence[Space]:
        """Every space, the oldest first."""
        async with self._pool.connection() as connection:
            return [_space(row) for row in await (await connection.execute(f"{SPACE} ORDER BY id")).fetchall()]

    async def ensure(self, model: str, version: str, dimensions: int, now: datetime) -> Space:
        """The space of this version, which is made where there is none, with a line for each chunk to embed.

        The first space is searched at once; a further one from when `switch` is called.
        """
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
            query = f"{SPACE} WHERE model = %s AND version = %s"
            row = await (await connection.execute(query.encode(), (model, version))).fetchone()
            if row is not None:
                return _space(row)
            cursor = await connection.execute(
                "INSERT INTO embedding_spaces (model, version, dimensions, state, created_at) "
                "SELECT %s, %s, %s, CASE WHEN EXISTS (SELECT 1 FROM embedding_spaces WHERE state = 'current') "
                "THEN 'building' ELSE 'current' END, %s "
                "RETURNING id, model, version, dimensions, state, created_at",
                (model, version, dimensions, now),
            )
            row = await cursor.fetchone()
            assert row is not None  # noqa: S101 - INSERT … RETURNING gives one
            space = _space(row)
            await connection.execute(
                "INSERT INTO chunks_to_embed (chunk_id, space_id) SELECT id, %s FROM chunks", (space.id,)
            )
            if dimensions <= MOST_DIMENSIONS:
                await connection.execute(index_of(space))
        return space

    async def pending(self, space: Space, limit: int) -> Sequence[ToEmbed]:
        """The texts of at most so many chunks that have no vector yet; each text once.

        Those that came last are first, so that what is edited in a small source does not wait for a large one.
        """
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(PENDING, {"space": space.id, "limit": limit})).fetchall()
        return [
            ToEmbed(
                str(row["hash"]),
                embedded_text(str(row["heading"]), str(row["text"])),
                LEVELS[int(str(row["level_rank"]))],
            )
            for row in rows
        ]

    async def waiting(self, space: Space) -> int:
        """How many chunks have no vector yet."""
        async with self._pool.connection() as connection:
            query = "SELECT count(*) AS n FROM chunks_to_embed WHERE space_id = %s"
            row = await (await connection.execute(query, (space.id,))).fetchone()
        return 0 if row is None else int(str(row["n"]))

    async def put_vectors(self, space: Space, vectors: Mapping[str, bytes]) -> int:
        """Stores a vector (little-endian float32) for every chunk that waits with its hash; how many chunks got one.

        A chunk that is gone meanwhile gets none, and one that has a vector keeps it.
        """
        values = {
            "space": space.id,
            "hashes": list(vectors),
            "vectors": [literal(vector) for vector in vectors.values()],
        }
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
            return (await connection.execute(PUT, values)).rowcount

    async def switch(self, space: Space) -> None:
        """Lets searches ask this space, and forgets the one that they asked before.

        Raises:
            Conflict: some chunk has no vector in it yet.
            NotFound: there is no such space any more.
        """
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
            query = "SELECT count(*) AS n FROM chunks_to_embed WHERE space_id = %s"
            row = await (await connection.execute(query, (space.id,))).fetchone()
            if row is not None and row["n"]:
                raise Conflict(f"{row['n']} chunks have no vector of {space.model} yet. Switch when all of them have.")
            cursor = await connection.execute(
                "DELETE FROM embedding_spaces WHERE state = 'current' AND id <> %s RETURNING id", (space.id,)
            )
            for old in await cursor.fetchall():
                await connection.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(_index_name(int(str(old["id"])))))
            cursor = await connection.execute(
                "UPDATE embedding_spaces SET state = 'current' WHERE id = %s", (space.id,)
            )
            if not cursor.rowcount:
                raise NotFound(f"There is no embedding space {space.id}.")


async def current_space(connection: Connection) -> Space | None:
    """The space that searches ask; `None` where nothing was ever embedded."""
    row = await (await connection.execute(f"{SPACE} WHERE state = 'current'".encode())).fetchone()
    return None if row is None else _space(row)


async def nearest(
    connection: Connection, space: Space, query: bytes, scopes: Scopes, narrowing: Narrowing, limit: int
) -> dict[int, float]:
    """The chunks nearest to a vector, with the cosine, within the caller's transaction.

    All of them are compared where they are few, for then that is as fast as any index; else the index is asked.
    """
    narrowed = narrowing.join("found.chunk_id") if narrowing.narrows else ""
    parts = {
        "narrowed": sql.SQL(narrowed),
        "where": sql.SQL("AND" if narrowed else "WHERE"),
        "space": sql.Literal(space.id),
        "dimensions": sql.Literal(space.dimensions),
    }
    exact = space.dimensions > MOST_DIMENSIONS or await _few(connection, scopes, narrowing)
    if not exact:
        await connection.execute(TUNING, (str(EFFORT), str(LONGEST_SCAN)))
    values = {
        "query": literal(query),
        "space": space.id,
        "scopes": list(scopes.ids),
        "limit": limit,
        **narrowing.values,
    }
    statement = sql.SQL(EXACT_BEST if exact else INDEXED_BEST).format(**parts)
    rows = await (await connection.execute(statement, values, prepare=False)).fetchall()
    return {int(str(row["chunk_id"])): float(str(row["score"])) for row in rows}


async def cosines(connection: Connection, space: Space, query: bytes, chunks: Sequence[int]) -> dict[int, float]:
    """How near each of these chunks is; one without a vector has no entry."""
    values = {"query": literal(query), "space": space.id, "chunks": list(chunks)}
    rows = await (await connection.execute(SCORES, values, prepare=False)).fetchall()
    return {int(str(row["chunk_id"])): float(str(row["score"])) for row in rows}


async def vectors_of(connection: Connection, space: Space, chunks: Sequence[int]) -> dict[int, Sequence[float]]:
    """The vectors of these chunks."""
    query = "SELECT chunk_id, vector::real[] AS vector FROM chunk_vectors WHERE space_id = %s AND chunk_id = ANY(%s)"
    rows = await (await connection.execute(query, (space.id, list(chunks)))).fetchall()
    return {int(str(row["chunk_id"])): row["vector"] for row in rows}  # type: ignore[misc]


async def feedback(
    connection: Connection, space: Space, query: bytes, leaders: Sequence[int], chunks: Sequence[int]
) -> tuple[dict[int, float], float]:
    """How near each of these chunks is to the leaders' mean, which is brought to unit length; and how near the query.

    The leaders have vectors; a chunk without one has no entry.
    """
    values = {"query": literal(query), "space": space.id, "leaders": list(leaders), "chunks": list(chunks)}
    rows = await (await connection.execute(FEEDBACK, values, prepare=False)).fetchall()
    found = {int(str(row["chunk_id"])): float(str(row["score"])) for row in rows}
    return found, float(str(rows[0]["of_query"]))


def index_of(space: Space) -> sql.Composed:
    """What makes the space's index: of the inner product, which of unit vectors is the cosine."""
    return sql.SQL(
        "CREATE INDEX IF NOT EXISTS {} ON chunk_vectors USING hnsw ((vector::vector({})) vector_ip_ops) "
        "WHERE space_id = {}"
    ).format(_index_name(space.id), sql.Literal(space.dimensions), sql.Literal(space.id))


def literal(vector: bytes) -> str:
    """A vector as pgvector reads it."""
    return f"[{','.join(map(repr, floats_of(vector)))}]"


async def _few(connection: Connection, scopes: Scopes, narrowing: Narrowing) -> bool:
    """Whether few enough chunks are visible and match the filters."""
    if scopes.chunks <= EXACT:
        return True
    if not narrowing.narrows:
        return False
    matching = (
        f"SELECT count(*) AS n FROM (SELECT 1 FROM chunks AS found {narrowing.join('found.id')} "  # noqa: S608 - constants
        "AND found.scope_id = ANY(%(scopes)s) LIMIT %(limit)s) AS counted"
    )
    values = {"scopes": list(scopes.ids), "limit": EXACT + 1, **narrowing.values}
    row = await (await connection.execute(matching.encode(), values, prepare=False)).fetchone()
    return row is not None and int(str(row["n"])) <= EXACT


def _index_name(space_id: int) -> sql.Identifier:
    return sql.Identifier(f"chunk_vectors_of_space_{space_id}")


def _space(row: Mapping[str, object]) -> Space:
    return Space(
        int(str(row["id"])),
        str(row["model"]),
        str(row["version"]),
        int(str(row["dimensions"])),
        row["state"] == "current",
        row["created_at"],  # type: ignore[arg-type]
    )
