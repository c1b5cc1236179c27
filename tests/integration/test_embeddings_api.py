"""Embeddings over HTTP, as clients see them: a real hub with the built-in model and a scripted endpoint."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
import openai
import pytest

from tests.conftest import NOON, reachable
from tests.support.hubs import Hub, Upstream, running_hub, scripted_settings, tidemill, upstream
from tests.support.rows import query
from tidemill.core.ids import new_id
from tidemill.store.database import Pool
from tidemill.store.embedding_cache import CachedVector, EmbeddingCacheRepository

E5 = "multilingual-e5-small"


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    with upstream(tmp_path_factory.mktemp("upstream")) as server:
        yield server


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, scripted: Upstream) -> Iterator[Hub]:
    data_dir = reachable(tmp_path_factory.mktemp("a hub")) / "data"
    far = {"url": scripted.url}
    embeddings = {
        "max_input_bytes": 20_000,
        "endpoints": {
            "far": far,
            "outside": {**far, "outside": True},
            "keyless": {**far, "api_key_env": "NO_SUCH_VARIABLE"},
            "away": {"url": "http://127.0.0.1:9/v1"},
        },
    }
    with running_hub(data_dir, scripted_settings(scripted.url, embeddings=embeddings)) as running:
        yield running


@pytest.fixture
def client(hub: Hub) -> Iterator[httpx.Client]:
    with hub.client() as opened:
        yield opened


@pytest.fixture
def ask(hub: Hub) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{hub.url}/v1", api_key=hub.key, max_retries=0)


def test_the_official_client_finds_the_vietnamese_answer_with_the_default_model(ask: openai.OpenAI) -> None:
    passages = ["Hà Nội là thủ đô của Việt Nam.", "Phở là một món ăn."]
    found = ask.embeddings.create(model="default", input=passages)
    question = ask.embeddings.create(
        model="default", input="Thủ đô của Việt Nam là gì?", extra_body={"input_type": "query"}
    )
    near, far = (
        sum(a * b for a, b in zip(question.data[0].embedding, one.embedding, strict=True)) for one in found.data
    )
    assert near > far
    assert [one.index for one in found.data] == [0, 1]
    assert found.usage.prompt_tokens == found.usage.total_tokens > 10


def test_numbers_and_base64_say_the_same(ask: openai.OpenAI) -> None:
    packed = ask.embeddings.create(model=E5, input="a tide mill")
    numbers = ask.embeddings.create(model=E5, input="a tide mill", encoding_format="float")
    assert packed.data[0].embedding == pytest.approx(numbers.data[0].embedding)
    assert len(numbers.data[0].embedding) == 384


def test_dimensions_cut_the_vector_to_unit_length(ask: openai.OpenAI) -> None:
    found = ask.embeddings.create(model=E5, input="a tide mill", dimensions=64).data[0].embedding
    assert len(found) == 64
    assert sum(number * number for number in found) == pytest.approx(1, abs=1e-5)
    with pytest.raises(openai.BadRequestError, match="have 384"):
        ask.embeddings.create(model=E5, input="a tide mill", dimensions=385)


def test_embedding_models_are_listed_and_found(ask: openai.OpenAI) -> None:
    assert {E5, "far"} <= {model.id for model in ask.models.list()}
    assert ask.models.retrieve(E5).owned_by == "tidemill"


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"model": E5, "input": ""}, 400, "empty"),
        ({"model": E5, "input": ["a", " "]}, 400, "Text 1"),
        ({"model": E5, "input": []}, 400, "empty list"),
        ({"model": E5, "input": ["a"] * 2049}, 400, "2048"),
        ({"model": E5, "input": [1, 2, 3]}, 400, "check_embedding_ctx_length=False"),
        ({"model": E5, "input": [[1], [2]]}, 400, "Tokens are not taken"),
        ({"model": E5}, 400, "input"),
        ({"input": "a"}, 400, "model"),
        ({"model": E5, "input": "a", "encoding_format": "hex"}, 400, "encoding_format"),
        ({"model": E5, "input": "a", "dimensions": 0}, 400, "dimensions"),
        ({"model": E5, "input": "a", "input_type": "poem"}, 400, "input_type"),
        ({"model": E5, "input": "a", "colour": "red"}, 400, "colour"),
        ({"model": E5, "input": "x" * 1_000_000}, 413, "20,000"),
        ({"model": E5, "input": "a b c " * 1000}, 400, "512 tokens"),
        ({"model": "nothing", "input": "a"}, 404, E5),
        ({"model": "all-minilm-l6-v2", "input": "a"}, 404, "tidemill models pull"),
        ({"model": "keyless", "input": "a"}, 500, "NO_SUCH_VARIABLE"),
        ({"model": "away", "input": "a"}, 503, "can't be reached"),
    ],
)
def test_a_request_that_cannot_be_served_is_told_why(
    client: httpx.Client, body: dict[str, object], status: int, says: str
) -> None:
    answer = client.post("/v1/embeddings", json=body)
    assert answer.status_code == status
    assert says in answer.json()["error"]["message"]


def test_a_text_over_the_context_is_named_by_openais_code(client: httpx.Client) -> None:
    answer = client.post("/v1/embeddings", json={"model": E5, "input": "a b c " * 1000})
    assert answer.json()["error"]["code"] == "context_length_exceeded"


def test_a_text_is_sent_to_an_endpoint_once_and_then_taken_from_the_cache(
    client: httpx.Client, scripted: Upstream, hub: Hub
) -> None:
    before = len(scripted.asked)
    first = client.post("/v1/embeddings", json={"model": "far", "input": ["cache me", "cache me", "and me"]})
    again = client.post("/v1/embeddings", json={"model": "far", "input": ["and me", "cache me"]})
    assert len(scripted.asked) == before + 1
    assert first.json()["data"][2]["embedding"] == again.json()["data"][0]["embedding"]
    assert first.json()["usage"] == {"prompt_tokens": 6, "total_tokens": 6}
    rows = query(
        hub,
        "SELECT i.*, t.inference_id AS text FROM inferences i LEFT JOIN inference_texts t ON t.inference_id = i.id "
        "WHERE i.id = ANY(%s) ORDER BY i.created_at",
        [UUID(answer.headers["x-tidemill-inference-id"]) for answer in (first, again)],
    )
    assert [(row["task"], row["model"], row["status"]) for row in rows] == [("embed", "far", "ok")] * 2
    assert [row["cache_tier"] for row in rows] == [None, "embedding"]
    assert [row["cached_tokens"] for row in rows] == [0, 4]
    assert [row["text"] for row in rows] == [None, None]


def test_a_query_and_a_passage_are_cached_apart(client: httpx.Client) -> None:
    asked = {"model": E5, "input": "both kinds"}
    vectors = [
        client.post("/v1/embeddings", json={**asked, **more}).json()["data"][0]["embedding"]
        for more in ({}, {"input_type": "query"}, {"input_type": "document"})
    ]
    assert vectors[0] == vectors[2] != vectors[1]


def test_a_secret_is_neither_sent_outside_nor_cached(client: httpx.Client, scripted: Upstream, hub: Hub) -> None:
    text = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEAx\n-----END RSA PRIVATE KEY-----"
    before = len(scripted.asked)
    refused = client.post("/v1/embeddings", json={"model": "outside", "input": text})
    assert refused.status_code == 403
    assert "embeddings.endpoints.outside.outside" in refused.json()["error"]["message"]
    assert len(scripted.asked) == before
    count = "SELECT count(*) AS rows FROM embedding_cache"
    rows = query(hub, count)
    assert client.post("/v1/embeddings", json={"model": "far", "input": text}).status_code == 200
    assert query(hub, count) == rows


def test_a_failed_request_leaves_a_row_with_its_error(client: httpx.Client, hub: Hub) -> None:
    client.post("/v1/embeddings", json={"model": "away", "input": "a"})
    row = query(hub, "SELECT status, error_code FROM inferences WHERE model = 'away' ORDER BY created_at DESC")[0]
    assert (row["status"], row["error_code"]) == ("error", "unavailable")


def test_a_viewer_may_not_embed(hub: Hub) -> None:
    made = tidemill(["keys", "create", "a viewer", "--role", "viewer", "--json"], hub.environment)
    headers = {"authorization": f"Bearer {json.loads(made.stdout)['key']}"}
    answer = httpx.post(
        f"{hub.url}/v1/embeddings", json={"model": "far", "input": "a"}, headers=headers, trust_env=False
    )
    assert answer.status_code == 403


def test_the_command_prints_vectors(hub: Hub) -> None:
    whole = json.loads(tidemill(["embed", "xin chào", "hello", "--query", "--json"], hub.environment).stdout)
    assert [len(one["embedding"]) for one in whole["data"]] == [384, 384]
    short = tidemill(["embed", "xin chào", "--model", "far", "--dimensions", "8"], hub.environment)
    assert "xin chào" in short.stdout
    wrong = tidemill(["embed", "a", "--model", "nothing"], hub.environment)
    assert wrong.returncode == 4


async def test_a_cached_vector_is_found_under_its_model_version_until_it_is_too_old(pool: Pool) -> None:
    cache = EmbeddingCacheRepository(pool)
    one, other = new_id(), new_id()
    vector = CachedVector(b"\0\0\x80?", 3)
    await cache.add("v1", {b"a" * 32: vector, b"b" * 32: vector}, one, NOON)
    await cache.add("v1", {b"a" * 32: vector}, other, NOON + timedelta(hours=1))
    await cache.add("v2", {b"a" * 32: vector}, other, NOON + timedelta(hours=1))
    assert await cache.find("v1", [b"a" * 32, b"c" * 32], NOON) == {b"a" * 32: vector}
    assert await cache.find("v1", [b"a" * 32], datetime(2027, 1, 1, tzinfo=UTC)) == {}
