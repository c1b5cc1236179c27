"""Who made something earlier stands as the key and the person do now."""

from datetime import timedelta

import pytest

from tests.support.people import MovedClock, make_accounts, person
from tidemill.accounts.api_keys import Wanted
from tidemill.accounts.standing import Standing
from tidemill.core.accounts import Role
from tidemill.core.audit import COMMAND
from tidemill.core.classification import Level
from tidemill.core.errors import NotAuthenticated
from tidemill.core.ids import new_id
from tidemill.store.api_keys import ApiKeyRepository
from tidemill.store.database import Pool
from tidemill.store.people import PeopleRepository


def standing_of(pool: Pool, clock: MovedClock) -> Standing:
    return Standing(ApiKeyRepository(pool), PeopleRepository(pool), clock)


async def test_a_key_that_was_rotated_goes_on_as_its_successor(pool: Pool) -> None:
    clock = MovedClock()
    accounts, standing = make_accounts(pool, clock), standing_of(pool, clock)
    old = (await accounts.keys.create(Wanted("ci", Role.MEMBER), COMMAND)).key
    new = (await accounts.keys.rotate(old.id, grace=timedelta(hours=1), actor=COMMAND)).key
    assert (await standing.caller(key_id=old.id, user_id=None)).key_id == old.id
    clock.forward(hours=2)
    caller = await standing.caller(key_id=old.id, user_id=None)
    assert (caller.key_id, caller.owner_id) == (new.id, old.id)
    await accounts.keys.revoke_id(new.id, COMMAND)
    with pytest.raises(NotAuthenticated, match="revoked"):
        await standing.caller(key_id=old.id, user_id=None)


async def test_revoked_ended_and_unknown_keys_stand_for_nobody(pool: Pool) -> None:
    clock = MovedClock()
    accounts, standing = make_accounts(pool, clock), standing_of(pool, clock)
    revoked = (await accounts.keys.create(Wanted("revoked"), COMMAND)).key
    await accounts.keys.revoke_id(revoked.id, COMMAND)
    ended = (await accounts.keys.create(Wanted("ended", expires_at=clock() + timedelta(hours=1)), COMMAND)).key
    clock.forward(hours=1)
    for key_id in (revoked.id, ended.id, new_id()):
        with pytest.raises(NotAuthenticated):
            await standing.caller(key_id=key_id, user_id=None)


async def test_a_person_stands_with_the_role_and_level_of_now_and_not_at_all_when_disabled(pool: Pool) -> None:
    clock = MovedClock()
    accounts, standing = make_accounts(pool, clock), standing_of(pool, clock)
    minh = await person(accounts, "Minh", Role.MAINTAINER)
    key = (await accounts.keys.create(Wanted("laptop", Role.MAINTAINER, minh.id), COMMAND)).key
    await accounts.people.change(minh.id, {"role": Role.VIEWER, "access_level": Level.PUBLIC}, COMMAND)
    for asked in ({"key_id": key.id, "user_id": minh.id}, {"key_id": None, "user_id": minh.id}):
        caller = await standing.caller(**asked)
        assert (caller.role, caller.level, caller.owner_id) == (Role.VIEWER, Level.PUBLIC, minh.id)
    await accounts.people.change(minh.id, {"disabled": True}, COMMAND)
    for asked in ({"key_id": key.id, "user_id": minh.id}, {"key_id": None, "user_id": minh.id}):
        with pytest.raises(NotAuthenticated):
            await standing.caller(**asked)
