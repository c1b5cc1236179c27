"""What waits for a vector, beside what `vectors` says: of one source, and what can't have one."""

from collections.abc import Sequence
from uuid import UUID

from psycopg import sql

from tidemill.store.database import Pool
from tidemill.store.search_index import LOCK
from tidemill.store.vectors import Space

FILLING = 7304771252
"""Advisory: one process at a time asks a model for the vectors of what waits."""


class EmbeddingQueue:
    """The lines of `chunks_to_embed`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def waiting_of(self, space: Space, source_id: UUID) -> int:
        """How many chunks of a source have no vector yet."""
        query = (
            "SELECT count(*) AS n FROM chunks_to_embed JOIN chunks ON chunks.id = chunk_id "
            "JOIN documents ON documents.id = document_id WHERE space_id = %s AND source_id = %s"
        )
        async with self._pool.connection() as connection:
            row = await (await connection.execute(query, (space.id, source_id))).fetchone()
        return 0 if row is None else int(str(row["n"]))

    async def leave_out(self, space: Space, hashes: Sequence[str]) -> None:
        """Lets the chunks of these hashes be without a vector: they are found by their words alone."""
        async with self._pool.connection() as connection:
            await connection.execute(
                "DELETE FROM chunks_to_embed USING chunks WHERE space_id = %s AND chunks.id = chunk_id "
                "AND hash = ANY(%s)",
                (space.id, list(hashes)),
            )

    async def drop(self, space: Space) -> None:
        """Forgets a space that was being filled and is no longer wanted. The one that is searched stays."""
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
            cursor = await connection.execute(
                "DELETE FROM embedding_spaces WHERE id = %s AND state = 'building'", (space.id,)
            )
            if cursor.rowcount:
                name = sql.Identifier(f"chunk_vectors_of_space_{space.id}")
                await connection.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(name))
