"""Secrets at rest: nothing readable in the database, no value out of the hub, and none lost by a rotation."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import NOON
from tidemill.accounts.audit import Audit
from tidemill.core.audit import COMMAND
from tidemill.core.errors import Configuration, InvalidInput, NotFound
from tidemill.protection.secrets import LARGEST, Secrets
from tidemill.settings import Settings
from tidemill.store.audit import AuditRepository
from tidemill.store.database import Pool
from tidemill.store.key_ring import ENVIRONMENT, open_key_file
from tidemill.store.secrets import SecretRepository

VALUE = "sk-heron-4711"


@pytest.fixture(autouse=True)
def no_key_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data")


def service(pool: Pool, settings: Settings) -> Secrets:
    audit = Audit(AuditRepository(pool), derive=lambda purpose: "00" * 32, clock=lambda: NOON)
    return Secrets(SecretRepository(pool), open_key_file(settings), audit=audit, clock=lambda: NOON)


@pytest.fixture
def secrets(pool: Pool, settings: Settings) -> Secrets:
    return service(pool, settings)


async def dumped(pool: Pool) -> str:
    async with pool.connection() as connection:
        rows = [*await (await connection.execute("SELECT * FROM secrets ORDER BY name")).fetchall()]
        rows += await (await connection.execute("SELECT * FROM audit_log ORDER BY seq")).fetchall()
    return repr(rows)


async def test_a_stored_secret_is_there_for_the_hub_and_for_nobody_else(secrets: Secrets, pool: Pool) -> None:
    await secrets.put("provider", VALUE, COMMAND)
    assert await secrets.reveal("provider") == VALUE
    assert [one.name for one in await secrets.names()] == ["provider"]
    text = await dumped(pool)
    assert VALUE not in text
    assert "secret.set" in text
    await secrets.put("provider", "another", COMMAND)
    assert await secrets.reveal("provider") == "another"


async def test_a_deleted_secret_is_gone(secrets: Secrets, pool: Pool) -> None:
    await secrets.put("provider", VALUE, COMMAND)
    await secrets.delete("provider", COMMAND)
    assert await secrets.names() == []
    with pytest.raises(Configuration, match="secrets set provider"):
        await secrets.reveal("provider")
    with pytest.raises(NotFound, match="provider"):
        await secrets.delete("provider", COMMAND)


@pytest.mark.parametrize("name", ["", " ", "a b", "a/b", "-a", "a\0", "ä", "a" * 101])
async def test_a_name_that_cannot_be_used_is_refused(secrets: Secrets, name: str) -> None:
    with pytest.raises(InvalidInput, match="name"):
        await secrets.put(name, VALUE, COMMAND)
    with pytest.raises(NotFound):
        await secrets.delete(name, COMMAND)


@pytest.mark.parametrize("value", ["", "\ud800", "x" * (LARGEST + 1)])
async def test_a_value_that_cannot_be_used_is_refused_and_not_repeated(secrets: Secrets, value: str) -> None:
    with pytest.raises(InvalidInput, match="value"):
        await secrets.put("provider", value, COMMAND)


async def test_a_rotation_leaves_every_secret_readable_and_one_key(
    secrets: Secrets, settings: Settings, pool: Pool
) -> None:
    for number in range(5):
        await secrets.put(f"s{number}", f"{VALUE}{number}", COMMAND)
    old = open_key_file(settings).make()
    assert await secrets.rotate(COMMAND) == 5
    new = open_key_file(settings).make()
    assert len(new.ids) == 1
    assert new.first not in old.ids
    assert {one.key_id for one in await secrets.names()} == {new.first}
    assert [await secrets.reveal(f"s{number}") for number in range(5)] == [f"{VALUE}{number}" for number in range(5)]


async def test_a_rotation_with_keys_of_the_environment_encrypts_under_the_first(
    pool: Pool, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT, "11" * 32)
    await service(pool, settings).put("provider", VALUE, COMMAND)
    monkeypatch.setenv(ENVIRONMENT, "22" * 32 + "," + "11" * 32)
    await service(pool, settings).rotate(COMMAND)
    monkeypatch.setenv(ENVIRONMENT, "22" * 32)
    assert await service(pool, settings).reveal("provider") == VALUE
    assert not settings.encryption_keys_file.exists()


async def test_a_lost_key_file_is_said_and_not_replaced(secrets: Secrets, settings: Settings) -> None:
    await secrets.put("provider", VALUE, COMMAND)
    settings.encryption_keys_file.unlink()
    with pytest.raises(Configuration, match="provider"):
        await secrets.reveal("provider")
    for work in (secrets.put("other", VALUE, COMMAND), secrets.rotate(COMMAND)):
        with pytest.raises(Configuration, match="missing"):
            await work
    assert not settings.encryption_keys_file.exists()


async def test_another_hubs_key_file_opens_nothing_and_a_rotation_under_it_changes_nothing(
    secrets: Secrets, settings: Settings
) -> None:
    await secrets.put("provider", VALUE, COMMAND)
    right = settings.encryption_keys_file.read_text()
    settings.encryption_keys_file.write_text("33" * 32 + "\n")
    for work in (secrets.reveal("provider"), secrets.rotate(COMMAND)):
        with pytest.raises(Configuration, match="provider"):
            await work
    settings.encryption_keys_file.write_text(right)
    assert await secrets.reveal("provider") == VALUE


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from tidemill.accounts.audit import Audit
from tidemill.core.audit import COMMAND
from tidemill.core.clock import system_clock
from tidemill.protection.secrets import Secrets
from tidemill.settings import Settings
from tidemill.store.audit import AuditRepository
from tidemill.store.database import make_pool
from tidemill.store.key_ring import KeyFile, open_key_file
from tidemill.store.secrets import SecretRepository

url, folder, step = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
name, _, when = step.partition(" ")
count = int(when.partition(" ")[2] or 1)
owner = KeyFile if hasattr(KeyFile, name) else SecretRepository if hasattr(SecretRepository, name) else Audit
real = getattr(owner, name)
calls = 0

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def reached():
    global calls
    calls += 1
    return calls == count

if asyncio.iscoroutinefunction(real):
    async def stopping(*given, **named):
        last = reached()
        if last and when.startswith("before"):
            die()
        result = await real(*given, **named)
        if last:
            die()
        return result
else:
    def stopping(*given, **named):
        last = reached()
        if last and when.startswith("before"):
            die()
        result = real(*given, **named)
        if last:
            die()
        return result
setattr(owner, name, stopping)

async def main():
    settings = Settings(data_dir=folder)
    async with make_pool(url, size=3) as pool:
        audit = Audit(AuditRepository(pool), derive=lambda purpose: "00" * 32, clock=system_clock)
        await Secrets(SecretRepository(pool), open_key_file(settings), audit=audit, clock=system_clock).rotate(COMMAND)

asyncio.run(main())
"""


