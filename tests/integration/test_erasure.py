"""An erasure that is killed at any step goes on where it was, and what requests in flight leave behind goes as well."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from tests.conftest import NOON
from tidemill.accounts.accounts import Accounts
from tidemill.accounts.people import NewPerson
from tidemill.app.accounts import open_accounts
from tidemill.app.data import open_data
from tidemill.app.database import Database
from tidemill.core.accounts import Role
from tidemill.core.audit import COMMAND, Actor
from tidemill.core.chat import Usage
from tidemill.core.context import InferenceContext
from tidemill.core.deployment import Deployment, Task
from tidemill.core.errors import Conflict, NotFound
from tidemill.core.ids import new_id
from tidemill.core.inference import Inference, InferenceStatus, InferenceText
from tidemill.flows.data import DataServices
from tidemill.flows.personal_data import receipt_digest
from tidemill.settings import Settings
from tidemill.store.blobs import BlobStore
from tidemill.store.database import Pool
from tidemill.store.inferences import InferenceRepository
from tidemill.store.personal_data import PersonalData
from tidemill.store.search import search_files, search_tables
from tidemill.store.secret_key import SecretKey

EMAIL, NAME, PHRASE = "ghost.writer@congty.vn", "Ghost Writer", "the tide table of nineteen eleven"
CHANGE = b'{"diff": "the tide table of nineteen eleven"}'


class Killed(Exception):
    """The process ended here."""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "data" / "logs").mkdir(parents=True)
    return Settings(data_dir=tmp_path / "data")


@pytest.fixture
def database(database_url: str) -> Database:
    return Database(database_url, SecretKey("k" * 40), None)


@pytest.fixture
async def accounts(database: Database) -> AsyncIterator[Accounts]:
    async with open_accounts(database) as accounts:
        yield accounts


@pytest.fixture
async def services(settings: Settings, database: Database) -> AsyncIterator[DataServices]:
    async with open_data(settings, database) as services:
        yield services


@pytest.fixture
async def ghost(pool: Pool, settings: Settings, accounts: Accounts) -> UUID:
    user = await accounts.people.add(NewPerson(EMAIL, NAME), COMMAND)
    await write(pool, settings, user.id)
    (settings.data_dir / "logs" / "a.log").write_text(f"{EMAIL} came and went\n")
    return user.id


async def write(pool: Pool, settings: Settings, owner: UUID) -> None:
    """A conversation and a review of theirs."""
    digest = await BlobStore(settings.blobs_dir).put(CHANGE)
    async with pool.connection() as connection:
        await connection.execute(
            "INSERT INTO conversations (id, owner_id, title, titled_by, model, history, created_at, updated_at) "
            "VALUES (%s, %s, %s, 'person', 'm', 'window', %s, %s)",
            (new_id(), owner, PHRASE, NOON, NOON),
        )
        await connection.execute(
            "INSERT INTO reviews (id, owner_id, state, title, change_digest, with_model, created_at, finished_at) "
            "VALUES (%s, %s, 'done', %s, %s, false, %s, %s)",
            (new_id(), owner, PHRASE, digest, NOON, NOON),
        )
        await connection.execute(
            "INSERT INTO generation_jobs (id, owner_id, level, priority, endpoint, state, request, trace_id, "
            "created_at, expires_at) VALUES (%s, %s, 'internal', 0, '/v1/completions', 'done', %s, '', %s, %s)",
            (new_id(), owner, json.dumps({"prompt": PHRASE}, ensure_ascii=False), NOON, NOON),
        )
        batch = new_id()
        await connection.execute(
            "INSERT INTO batches (id, owner_id, level, endpoint, state, input_file_id, trace_id, created_at, "
            "expires_at) VALUES (%s, %s, 'internal', '/v1/completions', 'in_progress', %s, '', %s, %s)",
            (batch, owner, new_id(), NOON, NOON),
        )
        await connection.execute(
            "INSERT INTO batch_lines (batch_id, place, custom_id, body) VALUES (%s, 0, %s, '{}')", (batch, PHRASE)
        )


async def left(pool: Pool, settings: Settings) -> list[str]:
    places = []
    for wanted in (EMAIL, NAME, PHRASE):
        places += await search_tables(pool, wanted)
        places += search_files(settings.data_dir, wanted)
    return [place.where for place in places]


STEPS = {
    "texts": (PersonalData, "erase", 2),
    "reviews": (PersonalData, "delete_reviews", 1),
    "blob": (BlobStore, "delete", 1),
    "tombstone": (PersonalData, "erase", 3),
    "cleaning": (PersonalData, "clean", 1),
}


@pytest.mark.parametrize(
    ("step", "when"),
    [
        ("texts", "after"),
        ("reviews", "before"),
        ("blob", "after"),
        ("tombstone", "before"),
        ("tombstone", "after"),
        ("cleaning", "before"),
    ],
)
async def test_an_erasure_that_was_killed_is_finished_by_the_next_look(
    pool: Pool,
    settings: Settings,
    services: DataServices,
    ghost: UUID,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    when: str,
) -> None:
    owner, name, count = STEPS[step]
    real, calls = getattr(owner, name), 0

    async def killed(*given: object) -> object:
        nonlocal calls
        calls += 1
        if calls == count and when == "before":
            raise Killed
        result = await real(*given)
        if calls == count:
            raise Killed
        return result

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, killed)
        with pytest.raises(Killed):
            await services.erasures.erase(ghost, COMMAND)
    await services.erasures.resume()
    assert await left(pool, settings) == []
    [erasure] = await services.erasures.latest(limit=10)
    assert erasure.receipt is not None
    assert erasure.receipt["sha256"] == receipt_digest(erasure.receipt)
    assert erasure.receipt["counts"]["profile"] == 1  # type: ignore[call-overload, index]
    assert await services.erasures.erase(ghost, COMMAND) == erasure.receipt


async def test_what_a_request_in_flight_stored_after_the_erasure_is_erased_with_the_next_look(
    pool: Pool, settings: Settings, services: DataServices, ghost: UUID
) -> None:
    receipt = await services.erasures.erase(ghost, Actor("user", new_id()))
    await write(pool, settings, ghost)
    assert await left(pool, settings)
    await services.erasures.resume()
    assert await left(pool, settings) == []
    [erasure] = await services.erasures.latest(limit=10)
    assert erasure.receipt == receipt


async def test_a_change_that_another_reviewed_too_stays(
    pool: Pool, settings: Settings, services: DataServices, ghost: UUID
) -> None:
    await write(pool, settings, new_id())
    await services.erasures.erase(ghost, COMMAND)
    assert len([path for path in settings.blobs_dir.rglob("*") if path.is_file()]) == 1


async def test_nobody_can_be_erased_who_is_not_there_or_is_the_last_admin(
    services: DataServices, accounts: Accounts
) -> None:
    with pytest.raises(NotFound):
        await services.erasures.erase(new_id(), COMMAND)
    boss = await accounts.people.add(NewPerson("boss@congty.vn", "Boss", Role.ADMIN), COMMAND)
    with pytest.raises(Conflict, match="last admin"):
        await services.erasures.erase(boss.id, COMMAND)
    assert (await accounts.people.get(boss.id)).disabled_at is None
    assert await services.erasures.latest(limit=1) == []
    await accounts.people.add(NewPerson("next@congty.vn", "Next", Role.ADMIN), COMMAND)
    assert await services.erasures.erase(boss.id, COMMAND)


async def test_an_erasure_long_ago_is_not_looked_at_again(
    pool: Pool, settings: Settings, services: DataServices, ghost: UUID
) -> None:
    await services.erasures.erase(ghost, COMMAND)
    async with pool.connection() as connection:
        await connection.execute("UPDATE erasures SET finished_at = finished_at - %s", (timedelta(days=2),))
    await write(pool, settings, ghost)
    await services.erasures.resume()
    assert await left(pool, settings)


async def test_every_table_that_names_a_person_is_one_that_an_erasure_knows(pool: Pool) -> None:
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT DISTINCT table_name AS name FROM information_schema.columns WHERE table_schema = 'public' "
            "AND column_name IN ('owner_id', 'user_id', 'actor_id', 'email', 'requested_by')"
        )
        found = {str(row["name"]) for row in await cursor.fetchall()}
    erased = {"answer_cache", "answers", "api_keys", "batches", "conversations", "embedding_cache", "files",
              "generation_jobs", "guardrail_events", "inferences", "prompts", "responses", "reviews", "sessions",
              "source_syncs", "source_uploads", "sources",
              "team_members", "text_fingerprints", "users"}  # fmt: skip
    ids_alone = {"audit_log", "erasures"}
    assert found == erased | ids_alone


async def test_a_prompt_that_the_person_set_stays_and_names_nobody(
    pool: Pool, services: DataServices, ghost: UUID
) -> None:
    async with pool.connection() as connection:
        await connection.execute(
            "INSERT INTO prompts (name, language, version, hash, template, actor_id, active, created_at) "
            "VALUES ('review.comment', 'en', 1, 'h', 'text', %s, true, %s)",
            (ghost, NOON),
        )
    person = await PersonalData(pool).person(ghost)
    exported = [row async for page in PersonalData(pool).rows(person, "prompts") for row in page]
    assert [row["template"] for row in exported] == ["text"]
    receipt = await services.erasures.erase(ghost, COMMAND)
    assert receipt["counts"]["prompts_made_anonymous"] == 1  # type: ignore[call-overload, index]
    async with pool.connection() as connection:
        rows = await (await connection.execute("SELECT template, actor_id FROM prompts")).fetchall()
    assert rows == [{"template": "text", "actor_id": None}]


async def test_two_who_erase_a_person_at_once_get_the_one_receipt(services: DataServices, ghost: UUID) -> None:
    first, second, _ = await asyncio.gather(
        services.erasures.erase(ghost, COMMAND), services.erasures.erase(ghost, COMMAND), services.erasures.resume()
    )
    [erasure] = await services.erasures.latest(limit=10)
    assert first == second == erasure.receipt


async def test_a_text_that_is_stored_while_the_others_are_deleted_is_erased_with_the_next_look(
    pool: Pool, settings: Settings, services: DataServices, ghost: UUID
) -> None:
    early = await ask(pool, ghost)
    async with pool.connection() as holding, holding.transaction():
        await holding.execute("SELECT FROM inference_texts WHERE inference_id = %s FOR UPDATE", (early,))
        erasing = asyncio.create_task(services.erasures.erase(ghost, COMMAND))
        await until_one_waits_for_a_row(pool)
        await ask(pool, ghost)
    await erasing
    await services.erasures.resume()
    assert await left(pool, settings) == []


async def ask(pool: Pool, owner: UUID) -> UUID:
    """An inference of theirs, with its text."""
    context = InferenceContext(new_id(), Deployment(Task.CHAT, "m", "v1"), "0" * 32, owner_id=owner)
    row = Inference(context, "h", InferenceStatus.OK, Usage(1, 1), 1.0, None, False, "stop", None, 0.0, None, NOON)
    await InferenceRepository(pool).add(row, InferenceText(json.dumps(PHRASE), "{}"), NOON + timedelta(days=36500))
    return context.inference_id


async def until_one_waits_for_a_row(pool: Pool) -> None:
    async with pool.connection() as connection:
        for _ in range(500):
            cursor = await connection.execute(
                "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'DELETE FROM inference%'"
            )
            if await cursor.fetchone():
                return
            await asyncio.sleep(0.02)
    raise AssertionError("nothing waits")
