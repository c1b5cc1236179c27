"""Local models over HTTP and the command line: loaded as curl sends it, shown, given adapters, unloaded."""

import json
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.conftest import reachable
from tests.model.test_runtime import FILE
from tests.support.gguf import write_adapter, write_gguf
from tests.support.hubs import Hub, running_hub, tidemill, wait_for
from tests.support.rows import query

pytestmark = [pytest.mark.needs_model, pytest.mark.unmeasured]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    models = {"default": "tiny", "files": {"tiny": str(FILE)}, "context_tokens": 512, "slots": 2, "max_queue": 1}
    folder = reachable(tmp_path_factory.mktemp("a hub of models"))
    settings = {"models": {**models, "memory_budget": "2 GiB"}, "cache": {"enabled": False}}
    with running_hub(folder / "data", settings) as running:
        (folder / "data" / "adapters").mkdir()
        yield running


@pytest.fixture
def client(hub: Hub) -> Iterator[httpx.Client]:
    with hub.client() as opened:
        yield opened


def chat(client: httpx.Client, model: str, tokens: int = 8, of: str = "a mill") -> httpx.Response:
    messages = [{"role": "user", "content": f"Tell a long story of {of}."}]
    body = {"model": model, "messages": messages, "max_tokens": tokens, "temperature": 0}
    return client.post("/v1/chat/completions", json=body)


def test_a_model_is_loaded_as_the_documents_examples_send_it(hub: Hub) -> None:
    url, key = f"{hub.url}/api/v1/models/load", f"authorization: Bearer {hub.key}"
    command = ["curl", "-sS", "--noproxy", "*", "-X", "POST", url, "-H", key, "-d", '{"model_id": "tiny"}']
    answer = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    [tiny] = answer["data"]
    assert (tiny["model"], tiny["state"], tiny["slots"]) == ("tiny", "ready", {"total": 2, "busy": 0})


def test_the_status_shows_memory_pace_and_who_waits(client: httpx.Client) -> None:
    assert chat(client, "tiny").status_code == 200
    found = client.get("/v1/models/status").json()
    [tiny] = found["data"]
    assert found["memory"]["budget_bytes"] == 2 * 2**30
    assert found["memory"]["used_bytes"] == tiny["memory_measured_bytes"] > 50_000_000
    assert found["memory"]["used_bytes"] + found["memory"]["free_bytes"] <= 2 * 2**30
    assert (tiny["in_flight"], tiny["queue_length"], tiny["pinned"], tiny["capabilities"]) == (0, 0, False, ["text"])
    assert tiny["tokens_per_second"]["prefill"] > 0
    assert tiny["tokens_per_second"]["decode"] > 0
    assert tiny["keep_alive_until"] > tiny["started_at"]
    assert tiny["memory_estimated_bytes"] > tiny["memory_measured_bytes"] / 2
    assert "hold" in tidemill(["models", "status"], _surroundings(client)).stdout


def _surroundings(client: httpx.Client) -> dict[str, str]:

    key = client.headers["authorization"].removeprefix("Bearer ")
    return {**os.environ, "TIDEMILL_HUB_URL": str(client.base_url), "TIDEMILL_API_KEY": key}


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ("{}", 400, "`model` is missing"),
        ('{"model": "tiny", "ping": true}', 400, "ping"),
        ("not json", 400, "not valid JSON"),
        ('{"model": "none"}', 404, "no model 'none'"),
        ('{"model": "org/repo:file.gguf"}', 404, "tidemill models pull org/repo:file.gguf"),
    ],
)
def test_a_load_that_makes_no_sense_is_refused(client: httpx.Client, body: str, status: int, said: str) -> None:
    answer = client.post("/v1/models/load", content=body)
    assert answer.status_code == status
    assert said in answer.json()["error"]["message"]


