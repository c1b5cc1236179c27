"""Who made something earlier, as that one stands now."""

from uuid import UUID

from tidemill.accounts.key_check import caller_of_key
from tidemill.core.accounts import RIGHTS, Caller
from tidemill.core.clock import Clock
from tidemill.core.errors import NotAuthenticated
from tidemill.store.api_keys import ApiKeyRepository
from tidemill.store.people import PeopleRepository

GONE = (
    "The key by which this was asked for is revoked or has ended, or its person is disabled. "
    "Ask for it again with a key that works."
)
ROTATIONS = 100
"""How often a key may have been rotated since."""


class Standing:
    """Says what somebody may do now for whom work goes on without a request.

    Args:
        keys: the rows of keys.
        people: the rows of people.
        clock: gives the time that a key's end is compared with.
    """

    def __init__(self, keys: ApiKeyRepository, people: PeopleRepository, clock: Clock) -> None:
        self._keys = keys
        self._people = people
        self._clock = clock

    async def caller(self, *, key_id: UUID | None, user_id: UUID | None) -> Caller:
        """What this key, or for none this person, may do and see now. A key that was rotated goes on as its successor.

        Raises:
            NotAuthenticated: the key is revoked or has ended, or the person is disabled or erased.
        """
        return await self._by_key(key_id) if key_id is not None else await self._by_person(user_id)

    async def _by_key(self, key_id: UUID) -> Caller:
        for _ in range(ROTATIONS):
            found = await self._keys.find(key_id)
            if found is None:
                break
            key, owner = found
            if key.revoked_at is not None or (owner is not None and not owner.enabled):
                break
            if key.live(self._clock()):
                return caller_of_key(key, owner)
            if key.replaced_by is None:
                break
            key_id = key.replaced_by
        raise NotAuthenticated(GONE)

    async def _by_person(self, user_id: UUID | None) -> Caller:
        user = await self._people.find(user_id) if user_id is not None else None
        if user is None or not user.enabled:
            raise NotAuthenticated(GONE)
        return Caller(user.id, user.role, RIGHTS[user.role], user.access_level, user_id=user.id)
