"""A team's own prompts: set, put in force, gone back from, and known to every process."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.conftest import reachable
from tests.support.hubs import Hub, running_hub, scripted_settings, tidemill, upstream
from tests.support.rows import query
from tidemill.accounts.audit import Audit
from tidemill.core.audit import COMMAND
from tidemill.core.errors import InvalidInput, NotFound
from tidemill.llm.prompts.shipped import shipped
from tidemill.registry.prompts import PromptLibrary, differences
from tidemill.store.audit import AuditRepository
from tidemill.store.database import Pool
from tidemill.store.prompts import PromptRepository

NAME = "conversation.title"
SHIPS = shipped()[NAME, "en"]
OWN = SHIPS.source.replace("at most six words", "at most three words")


@pytest.fixture
def library(pool: Pool) -> PromptLibrary:
    return make_library(pool)


def make_library(pool: Pool) -> PromptLibrary:
    def clock() -> datetime:
        return datetime(2026, 11, 1, tzinfo=UTC)

    audit = Audit(AuditRepository(pool), derive=lambda _: "00" * 32, clock=clock)
    return PromptLibrary(PromptRepository(pool), audit=audit, clock=clock)


async def test_a_prompt_that_is_set_is_in_force_in_every_process_and_the_one_that_ships_stays_pinned(
    library: PromptLibrary, pool: Pool
) -> None:
    other = make_library(pool)
    await other.refresh()
    template = await library.set(NAME, "en", OWN, COMMAND, note="Shorter titles.")
    assert library.current(NAME).source == OWN
    assert template.version == f"{NAME}/en/1@{template.hash[:12]}"
    assert other.current(NAME) == SHIPS
    await other.refresh()
    assert other.current(NAME) == template == other.pinned(template.version)
    assert other.pinned(SHIPS.version) == SHIPS
    assert other.current(NAME, "vi") == shipped()[NAME, "vi"]
    assert "-" in differences(SHIPS, template)
    [row] = await library.history(NAME, "en")
    assert (row.number, row.active, row.note) == (1, True, "Shorter titles.")


async def test_versions_are_numbered_and_an_earlier_one_can_be_put_back(library: PromptLibrary, pool: Pool) -> None:
    first = await library.set(NAME, "en", OWN, COMMAND)
    second = await library.set(NAME, "en", OWN.replace("three", "four"), COMMAND, activate=False)
    assert library.current(NAME) == first
    assert await library.activate(NAME, "en", 2, COMMAND) == second == library.current(NAME)
    await library.activate(NAME, "en", 0, COMMAND)
    assert library.current(NAME) == SHIPS
    assert library.pinned(second.version) == second
    assert [row.active for row in await library.history(NAME, "en")] == [False, False]
    async with pool.connection() as connection:
        cursor = await connection.execute("SELECT action FROM audit_log ORDER BY seq")
        assert [row["action"] for row in await cursor.fetchall()] == ["prompt.set"] * 2 + ["prompt.activated"] * 2


async def test_what_would_not_be_filled_in_is_refused_and_changes_nothing(library: PromptLibrary) -> None:
    renamed = SHIPS.source.replace("transcript:", "text:").replace("transcript }}", "text }}")
    with pytest.raises(InvalidInput, match="is filled in with transcript"):
        await library.set(NAME, "en", renamed, COMMAND)
    with pytest.raises(NotFound):
        await library.set("house.rules", "en", OWN, COMMAND)
    with pytest.raises(NotFound):
        await library.activate(NAME, "en", 5, COMMAND)
    with pytest.raises(InvalidInput, match="note"):
        await library.set(NAME, "en", OWN, COMMAND, note="x" * 501)
    assert await library.history(NAME, "en") == []


async def test_a_stored_prompt_that_this_version_can_not_read_is_left_out(library: PromptLibrary, pool: Pool) -> None:
    await library.set(NAME, "en", OWN, COMMAND)
    async with pool.connection() as connection:
        await connection.execute("UPDATE prompts SET template = 'broken', version = 2")
    fresh = make_library(pool)
    await fresh.refresh()
    assert fresh.current(NAME) == SHIPS


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder = reachable(tmp_path_factory.mktemp("prompts"))
    with upstream(folder) as scripted, running_hub(folder / "data", scripted_settings(scripted.url)) as running:
        yield running


def command(hub: Hub, *arguments: str) -> str:
    done = tidemill(["prompts", *arguments], hub.environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_over_http_a_prompt_is_shown_set_tried_with_a_model_and_put_back(hub: Hub) -> None:
    with hub.client() as client:
        listed = client.get("/v1/prompts").json()["data"]
        assert {(one["name"], one["language"]) for one in listed} == set(shipped())
        put = client.put(f"/v1/prompts/{NAME}", json={"source": OWN, "note": "Shorter."})
        assert (put.status_code, put.json()["number"]) == (200, 1)
        tried = client.post(
            f"/v1/prompts/{NAME}/test", json={"model": "default", "values": {"transcript": "Hi"}}
        ).json()
        assert "at most three words" in tried["messages"][0]["content"]
        assert "Hi" in tried["messages"][0]["content"]
        assert tried["answer"]
        [row] = query(hub, "SELECT prompt_version FROM inferences WHERE id = %s", tried["inference_id"])
        assert row["prompt_version"] == tried["version"] == put.json()["version"]
        assert "three" in client.get(f"/v1/prompts/{NAME}/diff").json()["diff"]
        back = client.post(f"/v1/prompts/{NAME}/activate", json={"number": 0})
        assert back.json()["version"] == SHIPS.version
        [version] = client.get(f"/v1/prompts/{NAME}/history").json()["data"]
        assert (version["number"], version["active"], version["note"]) == (1, False, "Shorter.")
        refused = client.put(f"/v1/prompts/{NAME}", json={"source": OWN.replace("{{ transcript }}", "{{ tanscript }}")})
        assert refused.status_code == 400
        assert "tanscript" in refused.json()["error"]["message"]
        assert client.get("/v1/prompts/none").status_code == 404


def test_the_command_shows_sets_lists_and_tries_prompts(hub: Hub, tmp_path: Path) -> None:
    source = tmp_path / "title.j2"
    source.write_text(OWN, "utf-8")
    assert command(hub, "show", NAME) == SHIPS.source
    assert "in force" in command(hub, "set", NAME, str(source), "--note", "Three words.")
    assert "three words" in command(hub, "diff", NAME)
    assert "Three words." in command(hub, "history", NAME)
    tried = json.loads(command(hub, "test", NAME, "--model", "default", "--json"))
    assert "three words" in tried["messages"][0]["content"]
    assert tried["answer"]
    assert "=== user ===" in command(hub, "test", NAME, "-n", "0")
    assert "in force" in command(hub, "set", NAME, "--number", "0")
    listed = json.loads(command(hub, "list", "--json"))
    assert {one["version"] for one in listed} == {one.version for one in shipped().values()}
