"""A whole hub beside a forge: signed deliveries over HTTP become a review that stands on the pull request's page."""

import hashlib
import hmac
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import reachable
from tests.support.hubs import Hub, free_port, running_hub, scripted_settings, tidemill, upstream, wait_for
from tests.support.scripted_forge import CHANGED, PROJECT, TOKEN, repository

SECRET = "scripted-secret"


class Played:
    """The scripted forge as its command serves it."""

    def __init__(self, url: str) -> None:
        self.client = httpx.Client(base_url=url, timeout=60, trust_env=False)

    def do(self, action: str, **given: Any) -> dict[str, Any]:
        answer = self.client.post(f"/_control/{action}", json={"project": PROJECT, **given})
        assert answer.status_code == 200, answer.text
        done: dict[str, Any] = answer.json()
        return done

    def page(self, number: int) -> str:
        return self.client.get(f"/_page/{PROJECT}/{number}").text

    def deliveries(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.client.get("/_deliveries").json()
        return found


@contextmanager
def played(source: Path, port: int, webhook: str) -> Iterator[Played]:
    options = ["--from", str(source), "--port", str(port), "--project", PROJECT, "--webhook", webhook]
    process = subprocess.Popen([sys.executable, "-m", "tidemill", "forges", "scripted", *options])
    forge = Played(f"http://127.0.0.1:{port}")
    try:
        wait_for(lambda: listening(forge), what="the scripted forge")
        yield forge
    finally:
        forge.client.close()
        process.terminate()
        process.wait(10)


def listening(forge: Played) -> bool:
    try:
        return forge.client.get("/_deliveries").status_code == 200
    except httpx.ConnectError:
        return False


@pytest.fixture(scope="module")
def forge_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, forge_port: int) -> Iterator[Hub]:
    folder = reachable(tmp_path_factory.mktemp("forge hub"))
    forge = {
        "kind": "github",
        "url": f"http://127.0.0.1:{forge_port}",
        "token_secret": "forge-token",
        "webhook_secret": "forge-hook",
    }
    with upstream(folder) as model:
        settings = scripted_settings(model.url, forges={"local": forge}, review={"max_hunks": 0})
        with running_hub(folder / "data", settings) as one:
            with one.client() as admin:
                for name, value in (("forge-token", TOKEN), ("forge-hook", SECRET)):
                    assert admin.put(f"/v1/secrets/{name}", json={"value": value}).status_code == 204
            yield one


@pytest.fixture(scope="module")
def forge(hub: Hub, tmp_path_factory: pytest.TempPathFactory, forge_port: int) -> Iterator[Played]:
    source = repository(tmp_path_factory.mktemp("source"))
    with played(source, forge_port, f"{hub.url}/webhooks/local") as one:
        yield one


def test_a_delivery_becomes_a_review_on_the_page_and_a_redelivery_does_nothing(hub: Hub, forge: Played) -> None:
    forge.do("branch", name="change", at="main")
    pull = forge.do("open", source="change", title="Evaluate")
    forge.do("push", number=pull["number"], files={"shop/cart.py": CHANGED})
    opened, pushed = forge.deliveries()[:2]
    assert (opened["status"], pushed["status"]) == (202, 202)
    page = wait_for(lambda: said_by_tidemill(forge, pull["number"]), what="the review")
    assert "eval" in page
    before = len(forge.deliveries())
    assert forge.do("redeliver", id=pushed["id"]) == {"status": 200}
    assert len(forge.deliveries()) == before
    states = wait_for(lambda: worked(hub), what="the deliveries' work")
    assert states == {"done"}


def said_by_tidemill(forge: Played, number: int) -> str | None:
    page = forge.page(number)
    return page if "shop/cart.py, line 2" in page else None


def worked(hub: Hub) -> set[str] | None:
    from tests.support.rows import query  # noqa: PLC0415

    states = {str(row["state"]) for row in query(hub, "SELECT state FROM deliveries")}
    return None if "received" in states else states


def send(hub: Hub, path: str, body: bytes, **changed: str) -> httpx.Response:
    signature = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    headers = {"x-github-event": "ping", "x-github-delivery": "ping-1", "x-hub-signature-256": signature}
    return httpx.post(hub.url + path, content=body, headers={**headers, **changed}, trust_env=False, timeout=60)


def test_the_routes_take_what_is_signed_without_a_key_and_nothing_else(hub: Hub) -> None:
    body = json.dumps({"zen": "x"}).encode()
    for path in ("/webhooks/local", "/webhooks/github", "/webhook/pull-request", "/webhook/pull-request?forge=local"):
        answer = send(hub, path, body)
        assert (answer.status_code, answer.json()["state"]) == (200, "ignored"), path
    forged = send(hub, "/webhooks/local", body, **{"x-hub-signature-256": "sha256=" + "0" * 64})
    assert (forged.status_code, forged.json()["error"]["type"]) == (401, "authentication_error")
    assert send(hub, "/webhooks/elsewhere", body).status_code == 404
    assert send(hub, "/webhooks/gitlab", body).status_code == 404
    assert httpx.post(f"{hub.url}/webhooks/local", content=body, trust_env=False).status_code == 400
    assert httpx.get(f"{hub.url}/webhooks/local", trust_env=False).status_code in {401, 405}


def test_a_delivery_of_25_mb_is_taken_and_a_larger_one_is_not(hub: Hub) -> None:
    largest = b'{"zen": "' + b"x" * 24_999_980 + b'"}'
    assert send(hub, "/webhooks/local", largest).status_code == 200
    assert send(hub, "/webhooks/local", largest + b" " * 100).status_code == 413


def test_a_command_says_who_the_key_is(hub: Hub, forge: Played) -> None:
    tested = tidemill(["forges", "test", "local", "--json"], hub.environment, check=True)
    assert json.loads(tested.stdout)[0]["account"] == "tidemill"
