"""The hub over HTTP, as its clients see it: a real process over a scripted upstream."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
from pydantic import BaseModel

from tests.conftest import reachable
from tests.support.hubs import Hub, Upstream, running_hub, scripted_settings, tidemill, upstream, wait_for
from tests.support.rows import query

HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    folder = tmp_path_factory.mktemp("upstream")
    script = folder / "script.json"
    script.write_text('{"text": "The tide turns the mill.", "json": {"comments": [{"message": "Well"}]}}')
    with upstream(folder, "--script", str(script)) as server:
        yield server


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, scripted: Upstream) -> Iterator[Hub]:
    data_dir = reachable(tmp_path_factory.mktemp("a hub")) / "data"
    with running_hub(data_dir, scripted_settings(scripted.url, max_request_bytes=200_000)) as running:
        yield running


@pytest.fixture
def client(hub: Hub) -> Iterator[httpx.Client]:
    with hub.client() as opened:
        yield opened


@pytest.fixture
def ask(hub: Hub) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{hub.url}/v1", api_key=hub.key, max_retries=0)


def test_the_official_client_gets_an_answer_with_its_usage(ask: openai.OpenAI) -> None:
    answer = ask.chat.completions.create(model="scripted", messages=HELLO)
    assert answer.id.startswith("chatcmpl-")
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0


def test_the_official_client_gets_a_stream_that_adds_up_to_the_whole_answer(ask: openai.OpenAI) -> None:
    whole = ask.chat.completions.create(model="scripted", messages=HELLO).choices[0].message.content
    stream = ask.chat.completions.create(
        model="scripted", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole
    assert [c.usage.completion_tokens for c in chunks if c.usage]
    assert not chunks[-1].choices
    assert len({c.id for c in chunks}) == 1


def test_without_include_usage_a_stream_says_nothing_of_usage(ask: openai.OpenAI) -> None:
    chunks = list(ask.chat.completions.create(model="scripted", messages=HELLO, stream=True))
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)


def test_the_official_client_parses_an_answer_held_to_a_schema(ask: openai.OpenAI) -> None:
    class Comments(BaseModel):
        comments: list[dict[str, str]]

    answer = ask.chat.completions.parse(model="scripted", messages=HELLO, response_format=Comments)
    assert answer.choices[0].message.parsed is not None


def test_models_are_listed_and_found_by_name(ask: openai.OpenAI) -> None:
    assert "scripted" in [model.id for model in ask.models.list()]
    assert ask.models.retrieve("scripted").id == "scripted"
    with pytest.raises(openai.NotFoundError, match="nothing/such"):
        ask.models.retrieve("nothing/such")


def test_default_names_the_default_model(ask: openai.OpenAI) -> None:
    answer = ask.chat.completions.with_raw_response.create(model="default", messages=HELLO)
    assert answer.headers["x-tidemill-model"] == "scripted"


def test_an_unknown_model_is_not_found_and_the_names_that_exist_are_said(ask: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="scripted") as error:
        ask.chat.completions.create(model="gpt-9", messages=HELLO)
    assert error.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/models"), ("POST", "/v1/chat/completions"), ("GET", "/metrics"), ("GET", "/openapi.json"),
     ("GET", "/docs"), ("GET", "/no/such"), ("POST", "/v1/reviews")],
)  # fmt: skip
@pytest.mark.parametrize("header", [None, "Bearer", "Basic abc", "Bearer tm-wrong"])
def test_nothing_is_answered_without_a_key(hub: Hub, method: str, path: str, header: str | None) -> None:
    headers = {"authorization": header} if header else {}
    answer = httpx.request(method, hub.url + path, headers=headers, trust_env=False)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_health_needs_no_key(hub: Hub, path: str) -> None:
    assert httpx.get(hub.url + path, trust_env=False).json()["status"] == "ok"


def test_the_second_prefix_is_the_same_router(client: httpx.Client) -> None:
    answer = client.post("/api/v1/chat/completions", json={"model": "scripted", "messages": HELLO})
    assert answer.json()["object"] == "chat.completion"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "not valid JSON"),
        (b"", "not valid JSON"),
        (b"[]", "should be an object"),
        (b'{"model": "scripted", "messages": []}', "messages"),
        (b'{"model": "scripted"}', "messages"),
        (b'{"messages": [{"role": "user", "content": "x"}]}', "model"),
        (b'{"model": "scripted", "messages": [{"role": "user"}]}', "content"),
        (b'{"model": "scripted", "messages": [{"role": "king", "content": "x"}]}', "role"),
        (b'{"model": "scripted", "messages": [{"role": "user", "content": "x"}], "temperature": 9}', "temperature"),
        (b'{"model": "scripted", "messages": [{"role": "user", "content": "x"}], "tools": []}', "tools"),
        (b'{"model": "scripted", "messages": [{"role": "user", "content": "\\ud800"}]}', "JSON"),
        (b'{"model": "scripted", "messages": [{"role": "user", "content": "\xff"}]}', "JSON"),
        (
            (
                b'{"model": "scripted", "messages": [{"role": "user", "content": "x"}], '
                b'"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "no"}}}}'
            ),
            "schema",
        ),
    ],
)
def test_a_request_that_cannot_be_used_is_told_what_is_wrong(client: httpx.Client, body: bytes, says: str) -> None:
    answer = client.post("/v1/chat/completions", content=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert says in error["message"]


@pytest.mark.parametrize(
    "schema",
    [
        {"$schema": "http://127.0.0.1:9/x"},
        {"$schema": "file:///etc/passwd"},
        {"properties": {"a": {"$ref": "file:///etc/passwd"}}},
        {"allOf": [{"$schema": "http://127.0.0.1:9/x"}]},
    ],
)
def test_a_schema_can_not_make_the_hub_fetch_another_document(client: httpx.Client, schema: dict[str, object]) -> None:
    asked = {
        "model": "scripted",
        "messages": HELLO,
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
    }
    answer = client.post("/v1/chat/completions", json=asked)
    assert answer.status_code == 400
    assert "passwd" not in answer.text


def test_a_schema_with_references_of_its_own_is_served(client: httpx.Client) -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$defs": {"name": {"type": "string"}},
        "properties": {"a": {"$ref": "#/$defs/name"}},
    }
    asked = {
        "model": "scripted",
        "messages": HELLO,
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
    }
    assert client.post("/v1/chat/completions", json=asked).status_code == 200


def test_a_body_over_the_limit_is_refused_with_both_numbers(client: httpx.Client) -> None:
    big = json.dumps({"model": "scripted", "messages": [{"role": "user", "content": "x" * 300_000}]}).encode()
    declared = client.post("/v1/chat/completions", content=big)
    chunked = client.post("/v1/chat/completions", content=iter([big[:150_000], big[150_000:]]))
    for answer in (declared, chunked):
        assert answer.status_code == 413
        assert "200,000" in answer.json()["error"]["message"]


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("DELETE", "/v1/models", 405)])
def test_a_route_that_is_not_there_answers_in_the_same_shape(
    client: httpx.Client, method: str, path: str, status: int
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_an_answer_is_a_row_before_it_arrives(hub: Hub, client: httpx.Client) -> None:
    answer = client.post(
        "/v1/chat/completions",
        json={"model": "scripted", "messages": [{"role": "user", "content": "row \x00 me"}]},
        headers={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
    )
    row = query(hub, "SELECT i.*, t.request::text AS asked FROM inferences i JOIN inference_texts t "
                "ON t.inference_id = i.id WHERE i.id = %s", answer.headers["x-tidemill-inference-id"])[0]  # fmt: skip
    assert (row["task"], row["model"], row["status"]) == ("chat", "scripted", "ok")
    assert row["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert row["completion_tokens"] == answer.json()["usage"]["completion_tokens"]
    assert row["key_id"] is not None
    assert row["config_hash"]
    assert row["latency_ms"] > 0
    assert "row" in row["asked"]


def test_the_metrics_count_by_route_and_model(client: httpx.Client) -> None:
    client.post("/v1/chat/completions", json={"model": "scripted", "messages": HELLO})
    client.get("/v1/nothing/of/the/kind")
    text = client.get("/metrics").text
    labels = 'task="chat",model="scripted",status="ok",cache="none",process="hub-0"'
    assert f"tidemill_inferences_total{{{labels}}}" in text
    assert 'route="/v1/chat/completions"' in text
    assert "nothing/of/the/kind" not in text


def test_a_members_key_sees_no_metrics_and_loads_no_models(hub: Hub) -> None:
    made = tidemill(["keys", "create", "a member", "--json"], hub.environment)
    key = json.loads(made.stdout)["key"]
    headers = {"authorization": f"Bearer {key}"}
    with httpx.Client(base_url=hub.url, headers=headers, trust_env=False) as member:
        assert member.get("/v1/models").status_code == 200
        assert member.get("/metrics").status_code == 403
        assert member.post("/v1/models/unload", json={"model": "scripted"}).status_code == 403
    tidemill(["keys", "revoke", "a member"], hub.environment)
    wait_for(
        lambda: httpx.get(f"{hub.url}/v1/models", headers=headers, trust_env=False).status_code == 401,
        seconds=8,
        what="the revocation",
    )


def test_a_client_that_goes_leaves_a_cancelled_row(hub: Hub, tmp_path: Path) -> None:
    with upstream(tmp_path, "--delay-ms", "8000") as slow:
        data_dir = reachable(tmp_path) / "slow"
        with running_hub(data_dir, scripted_settings(slow.url)) as other, other.client() as client:
            asked = {"model": "scripted", "messages": HELLO}
            with pytest.raises(httpx.ReadTimeout):
                client.post("/v1/chat/completions", json=asked, timeout=0.5)
            with client.stream("POST", "/v1/chat/completions", json={**asked, "stream": True}) as answer:
                next(answer.iter_lines())
            rows = wait_for(
                lambda: len(found := query(other, "SELECT status, streamed FROM inferences")) == 2 and found,
                seconds=7.5,
                what="two cancelled rows",
            )
            assert {row["status"] for row in rows} == {"cancelled"}
