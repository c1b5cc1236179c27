"""Search over HTTP and on the command line, for callers who may see different things."""

import asyncio
import json
from collections.abc import Iterator

import httpx
import pytest

from tests.conftest import reachable
from tests.support.hubs import Hub, running_hub, scripted_settings, tidemill, upstream
from tests.support.indexed import NOON, Index
from tidemill.core.classification import Level
from tidemill.llm.embedding_catalog import E5, find_embedding_model
from tidemill.settings import Settings
from tidemill.store.database import make_pool
from tidemill.store.embedded import EmbeddedPostgres
from tidemill.store.secret_key import load_secret_key
from tidemill.store.vectors import VectorSpaces


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder = reachable(tmp_path_factory.mktemp("search"))
    with upstream(folder) as scripted, running_hub(folder / "data", scripted_settings(scripted.url)) as running:
        asyncio.run(fill(running))
        yield running


async def fill(hub: Hub) -> None:
    """Two sources, one for a department, embedded by the hub itself."""
    settings = Settings(data_dir=hub.data_dir)
    with hub.client() as client:
        department = client.post("/v1/departments", json={"name": "Finance"}).json()["id"]
    with EmbeddedPostgres.acquire(settings, load_secret_key(settings)) as server:
        async with make_pool(server.url, size=2) as pool:
            index = Index(pool)
            space = await VectorSpaces(pool).ensure(E5, find_embedding_model(settings, E5).version, 384, NOON)
            handbook = await index.source("handbook")
            await index.document(handbook, "mua-hang.md", "Đơn hàng trên 50 triệu đồng cần ba báo giá.", language="vi")
            await index.document(handbook, "retry.py", "def retry(times): ...", kind="code", author="Lan Nguyễn")
            plans = await index.source("plans", level=Level.INTERNAL, departments=[department])
            await index.document(plans, "plan.md", "Three quotations are needed for the new plan.")
            waiting = await VectorSpaces(pool).pending(space, 10)
            with hub.client() as client:
                body = {"model": E5, "input": [one.text for one in waiting], "input_type": "passage"}
                made = client.post("/v1/embeddings", json=body).json()["data"]
            import numpy as np  # noqa: PLC0415

            vectors = [np.array(one["embedding"], "<f4").tobytes() for one in made]
            await VectorSpaces(pool).put_vectors(
                space, {one.hash: vector for one, vector in zip(waiting, vectors, strict=True)}
            )


def key_of(hub: Hub, name: str, **person: object) -> dict[str, str]:
    """The headers of a new person's key."""
    with hub.client() as client:
        user = client.post("/v1/users", json={"email": f"{name}@example.org", "name": name, "role": "viewer", **person})
        assert user.status_code in {200, 201}, user.text
        made = client.post("/v1/keys", json={"name": name, "role": "viewer", "owner_id": user.json()["id"]})
        assert made.status_code in {200, 201}, made.text
        return {"authorization": f"Bearer {made.json()['key']}"}


def found(hub: Hub, query: str, headers: dict[str, str] | None = None, **more: object) -> list[str]:
    with hub.client() as client:
        answer = client.post("/v1/search", json={"query": query, **more}, headers=headers or {})
    assert answer.status_code == 200, answer.text
    return [hit["path"] for hit in answer.json()["data"]]


def test_an_english_question_finds_a_vietnamese_passage(hub: Hub) -> None:
    assert found(hub, "how many quotes does a big order need?", filters={"sources": ["handbook"]})[0] == "mua-hang.md"
    assert found(hub, "kind:code retry") == ["retry.py"]


def test_each_score_is_explained_where_that_is_asked_for(hub: Hub) -> None:
    with hub.client() as client:
        body = {"query": "ba báo giá", "explain": True, "compress": True, "diversity": 0.2}
        (hit, *_) = client.post("/v1/search", json=body).json()["data"]
        plain = client.post("/v1/search", json={"query": "ba báo giá"}).json()["data"][0]
    assert hit["path"] == "mua-hang.md"
    assert {term["term"] for term in hit["scores"]["terms"]} == {"ba", "báo", "giá"}
    assert plain["scores"]["terms"] is None
    assert hit["text"][hit["start"] : hit["end"]] == hit["text"]


def test_a_person_sees_what_is_for_their_department(hub: Hub) -> None:
    with hub.client() as client:
        (department,) = client.get("/v1/departments").json()["data"]
    outside, inside = key_of(hub, "an"), key_of(hub, "binh", department_id=department["id"])
    assert "plan.md" in found(hub, "quotations for the plan")
    assert "plan.md" in found(hub, "quotations for the plan", inside)
    assert "plan.md" not in found(hub, "quotations for the plan", outside)
    assert found(hub, "source:plans quotations", outside) == []


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"query": ""}, "query"),
        ({"query": "x" * 20_001}, "query"),
        ({"query": "x", "limit": 0}, "limit"),
        ({"query": "x", "level": "secret"}, "level"),
        ({"query": "x", "filters": {"departments": []}}, "filters.departments"),
        ({"query": "x", "filters": {"after": "2026-01-01T00:00:00"}}, "filters.after"),
    ],
)
def test_what_no_search_can_be_is_refused_with_its_field(hub: Hub, body: dict[str, object], param: str) -> None:
    with hub.client() as client:
        answer = client.post("/v1/search", json=body)
    assert answer.status_code in {400, 422}
    assert answer.json()["error"]["param"] == param


def test_a_search_that_asks_a_model_needs_the_right_to(hub: Hub) -> None:
    viewer = key_of(hub, "chi")
    with hub.client() as client:
        for wish in ({"rerank": True}, {"expansion": "model"}, {"self_query": "model"}):
            body = {"query": "báo giá", "filters": {"sources": ["handbook"]}, **wish}
            refused = client.post("/v1/search", json=body, headers=viewer)
            assert (refused.status_code, "models.use" in refused.text) == (403, True), refused.text
        widened = client.post("/v1/search", json={"query": "báo giá", "expansion": "model", "self_query": "model"})
        assert widened.json()["variants"], widened.text
        unsure = client.post("/v1/search", json={"query": "báo giá", "rerank": True})
        assert (unsure.status_code, "log-probabilities" in unsure.text) == (502, True), unsure.text


def test_without_a_key_nothing_is_found(hub: Hub) -> None:
    assert httpx.post(f"{hub.url}/v1/search", json={"query": "x"}, trust_env=False).status_code == 401


def test_the_command_prints_a_table_or_json(hub: Hub) -> None:
    shown = tidemill(["search", "báo giá", "--limit", "1", "--explain"], hub.environment)
    assert shown.returncode == 0, shown.stderr
    assert "mua-hang.md" in shown.stdout
    assert "báo" in shown.stdout
    printed = tidemill(["search", "retry", "--kind", "code", "--json"], hub.environment)
    assert [hit["path"] for hit in json.loads(printed.stdout)["data"]] == ["retry.py"]
    nothing = tidemill(["search", "retry", "--author", "nobody"], hub.environment)
    assert nothing.stdout.startswith("Nothing was found")
