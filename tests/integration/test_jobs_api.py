"""Jobs over HTTP: answered without a connection, whatever is killed meanwhile, and told to whoever wants to know."""

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import reachable
from tests.support.hubs import Hub, Upstream, scripted_settings, start_hub, stop, tidemill, upstream, wait_for
from tests.support.rows import query

pytestmark = pytest.mark.unmeasured

CHAT = {"model": "scripted", "messages": [{"role": "user", "content": "Xin chào"}], "temperature": 0}
ENDPOINT = "/v1/chat/completions"
QUEUE_AGAIN = (
    "UPDATE generation_jobs SET state = 'queued', result = NULL, created_at = now() - interval '1 hour' "
    "WHERE id = %s RETURNING 1"
)


class Listener:
    """A server that is called back, and answers as many times with 500 as it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[dict[str, str], bytes]] = []
        self.failures = 0
        outer = self

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.calls.append(({name.lower(): value for name, value in self.headers.items()}, body))
                status = 500 if len(outer.calls) <= outer.failures else 200
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Answer)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/told?by=hub"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reachable(tmp_path_factory.mktemp("jobs"))


@pytest.fixture(scope="module")
def model(folder: Path) -> Iterator[Upstream]:
    with upstream(folder, "--delay-ms", "20") as server:
        yield server


@pytest.fixture(scope="module")
def slow(folder: Path) -> Iterator[Upstream]:
    with upstream(folder, "--delay-ms", "60000") as server:
        yield server
        server.process.kill()  # it would wait for its answers, which nobody wants any more


def settings_of(model: Upstream, slow: Upstream) -> dict[str, Any]:
    settings = scripted_settings(model.url, outbound={"allow": ["127.0.0.1"]})
    settings["models"]["endpoints"]["slow"] = {"url": slow.url}
    settings["embeddings"] = {"endpoints": {"vectors": {"url": model.url}}}
    return settings


@pytest.fixture(scope="module")
def hub(folder: Path, model: Upstream, slow: Upstream) -> Iterator[Hub]:
    running = start_hub(folder / "data", settings_of(model, slow))
    try:
        yield running
    finally:
        stop(running)


def new_key(hub: Hub, name: str) -> httpx.Client:
    with hub.client() as admin:
        made = admin.post("/v1/keys", json={"name": name, "role": "member"})
    assert made.status_code in {200, 201}, made.text
    headers = {"authorization": f"Bearer {made.json()['key']}"}
    return httpx.Client(base_url=hub.url, headers=headers, timeout=60, trust_env=False)


@pytest.fixture(scope="module")
def client(hub: Hub) -> Iterator[httpx.Client]:
    with new_key(hub, "maker") as opened:
        yield opened


@pytest.fixture
def listener() -> Iterator[Listener]:
    server = Listener()
    yield server
    server.close()


def submitted(client: httpx.Client, body: dict[str, Any] = CHAT, endpoint: str = ENDPOINT, **more: Any) -> str:
    answer = client.post("/v1/jobs", json={"endpoint": endpoint, "body": body, **more})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def ended(client: httpx.Client, job: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found = client.get(f"/v1/jobs/{job}").json()
        return found if found["status"] in {"done", "failed", "cancelled"} else None

    found: dict[str, Any] = wait_for(look, what="the job's end")
    return found


@pytest.mark.parametrize(
    ("endpoint", "body", "kind"),
    [
        (ENDPOINT, CHAT, "chat.completion"),
        ("/v1/completions", {"model": "scripted", "prompt": ["a", "b"]}, "text_completion"),
    ],
)
def test_a_job_is_answered_as_its_endpoint_would_answer(
    client: httpx.Client, endpoint: str, body: dict[str, Any], kind: str
) -> None:
    answer = client.post(
        "/v1/jobs", json={"endpoint": endpoint, "body": body}, headers={"x-request-id": "job-request-7"}
    )
    assert answer.status_code == 202
    job = answer.json()
    assert (job["status"], job["result"], job["error"]) == ("queued", None, None)
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    found = ended(client, job["id"])
    assert (found["status"], found["error"], found["request_id"]) == ("done", None, "job-request-7")
    direct = client.post(endpoint, json=body).json()
    assert found["result"]["object"] == kind == direct["object"]
    assert found["result"]["choices"] == direct["choices"]
    assert set(found["result"]) == set(direct)


def test_a_job_embeds_texts_as_their_endpoint_does(client: httpx.Client) -> None:
    body = {"model": "vectors", "input": ["Xin chào", "Tạm biệt"]}
    found = ended(client, submitted(client, body, "/v1/embeddings"))
    assert found["status"] == "done"
    assert len(found["result"]["data"]) == 2
    assert found["result"]["data"] == client.post("/v1/embeddings", json=body).json()["data"]


@pytest.mark.parametrize("text", ["a NUL \x00 in it", "half a pair \ud83d", "🦀 nghĩa là cua", "x" * 600_000])
def test_a_text_is_kept_as_it_was_asked(hub: Hub, client: httpx.Client, text: str) -> None:
    body = {"endpoint": ENDPOINT, "body": {**CHAT, "messages": [{"role": "user", "content": text}]}}
    answer = client.post("/v1/jobs", content=json.dumps(body).encode())
    direct = client.post(ENDPOINT, content=json.dumps(body["body"]).encode())
    assert (answer.status_code, direct.status_code) in {(202, 200), (400, 400)}
    if answer.status_code == 202:
        assert ended(client, answer.json()["id"])["status"] == "done"
        [row] = query(hub, "SELECT request::text AS said FROM generation_jobs WHERE id = %s", answer.json()["id"])
        assert json.loads(row["said"])["messages"][0]["content"] == text


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"endpoint": "/v1/files", "body": CHAT}, "endpoint"),
        ({"endpoint": ENDPOINT, "body": {"model": "scripted"}}, "body.messages"),
        ({"endpoint": ENDPOINT, "body": {**CHAT, "stream": True}}, "body.stream"),
        ({"endpoint": ENDPOINT, "body": CHAT, "priority": "urgent"}, "priority"),
        ({"endpoint": ENDPOINT, "body": CHAT, "level": "secret"}, "level"),
    ],
)
def test_a_job_that_can_not_be_answered_is_refused_at_once(
    client: httpx.Client, asked: dict[str, Any], param: str
) -> None:
    refused = client.post("/v1/jobs", json=asked)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == param


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.7/told",
        "http://[::1]:8000/told",
        "http://127.0.0.2:8000/told",
        "file:///etc/passwd",
        "http://user:word@127.0.0.1/told",
        "http://127.0.0.1/to\0ld",
        "http://127.0\0.0.1/told",
    ],
)
def test_a_callback_into_the_network_is_refused_at_once(client: httpx.Client, url: str) -> None:
    refused = client.post("/v1/jobs", json={"endpoint": ENDPOINT, "body": CHAT, "callback_url": url})
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "callback_url"


def test_a_callback_is_signed_and_tried_again_with_the_same_delivery(client: httpx.Client, listener: Listener) -> None:
    listener.failures = 2
    job = submitted(client, callback_url=listener.url)

    def told() -> dict[str, Any] | None:
        found: dict[str, Any] = client.get(f"/v1/jobs/{job}").json()
        return found if found["callback"]["state"] == "delivered" else None

    found = wait_for(told, what="the callback")
    assert (len(listener.calls), found["callback"]["attempts"]) == (3, 3)
    secret = client.get("/v1/jobs/signing-secret").json()["secret"]
    for headers, body in listener.calls:
        stamp, _, given = headers["x-tidemill-signature"].partition(",v1=")
        seconds = stamp.removeprefix("t=")
        assert abs(time.time() - int(seconds)) < 300
        right = hmac.new(secret.encode(), seconds.encode() + b"." + body, hashlib.sha256).hexdigest()
        assert hmac.compare_digest(right, given)
        assert headers["x-tidemill-delivery"] == found["callback"]["delivery_id"]
    told_job = json.loads(listener.calls[-1][1])
    assert (told_job["id"], told_job["status"], told_job["result"]) == (job, "done", found["result"])


def test_each_owner_has_a_signing_secret_of_their_own(hub: Hub, client: httpx.Client) -> None:
    with new_key(hub, "another signer") as other:
        secrets = {one.get("/v1/jobs/signing-secret").json()["secret"] for one in (client, other)}
    assert len(secrets) == 2
    assert all(secret.startswith("whsec_") for secret in secrets)


def test_a_running_job_is_cancelled_and_its_decoding_stops(hub: Hub, client: httpx.Client, slow: Upstream) -> None:
    before = len(slow.asked)
    job = submitted(client, {**CHAT, "model": "slow"})
    wait_for(lambda: len(slow.asked) > before, what="the question")
    cancelled = client.post(f"/v1/jobs/{job}/cancel").json()
    assert cancelled["status"] == "cancelled"
    rows = wait_for(
        lambda: query(hub, "SELECT status FROM inferences WHERE subject = %s", f"job:{job}"), what="the inference's row"
    )
    assert rows == [{"status": "cancelled"}]
    assert client.post(f"/v1/jobs/{job}/cancel").json()["status"] == "cancelled"
    done = submitted(client)
    ended(client, done)
    assert client.post(f"/v1/jobs/{done}/cancel").status_code == 409


def test_a_deleted_job_is_gone_and_stops(hub: Hub, client: httpx.Client, slow: Upstream) -> None:
    before = len(slow.asked)
    job = submitted(client, {**CHAT, "model": "slow"})
    wait_for(lambda: len(slow.asked) > before, what="the question")
    assert client.delete(f"/v1/jobs/{job}").json()["deleted"] is True
    assert client.get(f"/v1/jobs/{job}").status_code == 404
    wait_for(
        lambda: query(hub, "SELECT 1 FROM inferences WHERE subject = %s AND status = 'cancelled'", f"job:{job}"),
        what="the end of the decoding",
    )


def test_another_owners_job_does_not_exist(hub: Hub, client: httpx.Client) -> None:
    job = submitted(client)
    with new_key(hub, "stranger") as other:
        for answer in (
            other.get(f"/v1/jobs/{job}"),
            other.post(f"/v1/jobs/{job}/cancel"),
            other.delete(f"/v1/jobs/{job}"),
        ):
            assert answer.status_code == 404
        assert other.get("/v1/jobs").json()["data"] == []
    assert ended(client, job)["status"] == "done"


def test_jobs_are_listed_in_pages_newest_first(hub: Hub) -> None:
    with new_key(hub, "lister") as lister:
        made = [submitted(lister) for _ in range(3)]
        first = lister.get("/v1/jobs", params={"limit": 2}).json()
        assert ([one["id"] for one in first["data"]], first["has_more"]) == (made[:0:-1], True)
        rest = lister.get("/v1/jobs", params={"after": first["data"][-1]["id"]}).json()
        assert ([one["id"] for one in rest["data"]], rest["has_more"]) == (made[:1], False)


def test_a_job_of_a_revoked_key_fails_and_says_so(hub: Hub, slow: Upstream) -> None:
    with hub.client() as admin, new_key(hub, "to be revoked") as maker:
        key = next(one for one in admin.get("/v1/keys?limit=100").json()["data"] if one["name"] == "to be revoked")
        fill = [submitted(maker, {**CHAT, "model": "slow"}) for _ in range(4)]  # `jobs.concurrency`
        job = submitted(maker)
        assert admin.delete(f"/v1/keys/{key['id']}").status_code < 300
        for one in fill:
            query(
                hub, "UPDATE generation_jobs SET state = 'cancelled', ended_at = now() WHERE id = %s RETURNING id", one
            )
        [row] = wait_for(
            lambda: query(hub, "SELECT state, error FROM generation_jobs WHERE id = %s AND state = 'failed'", job),
            what="the job's failure",
        )
    assert row["error"]["error"]["code"] == "invalid_api_key"
    assert "revoked" in row["error"]["error"]["message"]


def test_the_commands_submit_show_list_and_cancel_jobs(hub: Hub, client: httpx.Client, tmp_path: Path) -> None:
    body = tmp_path / "request.json"
    body.write_text(json.dumps(CHAT))
    key = {"TIDEMILL_API_KEY": client.headers["authorization"].removeprefix("Bearer ")}
    surroundings = {**hub.environment, **key}

    def command(*arguments: str) -> Any:
        ran = tidemill(["jobs", *arguments, "--json"], surroundings)
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    done = command("submit", str(body), "--wait")
    assert done["status"] == "done"
    assert command("show", done["id"])["result"] == done["result"]
    assert command("list", "--limit", "1")[0]["id"] == done["id"]
    waiting = command("submit", str(body), "--priority", "batch")
    assert waiting["priority"] == "batch"
    ended(client, waiting["id"])
    assert tidemill(["jobs", "cancel", waiting["id"]], surroundings).returncode == 5


def test_a_number_that_no_one_can_keep_is_refused(client: httpx.Client) -> None:
    schema = '{"type": "json_schema", "json_schema": {"name": "n", "schema": {"maximum": 1e999}}}'
    body = f'{json.dumps(CHAT)[:-1]}, "response_format": {schema}}}'
    refused = client.post("/v1/jobs", content=f'{{"endpoint": "{ENDPOINT}", "body": {body}}}'.encode())
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "body")


def test_what_a_request_allows_holds_when_its_job_is_answered(hub: Hub, client: httpx.Client) -> None:
    asked = {"endpoint": ENDPOINT, "body": {**CHAT, "messages": [{"role": "user", "content": "Once more"}]}}
    once = {"accept-language": "vi", "x-tidemill-max-cost": "0.5", "cache-control": "no-store"}
    job = client.post("/v1/jobs", json=asked, headers=once).json()["id"]
    [row] = query(hub, "SELECT language, max_cost_usd, cache FROM generation_jobs WHERE id = %s", job)
    assert row == {"language": "vi", "max_cost_usd": 0.5, "cache": "no-store"}
    assert ended(client, job)["status"] == "done"


def test_what_this_machines_commands_asked_goes_on_after_an_orderly_restart(folder: Path, tmp_path: Path) -> None:
    body = tmp_path / "request.json"
    body.write_text(json.dumps(CHAT))
    with upstream(folder, "--delay-ms", "1500") as model:
        hub = start_hub(folder / "restarted", scripted_settings(model.url))
        submit = tidemill(["jobs", "submit", str(body)], hub.environment)
        assert submit.returncode == 0, submit.stderr
        job = submit.stdout.strip()
        wait_for(lambda: model.asked, what="the question")
        stop(hub)
        hub = start_hub(folder / "restarted", scripted_settings(model.url))
        try:

            def status() -> str | None:
                shown = tidemill(["jobs", "show", job, "--json"], hub.environment)
                assert shown.returncode == 0, shown.stderr
                found = str(json.loads(shown.stdout)["status"])
                return found if found in {"done", "failed"} else None

            assert wait_for(status, what="the job's end") == "done"
            living = query(
                hub,
                "SELECT id FROM api_keys WHERE name = 'local commands' AND revoked_at IS NULL "
                "AND (expires_at IS NULL OR expires_at > now())",
            )
            assert len(living) == 1
        finally:
            stop(hub)


def test_a_job_whose_hub_is_killed_is_answered_after_the_next_start(folder: Path) -> None:
    with upstream(folder, "--delay-ms", "1000") as model:
        settings = scripted_settings(model.url)
        hub = start_hub(folder / "killed", settings)
        with new_key(hub, "maker") as maker:
            kept = submitted(maker)
            assert ended(maker, kept)["status"] == "done"
            asked = len(model.asked)
            job = submitted(maker, {**CHAT, "messages": [{"role": "user", "content": "Still there?"}]})
            wait_for(lambda: len(model.asked) > asked, what="the question")
            headers = maker.headers
        hub.kill()
        hub = start_hub(folder / "killed", settings)
        try:
            with httpx.Client(base_url=hub.url, headers=headers, timeout=60, trust_env=False) as maker:
                assert ended(maker, job)["status"] == "done"
                assert maker.get(f"/v1/jobs/{kept}").json()["status"] == "done"
                for statement in (  # as if it had been killed between the answer's commit and the job's
                    "DELETE FROM dbos.operation_outputs WHERE workflow_uuid = 'generation:' || %s RETURNING 1",
                    "DELETE FROM dbos.workflow_status WHERE workflow_uuid = 'generation:' || %s RETURNING 1",
                    QUEUE_AGAIN,
                ):
                    query(hub, statement, job)
                assert ended(maker, job)["status"] == "done"
                assert len(model.asked) == asked + 2, "an answer that was committed is not asked for again"
                maker.delete(f"/v1/jobs/{kept}")
            assert tidemill(["data", "retention"], hub.environment).returncode == 0
            recorded = query(hub, "SELECT workflow_uuid AS id FROM dbos.workflow_status WHERE name = 'generation'")
            assert [row["id"] for row in recorded] == [f"generation:{job}"]
        finally:
            stop(hub)