@pytest.mark.parametrize(
    "step",
    ["add before", "add after", "all after", "put before 1", "put after 1", "put after 3", "_write after",
     "keep_first before", "keep_first after"],
)  # fmt: skip
async def test_a_rotation_that_is_killed_loses_nothing_and_can_be_done_again(
    secrets: Secrets, settings: Settings, database_url: str, step: str
) -> None:
    for number in range(3):
        await secrets.put(f"s{number}", f"{VALUE}{number}", COMMAND)
    command = [sys.executable, "-c", KILLED, database_url, str(settings.data_dir), step]
    killed = await asyncio.to_thread(subprocess.run, command, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    for _ in range(2):
        assert [await secrets.reveal(f"s{number}") for number in range(3)] == [
            f"{VALUE}{number}" for number in range(3)
        ]
        await secrets.put("s0", f"{VALUE}0", COMMAND)
        await secrets.rotate(COMMAND)
    assert len(open_key_file(settings).make().ids) == 1


def test_the_command_takes_a_value_from_the_standard_input_and_shows_none(database_url: str, tmp_path: Path) -> None:
    surroundings = {
        **{name: value for name, value in os.environ.items() if not name.startswith("TIDEMILL_")},
        "DATABASE_URL": database_url,
        "TIDEMILL_DATA_DIR": str(tmp_path / "data"),
    }

    def run(*words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tidemill", "secrets", *words]
        return subprocess.run(command, env=surroundings, input=given, capture_output=True, text=True, timeout=60)

    made = run("set", "provider", given=f"{VALUE}\n")
    assert made.returncode == 0, made.stderr
    listed = run("list", "--json")
    assert [one["name"] for one in json.loads(listed.stdout)] == ["provider"]
    rotated = run("rotate", "--json")
    assert json.loads(rotated.stdout) == {"secrets": 1}
    gone = run("delete", "provider")
    again = run("delete", "provider")
    assert (gone.returncode, again.returncode) == (0, 4)
    assert all(VALUE not in one.stdout + one.stderr for one in (made, listed, rotated, gone, again))
