"""The rows of cached embeddings, by the model's exact version and the text's digest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from tidemill.store.database import Pool


@dataclass(frozen=True, slots=True)
class CachedVector:
    """What is kept of a text: its vector (little-endian float32) and how many tokens it had, never the text."""

    vector: bytes
    tokens: int


class EmbeddingCacheRepository:
    """Cached embeddings. Reading and writing many is one statement each."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def find(self, model_version: str, hashes: Sequence[bytes], since: datetime) -> dict[bytes, CachedVector]:
        """What is there for these SHA-256 digests of texts and not older."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT content_hash, vector, tokens FROM embedding_cache "
                "WHERE model_version = %s AND content_hash = ANY(%s::bytea[]) AND created_at >= %s",
                (model_version, list(hashes), since),
            )
            return {
                bytes(row["content_hash"]): CachedVector(bytes(row["vector"]), int(row["tokens"]))  # type: ignore[call-overload]
                for row in await cursor.fetchall()
            }

    async def add(
        self, model_version: str, vectors: Mapping[bytes, CachedVector], owner_id: UUID | None, now: datetime
    ) -> None:
        """Keeps vectors by digest, in the name of who asked first. One that has been there for too long is renewed."""
        ordered = sorted(vectors.items())  # two writers that hold each other's rows would wait for ever otherwise
        async with self._pool.connection() as connection:
            await connection.execute(
                "INSERT INTO embedding_cache (model_version, content_hash, vector, tokens, owner_id, created_at) "
                "SELECT %s, one.hash, one.vector, one.tokens, %s, %s "
                "FROM unnest(%s::bytea[], %s::bytea[], %s::integer[]) AS one (hash, vector, tokens) "
                "ON CONFLICT (model_version, content_hash) DO UPDATE "
                "SET vector = excluded.vector, tokens = excluded.tokens, created_at = excluded.created_at",
                (
                    model_version,
                    owner_id,
                    now,
                    [key for key, _ in ordered],
                    [one.vector for _, one in ordered],
                    [one.tokens for _, one in ordered],
                ),
            )
