"""People, teams and departments: added, changed, disabled, and who sees whose reviews."""

import asyncio

import pytest

from tests.conftest import NOON
from tests.support.people import MovedClock, actions, make_accounts, person
from tidemill.accounts.accounts import Accounts
from tidemill.accounts.api_keys import Wanted
from tidemill.accounts.people import NewPerson
from tidemill.core.accounts import RIGHTS, Caller, Role, User, normal_email
from tidemill.core.audit import COMMAND
from tidemill.core.classification import Level
from tidemill.core.errors import Conflict, InvalidInput, NotAuthenticated, NotFound
from tidemill.core.ids import new_id
from tidemill.store.database import Pool
from tidemill.store.people import PeopleRepository


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
def hub(pool: Pool, clock: MovedClock) -> Accounts:
    return make_accounts(pool, clock)


def caller(user: User) -> Caller:
    return Caller(user.id, user.role, RIGHTS[user.role], user_id=user.id)


async def test_a_person_is_found_by_id_and_by_address_in_whatever_case(hub: Accounts) -> None:
    added = await hub.people.add(NewPerson("  An.Ngô@Example.ORG ", "An Ngô", Role.VIEWER, Level.SECRET), COMMAND)
    assert (added.email, added.created_at) == ("an.ngô@example.org", NOON)
    assert await hub.people.get(added.id) == added
    assert await hub.people.get_by_email("AN.NGÔ@example.org") == added


async def test_a_person_is_found_by_the_issuers_subject(hub: Accounts, pool: Pool) -> None:
    rows = PeopleRepository(pool)
    user = User(new_id(), "a@example.org", "A", Role.MEMBER, NOON, oidc_issuer="https://id", oidc_subject="7")
    async with hub.audit.change(COMMAND) as change:
        await rows.add(change.connection, user)
    assert await rows.find_by_oidc("https://id", "7") == user
    assert await rows.find_by_oidc("https://other", "7") is None
    twin = User(new_id(), "b@example.org", "B", Role.MEMBER, NOON, oidc_issuer="https://id", oidc_subject="7")
    with pytest.raises(Conflict, match="issuer"):
        async with hub.audit.change(COMMAND) as change:
            await rows.add(change.connection, twin)


async def test_two_people_have_two_addresses(hub: Accounts) -> None:
    await person(hub, "An")
    other = await person(hub, "Binh")
    with pytest.raises(Conflict, match="has this email address"):
        await hub.people.add(NewPerson("AN@example.org", "Another"), COMMAND)
    with pytest.raises(Conflict, match="has this email address"):
        await hub.people.change(other.id, {"email": "An@example.org"}, COMMAND)


@pytest.mark.parametrize(
    "email",
    [
        "",
        "a",
        "@",
        "a@",
        "@b",
        "a@b@c",
        "a b@c",
        "a@b c",
        "nul\x00@example.org",
        "a@b\x01",
        "a" * 251 + "@b.c",
        "\ud800@b",
    ],
)
def test_what_is_no_address_is_refused(email: str) -> None:
    with pytest.raises(InvalidInput):
        normal_email(email)


async def test_nobody_known_is_not_found(hub: Accounts) -> None:
    nobody = new_id()
    for asked in (hub.people.get(nobody), hub.people.change(nobody, {"name": "A"}, COMMAND)):
        with pytest.raises(NotFound, match=str(nobody)):
            await asked
    with pytest.raises(NotFound, match="no person with the address"):
        await hub.people.get_by_email("nobody@example.org")
    with pytest.raises(NotFound, match="no department"):
        await hub.people.add(NewPerson("a@example.org", "A", department_id=nobody), COMMAND)


async def test_people_are_paged_in_the_order_in_which_they_came(hub: Accounts) -> None:
    added = [await person(hub, f"p{number}") for number in range(5)]
    first = await hub.people.page(limit=3, after=None)
    assert [*first, *await hub.people.page(limit=3, after=first[-1].id)] == added


async def test_each_change_is_in_the_log_without_what_a_person_is_known_by(hub: Accounts, pool: Pool) -> None:
    an = await person(hub, "An")
    sales = await hub.teams.add_department("Sales", COMMAND)
    await hub.people.change(
        an.id,
        {
            "email": "new@example.org",
            "name": "New",
            "role": Role.VIEWER,
            "access_level": Level.PUBLIC,
            "department_id": sales.id,
        },
        COMMAND,
    )
    await hub.people.change(an.id, {"disabled": True}, COMMAND)
    await hub.people.change(an.id, {"disabled": True, "name": "New"}, COMMAND)
    await hub.people.change(an.id, {"disabled": False, "department_id": None}, COMMAND)
    assert await actions(hub) == [
        "user.added",
        "department.added",
        "user.changed",
        "user.role_changed",
        "user.access_level_changed",
        "user.department_changed",
        "user.disabled",
        "user.department_changed",
        "user.enabled",
    ]
    entries = [entry async for entry in hub.audit.entries()]
    assert entries[3].details == {"old": "member", "new": "viewer"}
    logged = " ".join(str(entry) for entry in entries)
    assert not [one for one in ("example.org", "An", "New", "Sales") if one in logged.replace("Any", "")]


