"""The rows of API keys."""

from datetime import datetime
from uuid import UUID

from tidemill.core.accounts import ApiKey, Role
from tidemill.store.database import Pool

COLUMNS = "id, name, role, prefix, created_at, last_used_at, revoked_at"
USE = f"UPDATE api_keys SET last_used_at = %s WHERE hash = %s AND revoked_at IS NULL RETURNING {COLUMNS}"  # noqa: S608
LIST = f"SELECT {COLUMNS} FROM api_keys ORDER BY created_at, id"  # noqa: S608 - the columns above, no input


class ApiKeyRepository:
    """API keys, found by the keyed hash of their secret."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(self, key: ApiKey, secret_hash: bytes) -> None:
        """Writes a new key."""
        async with self._pool.connection() as connection:
            await connection.execute(
                "INSERT INTO api_keys (id, name, role, prefix, hash, created_at) VALUES (%s, %s, %s, %s, %s, %s)",
                (key.id, key.name, key.role, key.prefix, secret_hash, key.created_at),
            )

    async def find(self, secret_hash: bytes, now: datetime) -> ApiKey | None:
        """The key that is not revoked with this hash, its last use set to `now`."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                USE,
                (now, secret_hash),
            )
            row = await cursor.fetchone()
        return _key(row) if row else None

    async def list(self) -> list[ApiKey]:
        """Every key, oldest first."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(LIST)
            return [_key(row) for row in await cursor.fetchall()]

    async def revoke(self, key_id: UUID, now: datetime) -> bool:
        """Revokes a key; False where no unrevoked key has this id."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "UPDATE api_keys SET revoked_at = %s WHERE id = %s AND revoked_at IS NULL", (now, key_id)
            )
            return cursor.rowcount == 1


def _key(row: dict[str, object]) -> ApiKey:
    return ApiKey(**{**row, "role": Role(str(row["role"]))})  # type: ignore[arg-type]
