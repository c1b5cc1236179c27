"""Whose requests count towards a limit: a subject is there, and is named in one way."""

from uuid import UUID

from tidemill.core.accounts import Caller
from tidemill.core.deployment import Task
from tidemill.core.errors import InvalidInput, NotFound
from tidemill.core.limits import LimitScope
from tidemill.store.api_keys import ApiKeyRepository
from tidemill.store.people import PeopleRepository
from tidemill.store.teams import TeamRepository


class Subjects:
    """Knows the keys, people and teams that a limit can be for.

    Args:
        keys: the rows of keys.
        people: the rows of people.
        teams: the rows of teams.
    """

    def __init__(self, keys: ApiKeyRepository, people: PeopleRepository, teams: TeamRepository) -> None:
        self._keys = keys
        self._people = people
        self._teams = teams

    async def named(self, scope: LimitScope, subject: str | None) -> str:
        """The subject as rows have it: of a key that was rotated, the first one.

        Raises:
            InvalidInput: the scope has no subject, or one that is missing or no id.
            NotFound: there is no such key, person, team or task.
        """
        if scope is LimitScope.ALL:
            if subject:
                raise InvalidInput("A limit for `all` is everyone's, so it has no subject.", param="subject")
            return ""
        if not subject:
            raise InvalidInput(f"A limit for a {scope} needs a subject: which {scope} it is for.", param="subject")
        if scope is LimitScope.TASK:
            if subject not in set(Task):
                raise NotFound(f"There is no task {subject!r}. The tasks are {', '.join(Task)}.", param="subject")
            return subject
        return str(await self._id(scope, _uuid(scope, subject)))

    async def of(self, caller: Caller) -> frozenset[tuple[LimitScope, str]]:
        """Everything that a caller's requests count towards, save tasks."""
        found = [(LimitScope.ALL, "")]
        if caller.key_id is not None:
            found.append((LimitScope.KEY, str(await self._id(LimitScope.KEY, caller.key_id))))
        if caller.user_id is not None:
            teams = await self._teams.teams_of([caller.user_id])
            found.append((LimitScope.USER, str(caller.user_id)))
            found += [(LimitScope.TEAM, str(team.id)) for team in teams[caller.user_id]]
        return frozenset(found)

    async def _id(self, scope: LimitScope, subject: UUID) -> UUID:
        if scope is LimitScope.KEY:
            if (found := await self._keys.find(subject)) is not None:
                return found[0].origin_id or found[0].id
        elif scope is LimitScope.USER:
            if (user := await self._people.find(subject)) is not None and user.erased_at is None:
                return user.id
        elif (team := await self._teams.find(subject)) is not None:
            return team.id
        raise NotFound(f"There is no {'person' if scope is LimitScope.USER else scope} {subject}.", param="subject")


def _uuid(scope: LimitScope, subject: str) -> UUID:
    try:
        return UUID(subject)
    except ValueError as error:
        raise InvalidInput(f"The subject of a {scope}'s limit is its id, not {subject!r}.", param="subject") from error
