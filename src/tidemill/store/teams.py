"""The rows of teams, their members, and departments."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import LiteralString
from uuid import UUID

import psycopg

from tidemill.core.accounts import Department, Team
from tidemill.core.errors import Conflict, NotFound
from tidemill.store.database import Connection, Pool

TEAM: LiteralString = "SELECT id, name, created_at, department_id FROM teams"
DEPARTMENT: LiteralString = "SELECT id, name, created_at FROM departments"
PAGE: LiteralString = "WHERE %(after)s::uuid IS NULL OR id > %(after)s ORDER BY id LIMIT %(limit)s"


class TeamRepository:
    """Teams and departments. A write takes the connection of the transaction that the audit log hears of."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def find(self, team_id: UUID) -> Team | None:
        """The team with this id."""
        rows = await self._rows(f"{TEAM} WHERE id = %s", (team_id,))
        return _team(rows[0]) if rows else None

    async def find_by_name(self, name: str) -> Team | None:
        """The team of this name, in whatever case."""
        rows = await self._rows(f"{TEAM} WHERE lower(name) = lower(%s)", (name,))
        return _team(rows[0]) if rows else None

    async def page(self, *, limit: int, after: UUID | None) -> Sequence[Team]:
        """Teams after an id, oldest first."""
        return [_team(row) for row in await self._rows(f"{TEAM} {PAGE}", {"after": after, "limit": limit})]

    async def lock(self, connection: Connection, team_id: UUID) -> Team | None:
        """The team with this id, whose row no one else changes until the transaction ends."""
        row = await (await connection.execute(f"{TEAM} WHERE id = %s FOR UPDATE", (team_id,))).fetchone()
        return _team(row) if row else None

    async def add(self, connection: Connection, team: Team) -> None:
        """Writes a new team.

        Raises:
            Conflict: there is a team of this name.
            NotFound: there is no such department.
        """
        with _said("team", team.name):
            await connection.execute(
                "INSERT INTO teams (id, name, created_at, department_id) VALUES (%s, %s, %s, %s)",
                (team.id, team.name, team.created_at, team.department_id),
            )

    async def update(self, connection: Connection, team: Team) -> None:
        """Writes a team's row anew; `lock` it first. Raises as `add` does."""
        with _said("team", team.name):
            await connection.execute(
                "UPDATE teams SET name = %s, department_id = %s WHERE id = %s",
                (team.name, team.department_id, team.id),
            )

    async def remove(self, connection: Connection, team_id: UUID) -> bool:
        """Deletes a team and who is in it; False where there is none."""
        cursor = await connection.execute("DELETE FROM teams WHERE id = %s", (team_id,))
        return cursor.rowcount == 1

    async def members(self, team_id: UUID, *, limit: int, after: UUID | None) -> Sequence[UUID]:
        """The ids of the people in a team after an id, oldest first."""
        rows = await self._rows(
            "SELECT user_id FROM team_members WHERE team_id = %(team)s "
            "AND (%(after)s::uuid IS NULL OR user_id > %(after)s) ORDER BY user_id LIMIT %(limit)s",
            {"team": team_id, "after": after, "limit": limit},
        )
        return [UUID(str(row["user_id"])) for row in rows]

    async def teams_of(self, users: Sequence[UUID]) -> Mapping[UUID, Sequence[Team]]:
        """Each one's teams, oldest first."""
        rows = await self._rows(
            "SELECT user_id, id, name, created_at, department_id FROM team_members JOIN teams ON teams.id = team_id "
            "WHERE user_id = ANY(%s) ORDER BY id",
            (list(users),),
        )
        found: dict[UUID, list[Team]] = {user: [] for user in users}
        for row in rows:
            found[UUID(str(row.pop("user_id")))].append(_team(row))
        return found

    async def add_member(self, connection: Connection, team_id: UUID, user_id: UUID) -> bool:
        """Puts a person into a team; False where the person is in it already."""
        cursor = await connection.execute(
            "INSERT INTO team_members (team_id, user_id) VALUES (%s, %s) ON CONFLICT DO NOTHING", (team_id, user_id)
        )
        return cursor.rowcount == 1

    async def remove_member(self, connection: Connection, team_id: UUID, user_id: UUID) -> bool:
        """Takes a person out of a team; False where the person was not in it."""
        cursor = await connection.execute(
            "DELETE FROM team_members WHERE team_id = %s AND user_id = %s", (team_id, user_id)
        )
        return cursor.rowcount == 1

    async def find_department(self, department_id: UUID) -> Department | None:
        """The department with this id."""
        rows = await self._rows(f"{DEPARTMENT} WHERE id = %s", (department_id,))
        return _department(rows[0]) if rows else None

    async def find_department_by_name(self, name: str) -> Department | None:
        """The department of this name, in whatever case."""
        rows = await self._rows(f"{DEPARTMENT} WHERE lower(name) = lower(%s)", (name,))
        return _department(rows[0]) if rows else None

    async def departments(self, *, limit: int, after: UUID | None) -> Sequence[Department]:
        """Departments after an id, oldest first."""
        rows = await self._rows(f"{DEPARTMENT} {PAGE}", {"after": after, "limit": limit})
        return [_department(row) for row in rows]

    async def add_department(self, connection: Connection, department: Department) -> None:
        """Writes a new department.

        Raises:
            Conflict: there is one of this name.
        """
        with _said("department", department.name):
            await connection.execute(
                "INSERT INTO departments (id, name, created_at) VALUES (%s, %s, %s)",
                (department.id, department.name, department.created_at),
            )

    async def rename_department(self, connection: Connection, department_id: UUID, name: str) -> bool:
        """Gives a department another name; False where there is none.

        Raises:
            Conflict: there is one of this name.
        """
        with _said("department", name):
            cursor = await connection.execute("UPDATE departments SET name = %s WHERE id = %s", (name, department_id))
        return cursor.rowcount == 1

    async def remove_department(self, connection: Connection, department_id: UUID) -> bool:
        """Deletes a department; False where there is none.

        Raises:
            Conflict: people or teams belong to it.
        """
        try:
            cursor = await connection.execute("DELETE FROM departments WHERE id = %s", (department_id,))
        except psycopg.errors.ForeignKeyViolation as error:
            raise Conflict(
                f"People or teams belong to the department {department_id}. Move them to another one first."
            ) from error
        return cursor.rowcount == 1

    async def _rows(
        self, query: LiteralString, parameters: tuple[object, ...] | Mapping[str, object]
    ) -> list[dict[str, object]]:
        async with self._pool.connection() as connection:
            return await (await connection.execute(query, parameters)).fetchall()


@contextmanager
def _said(kind: str, name: str) -> Iterator[None]:
    try:
        yield
    except psycopg.errors.UniqueViolation as error:
        raise Conflict(f"There is a {kind} called {name!r} already.", param="name") from error
    except psycopg.errors.ForeignKeyViolation as error:
        raise NotFound("There is no such department.", param="department_id") from error


def _team(row: Mapping[str, object]) -> Team:
    return Team(**row)  # type: ignore[arg-type]


def _department(row: Mapping[str, object]) -> Department:
    return Department(**row)  # type: ignore[arg-type]
