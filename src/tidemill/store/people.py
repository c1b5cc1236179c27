"""The rows of people."""

from datetime import datetime
from typing import LiteralString
from uuid import UUID

import psycopg

from tidemill.core.accounts import Role, User
from tidemill.core.classification import Level
from tidemill.core.errors import Conflict, NotFound
from tidemill.store.database import Connection, Pool

SELECT: LiteralString = (
    "SELECT id, email, name, role, created_at, access_level, department_id, password_hash, oidc_issuer, "
    "oidc_subject, disabled_at, erased_at FROM users"
)
ADMINS = 7304771231
"""The advisory lock under which the number of admins changes."""


class PeopleRepository:
    """People. A write takes the connection of the transaction in which the audit log hears of it."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def find(self, user_id: UUID) -> User | None:
        """The person with this id, disabled and erased ones, too."""
        return await self._one(f"{SELECT} WHERE id = %s", (user_id,))

    async def find_by_email(self, email: str) -> User | None:
        """The person with this address, which `normal_email` has made."""
        return await self._one(f"{SELECT} WHERE lower(email) = lower(%s)", (email,))

    async def find_by_oidc(self, issuer: str, subject: str) -> User | None:
        """The person whom this issuer knows as this subject."""
        return await self._one(f"{SELECT} WHERE oidc_issuer = %s AND oidc_subject = %s", (issuer, subject))

    async def page(self, *, limit: int, after: UUID | None) -> list[User]:
        """People who are not erased, oldest first, after an id."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                f"{SELECT} WHERE erased_at IS NULL AND (%(after)s::uuid IS NULL OR id > %(after)s) "
                "ORDER BY id LIMIT %(limit)s",
                {"after": after, "limit": limit},
            )
            return [_user(row) for row in await cursor.fetchall()]

    async def lock(self, connection: Connection, user_id: UUID) -> User | None:
        """The person with this id, whose row no one else changes until the transaction ends."""
        cursor = await connection.execute(f"{SELECT} WHERE id = %s FOR UPDATE", (user_id,))
        row = await cursor.fetchone()
        return _user(row) if row else None

    async def add(self, connection: Connection, user: User) -> None:
        """Writes a new person.

        Raises:
            Conflict: someone has the address, or the issuer's subject, already.
            NotFound: there is no such department.
        """
        try:
            await connection.execute(
                "INSERT INTO users (id, email, name, role, created_at, access_level, department_id, password_hash, "
                "oidc_issuer, oidc_subject, disabled_at, erased_at) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                (user.id, user.email, user.name, user.role, user.created_at, *_changeable(user)),
            )
        except psycopg.errors.UniqueViolation as error:
            raise _taken(error) from error
        except psycopg.errors.ForeignKeyViolation as error:
            raise _no_department(user) from error

    async def update(self, connection: Connection, user: User) -> None:
        """Writes a person's row anew, whole; `lock` it first.

        Raises:
            Conflict: someone else has the address, or the issuer's subject.
            NotFound: there is no such department.
        """
        try:
            await connection.execute(
                "UPDATE users SET email = %s, name = %s, role = %s, access_level = %s, department_id = %s, "
                "password_hash = %s, oidc_issuer = %s, oidc_subject = %s, disabled_at = %s, erased_at = %s "
                "WHERE id = %s",
                (user.email, user.name, user.role, *_changeable(user), user.id),
            )
        except psycopg.errors.UniqueViolation as error:
            raise _taken(error) from error
        except psycopg.errors.ForeignKeyViolation as error:
            raise _no_department(user) from error

    async def lock_admins(self, connection: Connection) -> list[UUID]:
        """The enabled admins; until the transaction ends, no one else changes who they are."""
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (ADMINS,))
        cursor = await connection.execute(
            "SELECT id FROM users WHERE role = 'admin' AND disabled_at IS NULL AND erased_at IS NULL"
        )
        return [UUID(str(row["id"])) for row in await cursor.fetchall()]

    async def teammates(self, user_id: UUID) -> list[UUID]:
        """The ids of the people who share a team with this one, who is not among them."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT DISTINCT theirs.user_id FROM team_members AS own JOIN team_members AS theirs USING (team_id) "
                "WHERE own.user_id = %(user)s AND theirs.user_id <> %(user)s",
                {"user": user_id},
            )
            return [UUID(str(row["user_id"])) for row in await cursor.fetchall()]

    async def _one(self, query: LiteralString, parameters: tuple[object, ...]) -> User | None:
        async with self._pool.connection() as connection:
            row = await (await connection.execute(query, parameters)).fetchone()
        return _user(row) if row else None


def _changeable(user: User) -> tuple[str | UUID | datetime | None, ...]:
    return (
        user.access_level,
        user.department_id,
        user.password_hash,
        user.oidc_issuer,
        user.oidc_subject,
        user.disabled_at,
        user.erased_at,
    )


def _taken(error: psycopg.errors.UniqueViolation) -> Conflict:
    if error.diag.constraint_name == "users_by_oidc":
        return Conflict("Another person is known to this issuer under the same subject.")
    return Conflict("Someone has this email address already. Choose another, or change that person.", param="email")


def _no_department(user: User) -> NotFound:
    return NotFound(f"There is no department {user.department_id}.", param="department_id")


def _user(row: dict[str, object]) -> User:
    typed = {"role": Role(str(row["role"])), "access_level": Level(str(row["access_level"]))}
    return User(**{**row, **typed})  # type: ignore[arg-type]
