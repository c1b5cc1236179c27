"""What can be seen of a hub and a worker while they work, and what can't: prompts and keys."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.conftest import fresh_database, reachable
from tests.support.hubs import PATIENCE, Hub, running_hub, tidemill, wait_for
from tests.support.receiver import Received, Receiver, chat_answer, receiver
from tidemill.store.embedded import EmbeddedPostgres

MARKER = "zebra-quagga-marker"
SAID = "okapi-answer-marker"
PROVIDER_KEY = "sk-provider-key-0123456789abcdef"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
DIFF = "--- a/m.py\n+++ b/m.py\n@@ -1 +1,2 @@\n x = 1\n+y = eval(input())\n"


@dataclass
class Seen:
    """A hub and a worker, who they ask, who they tell, and where they log."""

    hub: Hub
    url: str
    upstream: Receiver
    collector: Receiver
    logs: list[Path]

    def lines(self) -> list[dict[str, Any]]:
        """Every line that both have logged; what the hub said to who started it is none."""
        return [
            json.loads(line)
            for log in self.logs
            for line in log.read_text("utf-8").splitlines()
            if line.startswith('{"time"')
        ]

    def of(self, request_id: str) -> list[dict[str, Any]]:
        """The lines of one request."""
        return [line for line in self.lines() if line["request_id"] == request_id]

    def spans(self) -> dict[str, list[Any]]:
        """What the collector has, by trace."""
        found: dict[str, list[Any]] = {}
        for received in self.collector.received:
            for resource in ExportTraceServiceRequest.FromString(received.body).resource_spans:
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        found.setdefault(span.trace_id.hex(), []).append(span)
        return found

    def row(self, inference_id: str) -> dict[str, Any]:
        with psycopg.connect(self.url) as connection:
            cursor = connection.execute(
                "SELECT request_id, trace_id, status FROM inferences WHERE id = %s", (inference_id,)
            )
            return dict(zip(("request_id", "trace_id", "status"), cursor.fetchone() or (), strict=True))


def answer(request: Received) -> tuple[int, bytes]:
    """Answers chats; a request that says so is refused by a sentence that repeats it."""
    if b"refuse-me" in request.body:
        return 400, json.dumps({"error": {"message": f"You said {MARKER}", "type": "x"}}).encode()
    if b"break-me" in request.body:
        return 500, json.dumps({"error": {"message": f"You said {MARKER}", "type": "x"}}).encode()
    return chat_answer(SAID)(request)


@pytest.fixture(scope="module")
def seen(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    folder = reachable(tmp_path_factory.mktemp("seen"))
    logs = [folder / "hub.log", folder / "worker.log"]
    os.environ["SCRIPTED_KEY"] = PROVIDER_KEY
    with receiver(answer) as upstream, receiver() as collector, fresh_database(postgres) as url:
        endpoint = {"url": f"{upstream.url}/v1", "api_key_env": "SCRIPTED_KEY"}
        settings = {
            "database_url": url,
            "models": {"default": "scripted", "endpoints": {"scripted": endpoint}},
            "providers": {
                "acme": {
                    "kind": "openai_compatible",
                    "base_url": endpoint["url"],
                    "allow_private": True,
                    "models": {"real": {"input": 1, "output": 2}},
                }
            },
            "telemetry": {"otlp_endpoint": collector.url},
            "log_level": "debug",
        }
        with running_hub(folder / "data", settings, log=logs[0]) as hub, logs[1].open("wb") as log:
            worker = subprocess.Popen([sys.executable, "-m", "tidemill", "worker"], env=hub.environment, stderr=log)
            try:
                wait_for(lambda: "The worker is up" in logs[1].read_text("utf-8"), what="the worker")
                yield Seen(hub, url, upstream, collector, logs)
            finally:
                if worker.poll() is None:
                    worker.send_signal(signal.SIGINT)
                    worker.wait(PATIENCE)
    del os.environ["SCRIPTED_KEY"]


@pytest.fixture(scope="module")
def client(seen: Seen) -> Iterator[httpx.Client]:
    with seen.hub.client() as opened:
        yield opened


def ask(client: httpx.Client, said: str = MARKER, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
    messages = [{"role": "user", "content": said}]
    body = {"model": "scripted", "messages": messages, "temperature": 1, **more}
    return client.post("/v1/chat/completions", json=body, headers=headers or {})


def test_one_id_finds_a_request_in_the_response_the_log_the_row_and_at_who_was_asked(
    seen: Seen, client: httpx.Client
) -> None:
    headers = {"x-request-id": "build-1734.a", "traceparent": f"00-{TRACE}-{PARENT}-01"}
    response = ask(client, headers=headers)
    assert response.status_code == 200
    assert response.headers["x-request-id"] == "build-1734.a"
    assert response.headers["x-tidemill-trace-id"] == TRACE
    row = seen.row(response.headers["x-tidemill-inference-id"])
    assert row == {"request_id": "build-1734.a", "trace_id": TRACE, "status": "ok"}
    asked = seen.upstream.received[-1]
    assert asked.headers["x-request-id"] == "build-1734.a"
    assert asked.headers["traceparent"].startswith(f"00-{TRACE}-")
    lines = seen.of("build-1734.a")
    assert {line["trace_id"] for line in lines} == {TRACE}
    assert [line["event"] for line in lines if line.get("event", "").startswith(("gen", "prov", "llm"))] == [
        "generation_request_received", "provider_selected", "llm_call_completed", "generation_response_created"
    ]  # fmt: skip
    received, *_, created = (line for line in lines if line.get("event", "").startswith("generation"))
    assert (received["query_length"], created["response_length"]) == (len(MARKER), len(SAID))


def test_a_request_without_a_usable_id_gets_one(client: httpx.Client) -> None:
    made = {ask(client, headers=headers).headers["x-request-id"] for headers in ({}, {"x-request-id": "a b"})}
    assert len(made) == 2
    assert all(re.fullmatch(r"[0-9a-f]{32}", one) for one in made)


def test_also_a_refused_request_says_its_id(seen: Seen) -> None:
    response = httpx.get(f"{seen.hub.url}/v1/models", headers={"x-request-id": "mine"}, trust_env=False)
    assert response.status_code == 401
    assert response.headers["x-request-id"] == "mine"
    assert re.fullmatch(r"[0-9a-f]{32}", response.headers["x-tidemill-trace-id"])


@pytest.mark.parametrize("streamed", [False, True])
def test_a_trace_of_a_request_is_a_tree_of_what_was_done(seen: Seen, client: httpx.Client, streamed: bool) -> None:
    seen.upstream.answer = streamed_answer if streamed else answer
    response = ask(client, stream=streamed)
    seen.upstream.answer = answer
    assert SAID in response.text
    trace_id = response.headers["x-tidemill-trace-id"]
    shown = tidemill(["traces", "show", trace_id], seen.hub.environment)
    assert shown.returncode == 0, shown.stderr
    names = [line[:44].strip() for line in shown.stdout.splitlines()]
    order = ["POST /v1/chat/completions", "inference", "rate limits", "cache", "recovery", "attempt", "budget",
             "classification", "dispatch", "record"]  # fmt: skip
    assert [name for name in names if name in order] == order
    assert ("· first_token" in names) is streamed
    listed = tidemill(["traces", "list", "--json"], seen.hub.environment)
    assert trace_id in [one["trace_id"] for one in json.loads(listed.stdout)]
    dispatch = next(one for one in client.get(f"/v1/traces/{trace_id}").json()["spans"] if one["name"] == "dispatch")
    assert seen.upstream.received[-1].headers["traceparent"] == f"00-{trace_id}-{dispatch['span_id']}-01"


def streamed_answer(request: Received) -> tuple[int, bytes]:
    pieces = [{"delta": {"role": "assistant", "content": ""}}, {"delta": {"content": SAID}},
              {"delta": {}, "finish_reason": "stop"}]  # fmt: skip
    events = [{"choices": [{"index": 0, "finish_reason": None, **piece}]} for piece in pieces]
    events.append({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}})
    return 200, b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + b"data: [DONE]\n\n"


def test_a_trace_that_is_not_there_is_said_to_be_so(seen: Seen, client: httpx.Client) -> None:
    response = client.get(f"/v1/traces/{'f' * 32}")
    assert response.status_code == 404
    assert "traces_kept" in response.json()["error"]["message"]
    assert tidemill(["traces", "show", "f" * 32], seen.hub.environment).returncode == 4


def test_a_collector_gets_the_same_trace(seen: Seen, client: httpx.Client) -> None:
    trace_id = ask(client).headers["x-tidemill-trace-id"]
    spans = wait_for(lambda: found if len(found := seen.spans().get(trace_id, [])) > 9 else None, what="the spans")
    by_id = {span.span_id: span for span in spans}
    parents = {span.name: by_id[span.parent_span_id].name for span in spans if span.parent_span_id}
    assert parents["inference"] == "POST /v1/chat/completions"
    assert parents["budget"] == "attempt"
    assert parents["record"] == "inference"


def test_one_scrape_has_the_metrics_of_every_process(seen: Seen, client: httpx.Client) -> None:
    ask(client)

    def page() -> str | None:
        text = client.get("/metrics").text
        return text if 'process="worker-1"' in text else None

    text = wait_for(page, what="the worker's samples")
    roles = set(re.findall(r'^tidemill_process_info\{role="(\w+)".*process="([\w-]+)"\} 1$', text, re.MULTILINE))
    assert roles == {("hub", "hub-0"), ("worker", "worker-1")}
    labels = 'provider="scripted",model="scripted"'
    assert re.search(
        rf'^generation_requests_total\{{{labels},status="success",process="hub-0"\}} \d', text, re.MULTILINE
    )
    assert 'active_providers_count{process="installation"} 2' in text
    if shutil.which("promtool"):
        told = subprocess.run(["promtool", "check", "metrics"], input=text.encode(), capture_output=True)
        complaints = (told.stdout + told.stderr).decode().splitlines()
        assert [line for line in complaints if not line.startswith("active_providers_count ")] == []


def test_a_model_that_somebody_made_up_adds_no_series(client: httpx.Client) -> None:
    for number in range(3):
        body = {"model": f"made-up-{number}", "messages": [{"role": "user", "content": "x"}]}
        assert client.post("/v1/chat/completions", json=body).status_code == 404
        client.get(f"/v1/made-up-{number}")
        assert client.post("/v1/chat/completions", json={**body, "model": f"acme/made-up-{number}"}).status_code == 200
    assert client.post("/v1/chat/completions", json={**body, "model": "acme/real"}).status_code == 200
    text = client.get("/metrics").text
    assert "made-up" not in text
    counted = r'^generation_requests_total\{provider="acme",model="(.+?)",status="success",process="hub-0"\} (\d+)$'
    assert dict(re.findall(counted, text, re.MULTILINE)) == {"other": "3", "acme/real": "1"}
    assert 'tidemill_generation_cost_unknown_total{provider="acme",model="other",process="hub-0"} 3' in text
    cost = re.search(r'^generation_cost_total\{provider="acme",model="acme/real",process="hub-0"\} (.+)$', text, re.M)
    assert cost is not None
    assert float(cost[1]) == pytest.approx((7 * 1 + 3 * 2) / 1e6)


def test_a_review_asks_and_logs_under_the_id_of_the_request_that_asked_for_it(seen: Seen, client: httpx.Client) -> None:
    source = {"m.py": "x = 1\ny = eval(input())\n"}
    made = client.post("/v1/reviews", json={"diff": DIFF, "files": source}, headers={"x-request-id": "review-7"})
    assert made.status_code == 202, made.text
    review = made.json()["id"]
    wait_for(lambda: client.get(f"/v1/reviews/{review}").json()["state"] == "done", what="the review")
    asked = [one for one in seen.upstream.received if one.headers.get("x-request-id") == "review-7"]
    assert asked
    assert asked[0].headers["traceparent"].startswith(f"00-{review.replace('-', '')}-")
    assert any(line.get("event") == "llm_call_completed" for line in seen.of("review-7"))


def test_a_job_is_answered_under_the_id_and_in_the_trace_of_the_request_that_made_it(
    seen: Seen, client: httpx.Client
) -> None:
    body = {"model": "scripted", "messages": [{"role": "user", "content": MARKER}], "temperature": 1}
    wanted = {"endpoint": "/v1/chat/completions", "body": body}
    made = client.post("/v1/jobs", json=wanted, headers={"x-request-id": "job-7"})
    assert made.status_code < 300, made.text
    asked = wait_for(
        lambda: [one for one in seen.upstream.received if one.headers.get("x-request-id") == "job-7"], what="the job"
    )
    trace_id = made.headers["x-tidemill-trace-id"]
    assert asked[0].headers["traceparent"].startswith(f"00-{trace_id}-")
    wait_for(lambda: any(line.get("event") == "llm_call_completed" for line in seen.of("job-7")), what="its line")
    expected = {"POST /v1/jobs", "queued /v1/chat/completions", "inference", "dispatch"}
    wait_for(lambda: expected <= names_of(seen, trace_id), what="the spans of both processes")


def names_of(seen: Seen, trace_id: str) -> set[str]:
    return {span.name for span in seen.spans().get(trace_id, [])}


def test_neither_prompts_nor_keys_are_in_logs_metrics_or_traces(seen: Seen, client: httpx.Client) -> None:
    ask(client)
    assert ask(client, f"refuse-me {MARKER}").status_code == 400
    assert ask(client, f"break-me {MARKER}").status_code >= 500
    last = ask(client).headers["x-tidemill-trace-id"]
    wait_for(lambda: len(seen.spans().get(last, [])) > 9, what="the last spans")
    traces = client.get("/v1/traces?limit=1000").json()["data"]
    texts = [client.get("/metrics").text, json.dumps(traces)]
    texts += [client.get(f"/v1/traces/{one['trace_id']}").text for one in traces]
    texts += [received.body.decode("latin-1") for received in seen.collector.received]
    texts += [json.dumps(line) for line in seen.lines()]
    for forbidden in (MARKER, SAID, PROVIDER_KEY, seen.hub.key):
        assert not [text for text in texts if forbidden in text], forbidden
    events = [line for line in seen.lines() if line.get("event") == "generation_error"]
    assert {line["level"] for line in events} == {"warning", "error"}


def test_a_worker_that_ends_takes_its_metrics_along(seen: Seen, client: httpx.Client) -> None:
    with psycopg.connect(seen.url, autocommit=True) as connection:
        wait_for(lambda: processes(connection) == {"hub-0", "worker-1"}, what="both")
        pid = next(line["pid"] for line in seen.lines() if line["process"] == "worker")
        os.kill(pid, signal.SIGINT)
        wait_for(lambda: processes(connection) == {"hub-0"}, what="the worker's end")
    assert 'process="worker-1"' not in client.get("/metrics").text


def processes(connection: psycopg.Connection[Any]) -> set[str]:
    return {row[0] for row in connection.execute("SELECT process FROM process_metrics")}
