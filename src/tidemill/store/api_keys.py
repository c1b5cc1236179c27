"""The rows of API keys."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString
from uuid import UUID

from tidemill.core.accounts import ApiKey, Right, Role
from tidemill.core.classification import Level
from tidemill.store.database import Connection, Pool

SELECT: LiteralString = (
    "SELECT id, name, role, prefix, created_at, last_used_at, revoked_at, owner_id, scopes, expires_at, replaced_by, "
    "origin_id FROM api_keys"
)
WITH_OWNER: LiteralString = (
    "SELECT k.id, k.name, k.role, k.prefix, k.created_at, k.last_used_at, k.revoked_at, k.owner_id, k.scopes, "
    "k.expires_at, k.replaced_by, k.origin_id, u.role AS owner_role, u.access_level AS owner_level, "
    "u.disabled_at IS NULL AND u.erased_at IS NULL AS owner_enabled "
    "FROM api_keys AS k LEFT JOIN users AS u ON u.id = k.owner_id"
)


@dataclass(frozen=True, slots=True)
class Owner:
    """What a key takes from the person to whom it belongs."""

    role: Role
    level: Level
    enabled: bool


class ApiKeyRepository:
    """API keys, found by the keyed hash of their secret."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(self, connection: Connection, key: ApiKey, secret_hash: bytes) -> None:
        """Writes a new key."""
        await connection.execute(
            "INSERT INTO api_keys (id, name, role, prefix, hash, created_at, owner_id, scopes, expires_at, origin_id) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (
                key.id,
                key.name,
                key.role,
                key.prefix,
                secret_hash,
                key.created_at,
                key.owner_id,
                None if key.scopes is None else sorted(key.scopes),
                key.expires_at,
                key.origin_id,
            ),
        )

    async def find_by_hash(self, secret_hash: bytes) -> tuple[ApiKey, Owner | None] | None:
        """The key with this hash, dead ones too, and its owner."""
        return await self._with_owner(f"{WITH_OWNER} WHERE k.hash = %s", (secret_hash,))

    async def find(self, key_id: UUID) -> tuple[ApiKey, Owner | None] | None:
        """The key with this id, dead ones too, and its owner."""
        return await self._with_owner(f"{WITH_OWNER} WHERE k.id = %s", (key_id,))

    async def lock(self, connection: Connection, key_id: UUID) -> ApiKey | None:
        """The key with this id, whose row no one else changes until the transaction ends."""
        row = await (await connection.execute(f"{SELECT} WHERE id = %s FOR UPDATE", (key_id,))).fetchone()
        return _key(row) if row else None

    async def list(self) -> list[ApiKey]:
        """Every key, oldest first."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(f"{SELECT} ORDER BY created_at, id")
            return [_key(row) for row in await cursor.fetchall()]

    async def page(self, *, owner_id: UUID | None, limit: int, after: UUID | None) -> Sequence[ApiKey]:
        """Keys after an id, oldest first; of one owner where one is given."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                f"{SELECT} WHERE (%(owner)s::uuid IS NULL OR owner_id = %(owner)s) "
                "AND (%(after)s::uuid IS NULL OR id > %(after)s) ORDER BY id LIMIT %(limit)s",
                {"owner": owner_id, "after": after, "limit": limit},
            )
            return [_key(row) for row in await cursor.fetchall()]

    async def live_of(self, connection: Connection, owner_id: UUID | None, now: datetime) -> Sequence[ApiKey]:
        """The keys of a person (`None`: of the installation) that are neither revoked nor expired; locked."""
        cursor = await connection.execute(
            f"{SELECT} WHERE owner_id IS NOT DISTINCT FROM %(owner)s AND revoked_at IS NULL "
            "AND (expires_at IS NULL OR expires_at > %(now)s) ORDER BY id FOR UPDATE",
            {"owner": owner_id, "now": now},
        )
        return [_key(row) for row in await cursor.fetchall()]

    async def count_live(self, owner_id: UUID, now: datetime) -> int:
        """How many of a person's keys are neither revoked nor expired."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT 1 FROM api_keys WHERE owner_id = %s AND revoked_at IS NULL "
                "AND (expires_at IS NULL OR expires_at > %s)",
                (owner_id, now),
            )
            return cursor.rowcount

    async def revoke(self, connection: Connection, key_id: UUID, now: datetime) -> bool:
        """Revokes a key; False where no unrevoked key has this id."""
        cursor = await connection.execute(
            "UPDATE api_keys SET revoked_at = %s WHERE id = %s AND revoked_at IS NULL", (now, key_id)
        )
        return cursor.rowcount == 1

    async def replace(self, connection: Connection, key_id: UUID, by: UUID, expires_at: datetime) -> None:
        """Notes which key a key was rotated into, and when it ends."""
        await connection.execute(
            "UPDATE api_keys SET replaced_by = %s, expires_at = %s WHERE id = %s", (by, expires_at, key_id)
        )

    async def note_uses(self, uses: Mapping[UUID, datetime]) -> None:
        """Sets when each key was last used."""
        async with self._pool.connection() as connection:
            await connection.execute(
                "UPDATE api_keys SET last_used_at = used.at "
                "FROM unnest(%s::uuid[], %s::timestamptz[]) AS used (id, at) "
                "WHERE api_keys.id = used.id AND (last_used_at IS NULL OR last_used_at < used.at)",
                (list(uses), list(uses.values())),
            )

    async def _with_owner(
        self, query: LiteralString, parameters: tuple[object, ...]
    ) -> tuple[ApiKey, Owner | None] | None:
        async with self._pool.connection() as connection:
            row = await (await connection.execute(query, parameters)).fetchone()
        if row is None:
            return None
        role, level, enabled = row.pop("owner_role"), row.pop("owner_level"), row.pop("owner_enabled")
        owner = None if role is None else Owner(Role(str(role)), Level(str(level)), bool(enabled))
        return _key(row), owner


def _key(row: Mapping[str, object]) -> ApiKey:
    scopes = row["scopes"]
    typed = {
        "role": Role(str(row["role"])),
        "scopes": frozenset(Right(scope) for scope in scopes) if isinstance(scopes, list) else None,
    }
    return ApiKey(**{**row, **typed})  # type: ignore[arg-type]
