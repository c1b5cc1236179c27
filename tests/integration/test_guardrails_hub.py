"""Guardrails in a whole hub: what leaves it, what it refuses, and who may see what was found."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import reachable
from tests.support.guarded_texts import TOKEN
from tests.support.hubs import Hub, running_hub, scripted_settings, tidemill, upstream

GUARDRAILS: dict[str, Any] = {
    "unmask": True,
    "privacy": {"input": "mask"},
    "topics": {"lists": {"merger": {"phrases": ["project red river"]}}},
}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder: Path = reachable(tmp_path_factory.mktemp("guarded"))
    script = folder / "script.json"
    script.write_text(json.dumps({"text": f"I told [EMAIL_1] the key {TOKEN} now."}))
    with (
        upstream(folder, "--script", str(script)) as model,
        running_hub(
            folder / "data",
            scripted_settings(
                model.url, guardrails=GUARDRAILS, embeddings={"endpoints": {"vectors": {"url": model.url}}}
            ),
        ) as hub,
    ):
        yield hub


def ask(client: httpx.Client, text: str, **more: Any) -> httpx.Response:
    body = {"model": "scripted", "messages": [{"role": "user", "content": text}], **more}
    return client.post("/v1/chat/completions", json=body)


def events(client: httpx.Client, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/v1/guardrails/events", params=query).raise_for_status().json()["data"]
    return found


EXPECTED = "I told lan.nguyen@congty.vn the key [SECRET_1] now."


def test_a_chat_is_masked_both_ways_and_what_the_asker_said_comes_back(hub: Hub) -> None:
    with hub.client() as client:
        answer = ask(client, "Tell lan.nguyen@congty.vn.")
        assert answer.json()["choices"][0]["message"]["content"] == EXPECTED
        found = events(client, inference_id=answer.headers["x-tidemill-inference-id"])
    assert {(one["guardrail"], one["direction"], one["action"]) for one in found} == {
        ("privacy", "input", "mask"),
        ("secrets", "output", "mask"),
    }
    assert "lan.nguyen" not in json.dumps(found)


def test_a_text_to_embed_is_guarded_too(hub: Hub) -> None:
    with hub.client() as client:
        answer = client.post("/v1/embeddings", json={"model": "vectors", "input": "What of Project Red River?"})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "input")
        (event,) = events(client, guardrail="topics", limit=1)
    assert (event["task"], event["action"], event["rules"]) == ("embed", "refuse", ["merger"])


def test_a_streamed_chat_is_masked_alike(hub: Hub) -> None:
    parts = []
    with hub.client() as client:
        for line in ask(client, "Tell lan.nguyen@congty.vn.", stream=True).text.splitlines():
            if line.startswith("data: {"):
                parts += [choice["delta"].get("content") or "" for choice in json.loads(line[6:])["choices"]]
    assert "".join(parts) == EXPECTED


def test_a_refusal_is_a_400_that_names_the_guardrail(hub: Hub) -> None:
    with hub.client() as client:
        answer = ask(client, "What of Project Red River?")
        assert answer.status_code == 400
        error = answer.json()["error"]
        (event,) = events(client, guardrail="topics", limit=1)
    assert error["code"] == "content_policy_violation"
    assert "`topics`" in error["message"]
    assert "merger" in error["message"]
    assert "red river" not in error["message"].lower()
    assert (event["action"], event["rules"], event["count"]) == ("refuse", ["merger"], 1)


def test_a_stored_text_that_is_confidential_leaves_fingerprints(hub: Hub) -> None:
    memo = " ".join(f"word{number} of the memo" for number in range(40))
    with hub.client() as client:
        ask(client, f"lan.nguyen@congty.vn writes: {memo}").raise_for_status()
    shown = tidemill(["data", "retention", "--json"], hub.environment)
    due = {one["kind"] for one in json.loads(shown.stdout)}
    assert {"text_fingerprints", "guardrail_events"} <= due


def test_a_member_does_not_see_what_was_found(hub: Hub) -> None:
    made = tidemill(["keys", "create", "mine", "--role", "member", "--json"], hub.environment)
    key = json.loads(made.stdout)["key"]
    answer = httpx.get(f"{hub.url}/v1/guardrails/events", headers={"authorization": f"Bearer {key}"})
    assert answer.status_code == 403


def test_the_commands_show_what_was_found_and_try_a_text(hub: Hub) -> None:
    listed = tidemill(["guardrails", "events", "--json", "--since", "1d"], hub.environment)
    assert listed.returncode == 0, listed.stderr
    assert {"guardrail", "rules", "count"} <= json.loads(listed.stdout)[0].keys()
    tried = tidemill(["guardrails", "check", "--json"], hub.environment, input="Call 0912 345 678.\nProject Red River")
    assert [(one["guardrail"], one["action"], one["line"]) for one in json.loads(tried.stdout)] == [
        ("privacy", "mask", 1),
        ("topics", "refuse", 2),
    ]
    assert tidemill(["guardrails", "check"], hub.environment, input=" ").returncode == 2


def test_a_guardrail_that_is_not_installed_is_said_at_the_start(hub: Hub, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "sitecustomize.py").write_text(
        "import importlib.util as u\n_find = u.find_spec\n"
        "u.find_spec = lambda name, package=None: None if name == 'profanity_check' else _find(name, package)\n"
    )
    surroundings = {
        **hub.environment,
        "TIDEMILL_GUARDRAILS__TOXICITY__INPUT": "flag",
        "PYTHONPATH": str(blocked),
    }
    tried = tidemill(["guardrails", "check"], surroundings, input="Hello")
    assert tried.returncode == 6
    assert "pip install tidemill[toxicity]" in tried.stderr
