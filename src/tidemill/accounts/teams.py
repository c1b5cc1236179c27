"""Teams, whose members see one another's reviews, and departments."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypedDict
from uuid import UUID

from tidemill.accounts.audit import Audit
from tidemill.core.accounts import Department, Team, proper_name
from tidemill.core.audit import Actor
from tidemill.core.clock import Clock
from tidemill.core.errors import NotFound
from tidemill.core.ids import new_id
from tidemill.store.people import PeopleRepository
from tidemill.store.teams import TeamRepository


class TeamChanges(TypedDict, total=False):
    """What is to change of a team; what is not there stays."""

    name: str
    department_id: UUID | None


class Teams:
    """The service for teams and departments.

    Args:
        rows: their rows.
        people: the rows of those who are in them.
        audit: hears of each change.
        clock: gives their times.
    """

    def __init__(self, rows: TeamRepository, people: PeopleRepository, *, audit: Audit, clock: Clock) -> None:
        self._rows = rows
        self._people = people
        self._audit = audit
        self._clock = clock

    async def add(self, name: str, actor: Actor, *, department_id: UUID | None = None) -> Team:
        """Makes a team of nobody.

        Raises:
            InvalidInput: the name can't be used.
            Conflict: there is a team of this name.
            NotFound: there is no such department.
        """
        team = Team(new_id(), proper_name(name, "a team's"), self._clock(), department_id)
        async with self._audit.change(actor) as change:
            await self._rows.add(change.connection, team)
            change.note("team.added", "team", team.id)
        return team

    async def get(self, team_id: UUID) -> Team:
        """The team with this id, or `NotFound`."""
        return _known(await self._rows.find(team_id), team_id)

    async def get_by_name(self, name: str) -> Team:
        """The team of this name, in whatever case, or `NotFound`."""
        return _known(await self._rows.find_by_name(name), name)

    async def page(self, *, limit: int, after: UUID | None) -> Sequence[Team]:
        """Teams after an id, oldest first."""
        return await self._rows.page(limit=limit, after=after)

    async def change(self, team_id: UUID, changes: TeamChanges, actor: Actor) -> Team:
        """Renames a team or moves it to another department. Raises as `add` does."""
        async with self._audit.change(actor) as change:
            old = _known(await self._rows.lock(change.connection, team_id), team_id)
            new = old
            if "name" in changes:
                new = replace(new, name=proper_name(changes["name"], "a team's"))
            if "department_id" in changes:
                new = replace(new, department_id=changes["department_id"])
            if new != old:
                await self._rows.update(change.connection, new)
                fields = [field for field in ("name", "department_id") if getattr(old, field) != getattr(new, field)]
                change.note("team.changed", "team", team_id, fields=fields)
        return new

    async def remove(self, team_id: UUID, actor: Actor) -> None:
        """Deletes a team; its people stay. `NotFound` where there is none."""
        async with self._audit.change(actor) as change:
            if not await self._rows.remove(change.connection, team_id):
                raise NotFound(f"There is no team {team_id}.")
            change.note("team.removed", "team", team_id)

    async def members(self, team_id: UUID, *, limit: int, after: UUID | None) -> Sequence[UUID]:
        """The ids of the people in a team after an id, oldest first; `NotFound` where there is no such team."""
        await self.get(team_id)
        return await self._rows.members(team_id, limit=limit, after=after)

    async def teams_of(self, users: Sequence[UUID]) -> Mapping[UUID, Sequence[Team]]:
        """Each one's teams, oldest first."""
        return await self._rows.teams_of(users)

    async def add_member(self, team_id: UUID, user_id: UUID, actor: Actor) -> None:
        """Puts a person into a team; nothing happens where the person is in it.

        Raises:
            NotFound: there is no such team, or no such person.
        """
        async with self._audit.change(actor) as change:
            _known(await self._rows.lock(change.connection, team_id), team_id)
            user = await self._people.lock(change.connection, user_id)
            if user is None or user.erased_at is not None:
                raise NotFound(f"There is no person {user_id}.")
            if await self._rows.add_member(change.connection, team_id, user_id):
                change.note("team.member_added", "team", team_id, user_id=str(user_id))

    async def remove_member(self, team_id: UUID, user_id: UUID, actor: Actor) -> None:
        """Takes a person out of a team; `NotFound` where the person is not in it."""
        async with self._audit.change(actor) as change:
            if not await self._rows.remove_member(change.connection, team_id, user_id):
                raise NotFound(f"There is no person {user_id} in a team {team_id}.")
            change.note("team.member_removed", "team", team_id, user_id=str(user_id))

    async def add_department(self, name: str, actor: Actor) -> Department:
        """Makes a department.

        Raises:
            InvalidInput: the name can't be used.
            Conflict: there is a department of this name.
        """
        department = Department(new_id(), proper_name(name, "a department's"), self._clock())
        async with self._audit.change(actor) as change:
            await self._rows.add_department(change.connection, department)
            change.note("department.added", "department", department.id)
        return department

    async def department(self, department_id: UUID) -> Department:
        """The department with this id, or `NotFound`."""
        found = await self._rows.find_department(department_id)
        if found is None:
            raise NotFound(f"There is no department {department_id}.")
        return found

    async def department_by_name(self, name: str) -> Department:
        """The department of this name, in whatever case, or `NotFound`."""
        found = await self._rows.find_department_by_name(name)
        if found is None:
            raise NotFound(f"There is no department {name!r}.")
        return found

    async def departments(self, *, limit: int, after: UUID | None) -> Sequence[Department]:
        """Departments after an id, oldest first."""
        return await self._rows.departments(limit=limit, after=after)

    async def rename_department(self, department_id: UUID, name: str, actor: Actor) -> Department:
        """Gives a department another name. Raises as `add_department` does; `NotFound` where there is none."""
        async with self._audit.change(actor) as change:
            if not await self._rows.rename_department(
                change.connection, department_id, proper_name(name, "a department's")
            ):
                raise NotFound(f"There is no department {department_id}.")
            change.note("department.renamed", "department", department_id)
        return await self.department(department_id)

    async def remove_department(self, department_id: UUID, actor: Actor) -> None:
        """Deletes a department.

        Raises:
            NotFound: there is none.
            Conflict: people or teams belong to it.
        """
        async with self._audit.change(actor) as change:
            if not await self._rows.remove_department(change.connection, department_id):
                raise NotFound(f"There is no department {department_id}.")
            change.note("department.removed", "department", department_id)


def _known(team: Team | None, called: UUID | str) -> Team:
    if team is None:
        raise NotFound(f"There is no team {called}.")
    return team
