"""API keys: made, checked, rotated, revoked."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.conftest import NOON
from tests.support.people import MovedClock, actions, make_accounts, person
from tidemill.accounts.accounts import Accounts
from tidemill.accounts.api_keys import LOCAL_KEY, NewApiKey, Wanted
from tidemill.accounts.recent import SECONDS
from tidemill.core.accounts import RIGHTS, Caller, Right, Role, User
from tidemill.core.audit import COMMAND, HUB, Actor
from tidemill.core.classification import Level
from tidemill.core.errors import Conflict, InvalidInput, NotAuthenticated, NotFound, NotPermitted
from tidemill.core.ids import new_id
from tidemill.store.database import Pool
from tidemill.store.people import PeopleRepository
from tidemill.store.secret_key import SecretKey

DAY = timedelta(days=1)


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
def hub(pool: Pool, clock: MovedClock) -> Accounts:
    return make_accounts(pool, clock)


async def key(hub: Accounts, name: str = "laptop", role: Role | None = Role.MEMBER, **wanted: object) -> NewApiKey:
    return await hub.keys.create(Wanted(name, role, **wanted), COMMAND)  # type: ignore[arg-type]


def signed_in(user: User) -> Caller:
    return Caller(user.id, user.role, RIGHTS[user.role], user.access_level, user_id=user.id, session_id=new_id())


async def refused(hub: Accounts, secret: str) -> str:
    with pytest.raises(NotAuthenticated) as error:
        await hub.keys.check(secret, now=1e9)
    return error.value.message


async def test_a_new_key_is_accepted(hub: Accounts) -> None:
    made = await key(hub)
    caller = await hub.keys.check(made.secret, now=0)
    assert (caller.key_id, caller.owner_id, caller.user_id) == (made.key.id, made.key.id, None)
    assert (caller.role, caller.rights) == (Role.MEMBER, RIGHTS[Role.MEMBER])
    assert await hub.keys.check_id(made.key.id, now=0) == caller


async def test_the_secret_is_in_no_row(hub: Accounts, pool: Pool) -> None:
    made = await key(hub)
    async with pool.connection() as connection:
        row = await (await connection.execute("SELECT api_keys::text AS text, hash FROM api_keys")).fetchone()
        logged = await (await connection.execute("SELECT audit_log::text AS text FROM audit_log")).fetchall()
    assert row is not None
    assert made.secret not in str(row["text"])
    assert made.secret.encode() not in bytes(row["hash"])  # type: ignore[call-overload]
    assert made.secret[3:] not in str(logged)


async def test_every_key_that_is_not_valid_gets_the_same_answer(hub: Accounts, clock: MovedClock, pool: Pool) -> None:
    owner = await person(hub, "An")
    revoked, expired = await key(hub, "a"), await key(hub, "b", expires_at=NOON + DAY)
    disabled, foreign = (
        await key(hub, "c", owner_id=owner.id),
        await key(make_accounts(pool, clock, SecretKey("6" * 64))),
    )
    await hub.keys.revoke("a", COMMAND)
    await hub.people.change(owner.id, {"disabled": True}, COMMAND)
    clock.forward(days=1)
    secrets = [made.secret for made in (revoked, expired, disabled, foreign)]
    wrong = ["", "tm-", "tm-" + "a" * 43, "x" * 10_000, "ổ", "\ud800", "nul\x00"]
    assert len({await refused(hub, secret) for secret in secrets + wrong}) == 1


async def test_an_unknown_key_takes_the_same_number_of_looks_as_a_dead_one(
    hub: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[bytes] = []
    find = type(hub.keys._repository).find_by_hash

    async def counted(repository, secret_hash):  # type: ignore[no-untyped-def]
        looks.append(secret_hash)
        return await find(repository, secret_hash)

    monkeypatch.setattr(type(hub.keys._repository), "find_by_hash", counted)
    dead = await key(hub)
    await hub.keys.revoke("laptop", COMMAND)
    await refused(hub, dead.secret)
    await refused(hub, "tm-" + "a" * 43)
    assert len(looks) == 2


async def test_a_key_revoked_elsewhere_stops_working_within_seconds(
    hub: Accounts, pool: Pool, clock: MovedClock
) -> None:
    made = await key(hub)
    await hub.keys.check(made.secret, now=0)
    await make_accounts(pool, clock).keys.revoke(made.key.prefix, COMMAND)
    assert await hub.keys.check(made.secret, now=SECONDS - 0.1)
    with pytest.raises(NotAuthenticated):
        await hub.keys.check(made.secret, now=SECONDS + 0.1)


async def test_a_key_is_not_believed_beyond_its_end(hub: Accounts, clock: MovedClock) -> None:
    made = await key(hub, expires_at=NOON + timedelta(seconds=2))
    await hub.keys.check(made.secret, now=0)
    clock.forward(seconds=2)
    with pytest.raises(NotAuthenticated):
        await hub.keys.check(made.secret, now=2)


async def test_a_last_use_is_written_once_a_minute_and_not_by_the_check(hub: Accounts, clock: MovedClock) -> None:
    made = await key(hub)

    async def used() -> object:
        return next(one.last_used_at for one in await hub.keys.list())

    await hub.keys.check(made.secret, now=0)
    assert await used() is None
    await hub.keys.write_uses()
    assert await used() == NOON
    clock.forward(seconds=59)
    await hub.keys.check(made.secret, now=100)
    await hub.keys.write_uses()
    assert await used() == NOON
    clock.forward(seconds=1)
    await hub.keys.check(made.secret, now=200)
    await hub.keys.write_uses()
    assert await used() == NOON + timedelta(minutes=1)


async def test_an_owned_key_does_what_its_owner_may_at_the_time(hub: Accounts) -> None:
    owner = await person(hub, "An", Role.ADMIN)
    await person(hub, "Binh", Role.ADMIN)
    made = await key(hub, role=Role.MAINTAINER, owner_id=owner.id)
    await hub.people.change(owner.id, {"access_level": Level.CONFIDENTIAL}, COMMAND)
    before = await hub.keys.check(made.secret, now=0)
    assert (before.role, before.level, before.owner_id, before.user_id) == (
        Role.MAINTAINER,
        Level.CONFIDENTIAL,
        owner.id,
        owner.id,
    )
    await hub.people.change(owner.id, {"role": Role.VIEWER}, COMMAND)
    after = await hub.keys.check(made.secret, now=0)
    assert (after.role, after.rights) == (Role.VIEWER, RIGHTS[Role.VIEWER])


async def test_the_keys_of_a_disabled_owner_are_refused_until_the_owner_is_enabled(hub: Accounts) -> None:
    owner = await person(hub, "An")
    made = await key(hub, owner_id=owner.id)
    await hub.people.change(owner.id, {"disabled": True}, COMMAND)
    await refused(hub, made.secret)
    with pytest.raises(NotAuthenticated):
        await hub.keys.check_id(made.key.id, now=0)
    await hub.people.change(owner.id, {"disabled": False}, COMMAND)
    assert await hub.keys.check(made.secret, now=0)


async def test_the_keys_of_an_erased_owner_are_refused_and_the_owner_is_no_longer_found(
    hub: Accounts, pool: Pool
) -> None:
    owner = await person(hub, "An")
    made = await key(hub, owner_id=owner.id)
    async with hub.audit.change(COMMAND) as change:
        erased = replace(owner, email=None, name=None, erased_at=NOON)
        await PeopleRepository(pool).update(change.connection, erased)
    await refused(hub, made.secret)
    with pytest.raises(NotFound):
        await hub.people.get(owner.id)
    with pytest.raises(NotFound):
        await key(hub, owner_id=owner.id)
    assert list(await hub.people.page(limit=9, after=None)) == []


async def test_scopes_narrow_a_role_and_never_widen_it(hub: Accounts) -> None:
    made = await key(hub, scopes=frozenset({Right.MODELS_USE, Right.PEOPLE_MANAGE}))
    assert (await hub.keys.check(made.secret, now=0)).rights == {Right.MODELS_USE}


async def test_a_dump_of_the_rows_is_no_use_without_the_key_file(hub: Accounts, pool: Pool, clock: MovedClock) -> None:
    made = await key(hub)
    await refused(make_accounts(pool, clock, SecretKey("6" * 64)), made.secret)


async def test_revoking_by_a_name_that_two_keys_have_revokes_neither(hub: Accounts) -> None:
    await key(hub, "ci")
    await key(hub, "ci")
    with pytest.raises(NotFound, match="2 keys that work"):
        await hub.keys.revoke("ci", COMMAND)
    assert all(one.revoked_at is None for one in await hub.keys.list())


async def test_a_name_is_no_way_to_keep_another_key_from_being_revoked(hub: Accounts) -> None:
    an = await person(hub, "An")
    stolen = await key(hub, owner_id=an.id)
    await hub.keys.create_as(signed_in(an), Wanted(str(stolen.key.id), owner_id=an.id))
    assert (await hub.keys.revoke(str(stolen.key.id), COMMAND)).id == stolen.key.id
    await refused(hub, stolen.secret)


async def test_a_rotated_key_is_called_by_its_name_again_once_the_old_one_has_ended(
    hub: Accounts, clock: MovedClock
) -> None:
    old = await key(hub, "ci")
    new = await hub.keys.rotate(old.key.id, grace=DAY, actor=COMMAND)
    with pytest.raises(NotFound, match="2 keys that work"):
        await hub.keys.meant("ci")
    clock.forward(days=1)
    assert (await hub.keys.meant("ci")).id == new.key.id
    assert (await hub.keys.meant(str(old.key.id))).id == old.key.id


@pytest.mark.parametrize("name", ["", "  ", "a" * 101, "two\nlines", "nul\x00", "\ud800"])
async def test_a_name_that_a_table_cannot_show_is_refused(hub: Accounts, name: str) -> None:
    with pytest.raises(InvalidInput):
        await key(hub, name)


async def test_a_key_that_could_do_nothing_or_is_over_already_is_refused(hub: Accounts) -> None:
    with pytest.raises(InvalidInput, match="no scope"):
        await key(hub, scopes=frozenset())
    with pytest.raises(InvalidInput, match="expired already"):
        await key(hub, expires_at=NOON)


async def test_a_key_whose_scopes_lie_beyond_its_role_is_refused(hub: Accounts) -> None:
    with pytest.raises(InvalidInput, match="could do nothing"):
        await key(hub, scopes=frozenset({Right.AUDIT_READ}))
    assert await hub.keys.list() == []


async def test_a_key_of_nobody_known_is_refused(hub: Accounts) -> None:
    with pytest.raises(NotFound, match="no person"):
        await key(hub, owner_id=new_id())
    gone = await person(hub, "An")
    await hub.people.change(gone.id, {"disabled": True}, COMMAND)
    with pytest.raises(Conflict, match="disabled"):
        await key(hub, owner_id=gone.id)


async def test_a_key_above_its_owner_is_refused_and_the_usual_one_is_not(hub: Accounts) -> None:
    viewer = await person(hub, "An", Role.VIEWER)
    with pytest.raises(InvalidInput, match="owner is a viewer"):
        await key(hub, owner_id=viewer.id)
    assert (await key(hub, role=None, owner_id=viewer.id)).key.role is Role.VIEWER


async def test_each_change_of_a_key_is_in_the_audit_log(hub: Accounts) -> None:
    made = await key(hub)
    fresh = await hub.keys.rotate(made.key.id, grace=DAY, actor=COMMAND)
    await hub.keys.revoke_id(fresh.key.id, COMMAND)
    await hub.keys.revoke_id(fresh.key.id, COMMAND)
    assert await actions(hub) == ["key.created", "key.created", "key.rotated", "key.revoked"]
    assert (await hub.audit.verify()).fault is None


class TestByRequest:
    async def test_a_member_makes_a_key_of_its_own(self, hub: Accounts) -> None:
        an = await person(hub, "An")
        made = await hub.keys.create_as(signed_in(an), Wanted("ci", owner_id=an.id))
        assert (made.key.owner_id, made.key.role) == (an.id, Role.MEMBER)

    @pytest.mark.parametrize("owner", ["another", "nobody"])
    async def test_a_member_makes_no_key_for_another_or_for_nobody(self, hub: Accounts, owner: str) -> None:
        an, binh = await person(hub, "An"), await person(hub, "Binh")
        with pytest.raises(NotPermitted, match=r"keys\.manage"):
            await hub.keys.create_as(signed_in(an), Wanted("ci", owner_id=binh.id if owner == "another" else None))
        assert await hub.keys.list() == []

    async def test_an_admin_makes_keys_for_others_and_for_the_installation(self, hub: Accounts) -> None:
        an, admin = await person(hub, "An"), signed_in(await person(hub, "Binh", Role.ADMIN))
        assert (await hub.keys.create_as(admin, Wanted("ci", owner_id=an.id))).key.owner_id == an.id
        assert (await hub.keys.create_as(admin, Wanted("ci", Role.ADMIN))).key.owner_id is None

    async def test_a_narrow_key_makes_no_wider_one(self, hub: Accounts) -> None:
        an = await person(hub, "An", Role.ADMIN)
        scopes = frozenset({Right.KEYS_OWN, Right.MODELS_USE})
        narrow = await hub.keys.check((await key(hub, owner_id=an.id, scopes=scopes)).secret, now=0)
        for wider in (
            Wanted("wide", owner_id=an.id),
            Wanted("wide", Role.ADMIN, an.id),
            Wanted("wide", Role.MEMBER, an.id, frozenset({Right.MODELS_USE, Right.REVIEWS_READ})),
        ):
            with pytest.raises(NotPermitted, match="rights that the one who asks does not have"):
                await hub.keys.create_as(narrow, wider)
        made = await hub.keys.create_as(narrow, Wanted("same", Role.MEMBER, an.id, scopes))
        assert (await hub.keys.check(made.secret, now=0)).rights == scopes

    async def test_a_key_makes_none_that_sees_more_sensitive_texts(self, hub: Accounts) -> None:
        an = await person(hub, "An", Role.ADMIN)
        narrow = await hub.keys.check((await key(hub, owner_id=an.id)).secret, now=0)
        scopes = frozenset({Right.MODELS_USE})
        narrow = replace(narrow, rights=scopes | {Right.KEYS_MANAGE})
        with pytest.raises(NotPermitted, match="up to `secret`, and the one who asks sees them up to `internal`"):
            await hub.keys.create_as(narrow, Wanted("wide", Role.ADMIN, scopes=scopes))
        assert (await hub.keys.create_as(narrow, Wanted("ci", Role.MEMBER, scopes=scopes))).key.owner_id is None

    async def test_a_key_that_ends_makes_none_that_outlives_it(self, hub: Accounts) -> None:
        an = await person(hub, "An")
        ends = NOON + DAY
        caller = await hub.keys.check((await key(hub, owner_id=an.id, expires_at=ends)).secret, now=0)
        for longer in (None, ends + timedelta(seconds=1)):
            with pytest.raises(NotPermitted, match="live longer"):
                await hub.keys.create_as(caller, Wanted("ci", owner_id=an.id, expires_at=longer))
        assert (await hub.keys.create_as(caller, Wanted("ci", owner_id=an.id, expires_at=ends))).key.expires_at == ends

    async def test_a_refused_key_is_not_made(self, hub: Accounts) -> None:
        an = await person(hub, "An")
        with pytest.raises(InvalidInput):
            await hub.keys.create_as(signed_in(an), Wanted("ci", Role.ADMIN, an.id))
        assert await hub.keys.list() == []
        assert await actions(hub) == ["user.added"]

    async def test_nobody_takes_the_name_of_the_hubs_own_key(self, hub: Accounts) -> None:
        admin = signed_in(await person(hub, "An", Role.ADMIN))
        with pytest.raises(InvalidInput, match="hub's own"):
            await hub.keys.create_as(admin, Wanted(f" {LOCAL_KEY} "))

    async def test_a_member_sees_and_revokes_its_own_keys_alone(self, hub: Accounts) -> None:
        an, binh = await person(hub, "An"), await person(hub, "Binh")
        own, other = await key(hub, "own", owner_id=an.id), await key(hub, "other", owner_id=binh.id)
        caller = signed_in(an)
        assert [one.id for one in await hub.keys.page(caller, owner_id=None, limit=9, after=None)] == [own.key.id]
        assert await hub.keys.page(caller, owner_id=binh.id, limit=9, after=None) == []
        for hidden in (other.key.id, new_id()):
            with pytest.raises(NotFound, match="no key"):
                await hub.keys.revoke_as(caller, hidden)
        await hub.keys.revoke_as(caller, own.key.id)
        await refused(hub, own.secret)
        assert await hub.keys.check(other.secret, now=0)

    async def test_a_key_of_nobody_sees_no_keys_without_the_right_to_all(self, hub: Accounts) -> None:
        made = await key(hub)
        caller = await hub.keys.check(made.secret, now=0)
        assert await hub.keys.page(caller, owner_id=None, limit=9, after=None) == []
        with pytest.raises(NotFound):
            await hub.keys.revoke_as(caller, made.key.id)

    async def test_a_key_of_nobody_makes_none_without_the_right_to_all(self, hub: Accounts) -> None:
        caller = await hub.keys.check((await key(hub)).secret, now=0)
        with pytest.raises(NotPermitted, match=r"keys\.manage"):
            await hub.keys.create_as(caller, Wanted("another"))

    async def test_an_admin_pages_through_everyones_keys(self, hub: Accounts) -> None:
        admin = signed_in(await person(hub, "An", Role.ADMIN))
        made = [(await key(hub, f"key {number}")).key.id for number in range(5)]
        first = await hub.keys.page(admin, owner_id=None, limit=3, after=None)
        rest = await hub.keys.page(admin, owner_id=None, limit=3, after=first[-1].id)
        assert [one.id for one in [*first, *rest]] == made

    async def test_the_last_admin_key_stays_while_no_person_is_an_admin(self, hub: Accounts) -> None:
        first = await key(hub, "first", Role.ADMIN)
        await hub.keys.create(Wanted(LOCAL_KEY, Role.ADMIN), HUB)
        caller = await hub.keys.check(first.secret, now=0)
        with pytest.raises(Conflict, match="last admin key"):
            await hub.keys.revoke_as(caller, first.key.id)
        await person(hub, "An", Role.ADMIN)
        await hub.keys.revoke_as(caller, first.key.id)
        await refused(hub, first.secret)

    async def test_a_key_that_ends_or_is_narrowed_does_not_stand_in_for_the_last_admin_key(self, hub: Accounts) -> None:
        old = await key(hub, "first", Role.ADMIN)
        narrow = await key(hub, "narrow", Role.ADMIN, scopes=frozenset({Right.KEYS_MANAGE}))
        new = await hub.keys.rotate(old.key.id, grace=DAY, actor=COMMAND)
        caller = await hub.keys.check(new.secret, now=0)
        with pytest.raises(Conflict, match="last admin key"):
            await hub.keys.revoke_as(caller, new.key.id)
        for other in (old, narrow):
            await hub.keys.revoke_as(caller, other.key.id)


class TestRotation:
    async def test_both_keys_work_until_the_grace_is_over(self, hub: Accounts, clock: MovedClock) -> None:
        owner = await person(hub, "An")
        old = await key(hub, owner_id=owner.id, scopes=frozenset({Right.MODELS_USE}), expires_at=NOON + 9 * DAY)
        fresh = await hub.keys.rotate(old.key.id, grace=DAY, actor=COMMAND)
        same = ("name", "role", "owner_id", "scopes", "expires_at")
        assert [getattr(fresh.key, one) for one in same] == [getattr(old.key, one) for one in same]
        assert await hub.keys.check(old.secret, now=0)
        assert await hub.keys.check(fresh.secret, now=0)
        clock.forward(days=1)
        await refused(hub, old.secret)
        assert await hub.keys.check(fresh.secret, now=1e9)
        [row] = [one for one in await hub.keys.list() if one.id == old.key.id]
        assert (row.replaced_by, row.expires_at) == (fresh.key.id, NOON + DAY)

    async def test_without_grace_the_old_key_ends_at_once(self, hub: Accounts) -> None:
        old = await key(hub)
        await hub.keys.check(old.secret, now=0)
        await hub.keys.rotate(old.key.id, grace=timedelta(0), actor=COMMAND)
        with pytest.raises(NotAuthenticated):
            await hub.keys.check(old.secret, now=0)

    async def test_the_grace_does_not_lengthen_a_life(self, hub: Accounts, clock: MovedClock) -> None:
        old = await key(hub, expires_at=NOON + DAY)
        await hub.keys.rotate(old.key.id, grace=7 * DAY, actor=COMMAND)
        clock.forward(days=1)
        await refused(hub, old.secret)

    async def test_a_key_is_rotated_once(self, hub: Accounts) -> None:
        old = await key(hub)
        await hub.keys.rotate(old.key.id, grace=DAY, actor=COMMAND)
        with pytest.raises(Conflict, match="rotated already"):
            await hub.keys.rotate(old.key.id, grace=DAY, actor=COMMAND)

    async def test_what_an_installations_key_has_made_is_there_for_those_rotated_from_it(self, hub: Accounts) -> None:
        first = await key(hub)
        second = await hub.keys.rotate(first.key.id, grace=DAY, actor=COMMAND)
        third = await hub.keys.rotate(second.key.id, grace=DAY, actor=COMMAND)
        callers = [await hub.keys.check(made.secret, now=0) for made in (first, second, third)]
        assert {caller.owner_id for caller in callers} == {first.key.id}
        assert [caller.key_id for caller in callers] == [first.key.id, second.key.id, third.key.id]

    async def test_a_dead_key_is_not_rotated_back_to_life(self, hub: Accounts, clock: MovedClock) -> None:
        revoked, expired = await key(hub, "a"), await key(hub, "b", expires_at=NOON + DAY)
        await hub.keys.revoke("a", COMMAND)
        clock.forward(days=2)
        for dead in (revoked, expired):
            with pytest.raises(Conflict, match="revoked or has expired"):
                await hub.keys.rotate(dead.key.id, grace=DAY, actor=COMMAND)

    async def test_a_key_above_its_owner_comes_down_to_it(self, hub: Accounts) -> None:
        owner = await person(hub, "An", Role.MAINTAINER)
        old = await key(hub, role=Role.MAINTAINER, owner_id=owner.id)
        await hub.people.change(owner.id, {"role": Role.MEMBER}, COMMAND)
        assert (await hub.keys.rotate(old.key.id, grace=DAY, actor=COMMAND)).key.role is Role.MEMBER

    async def test_a_key_rotated_while_its_owner_is_removed_is_dead_either_way(self, hub: Accounts) -> None:
        for number in range(10):
            owner = await person(hub, f"p{number}")
            old = await key(hub, f"key {number}", owner_id=owner.id)
            rotated, removed = await asyncio.gather(
                hub.keys.rotate(old.key.id, grace=DAY, actor=COMMAND),
                hub.people.remove(owner.id, revoke_keys=True, actor=COMMAND),
                return_exceptions=True,
            )
            assert removed in {1, 2}
            assert isinstance(rotated, NewApiKey | Conflict)
            assert await hub.keys.count_live(owner.id) == 0

    @pytest.mark.parametrize("grace", [timedelta(seconds=-1), timedelta(days=31)])
    async def test_a_grace_that_makes_no_sense_is_refused(self, hub: Accounts, grace: timedelta) -> None:
        made = await key(hub)
        with pytest.raises(InvalidInput, match="30 days"):
            await hub.keys.rotate(made.key.id, grace=grace, actor=COMMAND)

    async def test_a_narrow_key_does_not_become_wide_by_rotating_another(self, hub: Accounts) -> None:
        an = await person(hub, "An")
        wide = await key(hub, owner_id=an.id)
        narrow = await key(hub, owner_id=an.id, scopes=frozenset({Right.KEYS_OWN}))
        caller = await hub.keys.check(narrow.secret, now=0)
        with pytest.raises(NotPermitted):
            await hub.keys.rotate(wide.key.id, grace=DAY, actor=Actor.of(caller), caller=caller)
        assert await hub.keys.check(wide.secret, now=0)

    async def test_anothers_key_is_not_there_to_rotate(self, hub: Accounts) -> None:
        an, binh = await person(hub, "An"), await person(hub, "Binh")
        other = await key(hub, owner_id=binh.id)
        caller = signed_in(an)
        with pytest.raises(NotFound, match="no key"):
            await hub.keys.rotate(other.key.id, grace=DAY, actor=Actor.of(caller), caller=caller)