class TestTheLastAdmin:
    async def test_stays_an_enabled_admin(self, hub: Accounts) -> None:
        admin = await person(hub, "An", Role.ADMIN)
        await person(hub, "Binh", Role.MAINTAINER)
        for changes in ({"role": Role.MAINTAINER}, {"disabled": True}):
            with pytest.raises(Conflict, match="last admin"):
                await hub.people.change(admin.id, changes, COMMAND)  # type: ignore[arg-type]
        with pytest.raises(Conflict, match="last admin"):
            await hub.people.remove(admin.id, revoke_keys=True, actor=COMMAND)
        assert await hub.people.get(admin.id) == admin

    async def test_can_change_what_keeps_it_an_admin(self, hub: Accounts) -> None:
        admin = await person(hub, "An", Role.ADMIN)
        assert (await hub.people.change(admin.id, {"name": "Anh"}, COMMAND)).name == "Anh"

    async def test_is_not_a_disabled_one(self, hub: Accounts) -> None:
        admin, disabled = await person(hub, "An", Role.ADMIN), await person(hub, "Binh", Role.ADMIN)
        await hub.people.change(disabled.id, {"disabled": True}, COMMAND)
        with pytest.raises(Conflict, match="last admin"):
            await hub.people.change(admin.id, {"role": Role.MEMBER}, COMMAND)

    async def test_two_admins_who_demote_one_another_at_once_leave_one(self, hub: Accounts) -> None:
        for _ in range(10):
            two = [await person(hub, f"a{new_id().hex}", Role.ADMIN) for _ in range(2)]
            done = await asyncio.gather(
                *(hub.people.change(one.id, {"role": Role.MEMBER}, COMMAND) for one in two), return_exceptions=True
            )
            assert sorted(type(one).__name__ for one in done) == ["Conflict", "User"]
            async with hub.audit.change(COMMAND) as change:
                await change.connection.execute("UPDATE users SET role = 'member'")

    async def test_is_asked_after_by_whoever_takes_a_person_out_otherwise(self, hub: Accounts) -> None:
        admin = await person(hub, "An", Role.ADMIN)
        with pytest.raises(Conflict, match="last admin"):
            async with hub.audit.change(COMMAND) as change:
                await hub.people.keep_an_admin_beside(change, admin.id)
        await person(hub, "Binh", Role.ADMIN)
        async with hub.audit.change(COMMAND) as change:
            await hub.people.keep_an_admin_beside(change, admin.id)


class TestRemoving:
    async def test_a_person_with_keys_says_how_many_and_what_to_do(self, hub: Accounts, clock: MovedClock) -> None:
        an = await person(hub, "An")
        made = [await hub.keys.create(Wanted(f"key {number}", owner_id=an.id), COMMAND) for number in range(2)]
        with pytest.raises(Conflict, match=r"2 API keys that still work.*revoke_keys=true"):
            await hub.people.remove(an.id, revoke_keys=False, actor=COMMAND)
        assert (await hub.people.get(an.id)).enabled
        assert await hub.keys.check(made[0].secret, now=0)

    async def test_a_person_with_their_keys_leaves_neither_working(self, hub: Accounts) -> None:
        an = await person(hub, "An")
        made = await hub.keys.create(Wanted("ci", owner_id=an.id), COMMAND)
        await hub.keys.check(made.secret, now=0)
        assert await hub.people.remove(an.id, revoke_keys=True, actor=COMMAND) == 1
        with pytest.raises(NotAuthenticated):
            await hub.keys.check(made.secret, now=0)
        await hub.people.change(an.id, {"disabled": False}, COMMAND)
        with pytest.raises(NotAuthenticated):
            await hub.keys.check(made.secret, now=0)
        assert await actions(hub) == ["user.added", "key.created", "user.disabled", "key.revoked", "user.enabled"]

    async def test_a_person_without_keys_can_be_repeated(self, hub: Accounts) -> None:
        an = await person(hub, "An")
        assert await hub.people.remove(an.id, revoke_keys=False, actor=COMMAND) == 0
        assert await hub.people.remove(an.id, revoke_keys=False, actor=COMMAND) == 0
        assert await actions(hub) == ["user.added", "user.disabled"]


