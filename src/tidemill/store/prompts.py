"""The rows of prompts that a team has set. A row is never changed but for whether it is in force."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from tidemill.core.errors import TidemillError
from tidemill.store.database import Connection, Pool


@dataclass(frozen=True, slots=True)
class PromptRow:
    """One version of one prompt. `actor_id` is whoever set it, `None` for a command of this machine."""

    name: str
    language: str
    number: int
    hash: str
    source: str
    active: bool
    created_at: datetime
    note: str | None = None
    actor_id: UUID | None = None


class PromptRepository:
    """Versions of prompts, numbered from 1 for each name and language."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def all(self) -> list[PromptRow]:
        """Every version, oldest first."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT name, language, version AS number, hash, template AS source, active, created_at, note, "
                "actor_id FROM prompts ORDER BY name, language, version"
            )
            return [PromptRow(**row) for row in await cursor.fetchall()]  # type: ignore[arg-type]

    async def mark(self) -> str:
        """Changes whenever a row does: what is remembered of the rows holds as long as this does."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT coalesce(md5(string_agg(concat(name, language, version, active), ',' "
                "ORDER BY name, language, version)), '') AS mark FROM prompts"
            )
            row = await cursor.fetchone()
        if row is None:
            raise TidemillError("The database gave no row for an aggregate.")
        return str(row["mark"])

    async def add(self, connection: Connection, row: PromptRow) -> int:
        """Adds a version under the next number, and puts it in force where it says so; returns the number."""
        await self._lock(connection, row.name, row.language)
        if row.active:
            await self._retire(connection, row.name, row.language)
        cursor = await connection.execute(
            "INSERT INTO prompts (name, language, version, hash, template, note, actor_id, active, created_at) "
            "SELECT %s, %s, coalesce(max(version), 0) + 1, %s, %s, %s, %s, %s, %s FROM prompts "
            "WHERE name = %s AND language = %s RETURNING version",
            (
                row.name, row.language, row.hash, row.source, row.note, row.actor_id, row.active, row.created_at,
                row.name, row.language,
            ),
        )  # fmt: skip
        added = await cursor.fetchone()
        if added is None:
            raise TidemillError("The database did not say which number the prompt has.")
        return int(str(added["version"]))

    async def activate(self, connection: Connection, name: str, language: str, number: int) -> bool:
        """Puts a version in force, 0 for the one that ships; returns whether there is such a version."""
        await self._lock(connection, name, language)
        await self._retire(connection, name, language)
        if number == 0:
            return True
        cursor = await connection.execute(
            "UPDATE prompts SET active = true WHERE name = %s AND language = %s AND version = %s",
            (name, language, number),
        )
        return cursor.rowcount == 1

    async def _lock(self, connection: Connection, name: str, language: str) -> None:
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 7304))", (f"{name}/{language}",))

    async def _retire(self, connection: Connection, name: str, language: str) -> None:
        await connection.execute(
            "UPDATE prompts SET active = false WHERE name = %s AND language = %s AND active", (name, language)
        )
