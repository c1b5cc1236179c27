"""What a client of a whole hub sees when providers fail: answers, headers, events, and rows."""

import json
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from tests.conftest import reachable
from tests.support.hubs import Hub, answers, running_hub, tidemill, wait_for
from tests.support.recovery import ROOT
from tests.support.rows import query
from tidemill.core.failure import Failure

pytestmark = pytest.mark.unmeasured

HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    """A provider that fails on command, as a process."""
    command = [sys.executable, "-m", "tidemill.llm.providers.scripted_server"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        url = f"http://127.0.0.1:{json.loads(process.stdout.readline())['port']}"
        wait_for(lambda: answers(f"{url}/health"), what="the provider")
        yield url
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module")
def hub(upstream: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    priced = {"models": {name: {"input": 1000.0, "output": 1000.0} for name in ("main", "small")}}

    def provider(kind: str, url: str, name: str) -> dict[str, object]:
        key = tmp_path_factory.mktemp(name) / "key"
        key.write_text("no-secret")
        return {"kind": kind, "base_url": url, "api_key_file": str(reachable(key.parent) / "key"),
                "allow_private": True, **priced}  # fmt: skip

    providers = {name: provider("openai", f"{upstream}/v1", name) for name in ("one", "two", "three", "four")}
    settings = {
        "models": {"default": "scripted", "endpoints": {"scripted": {"url": f"{upstream}/v1"}}},
        "providers": {**providers, "other": provider("anthropic", upstream, "other")},
        "routes": {
            "smart": {"targets": ["one/main", "other/main"]},
            "polite": {"targets": ["two/main!quota.model"], "fallbacks": ["local", "template"]},
            "bare": {"targets": ["three/main!overload.overloaded"]},
        },
        "retention": {"cache_hours": 0.001},
    }
    with running_hub(reachable(tmp_path_factory.mktemp("hub")) / "data", settings) as running:
        yield running


@pytest.fixture
def client(hub: Hub, upstream: str) -> Iterator[httpx.Client]:
    httpx.delete(f"{upstream}/script", trust_env=False)
    with hub.client() as opened:
        yield opened


def order(upstream, leaf, **more):
    httpx.post(f"{upstream}/script", json={"leaf": leaf, **more}, trust_env=False).raise_for_status()


def ask(client, model, headers=None, **more):
    body = {"model": model, "messages": HELLO, **more}
    return client.post("/v1/chat/completions", json=body, headers={"cache-control": "no-store", **(headers or {})})


def row_of(hub, answer):
    [row] = query(hub, "SELECT * FROM inferences WHERE id = %s", answer.headers["x-tidemill-inference-id"])
    return row


def newest(hub):
    return query(hub, "SELECT * FROM inferences ORDER BY created_at DESC LIMIT 1")[0]


def test_an_answer_says_who_gave_it_and_what_failed_before(hub, client, upstream):
    order(upstream, "overload.overloaded", model="main", wire="openai")
    answer = ask(client, "smart")
    headers = {name: answer.headers[f"x-tidemill-{name}"] for name in ("provider", "model", "attempts", "recovery")}
    assert headers == {"provider": "other", "model": "other/main", "attempts": "2", "recovery": "overload.overloaded"}
    assert float(answer.headers["x-tidemill-cost-usd"]) > 0
    assert answer.json()["model"] == "smart"
    row = row_of(hub, answer)
    assert (row["status"], row["route"], row["provider"], row["model"]) == ("ok", "smart", "other", "other/main")
    assert (row["attempts"], row["recovery"], row["fallback"]) == (2, ["overload.overloaded"], None)
    assert float(row["cost_usd"]) == pytest.approx(float(answer.headers["x-tidemill-cost-usd"]))


def test_a_text_of_the_hub_itself_is_a_partial_answer(hub, client):
    answer = ask(client, "polite", {"accept-language": "vi-VN,vi;q=0.9"})
    assert answer.status_code == 200
    assert answer.headers["x-tidemill-fallback"] == "template"
    assert answer.json()["choices"][0]["message"]["content"].startswith("Xin lỗi")
    row = row_of(hub, answer)
    assert (row["status"], row["provider"], row["fallback"]) == ("partial", "template", "template")
    assert row["model_version"].startswith("recovery.apology/vi/0@")


def test_when_all_fail_the_row_says_what_was_tried(hub, client):
    answer = ask(client, "bare")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "all_providers_failed")
    assert "three/main!overload.overloaded: overload.overloaded" in answer.json()["error"]["message"]
    assert int(answer.headers["retry-after"]) >= 1
    headers = {name: answer.headers[f"x-tidemill-{name}"] for name in ("provider", "model", "attempts", "recovery")}
    failed = {"provider": "three", "model": "three/main!overload.overloaded", "attempts": "1"}
    assert headers == {**failed, "recovery": "overload.overloaded"}
    row = newest(hub)
    assert answer.headers["x-tidemill-inference-id"] == str(row["id"])
    assert (row["status"], row["error_code"], row["recovery"]) == (
        "error",
        "all_providers_failed",
        ["overload.overloaded"],
    )


def test_a_stream_that_breaks_off_ends_with_an_error_event_and_a_row(hub, client, upstream):
    order(upstream, "break_off", model="main", wire="anthropic")
    body = {"model": "other/main", "messages": HELLO, "stream": True}
    with client.stream("POST", "/v1/chat/completions", json=body) as answer:
        events = [line for line in answer.iter_lines() if line.startswith("data: ")]
    error = json.loads(events[-1].removeprefix("data: "))["error"]
    assert (answer.status_code, error["code"]) == (200, "stream_interrupted")
    assert "main at other broke off" in error["message"]
    row = newest(hub)
    assert (row["status"], row["error_code"], row["provider"]) == ("error", "stream_interrupted", "other")
    assert row["streamed"]


def test_a_stream_says_who_answers_it_in_its_headers(client, upstream):
    order(upstream, "overload.overloaded", model="main", wire="openai")
    with client.stream(
        "POST", "/v1/chat/completions", json={"model": "smart", "messages": HELLO, "stream": True}
    ) as it:
        assert it.headers["x-tidemill-provider"] == "other"
        assert it.headers["x-tidemill-recovery"] == "overload.overloaded"
        assert "data: [DONE]" in it.read().decode()


def test_a_request_that_may_cost_nothing_is_refused_before_it_is_sent(client, upstream):
    answer = ask(client, "smart", {"x-tidemill-max-cost": "0.000001"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (402, "budget_exceeded")
    assert httpx.get(f"{upstream}/asked", trust_env=False).json()["total"] == 0
    answer = ask(client, "smart", {"x-tidemill-max-cost": "-1"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "X-Tidemill-Max-Cost")


def test_a_deadline_ends_the_wait_for_a_provider_that_hangs(client, upstream):
    order(upstream, "network.timeout", model="main", times=0)
    answer = ask(client, "four/main", {"x-tidemill-timeout": "0.5"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline_exceeded")


def test_a_disabled_provider_is_put_back_with_a_command(hub, client, upstream):
    order(upstream, "authentication.invalid", model="main")
    assert ask(client, "four/main").json()["error"]["code"] == "configuration"
    refused = ask(client, "four/main").json()["error"]
    assert "tidemill providers enable four" in refused["message"]
    done = tidemill(["providers", "enable", "four"], hub.environment)
    assert done.returncode == 0, done.stderr
    assert wait_for(lambda: ask(client, "four/main").is_success, what="the provider")


def test_the_example_shows_every_branch():
    shown = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "recovery.py")], capture_output=True, text=True, timeout=180
    )
    assert shown.returncode == 0, shown.stdout + shown.stderr
    blocks = {block.splitlines()[0]: block for block in shown.stdout.split("\n\n") if block.strip()}
    for leaf in Failure:
        assert "    200 in" in blocks[leaf.value]
        assert f"recovery: {leaf.value}" in blocks[leaf.value]
    assert "fallback: template" in blocks["the same, in Vietnamese"]
    assert "No model of the route bare answered" in blocks["no target and no fallback"]
    assert "broke off after it had begun" in blocks["a stream that breaks off"]
