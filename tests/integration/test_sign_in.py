"""Signing in with a password, sessions, and what slows down guessing: the services over a real database."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.conftest import NOON
from tests.support.people import make_accounts
from tests.support.sign_in import CHEAP, PASSWORD, SignInServices
from tidemill.accounts.attempts import ACCOUNT, ADDRESS, LONGEST_WAIT
from tidemill.accounts.recent import SECONDS
from tidemill.accounts.sign_in import WrongPassword
from tidemill.core.accounts import RIGHTS, Caller, Role
from tidemill.core.audit import COMMAND
from tidemill.core.classification import Level
from tidemill.core.errors import InvalidInput, NotAuthenticated, NotFound, NotPermitted, TooManyRequests
from tidemill.settings import AuthSettings, PasswordSettings
from tidemill.store.database import Pool, make_pool

HERE = "192.0.2.1"
EMAIL = "an@mill.example"
OTHER = "nine quiet otters swim"


@pytest.fixture
def hub(pool: Pool) -> SignInServices:
    return SignInServices(pool)


async def fail(hub: SignInServices, times: int, *, email: str = EMAIL, address: str = HERE) -> None:
    for _ in range(times):
        with pytest.raises(WrongPassword):
            await hub.sign_in.with_password(email, "not the password", address=address)


async def test_a_right_password_begins_a_session_that_knows_the_person(hub: SignInServices) -> None:
    user = await hub.add(role=Role.MAINTAINER, access_level=Level.CONFIDENTIAL)
    made = await hub.sign_in.with_password("  AN@Mill.Example ", PASSWORD, address=HERE)
    caller = await hub.sessions.check(made.token, now=0)
    assert caller == Caller(
        user.id,
        Role.MAINTAINER,
        RIGHTS[Role.MAINTAINER],
        Level.CONFIDENTIAL,
        user_id=user.id,
        session_id=made.session.id,
    )
    assert await hub.audited() == ["user.signed_in"]


async def test_wrong_unknown_disabled_and_without_a_password_get_one_answer(hub: SignInServices) -> None:
    await hub.add()
    await hub.add("gone@mill.example", disabled_at=NOON)
    await hub.add("issuer@mill.example", password=None)
    said = set()
    for email, password in [
        (EMAIL, "not the password"),
        ("nobody@mill.example", PASSWORD),
        ("gone@mill.example", PASSWORD),
        ("issuer@mill.example", PASSWORD),
        ("issuer@mill.example", "nobody's"),
    ]:
        with pytest.raises(WrongPassword) as error:
            await hub.sign_in.with_password(email, password, address=HERE)
        said.add((error.value.message, error.value.status, error.value.code))
    assert len(said) == 1


@pytest.mark.parametrize("email", ["", "@", "an", "a\x00n@mill.example", "an@mill.example" * 50, "\ud800@x"])
async def test_what_is_no_address_is_said_to_be_none(hub: SignInServices, email: str) -> None:
    with pytest.raises(InvalidInput):
        await hub.sign_in.with_password(email, PASSWORD, address=HERE)


async def test_no_row_holds_the_password_the_token_or_where_it_came_from(hub: SignInServices) -> None:
    await hub.add()
    made = await hub.sign_in.with_password(EMAIL, PASSWORD, address=HERE)
    await fail(hub, 1)
    async with hub.pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT (SELECT json_agg(s) FROM sessions s)::text || (SELECT json_agg(f) FROM sign_in_failures f)::text "
            "|| (SELECT json_agg(u) FROM users u)::text || (SELECT json_agg(a) FROM audit_log a)::text AS rows"
        )
        row = await cursor.fetchone()
    assert row is not None
    rows = str(row["rows"])
    assert "user.signed_in" in rows
    for secret in (PASSWORD, made.token, made.token.encode().hex(), HERE, hub.sessions.csrf_token(made.token)):
        assert secret not in rows


async def test_a_session_that_is_not_used_ends_and_one_that_is_used_goes_on_to_its_last_hour(
    hub: SignInServices,
) -> None:
    await hub.add()
    idle = await hub.sign_in.with_password(EMAIL, PASSWORD, address=HERE)
    used = await hub.sign_in.with_password(EMAIL, PASSWORD, address=HERE)
    for _ in range(23 * 2):
        hub.time.pass_by(minutes=30)
        assert await hub.sessions.check(used.token, hub.time.mono)
    with pytest.raises(NotAuthenticated):
        await hub.sessions.check(idle.token, hub.time.mono)
    hub.time.pass_by(minutes=59)
    assert await hub.sessions.check(used.token, hub.time.mono)
    hub.time.pass_by(minutes=2)
    with pytest.raises(NotAuthenticated):
        await hub.sessions.check(used.token, hub.time.mono)


async def test_a_session_ends_after_sixty_minutes_and_its_end_is_known(hub: SignInServices) -> None:
    await hub.add()
    made = await hub.sign_in.with_password(EMAIL, PASSWORD, address=HERE)
    assert hub.sessions.end_of(made.session) == NOON + timedelta(minutes=60)
    hub.time.pass_by(minutes=59, seconds=59)
    assert await hub.sessions.check_id(made.session.id, hub.time.mono)
    hub.time.pass_by(seconds=1 + SECONDS)
    with pytest.raises(NotAuthenticated):
        await hub.sessions.check(made.token, hub.time.mono)


async def test_use_is_written_once_a_minute_at_most(hub: SignInServices) -> None:
    user = await hub.add()
    made = await hub.sign_in.with_password(EMAIL, PASSWORD, address=HERE)
    seen = []
    for _ in range(10):
        hub.time.pass_by(seconds=20)
        await hub.sessions.check(made.token, hub.time.mono)
        seen.append((await hub.sessions.of(user.id))[0].seen_at - NOON)
    assert [one.total_seconds() for one in seen] == [0, 0, 60, 60, 60, 120, 120, 120, 180, 180]


async def test_a_session_that_is_used_goes_on_however_short_its_idle_time_is(pool: Pool) -> None:
    hub = SignInServices(pool, settings=AuthSettings(passwords=CHEAP, session_idle_minutes=1))
    await hub.add()
    made = await hub.sign_in.with_password(EMAIL, PASSWORD, address=HERE)
    for _ in range(6):
        hub.time.pass_by(seconds=20)
        await hub.sessions.check(made.token, hub.time.mono)
    hub.time.pass_by(seconds=60)
    with pytest.raises(NotAuthenticated):
        await hub.sessions.check(made.token, hub.time.mono)


@pytest.mark.parametrize(
    "change", [{"role": Role.VIEWER}, {"disabled_at": NOON}, {"erased_at": NOON}, {"access_level": Level.PUBLIC}]
)
async def test_a_change_of_the_person_acts_on_open_sessions_within_seconds(
    hub: SignInServices, change: dict[str, object]
) -> None:
    user = await hub.add(role=Role.ADMIN)
    made = await hub.sign_in.with_password(EMAIL, PASSWORD, address=HERE)
    assert (await hub.sessions.check(made.token, hub.time.mono)).role is Role.ADMIN
    await hub.update(replace(user, **change))  # type: ignore[arg-type]
    hub.time.pass_by(seconds=SECONDS)
    if "role" in change:
        assert (await hub.sessions.check(made.token, hub.time.mono)).rights == RIGHTS[Role.VIEWER]
    elif "access_level" in change:
        assert (await hub.sessions.check(made.token, hub.time.mono)).level is Level.PUBLIC
    else:
        with pytest.raises(NotAuthenticated):
            await hub.sessions.check(made.token, hub.time.mono)
        with pytest.raises(WrongPassword):
            await hub.sign_in.with_password(EMAIL, PASSWORD, address=HERE)


@pytest.mark.parametrize("token", ["", "a" * 43, "ổ", "\ud800", "x" * 100_000])
async def test_a_token_that_is_none_is_no_session(hub: SignInServices, token: str) -> None:
    with pytest.raises(NotAuthenticated):
        await hub.sessions.check(token, now=0)


async def test_signing_in_again_gives_a_new_token_and_ends_the_session_before(hub: SignInServices) -> None:
    await hub.add()
    first = await hub.sign_in.with_password(EMAIL, PASSWORD, address=HERE)
    await hub.sessions.check(first.token, now=0)
    second = await hub.sign_in.with_password(EMAIL, PASSWORD, address=HERE, instead_of=first.token)
    assert (second.token, second.session.id) != (first.token, first.session.id)
    assert await hub.sessions.check(second.token, now=0)
    with pytest.raises(NotAuthenticated):
        await hub.sessions.check(first.token, now=0)
    assert await hub.audited() == ["user.signed_in", "session.ended", "user.signed_in"]


async def test_a_session_from_before_a_person_was_disabled_does_not_come_back(hub: SignInServices) -> None:
    user, people = await hub.add(), make_accounts(hub.pool, hub.time).people
    made = await hub.sign_in.with_password(EMAIL, PASSWORD, address=HERE)
    await people.change(user.id, {"disabled": True}, COMMAND)
    await people.change(user.id, {"disabled": False}, COMMAND)
    with pytest.raises(NotAuthenticated):
        await hub.sessions.check(made.token, hub.time.mono)
    assert await hub.sign_in.with_password(EMAIL, PASSWORD, address=HERE)


async def test_a_token_that_someone_chose_beforehand_never_becomes_a_session(hub: SignInServices) -> None:
    await hub.add()
    made = await hub.sign_in.with_password(EMAIL, PASSWORD, address=HERE, instead_of="chosen-by-an-attacker")
    assert made.token != "chosen-by-an-attacker"
    with pytest.raises(NotAuthenticated):
        await hub.sessions.check("chosen-by-an-attacker", now=0)


async def test_signing_out_ends_the_session_here_at_once_and_elsewhere_within_seconds(
    hub: SignInServices, pool: Pool
) -> None:
    user = await hub.add()
    elsewhere = SignInServices(pool, hub.time)
    made = await hub.sign_in.with_password(EMAIL, PASSWORD, address=HERE)
    caller = await hub.sessions.check(made.token, hub.time.mono)
    await elsewhere.sessions.check(made.token, hub.time.mono)
    await hub.sessions.end(made.session.id, caller, user.id)
    with pytest.raises(NotAuthenticated):
        await hub.sessions.check(made.token, hub.time.mono)
    hub.time.pass_by(seconds=SECONDS)
    with pytest.raises(NotAuthenticated):
        await elsewhere.sessions.check(made.token, hub.time.mono)
    assert await hub.audited() == ["user.signed_in", "user.signed_out"]


async def test_a_person_lists_and_ends_own_sessions_and_nobody_elses(hub: SignInServices) -> None:
    user, other = await hub.add(), await hub.add("bo@mill.example")
    made = [await hub.sign_in.with_password(EMAIL, PASSWORD, address=HERE) for _ in range(2)]
    theirs = await hub.sign_in.with_password("bo@mill.example", PASSWORD, address=HERE)
    caller = await hub.sessions.check(made[0].token, now=0)
    assert {one.id for one in await hub.sessions.of(user.id)} == {one.session.id for one in made}
    with pytest.raises(NotFound):
        await hub.sessions.end(theirs.session.id, caller, user.id)
    await hub.sessions.end(made[1].session.id, caller, user.id)
    with pytest.raises(NotFound):
        await hub.sessions.end(made[1].session.id, caller, user.id)
    assert [one.id for one in await hub.sessions.of(user.id)] == [made[0].session.id]
    assert await hub.sessions.of(other.id)


async def test_a_csrf_token_belongs_to_one_session(hub: SignInServices) -> None:
    await hub.add()
    one = await hub.sign_in.with_password(EMAIL, PASSWORD, address=HERE)
    two = await hub.sign_in.with_password(EMAIL, PASSWORD, address=HERE)
    assert hub.sessions.matches(one.token, hub.sessions.csrf_token(one.token))
    assert not hub.sessions.matches(one.token, hub.sessions.csrf_token(two.token))
    for wrong in ("", "é", one.token, "0" * 64):
        assert not hub.sessions.matches(one.token, wrong)


async def test_ended_sessions_are_forgotten_after_a_while(hub: SignInServices) -> None:
    await hub.add()
    await hub.sign_in.with_password(EMAIL, PASSWORD, address=HERE)
    assert await hub.sessions.forget() == 0
    hub.time.pass_by(hours=49)
    assert await hub.sessions.forget() == 1


async def test_an_outdated_hash_is_renewed_when_its_person_signs_in(hub: SignInServices, pool: Pool) -> None:
    user = await hub.add()
    stronger = SignInServices(pool, hub.time, AuthSettings(passwords=PasswordSettings(memory_kib=16384, passes=1)))
    await stronger.sign_in.with_password(EMAIL, PASSWORD, address=HERE)
    found = await hub.people.find(user.id)
    assert found is not None
    assert "m=16384" in str(found.password_hash)
    assert await stronger.sign_in.with_password(EMAIL, PASSWORD, address=HERE)


async def test_a_person_changes_the_password_and_every_other_session_ends(hub: SignInServices) -> None:
    user = await hub.add()
    here = await hub.sign_in.with_password(EMAIL, PASSWORD, address=HERE)
    there = await hub.sign_in.with_password(EMAIL, PASSWORD, address="192.0.2.2")
    caller = await hub.sessions.check(here.token, now=0)
    await hub.sessions.check(there.token, now=0)
    await hub.sign_in.change_password(caller, PASSWORD, OTHER, address=HERE)
    assert [one.id for one in await hub.sessions.of(user.id)] == [here.session.id]
    assert await hub.sessions.check(here.token, now=0)
    with pytest.raises(NotAuthenticated):
        await hub.sessions.check(there.token, now=0)
    await fail(hub, 1)
    assert await hub.sign_in.with_password(EMAIL, OTHER, address=HERE)
    assert (await hub.audited()).count("user.password_changed") == 1


async def test_the_old_password_is_needed_and_guessing_it_is_slowed_down(hub: SignInServices) -> None:
    await hub.add()
    made = await hub.sign_in.with_password(EMAIL, PASSWORD, address=HERE)
    caller = await hub.sessions.check(made.token, now=0)
    for _ in range(ACCOUNT.free):
        with pytest.raises(WrongPassword):
            await hub.sign_in.change_password(caller, "not the password", OTHER, address=HERE)
    with pytest.raises(TooManyRequests):
        await hub.sign_in.change_password(caller, PASSWORD, OTHER, address=HERE)


async def test_a_new_password_that_can_not_be_taken_changes_nothing_and_counts_for_nothing(
    hub: SignInServices,
) -> None:
    await hub.add()
    made = await hub.sign_in.with_password(EMAIL, PASSWORD, address=HERE)
    caller = await hub.sessions.check(made.token, now=0)
    for _ in range(ACCOUNT.free + 1):
        with pytest.raises(InvalidInput):
            await hub.sign_in.change_password(caller, PASSWORD, EMAIL, address=HERE)
    assert await hub.sign_in.with_password(EMAIL, PASSWORD, address=HERE)


async def test_a_key_and_a_token_change_no_password(hub: SignInServices) -> None:
    user = await hub.add()
    made = await hub.sign_in.with_password(EMAIL, PASSWORD, address=HERE)
    caller = await hub.sessions.check(made.token, now=0)
    for other in (replace(caller, session_id=None, key_id=user.id), replace(caller, expires_at=NOON)):
        with pytest.raises(NotPermitted):
            await hub.sign_in.change_password(other, PASSWORD, OTHER, address=HERE)


async def test_who_signs_in_through_an_issuer_has_no_password_to_change(hub: SignInServices) -> None:
    user = await hub.add(password=None, oidc_issuer="https://id.example", oidc_subject="7")
    async with hub.audit.change(COMMAND) as change:
        made = await hub.sessions.begin(change, user, by="oidc")
    caller = await hub.sessions.check(made.token, now=0)
    with pytest.raises(NotPermitted, match="issuer"):
        await hub.sign_in.change_password(caller, PASSWORD, OTHER, address=HERE)


async def test_setting_a_password_lets_in_who_was_locked_out_and_ends_all_sessions(hub: SignInServices) -> None:
    user = await hub.add()
    made = await hub.sign_in.with_password(EMAIL, PASSWORD, address=HERE)
    await fail(hub, ACCOUNT.free)
    await hub.sign_in.set_password(" An@mill.example", OTHER)
    assert await hub.sessions.of(user.id) == []
    with pytest.raises(NotAuthenticated):
        await hub.sessions.check(made.token, hub.time.mono)
    assert await hub.sign_in.with_password(EMAIL, OTHER, address=HERE)
    with pytest.raises(NotFound, match="nobody@mill"):
        await hub.sign_in.set_password("nobody@mill.example", OTHER)
    with pytest.raises(InvalidInput):
        await hub.sign_in.set_password(EMAIL, "short")


async def test_after_a_few_failures_each_try_waits_twice_as_long(hub: SignInServices) -> None:
    await hub.add()
    await fail(hub, ACCOUNT.free)
    for wait in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, LONGEST_WAIT, LONGEST_WAIT):
        hub.time.pass_by(seconds=wait - 0.5)
        with pytest.raises(TooManyRequests) as error:
            await hub.sign_in.with_password(EMAIL, "not the password", address=HERE)
        assert error.value.retry_after == 1
        hub.time.pass_by(seconds=0.5)
        await fail(hub, 1)


async def test_the_right_password_waits_as_well_and_then_clears_the_count(hub: SignInServices) -> None:
    await hub.add()
    await fail(hub, ACCOUNT.free)
    with pytest.raises(TooManyRequests):
        await hub.sign_in.with_password(EMAIL, PASSWORD, address=HERE)
    hub.time.pass_by(seconds=1)
    await hub.sign_in.with_password(EMAIL, PASSWORD, address=HERE)
    await fail(hub, ACCOUNT.free)


async def test_an_account_that_is_not_there_is_locked_as_one_that_is(hub: SignInServices) -> None:
    await hub.add()
    said = []
    for email in (EMAIL, "nobody@mill.example"):
        await fail(hub, ACCOUNT.free, email=email)
        with pytest.raises(TooManyRequests) as error:
            await hub.sign_in.with_password(email, PASSWORD, address=HERE)
        said.append((error.value.message, error.value.retry_after))
    assert said[0] == said[1]


async def test_an_address_that_tries_many_accounts_has_to_wait_and_others_do_not(hub: SignInServices) -> None:
    await hub.add()
    for number in range(ADDRESS.free):
        await fail(hub, 1, email=f"guess{number}@mill.example")
    with pytest.raises(TooManyRequests):
        await hub.sign_in.with_password(EMAIL, PASSWORD, address=HERE)
    assert await hub.sign_in.with_password(EMAIL, PASSWORD, address="192.0.2.2")
    hub.time.pass_by(hours=1, seconds=1)
    assert await hub.sign_in.with_password(EMAIL, PASSWORD, address=HERE)


async def test_a_success_does_not_clear_the_address(hub: SignInServices) -> None:
    await hub.add()
    for number in range(ADDRESS.free):
        await fail(hub, 1, email=f"guess{number}@mill.example")
        if number < 3:
            await hub.sign_in.with_password(EMAIL, PASSWORD, address=HERE)
    with pytest.raises(TooManyRequests):
        await hub.sign_in.with_password(EMAIL, PASSWORD, address=HERE)


async def test_all_addresses_of_an_ipv6_network_count_as_one(hub: SignInServices) -> None:
    for number in range(ADDRESS.free):
        await fail(hub, 1, email=f"guess{number}@mill.example", address=f"2001:db8:1:2::{number:x}")
    with pytest.raises(TooManyRequests):
        await hub.sign_in.with_password("more@mill.example", PASSWORD, address="2001:db8:1:2:ffff::1")
    await fail(hub, 1, email="more@mill.example", address="2001:db8:1:3::1")


async def test_tries_at_once_in_two_processes_are_no_way_around(hub: SignInServices, pool: Pool) -> None:
    await hub.add()
    other = SignInServices(pool, hub.time)
    tries = [
        one.sign_in.with_password(EMAIL, f"guess number {number}", address=HERE)
        for number in range(10)
        for one in (hub, other)
    ]
    answers = await asyncio.gather(*tries, return_exceptions=True)
    assert [type(answer) for answer in answers].count(WrongPassword) == ACCOUNT.free
    assert [type(answer) for answer in answers].count(TooManyRequests) == len(tries) - ACCOUNT.free


async def test_a_lock_out_is_in_the_audit_log_once_and_names_no_address(hub: SignInServices) -> None:
    user = await hub.add()
    await fail(hub, ACCOUNT.free)
    hub.time.pass_by(seconds=1)
    await fail(hub, 1)
    entries = [entry async for entry in hub.audit.entries()]
    assert [(entry.action, entry.actor, entry.target_id) for entry in entries] == [
        ("user.locked_out", "stranger", str(user.id))
    ]
    assert "@" not in str(entries)
    assert HERE not in str(entries)


async def test_a_right_password_at_the_last_free_try_is_no_lock_out(hub: SignInServices) -> None:
    await hub.add()
    await fail(hub, ACCOUNT.free - 1)
    await hub.sign_in.with_password(EMAIL, PASSWORD, address=HERE)
    assert await hub.audited() == ["user.signed_in"]
    await fail(hub, ACCOUNT.free - 1)
    with pytest.raises(InvalidInput):
        await hub.sign_in.with_password(EMAIL, "x" * 2000, address=HERE)
    assert await hub.audited() == ["user.signed_in", "user.locked_out"]


async def test_old_failures_are_forgotten(hub: SignInServices) -> None:
    await fail(hub, 3)
    assert await hub.attempts.forget() == 0
    hub.time.pass_by(days=1, seconds=1)
    assert await hub.attempts.forget() == 6


async def test_a_password_changed_while_another_was_checked_lets_the_old_one_in_no_more(
    hub: SignInServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hub.add()
    check = hub.passwords.check

    async def slow(password: str, hashed: str | None) -> bool:
        right = await check(password, hashed)
        await hub.sign_in.set_password(EMAIL, OTHER)
        return right

    monkeypatch.setattr(hub.passwords, "check", slow)
    with pytest.raises(WrongPassword):
        await hub.sign_in.with_password(EMAIL, PASSWORD, address=HERE)


async def test_a_flood_of_tries_leaves_connections_to_everybody_else(hub: SignInServices, database_url: str) -> None:
    user = await hub.add()
    async with (
        make_pool(database_url, size=1) as elsewhere,
        elsewhere.connection() as connection,
        connection.transaction(),
    ):
        await connection.execute("LOCK TABLE sign_in_failures")
        flood = [asyncio.create_task(fail(hub, 1)) for _ in range(ACCOUNT.free)]
        await asyncio.wait(flood, timeout=0.5)
        assert not any(one.done() for one in flood)
        assert await hub.people.find(user.id) == user
    await asyncio.gather(*flood)


async def test_a_flood_that_keeps_passwords_from_being_checked_locks_nobody_out(
    hub: SignInServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hub.add()

    async def busy(password: str, hashed: str | None) -> bool:
        raise TooManyRequests("Too many people sign in at once.")

    with monkeypatch.context() as patched:
        patched.setattr(hub.passwords, "check", busy)
        for _ in range(ACCOUNT.free + 1):
            with pytest.raises(TooManyRequests, match="at once"):
                await hub.sign_in.with_password(EMAIL, PASSWORD, address=HERE)
    assert await hub.sign_in.with_password(EMAIL, PASSWORD, address=HERE)
