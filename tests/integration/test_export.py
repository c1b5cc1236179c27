"""What is stored of a person is handed to that person whole, and to no key that is narrowed."""

import io
import json
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import NOON
from tidemill.accounts.people import NewPerson
from tidemill.app.data import open_data
from tidemill.app.database import Database
from tidemill.core.accounts import RIGHTS, Caller, Right, Role, User
from tidemill.core.audit import COMMAND
from tidemill.core.errors import NotPermitted
from tidemill.core.ids import new_id
from tidemill.flows.data import DataServices
from tidemill.settings import Settings
from tidemill.store.database import Pool
from tidemill.store.secret_key import SecretKey

SUMMARY = "they spoke of forty spoons"


@pytest.fixture
async def services(tmp_path: Path, database_url: str) -> AsyncIterator[DataServices]:
    database = Database(database_url, SecretKey("k" * 40), None)
    async with open_data(Settings(data_dir=tmp_path / "data"), database) as services:
        yield services


@pytest.fixture
async def heron(services: DataServices, pool: Pool) -> User:
    """A person with a conversation of which the older part was summed up."""
    user = await services.people.add(NewPerson(f"heron.{new_id().hex}@congty.vn", "Heron"), COMMAND)
    conversation, message = new_id(), new_id()
    async with pool.connection() as connection:
        await connection.execute(
            "INSERT INTO conversations (id, owner_id, title, titled_by, model, history, created_at, updated_at) "
            "VALUES (%s, %s, 't', 'person', 'm', 'summary', %s, %s)",
            (conversation, user.id, NOON, NOON),
        )
        await connection.execute(
            "INSERT INTO messages (id, conversation_id, role, content, created_at) VALUES (%s, %s, 'user', 'hm', %s)",
            (message, conversation, NOON),
        )
        await connection.execute(
            "INSERT INTO conversation_summaries (message_id, content, created_at) VALUES (%s, %s, %s)",
            (message, SUMMARY, NOON),
        )
    return user


def caller(user: User, *, role: Role | None = None, without: Right | None = None) -> Caller:
    chosen = role or user.role
    return Caller(user.id, chosen, RIGHTS[chosen] - {without}, key_id=new_id(), user_id=user.id)


async def exported(services: DataServices, who: Caller) -> dict[str, Any]:
    file = io.BytesIO()
    await services.exports.export_own(who, file)
    archive = zipfile.ZipFile(file)
    return {name: json.loads(archive.read(name)) for name in archive.namelist()}


async def test_the_summary_of_a_conversation_is_handed_over_as_well(services: DataServices, heron: User) -> None:
    [conversation] = (await exported(services, caller(heron)))["conversations.json"]
    assert [message["content"] for message in conversation["messages"]] == ["hm"]
    assert [summary["content"] for summary in conversation["summaries"]] == [SUMMARY]


async def test_what_a_person_asked_of_documents_and_collected_is_handed_over_and_nothing_stays_of_it(
    services: DataServices, pool: Pool, heron: User
) -> None:
    source, path = new_id(), "lan.md"
    async with pool.connection() as connection:
        await connection.execute(
            "INSERT INTO sources (id, name, kind, location, owner_id, level, strategy, options, created_at) "
            "VALUES (%s, 'handbook', 'upload', '', %s, 'internal', 'auto', '{}', %s)",
            (source, heron.id, NOON),
        )
        await connection.execute(
            "INSERT INTO source_uploads (source_id, path, digest, bytes, owner_id, uploaded_at) "
            "VALUES (%s, %s, 'd', 1, %s, %s)",
            (source, path, heron.id, NOON),
        )
        await connection.execute(
            "INSERT INTO source_syncs (id, source_id, state, requested_by, counts, created_at) "
            "VALUES (%s, %s, 'done', %s, '{}', %s)",
            (new_id(), source, heron.id, NOON),
        )
        await connection.execute(
            "INSERT INTO answers (id, owner_id, question, answer, status, language, citations, metadata, level, "
            "created_at) VALUES (%s, %s, 'who signs?', 'Lan [1].', 'success', 'en', '[{\"number\": 1}]', '{}', "
            "'internal', %s)",
            (new_id(), heron.id, NOON),
        )
    told = await exported(services, caller(heron))
    assert [one["question"] for one in told["answers.json"]] == ["who signs?"]
    assert told["answers.json"][0]["citations"] == [{"number": 1}]
    assert [one["name"] for one in told["sources.json"]] == ["handbook"]
    assert [one["path"] for one in told["uploads.json"]] == [path]
    assert len(told["syncs.json"]) == 1

    receipt = await services.erasures.erase(heron.id, COMMAND)

    async with pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT (SELECT count(*) FROM answers) AS answers, (SELECT count(*) FROM sources) AS sources, "
            "(SELECT count(*) FROM sources WHERE owner_id IS NOT NULL) + (SELECT count(*) FROM source_uploads "
            "WHERE owner_id IS NOT NULL) + (SELECT count(*) FROM source_syncs WHERE requested_by IS NOT NULL) AS named"
        )
        assert await cursor.fetchone() == {"answers": 0, "sources": 1, "named": 0}
    assert receipt["counts"]["answers"] == 1  # type: ignore[call-overload,index]


@pytest.mark.parametrize(
    "right", [Right.CONVERSATIONS, Right.FILES, Right.REVIEWS_READ, Right.MODELS_USE, Right.KNOWLEDGE_READ]
)
async def test_a_key_that_may_not_read_all_of_a_persons_texts_exports_none(
    services: DataServices, heron: User, right: Right
) -> None:
    with pytest.raises(NotPermitted, match=right):
        await exported(services, caller(heron, without=right))


async def test_a_lesser_key_exports_nothing_and_a_viewer_what_there_is(services: DataServices, heron: User) -> None:
    with pytest.raises(NotPermitted):
        await exported(services, caller(heron, role=Role.VIEWER))
    viewer = await services.people.change(heron.id, {"role": Role.VIEWER}, COMMAND)
    assert (await exported(services, caller(viewer)))["conversations.json"]