def test_beyond_slots_and_queue_a_request_is_told_when_to_come_back(client: httpx.Client) -> None:
    def in_flight() -> int:
        return int(client.get("/v1/models/status").json()["data"][0]["in_flight"])

    with ThreadPoolExecutor(3) as crowd:
        asked = [crowd.submit(chat, client, "tiny", 120, of) for of in ("a tide", "a wheel", "a heron")]
        wait_for(lambda: in_flight() == 3, what="a full queue")
        refused = chat(client, "tiny")
        assert {one.result().status_code for one in asked} == {200}
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert "answers 2 requests, and 1 wait" in refused.json()["error"]["message"]


def test_an_adapter_is_registered_used_recorded_and_forgotten(hub: Hub, client: httpx.Client) -> None:
    folder: Path = hub.data_dir / "adapters"
    write_adapter(folder / "kind.gguf", FILE)
    plain = chat(client, "tiny").json()["choices"][0]["message"]["content"]
    added = tidemill(["models", "adapters", "add", "tiny", "kind", "kind.gguf", "--json"], hub.environment)
    assert added.returncode == 0, added.stderr
    assert json.loads(added.stdout)[0]["id"] == "tiny:kind"
    assert "tiny:kind" in [one["id"] for one in client.get("/v1/models").json()["data"]]
    assert client.get("/v1/models/tiny:kind").status_code == 200
    changed = chat(client, "tiny:kind")
    assert changed.json()["choices"][0]["message"]["content"] != plain
    assert chat(client, "tiny").json()["choices"][0]["message"]["content"] == plain
    [row] = query(hub, "SELECT model, adapter FROM inferences WHERE model = 'tiny:kind'")
    assert str(row["adapter"]).startswith("kind@sha256:")
    assert client.get("/v1/models/status").json()["data"][0]["adapters"] == ["kind"]
    assert "tiny:kind" in tidemill(["models", "adapters", "list"], hub.environment).stdout
    assert tidemill(["models", "adapters", "remove", "kind"], hub.environment).returncode == 0
    assert client.get("/v1/models/adapters").json()["data"] == []
    assert client.delete("/v1/models/adapters/kind").status_code == 404


def test_an_adapter_for_another_base_gets_a_clear_400(hub: Hub, client: httpx.Client) -> None:
    head = {"general.architecture": "qwen2", "general.type": "adapter", "adapter.type": "lora"}
    write_gguf(hub.data_dir / "adapters" / "other.gguf", {**head, "adapter.lora.alpha": 1.0})
    answer = client.post("/v1/models/adapters", json={"base": "tiny", "name": "other", "path": "other.gguf"})
    assert answer.status_code == 400
    assert "architecture 'qwen2', not 'llama'" in answer.json()["error"]["message"]
    away = client.post("/v1/models/adapters", json={"base": "tiny", "name": "other", "path": "../secret.key"})
    assert away.status_code == 400


def test_a_pinned_model_is_shown_and_an_unloaded_one_frees_its_memory(client: httpx.Client) -> None:
    [tiny] = client.post("/v1/models/load", json={"model": "tiny", "pin": True}).json()["data"]
    assert (tiny["pinned"], tiny["keep_alive_until"]) == (True, None)
    [tiny] = client.post("/v1/models/load", json={"model": "tiny", "pin": False}).json()["data"]
    assert tiny["pinned"] is False
    answer = client.post("/v1/models/unload", json={"model": "tiny"}).json()
    assert (answer["data"][0]["state"], answer["memory"]["used_bytes"]) == ("stopped", 0)


def test_who_loaded_and_changed_models_is_in_the_audit_log(hub: Hub) -> None:
    found = {
        (row["action"], row["target_id"])
        for row in query(hub, "SELECT action, target_id FROM audit_log WHERE target IN ('model', 'adapter')")
    }
    done = [("model.loaded", "tiny"), ("model.unloaded", "tiny")]
    assert found == {*done, ("adapter.added", "tiny:kind"), ("adapter.removed", "kind")}
