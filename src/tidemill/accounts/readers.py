"""Which documents a caller may see."""

from tidemill.core.accounts import Caller, Role
from tidemill.core.search import Reader
from tidemill.store.people import PeopleRepository
from tidemill.store.teams import TeamRepository


class Readers:
    """Knows people's departments: their own, and those of the teams they are in."""

    def __init__(self, people: PeopleRepository, teams: TeamRepository) -> None:
        self._people = people
        self._teams = teams

    async def of(self, caller: Caller) -> Reader:
        """What this caller may see, up to the caller's level. Nothing of it comes from a request's body.

        An admin, and a key of the installation itself, sees the documents of every department.
        """
        if caller.user_id is None or caller.role is Role.ADMIN:
            return Reader(caller.level, all_departments=True)
        person = await self._people.find(caller.user_id)
        teams = (await self._teams.teams_of([caller.user_id]))[caller.user_id]
        found = {team.department_id for team in teams} | {person.department_id if person else None}
        return Reader(caller.level, frozenset(one for one in found if one is not None))
