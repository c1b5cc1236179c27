"""The rows of secrets: encrypted, by name. Nothing here can read one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from tidemill.store.database import Connection, Pool
from tidemill.store.key_ring import Sealed

LOCK = 7304771240
"""Advisory: shared by whoever writes a secret or copies all of them, alone for whoever changes the keys."""

WRITE = """
INSERT INTO secrets (name, key_id, nonce, ciphertext, updated_at) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (name) DO UPDATE SET key_id = excluded.key_id, nonce = excluded.nonce, ciphertext = excluded.ciphertext,
updated_at = excluded.updated_at
"""


@dataclass(frozen=True, slots=True)
class SecretName:
    """A secret that is stored, without its value."""

    name: str
    key_id: str
    updated_at: datetime


class SecretRepository:
    """Secrets, each under its name."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def get(self, name: str) -> Sealed | None:
        """One secret, or `None`."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT name, key_id, nonce, ciphertext FROM secrets WHERE name = %s", (name,)
            )
            row = await cursor.fetchone()
        return _sealed(row) if row else None

    async def names(self) -> list[SecretName]:
        """Every secret's name, in alphabetical order."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute("SELECT name, key_id, updated_at FROM secrets ORDER BY name")
            return [SecretName(**row) for row in await cursor.fetchall()]  # type: ignore[arg-type]

    @asynccontextmanager
    async def changing_keys(self) -> AsyncIterator[None]:
        """A block during which no process writes a secret."""
        async with self._pool.locking() as connection:
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
            yield

    async def hold_keys(self, connection: Connection) -> None:
        """Lets no process change the keys until the transaction ends."""
        await connection.execute("SELECT pg_advisory_xact_lock_shared(%s)", (LOCK,))

    async def put(self, connection: Connection, sealed: Sealed, at: datetime) -> None:
        """Writes a secret, in the place of one of its name."""
        await connection.execute(WRITE, (sealed.name, sealed.key_id, sealed.nonce, sealed.ciphertext, at))

    async def delete(self, connection: Connection, name: str) -> bool:
        """Deletes a secret; False where there is none of this name."""
        cursor = await connection.execute("DELETE FROM secrets WHERE name = %s", (name,))
        return cursor.rowcount == 1

    async def all(self, connection: Connection) -> list[Sealed]:
        """Every secret, as it is stored."""
        cursor = await connection.execute("SELECT name, key_id, nonce, ciphertext FROM secrets ORDER BY name")
        return [_sealed(row) for row in await cursor.fetchall()]


def _sealed(row: dict[str, object]) -> Sealed:
    return Sealed(**row)  # type: ignore[arg-type]
