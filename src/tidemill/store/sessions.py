"""The rows of sessions."""

from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString
from uuid import UUID

from tidemill.core.accounts import Role, Session
from tidemill.core.classification import Level
from tidemill.store.database import Connection, Pool

LIVE: LiteralString = "ended_at IS NULL AND sessions.created_at > %(born)s AND seen_at > %(seen)s"
SELECT: LiteralString = (
    "SELECT sessions.id, user_id, sessions.created_at, seen_at, users.role, users.access_level FROM sessions "
    "JOIN users ON users.id = user_id AND users.disabled_at IS NULL AND users.erased_at IS NULL"
)


@dataclass(frozen=True, slots=True)
class LiveSession:
    """A session with what its person is at this moment."""

    session: Session
    role: Role
    access_level: Level


class SessionRepository:
    """Sessions, found by the keyed hash of their token.

    Where a method takes `born` and `seen`, only sessions that began and were last seen after these are live.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(self, connection: Connection, session: Session, token_hash: bytes) -> None:
        """Writes a new session, in the transaction in which the audit log hears of it."""
        await connection.execute(
            "INSERT INTO sessions (id, user_id, token_hash, created_at, seen_at) VALUES (%s, %s, %s, %s, %s)",
            (session.id, session.user_id, token_hash, session.created_at, session.seen_at),
        )

    async def find(self, token_hash: bytes, *, born: datetime, seen: datetime) -> LiveSession | None:
        """The live session with this token, if its person is enabled."""
        return await self._one("token_hash = %(key)s", token_hash, born, seen)

    async def find_id(self, session_id: UUID, *, born: datetime, seen: datetime) -> LiveSession | None:
        """The live session with this id, if its person is enabled."""
        return await self._one("sessions.id = %(key)s", session_id, born, seen)

    async def see(self, session_id: UUID, now: datetime) -> None:
        """Notes that the session was used, unless a later use is noted already."""
        async with self._pool.connection() as connection:
            await connection.execute(
                "UPDATE sessions SET seen_at = %(now)s WHERE id = %(id)s AND seen_at < %(now)s",
                {"id": session_id, "now": now},
            )

    async def of(self, user_id: UUID, *, born: datetime, seen: datetime) -> list[Session]:
        """A person's live sessions, newest first."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                f"{SELECT} WHERE user_id = %(user)s AND {LIVE} ORDER BY sessions.created_at DESC, sessions.id DESC",
                {"user": user_id, "born": born, "seen": seen},
            )
            return [_session(row) for row in await cursor.fetchall()]

    async def end(self, connection: Connection, session_id: UUID, user_id: UUID, now: datetime) -> bool:
        """Ends one session of a person; False where no unended one has this id."""
        cursor = await connection.execute(
            "UPDATE sessions SET ended_at = %s WHERE id = %s AND user_id = %s AND ended_at IS NULL",
            (now, session_id, user_id),
        )
        return cursor.rowcount == 1

    async def end_all(self, connection: Connection, user_id: UUID, now: datetime, *, but: UUID | None = None) -> int:
        """Ends every session of a person, save for one where it is given. How many there were."""
        cursor = await connection.execute(
            "UPDATE sessions SET ended_at = %s WHERE user_id = %s AND ended_at IS NULL AND id IS DISTINCT FROM %s",
            (now, user_id, but),
        )
        return cursor.rowcount

    async def end_token(self, connection: Connection, token_hash: bytes, now: datetime) -> Session | None:
        """Ends the session with this token; `None` where no unended one has it."""
        cursor = await connection.execute(
            "UPDATE sessions SET ended_at = %s WHERE token_hash = %s AND ended_at IS NULL "
            "RETURNING id, user_id, created_at, seen_at",
            (now, token_hash),
        )
        row = await cursor.fetchone()
        return _session(row) if row else None

    async def forget(self, before: datetime) -> int:
        """Deletes sessions that ended, or were last seen, before this. How many there were."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "DELETE FROM sessions WHERE ended_at < %(before)s OR seen_at < %(before)s", {"before": before}
            )
            return cursor.rowcount

    async def _one(self, where: LiteralString, key: bytes | UUID, born: datetime, seen: datetime) -> LiveSession | None:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                f"{SELECT} WHERE {where} AND {LIVE}", {"key": key, "born": born, "seen": seen}
            )
            row = await cursor.fetchone()
        if row is None:
            return None
        return LiveSession(_session(row), Role(str(row["role"])), Level(str(row["access_level"])))


def _session(row: dict[str, object]) -> Session:
    return Session(row["id"], row["user_id"], row["created_at"], row["seen_at"])  # type: ignore[arg-type]
