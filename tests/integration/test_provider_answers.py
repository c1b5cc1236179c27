"""A whole hub whose models are providers', asked over its own API."""

import json
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from tests.conftest import reachable
from tests.support.hubs import Hub, answers, running_hub, scripted_settings, wait_for

WIRES = ("openai", "anthropic", "gemini")


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    """Where the scripted provider is."""
    command = [sys.executable, "-m", "tidemill.llm.providers.scripted_server"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        url = f"http://127.0.0.1:{json.loads(process.stdout.readline())['port']}"
        wait_for(lambda: answers(f"{url}/health"), what="the scripted provider")
        yield url
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, provider: str) -> Iterator[Hub]:
    folder = reachable(tmp_path_factory.mktemp("hub"))
    key = folder / "key"
    key.write_text("sk-the-providers-own-key\n")
    key.chmod(0o600)
    providers = {
        wire: {
            "kind": wire,
            "base_urls": [f"{provider}/v1" if wire == "openai" else provider],
            "api_key_file": str(key),
            "allow_private": True,
            "models": {"priced": {"input": 1.0, "output": 2.0}},
        }
        for wire in WIRES
    }
    settings = {**scripted_settings(f"{provider}/v1"), "providers": providers}
    with running_hub(folder / "data", settings) as running:
        yield running


@pytest.fixture
def client(hub: Hub, provider: str) -> Iterator[httpx.Client]:
    httpx.delete(f"{provider}/script", trust_env=False)
    with hub.client() as client:
        yield client


def ask(client: httpx.Client, model: str, text: str = "What is a lease?", **more: object) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
    return client.post("/v1/chat/completions", json=body)


@pytest.mark.parametrize("wire", WIRES)
def test_a_providers_model_answers_and_the_headers_say_who_it_was(client: httpx.Client, wire: str) -> None:
    answer = ask(client, f"{wire}/priced", f"a question for {wire}")
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"].startswith("This is a scripted answer")
    assert answer.headers["x-tidemill-provider"] == wire
    assert answer.headers["x-tidemill-model"] == f"{wire}/priced"
    assert answer.headers["x-tidemill-model-version"].startswith(f"{wire}:priced@priced-")
    usage = answer.json()["usage"]
    cost = (usage["prompt_tokens"] + 2 * usage["completion_tokens"]) / 1e6
    assert float(answer.headers["x-tidemill-cost-usd"]) == pytest.approx(cost)


@pytest.mark.parametrize("wire", WIRES)
def test_a_stream_of_a_provider_has_its_text_its_usage_and_an_end(client: httpx.Client, wire: str) -> None:
    body = {"stream": True, "stream_options": {"include_usage": True}}
    answer = ask(client, f"{wire}/streamed", f"a stream of {wire}", **body)
    events = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
    chunks = [json.loads(event) for event in events[:-1]]
    assert events[-1] == "[DONE]"
    text = "".join(c["delta"].get("content") or "" for chunk in chunks for c in chunk["choices"])
    assert text == "This is a scripted answer, and it says the same every time."
    assert chunks[-1]["usage"]["completion_tokens"] == 12
    assert answer.headers["x-tidemill-provider"] == wire


@pytest.mark.parametrize("wire", WIRES)
def test_several_answers_come_from_every_provider(client: httpx.Client, wire: str) -> None:
    answer = ask(client, f"{wire}/several", n=2)
    assert answer.status_code == 200
    assert [choice["index"] for choice in answer.json()["choices"]] == [0, 1]
    assert answer.headers["x-tidemill-provider"] == wire
    assert answer.json()["usage"]["prompt_tokens"] == (4 if wire == "openai" else 8)  # as it is billed


@pytest.mark.parametrize("wire", ["openai", "gemini"])
def test_texts_are_embedded_by_a_provider_and_cut_to_size(client: httpx.Client, wire: str) -> None:
    body = {"model": f"{wire}/vectors", "input": ["one", "two"], "dimensions": 8}
    answer = client.post("/v1/embeddings", json=body)
    assert answer.status_code == 200
    assert [len(one["embedding"]) for one in answer.json()["data"]] == [8, 8]


def test_what_a_provider_has_not_is_said(client: httpx.Client) -> None:
    refused = client.post("/v1/embeddings", json={"model": "anthropic/vectors", "input": "one"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "model")
    refused = client.post("/v1/completions", json={"model": "gemini/m", "prompt": "Once"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "model")
    refused = ask(client, "anthropic/m", seed=7)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "seed")
    unknown = client.post("/v1/embeddings", json={"model": "nobody/m", "input": "one"})
    assert unknown.status_code == 404


def test_a_text_is_continued_by_a_provider_that_does_so(client: httpx.Client) -> None:
    answer = client.post("/v1/completions", json={"model": "openai/texts", "prompt": "Once upon a time"})
    assert answer.json()["choices"][0]["text"].startswith("This is")


def test_a_failure_has_its_status_its_wait_and_no_key(client: httpx.Client) -> None:
    answer = ask(client, "anthropic/waits!rate_limit.heavy")
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 120
    refused = ask(client, "gemini/filtered!content.policy")
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "content_policy_violation")
    assert "sk-the-providers-own-key" not in answer.text + refused.text


def test_the_request_id_of_the_hub_reaches_the_provider(client: httpx.Client, provider: str) -> None:
    answer = ask(client, "openai/traced")
    noted = httpx.get(f"{provider}/asked", trust_env=False).json()["requests"][-1]
    assert noted["request_id"]
    assert noted["key"] == "sk-the-providers-own-key"
    assert noted["request_id"] == answer.headers.get("x-request-id", noted["request_id"])
