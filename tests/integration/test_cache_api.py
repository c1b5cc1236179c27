"""The cache in a whole hub: what the headers say, `Cache-Control`, clients of one answer, a restart, the command."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import reachable
from tests.support.hubs import Hub, Upstream, running_hub, scripted_settings, tidemill, upstream, wait_for
from tests.support.rows import query

LARGE = 300
PHRASE = "the ferryman's seventh lantern"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    with upstream(tmp_path_factory.mktemp("upstream"), "--delay-ms", "100") as running:
        yield running


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reachable(tmp_path_factory.mktemp("data")) / "hub"


@pytest.fixture(scope="module")
def hub(data_dir: Path, server: Upstream) -> Iterator[Hub]:
    with running_hub(data_dir, settings(server)) as running:
        yield running


def settings(server: Upstream) -> dict[str, Any]:
    """An answer of two choices is a large one."""
    return scripted_settings(server.url, cache={"file_over_bytes": LARGE})


def body(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "scripted", "messages": [{"role": "user", "content": text}], "temperature": 0, **more}


def chat(hub: Hub, text: str, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
    with hub.client() as client:
        answer = client.post("/v1/chat/completions", json=body(text, **more), headers=headers or {})
    assert answer.status_code == 200, answer.text
    return answer


def tier(answer: httpx.Response) -> str | None:
    return answer.headers.get("x-tidemill-cache")


def test_the_second_of_two_equal_requests_is_answered_from_memory(hub: Hub, server: Upstream) -> None:
    before = len(server.asked)
    first, again = chat(hub, "one"), chat(hub, "one")
    assert len(server.asked) == before + 1
    assert (tier(first), tier(again)) == (None, "l1")
    assert float(again.headers["x-tidemill-cost-usd"]) == 0
    assert again.json()["choices"] == first.json()["choices"]
    assert again.headers["x-tidemill-inference-id"] != first.headers["x-tidemill-inference-id"]
    tiers = query(hub, "SELECT cache_tier, status, cost_usd FROM inferences ORDER BY created_at DESC LIMIT 1")
    assert tiers == [{"cache_tier": "l1", "status": "ok", "cost_usd": 0.0}]


def test_a_kept_answer_can_be_streamed(hub: Hub) -> None:
    whole = chat(hub, "two").json()
    streamed = chat(hub, "two", stream=True, stream_options={"include_usage": True})
    assert tier(streamed) == "l1"
    events = [json.loads(line[6:]) for line in streamed.text.splitlines() if line.startswith("data: {")]
    text = "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])
    assert text == whole["choices"][0]["message"]["content"]
    usage = events[-1]["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (
        whole["usage"]["prompt_tokens"],
        whole["usage"]["completion_tokens"],
    )
    assert streamed.text.endswith("data: [DONE]\n\n")


def test_cache_control_is_respected(hub: Hub, server: Upstream) -> None:
    before = len(server.asked)
    for control in ("no-store", "no-store", "no-cache", "max-age=60", "No-Cache"):
        chat(hub, "three", {"cache-control": control})
    assert len(server.asked) == before + 4
    assert tier(chat(hub, "three")) == "l1"


def test_clients_that_ask_the_same_at_once_cost_one_request(hub: Hub, server: Upstream) -> None:
    before = len(server.asked)
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda number: chat(hub, "four", stream=number % 2 == 0), range(20)))
    assert len(server.asked) == before + 1
    assert {tier(answer) for answer in answers} <= {None, "flight", "l1"}
    assert [tier(answer) for answer in answers].count(None) == 1


def test_without_temperature_nothing_is_kept(hub: Hub, server: Upstream) -> None:
    before = len(server.asked)
    for _ in range(2):
        assert tier(chat(hub, "five", temperature=None)) is None
    assert len(server.asked) == before + 2


def test_a_person_of_another_level_is_answered_anew(hub: Hub, server: Upstream) -> None:
    with hub.client() as admin:
        keys = []
        for level in ("internal", "public"):
            added = {"email": f"{level}@congty.vn", "name": level, "access_level": level}
            user = admin.post("/v1/users", json=added).json()
            keys.append(admin.post("/v1/keys", json={"name": level, "owner_id": user["id"]}).json()["key"])
    before = len(server.asked)
    tiers = [tier(chat(hub, "six", {"authorization": f"Bearer {key}"})) for key in (*keys, *keys)]
    assert (tiers, len(server.asked)) == ([None, None, "l1", "l1"], before + 2)


def test_the_cache_is_shown_and_emptied_by_who_may(hub: Hub, server: Upstream) -> None:
    chat(hub, "seven")
    with hub.client() as admin:
        wait_for(lambda: admin.get("/v1/cache").json()["l2"]["entries"], what="the row of the answer")
        shown = admin.get("/v1/cache").json()
        viewer = admin.post("/v1/keys", json={"name": "viewer", "role": "viewer"}).json()["key"]
        for method in ("GET", "DELETE"):
            answer = admin.request(method, "/v1/cache", headers={"authorization": f"Bearer {viewer}"})
            assert answer.status_code == 403
    assert (shown["enabled"], shown["redis"], shown["l1"]["max_bytes"]) == (True, None, 64_000_000)
    assert shown["l1"]["entries"] >= 1
    assert 0 < shown["hit_rate"] < 1
    done = tidemill(["cache", "status"], hub.environment)
    assert (done.returncode, "l2 (database)" in done.stdout, "Hit rate" in done.stdout) == (0, True, True)
    done = tidemill(["cache", "clear", "--json"], hub.environment)
    deleted = json.loads(done.stdout)["deleted"]
    assert deleted >= 1
    with hub.client() as admin:
        [entry] = [one for one in admin.get("/v1/audit").json()["data"] if one["action"] == "cache.cleared"]
    assert (entry["target"], entry["details"]) == ("cache", {"deleted": deleted})
    assert entry["actor_id"] is not None
    assert tier(chat(hub, "seven")) is None


def person(admin: httpx.Client, name: str) -> tuple[str, dict[str, str]]:
    """Someone new, whose answers can be told from those that other tests left to be written: id and headers."""
    user = admin.post("/v1/users", json={"email": f"{name}@congty.vn", "name": name}).json()
    key = admin.post("/v1/keys", json={"name": name, "owner_id": user["id"]}).json()["key"]
    return user["id"], {"authorization": f"Bearer {key}"}


def rows_of(hub: Hub, owner: str) -> tuple[int, int]:
    """How many cached answers a person has, and how many of them in files."""
    counted = "SELECT count(*) AS rows, count(blob) AS files FROM answer_cache WHERE owner_id = %s"
    [row] = query(hub, counted, owner)
    return row["rows"], row["files"]


def test_an_erased_persons_answers_are_gone(hub: Hub) -> None:
    with hub.client() as admin:
        owner, headers = person(admin, "ferry")
        chat(hub, PHRASE, headers)
        wait_for(lambda: rows_of(hub, owner) == (1, 0), what="the row of the answer")
        receipt = admin.post(f"/v1/users/{owner}/erase").json()
    assert receipt["counts"]["cached_answers"] == 1
    assert rows_of(hub, owner) == (0, 0)
    assert tier(chat(hub, PHRASE)) is None


def test_a_hub_that_was_killed_has_its_answers_still(hub: Hub, data_dir: Path, server: Upstream) -> None:
    with hub.client() as admin:
        owner, headers = person(admin, "keeper")
    chat(hub, "eight", headers)
    chat(hub, "nine", headers, n=2)
    wait_for(lambda: rows_of(hub, owner) == (2, 1), what="the rows of the answers")
    hub.kill()
    with running_hub(data_dir, settings(server)) as again:
        assert [tier(chat(again, "eight", headers)), tier(chat(again, "nine", headers, n=2))] == ["l2", "l3"]
