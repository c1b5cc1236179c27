"""Conversations that outgrow the context of a real small model."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.conftest import reachable
from tests.model.test_runtime import FILE as MODEL_FILE
from tests.support.hubs import Hub, running_hub
from tests.support.rows import query

pytestmark = [pytest.mark.needs_model, pytest.mark.unmeasured]
CONTEXT = 512
STORY = "The mill stands by the river, and the river turns it twice a day, when the tide comes in and goes. " * 4
ACCENTED = STORY[:250].translate({ord("e"): "ệ", ord("a"): "ấ", ord("o"): "ồ"})
"""Of which a small English model makes more tokens than the estimate expects."""
TURNS = 4


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    assert MODEL_FILE.is_file(), "run `make test`, which fetches the model first"
    models: dict[str, Any] = {"default": "tiny", "files": {"tiny": str(MODEL_FILE)}, "slots": 1}
    settings = {"models": {**models, "context_tokens": CONTEXT}}
    folder = reachable(tmp_path_factory.mktemp("a hub with a model"))
    with running_hub(folder / "data", settings) as running:
        yield running


@pytest.fixture
def client(hub: Hub) -> Iterator[httpx.Client]:
    with hub.client() as opened:
        opened.timeout = httpx.Timeout(240)
        yield opened


@pytest.mark.parametrize(("history", "story"), [("window", ACCENTED), ("summary", STORY)])
def test_a_long_conversation_goes_on_within_a_small_context(
    hub: Hub, client: httpx.Client, history: str, story: str
) -> None:
    made = client.post("/v1/conversations", json={"history": history, "system": "Answer in one sentence."}).json()
    path = f"/v1/conversations/{made['id']}"
    for number in range(TURNS):
        body = {"content": f"{number}. {story}", "options": {"max_tokens": 16, "temperature": 0}}
        answer = client.post(f"{path}/messages", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["assistant"]["content"]
    messages = client.get(path).json()["messages"]
    assert len(messages) == 2 * TURNS
    assert all(one["usage"]["prompt_tokens"] < CONTEXT for one in messages if one["role"] == "assistant")
    asked = query(
        hub,
        "SELECT task, status, error_code, count(*) AS times FROM inferences WHERE subject = %s "
        "GROUP BY task, status, error_code",
        made["id"],
    )
    refused = sum(row["times"] for row in asked if row["status"] == "error")
    assert {row["error_code"] for row in asked if row["status"] == "error"} <= {"context_length_exceeded"}
    assert refused <= 3, asked
    summed = [row for row in asked if row["task"] == "conversation.summary" and row["status"] == "ok"]
    assert bool(summed) == (history == "summary")


def test_a_question_longer_than_the_context_is_told_both_numbers(client: httpx.Client) -> None:
    made = client.post("/v1/conversations", json={}).json()
    answer = client.post(f"/v1/conversations/{made['id']}/messages", json={"content": STORY * 10})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == "context_length_exceeded"
    assert str(CONTEXT) in error["message"]
