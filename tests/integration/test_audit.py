"""The audit log: each change leaves an entry, and no entry can be changed unseen."""

import asyncio
from uuid import uuid4

import psycopg
import pytest

from tests.conftest import NOON
from tidemill.accounts.audit import Audit, entry_json
from tidemill.core.audit import COMMAND, Actor
from tidemill.core.errors import Conflict
from tidemill.store.audit import AuditRepository
from tidemill.store.database import Pool
from tidemill.store.secret_key import SecretKey

SECRET = SecretKey("5" * 64)


@pytest.fixture
def audit(pool: Pool) -> Audit:
    return Audit(AuditRepository(pool), derive=SECRET.derive, clock=lambda: NOON)


async def noted(audit: Audit, *actions: str) -> None:
    for action in actions:
        async with audit.change(COMMAND) as change:
            change.note(action, "user", uuid4(), role={"old": "member", "new": "admin"})


async def tamper(pool: Pool, statement: str) -> None:
    """What the owner of the tables can do, who can disable the trigger."""
    async with pool.connection() as connection:
        await connection.execute("ALTER TABLE audit_log DISABLE TRIGGER audit_log_is_append_only")
        await connection.execute(statement)  # type: ignore[call-overload]


async def test_a_change_leaves_an_entry_that_says_who_did_what_to_which_thing(audit: Audit) -> None:
    person, user, key = uuid4(), uuid4(), uuid4()
    async with audit.change(Actor("user", person, key)) as change:
        change.note("user.role_changed", "user", user, old="member", new="admin")
    [entry] = [entry_json(entry) async for entry in audit.entries()]
    assert entry.pop("hash")
    assert entry == {
        "seq": 1,
        "at": "2026-03-01T12:00:00.000000+00:00",
        "actor": "user",
        "actor_id": str(person),
        "key_id": str(key),
        "action": "user.role_changed",
        "target": "user",
        "target_id": str(user),
        "details": {"old": "member", "new": "admin"},
    }


async def test_a_change_that_fails_leaves_neither_itself_nor_an_entry(audit: Audit, pool: Pool) -> None:
    async def fails() -> None:
        async with audit.change(COMMAND) as change:
            await change.connection.execute(
                "INSERT INTO departments (id, name, created_at) VALUES (%s, 'Sales', %s)", (uuid4(), NOON)
            )
            change.note("department.added", "department", uuid4())
            raise Conflict("no")

    with pytest.raises(Conflict):
        await fails()
    async with pool.connection() as connection:
        found = await (await connection.execute("SELECT 1 FROM departments")).fetchall()
    assert found == []
    assert [entry async for entry in audit.entries()] == []


@pytest.mark.parametrize(
    "statement", ["UPDATE audit_log SET actor = 'hub'", "DELETE FROM audit_log", "TRUNCATE audit_log"]
)
async def test_the_database_itself_refuses_to_change_an_entry(audit: Audit, pool: Pool, statement: str) -> None:
    await noted(audit, "user.added")
    async with pool.connection() as connection:
        with pytest.raises(psycopg.errors.RaiseException, match="only ever added to"):
            await connection.execute(statement)  # type: ignore[call-overload]


async def test_changes_made_at_once_are_chained_without_a_gap(audit: Audit) -> None:
    await asyncio.gather(*(noted(audit, "user.added", "user.disabled") for _ in range(20)))
    found = await audit.verify()
    assert (found.entries, found.fault) == (40, None)
    assert found.hash


async def test_nothing_written_yet_is_whole(audit: Audit) -> None:
    found = await audit.verify()
    assert (found.entries, found.hash, found.fault) == (0, None, None)


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("UPDATE audit_log SET details = '{}' WHERE seq = 2", "Entry 2 is not as it was written"),
        ("UPDATE audit_log SET actor_id = gen_random_uuid() WHERE seq = 3", "Entry 3 is not as it was written"),
        ("UPDATE audit_log SET at = at - interval '1 microsecond' WHERE seq = 1", "Entry 1 is not as it was written"),
        ("DELETE FROM audit_log WHERE seq = 1", "Entry 1 is missing"),
        ("DELETE FROM audit_log WHERE seq = 2", "Entry 2 is missing"),
        ("DELETE FROM audit_log WHERE seq = 2; UPDATE audit_log SET seq = 2 WHERE seq = 3", "Entry 2 is not as it was"),
    ],
)
async def test_an_entry_that_was_changed_or_taken_out_shows(
    audit: Audit, pool: Pool, statement: str, fault: str
) -> None:
    await noted(audit, "user.added", "user.disabled", "user.enabled")
    await tamper(pool, statement)
    assert fault in str((await audit.verify()).fault)


async def test_an_entry_written_without_the_hubs_key_shows(audit: Audit, pool: Pool) -> None:
    await noted(audit, "user.added")
    forger = Audit(AuditRepository(pool), derive=SecretKey("6" * 64).derive, clock=lambda: NOON)
    await noted(forger, "user.enabled")
    assert "Entry 2" in str((await audit.verify()).fault)


async def test_a_cut_end_shows_against_a_hash_that_was_kept(audit: Audit, pool: Pool) -> None:
    await noted(audit, "user.added", "user.disabled")
    kept = await audit.verify()
    await tamper(pool, "DELETE FROM audit_log WHERE seq = 2")
    cut = await audit.verify()
    assert cut.fault is None
    assert (cut.entries, cut.hash) != (kept.entries, kept.hash)


async def test_entries_are_read_page_by_page_to_the_end(audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidemill.accounts.audit.PAGE", 2)
    await noted(audit, *["user.added"] * 5)
    assert [entry.seq async for entry in audit.entries()] == [1, 2, 3, 4, 5]
    assert [entry.seq async for entry in audit.entries(after=1, limit=3)] == [2, 3, 4]
    assert [entry.seq async for entry in audit.entries(since=NOON)] == [1, 2, 3, 4, 5]
    assert [entry.seq async for entry in audit.entries(until=NOON)] == []
