"""Providers over HTTP: a running hub takes them up, keys go in and never come out, and only admins change them."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.conftest import reachable
from tests.support.hubs import Hub, answers, running_hub, scripted_settings, tidemill, upstream, wait_for

KEY = "sk-heron-4711-not-to-be-found"


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    """A scripted provider in a process of its own."""
    command = [sys.executable, "-m", "tidemill.llm.providers.scripted_server", "--port", "0"]
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
    fixed = {"kind": "vllm", "base_url": f"{provider}/v1", "allow_private": True, "models": {"scripted": {}}}
    with upstream(tmp_path_factory.mktemp("upstream")) as scripted:
        data_dir = reachable(tmp_path_factory.mktemp("hub")) / "data"
        routes = {"both": {"targets": ["fixed/scripted", "scripted"]}}
        settings = scripted_settings(scripted.url, providers={"fixed": fixed}, routes=routes)
        with running_hub(data_dir, settings) as running:
            yield running


@pytest.fixture(scope="module")
def client(hub: Hub) -> Iterator[httpx.Client]:
    with hub.client() as opened:
        yield opened


def own(provider: str, **more: Any) -> dict[str, Any]:
    return {"kind": "openai", "base_urls": [f"{provider}/v1"], "api_key": KEY, "allow_private": True, **more}


def asked(client: httpx.Client, model: str) -> httpx.Response:
    return client.post("/v1/chat/completions", json={"model": model, "messages": [{"role": "user", "content": "Hi"}]})


def test_a_provider_is_added_asked_changed_and_removed(client: httpx.Client, provider: str) -> None:
    models = {"scripted": {"input": 1, "output": 4, "context_tokens": 4096}}
    added = client.post("/v1/providers", json={"name": "house", "models": models, **own(provider)})
    assert added.status_code == 200, added.text
    shown = added.json()
    assert shown["key"] == {"place": "secret", "name": "provider.house"}
    assert shown["models"]["scripted"] == {
        "input": 1, "output": 4, "cached": None, "context_tokens": 4096, "max_output_tokens": None,
    }  # fmt: skip
    assert not shown["configured"]
    tested = client.post("/v1/providers/house/test").json()
    assert tested["ok"], tested
    assert "scripted" in tested["models"]
    answer = asked(client, "house/scripted")
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-tidemill-provider"] == "house"
    listed = {one["id"]: one["owned_by"] for one in client.get("/v1/models").json()["data"]}
    assert listed["house/scripted"] == "house"
    assert listed["fixed/scripted"] == "fixed"
    assert listed["both"] == "route"
    assert client.get("/v1/models/house/scripted").json()["owned_by"] == "house"
    changed = client.patch("/v1/providers/house", json={"timeout": 7, "outside": False})
    assert (changed.json()["timeout"], changed.json()["outside"]) == (7, False)
    assert client.patch("/v1/providers/house", json={"timeout": None}).json()["timeout"] is None
    everything = added.text + changed.text + client.get("/v1/providers").text + client.get("/v1/secrets").text
    assert KEY not in everything
    assert client.delete("/v1/providers/house").status_code == 204
    assert client.get("/v1/providers/house").status_code == 404
    assert "provider.house" not in client.get("/v1/secrets").text
    gone = asked(client, "house/scripted")
    assert gone.status_code == 404
    assert "no provider is called 'house'" in gone.text


def test_a_route_goes_on_to_the_next_provider_where_one_is_disabled(client: httpx.Client) -> None:
    assert asked(client, "both").headers["x-tidemill-model"] == "fixed/scripted"
    shown = client.post("/v1/providers/fixed/disable", json={"reason": "the bill is unpaid"}).json()
    assert shown["health"]["state"] == "disabled"
    assert shown["health"]["whole"]["disabled_reason"] == "the bill is unpaid"
    wait_for(lambda: asked(client, "both").headers["x-tidemill-model"] == "scripted", what="the switch")
    assert client.post("/v1/providers/fixed/enable").json()["health"]["state"] == "ready"
    wait_for(lambda: asked(client, "both").headers["x-tidemill-model"] == "fixed/scripted", what="the way back")


def test_a_command_beside_the_hub_is_taken_up(hub: Hub, client: httpx.Client, provider: str) -> None:
    arguments = ["--kind", "vllm", "--base-url", f"{provider}/v1", "--allow-private", "--no-key", "--json"]
    added = tidemill(["providers", "add", "beside", *arguments], hub.environment)
    assert added.returncode == 0, added.stderr
    wait_for(lambda: asked(client, "beside/scripted").status_code == 200, what="the provider")
    shown = client.get("/v1/providers/beside").json()
    assert json.loads(added.stdout)["base_urls"] == shown["base_urls"]


def test_what_can_not_be_is_refused_with_the_field_at_fault(client: httpx.Client, provider: str) -> None:
    wrong = [
        ({"name": "p", "kind": "openai"}, 400, "api_key", "openai asks for a key"),
        ({"name": "p", "kind": "dance"}, 400, "kind", "can't be used"),
        ({"kind": "openai"}, 400, "name", "is missing"),
        ({"name": "p", **own("http://127.0.0.1:1"), "allow_private": False}, 400, "base_urls", "loopback address"),
        ({"name": "p", **own("http://169.254.169.254")}, 400, "base_urls", "metadata service"),
        ({"name": "p", **own("https://me:pw@x.com")}, 400, "base_urls.0", "no user and no password"),
        ({"name": "p", **own(provider), "models": {"m": {"input": 1}}}, 400, "models.m", "needs both"),
        ({"name": "p", **own(provider), "models": {"m": {"input": -1}}}, 400, "models.m.input", "can't be used"),
        ({"name": "p", **own(provider), "models": {"m": {"input": 1, "output": 1e9}}}, 400, "models.m.output", "10000"),
        ({"name": "p", **own(provider), "api_key": "two words"}, 400, "api_key", "no space within"),
        ({"name": "p", **own(provider), "api_key_file": "/etc/passwd"}, 400, "api_key_file", "can't be used"),
        ({"name": "p", **own(provider), "api_key_env": "DATABASE_URL"}, 400, "api_key_env", "can't be used"),
        ({"name": "p", **own(provider), "api_key_secret": "oidc"}, 400, "api_key_secret", "can't be used"),
        ({"name": "fixed", **own(provider)}, 409, None, "stands in the settings"),
    ]
    for body, status, param, said in wrong:
        answer = client.post("/v1/providers", json=body)
        error = answer.json()["error"]
        assert (answer.status_code, error["param"], said in error["message"]) == (status, param, True), answer.text
        assert "two words" not in answer.text
    assert client.patch("/v1/providers/fixed", json={"timeout": 3}).status_code == 409
    assert client.delete("/v1/providers/fixed").status_code == 409
    assert client.post("/v1/providers/nobody/test").status_code == 404


def test_a_key_is_not_sent_to_another_address(client: httpx.Client, provider: str) -> None:
    client.post("/v1/providers", json={"name": "held", **own(provider)}).raise_for_status()
    answer = client.patch("/v1/providers/held", json={"base_urls": ["https://thief.example.com/v1"]})
    assert answer.status_code == 400
    assert "is not sent elsewhere" in answer.text
    assert client.get("/v1/providers/held").json()["base_urls"] == [f"{provider}/v1"]
    client.delete("/v1/providers/held").raise_for_status()


def test_maintainers_see_providers_and_admins_alone_change_them(hub: Hub, client: httpx.Client, provider: str) -> None:
    keys = {role: client.post("/v1/keys", json={"name": role, "role": role}).json()["key"]
            for role in ("member", "maintainer")}  # fmt: skip
    for role, may_read in (("member", 403), ("maintainer", 200)):
        headers = {"authorization": f"Bearer {keys[role]}"}
        with httpx.Client(base_url=hub.url, headers=headers, trust_env=False) as narrow:
            assert narrow.get("/v1/providers").status_code == may_read
            assert narrow.post("/v1/providers", json={"name": "p", **own(provider)}).status_code == 403
            assert narrow.post("/v1/providers/fixed/disable").status_code == 403