class TestTeams:
    async def test_people_who_share_a_team_see_one_anothers_reviews(self, hub: Accounts) -> None:
        an, binh, chi, dung = [await person(hub, name) for name in ("An", "Binh", "Chi", "Dung")]
        one, two = await hub.teams.add("One", COMMAND), await hub.teams.add("Two", COMMAND)
        for team, user in ((one, an), (one, binh), (two, an), (two, chi), (two, chi)):
            await hub.teams.add_member(team.id, user.id, COMMAND)
        assert set(await hub.people.visible_owners(caller(an))) == {an.id, binh.id, chi.id}
        assert set(await hub.people.visible_owners(caller(binh))) == {an.id, binh.id}
        assert await hub.people.visible_owners(caller(dung)) == [dung.id]
        await hub.teams.remove_member(one.id, an.id, COMMAND)
        assert await hub.people.visible_owners(caller(binh)) == [binh.id]
        await hub.teams.remove(two.id, COMMAND)
        assert await hub.people.visible_owners(caller(chi)) == [chi.id]

    async def test_a_key_of_the_installation_sees_its_own_alone(self, hub: Accounts) -> None:
        made = await hub.keys.create(Wanted("ci"), COMMAND)
        key = await hub.keys.check(made.secret, now=0)
        assert await hub.people.visible_owners(key) == [made.key.id]

    async def test_a_team_is_named_moved_and_listed(self, hub: Accounts) -> None:
        sales = await hub.teams.add_department("Sales", COMMAND)
        team = await hub.teams.add("One", COMMAND)
        moved = await hub.teams.change(team.id, {"name": "First", "department_id": sales.id}, COMMAND)
        assert (moved.name, moved.department_id) == ("First", sales.id)
        assert await hub.teams.get_by_name("FIRST") == moved
        assert list(await hub.teams.page(limit=9, after=None)) == [moved]
        people = [await person(hub, f"p{number}") for number in range(3)]
        for user in people:
            await hub.teams.add_member(team.id, user.id, COMMAND)
        ids = [user.id for user in people]
        assert list(await hub.teams.members(team.id, limit=2, after=None)) == ids[:2]
        assert list(await hub.teams.members(team.id, limit=2, after=ids[1])) == ids[2:]
        assert await hub.teams.teams_of(ids[:1]) == {ids[0]: [moved]}

    async def test_a_name_is_given_once_in_whatever_case(self, hub: Accounts) -> None:
        await hub.teams.add("One", COMMAND)
        await hub.teams.add_department("Sales", COMMAND)
        with pytest.raises(Conflict, match="team called"):
            await hub.teams.add("ONE", COMMAND)
        with pytest.raises(Conflict, match="department called"):
            await hub.teams.add_department("sales", COMMAND)

    async def test_what_is_not_there_is_not_found(self, hub: Accounts) -> None:
        nothing, team, an = new_id(), await hub.teams.add("One", COMMAND), await person(hub, "An")
        for asked in (
            hub.teams.get(nothing),
            hub.teams.get_by_name("nothing"),
            hub.teams.change(nothing, {"name": "A"}, COMMAND),
            hub.teams.change(team.id, {"department_id": nothing}, COMMAND),
            hub.teams.remove(nothing, COMMAND),
            hub.teams.members(nothing, limit=1, after=None),
            hub.teams.add_member(nothing, an.id, COMMAND),
            hub.teams.add_member(team.id, nothing, COMMAND),
            hub.teams.remove_member(team.id, an.id, COMMAND),
            hub.teams.department(nothing),
            hub.teams.department_by_name("nothing"),
            hub.teams.rename_department(nothing, "A", COMMAND),
            hub.teams.remove_department(nothing, COMMAND),
        ):
            with pytest.raises(NotFound):
                await asked

    async def test_a_department_with_people_or_teams_is_kept(self, hub: Accounts) -> None:
        sales = await hub.teams.add_department("Sales", COMMAND)
        team = await hub.teams.add("One", COMMAND, department_id=sales.id)
        with pytest.raises(Conflict, match="belong to the department"):
            await hub.teams.remove_department(sales.id, COMMAND)
        await hub.teams.change(team.id, {"department_id": None}, COMMAND)
        assert (await hub.teams.rename_department(sales.id, "Selling", COMMAND)).name == "Selling"
        await hub.teams.remove_department(sales.id, COMMAND)
        assert list(await hub.teams.departments(limit=9, after=None)) == []
