"""Conversations over HTTP: a real hub over a scripted upstream that refuses what is too long for it."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.conftest import reachable
from tests.support.hubs import Hub, Upstream, running_hub, scripted_settings, tidemill, upstream, wait_for
from tests.support.rows import query

TEXT = "The tide turns the mill."
CONTEXT = 120


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    folder = tmp_path_factory.mktemp("upstream")
    script = folder / "script.json"
    script.write_text(json.dumps({"text": TEXT, "context_tokens": CONTEXT}))
    with upstream(folder, "--script", str(script)) as server:
        yield server


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    with upstream(tmp_path_factory.mktemp("slow"), "--delay-ms", "12000") as server:
        yield server


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, scripted: Upstream, slow: Upstream) -> Iterator[Hub]:
    settings = scripted_settings(scripted.url)
    settings["models"]["endpoints"]["slow"] = {"url": slow.url}
    settings["models"]["endpoints"]["gone"] = {"url": "http://127.0.0.1:9/v1"}
    with running_hub(reachable(tmp_path_factory.mktemp("a hub")) / "data", settings) as running:
        yield running


@pytest.fixture
def client(hub: Hub) -> Iterator[httpx.Client]:
    with hub.client() as opened:
        yield opened


@pytest.fixture(scope="module")
def stranger(hub: Hub) -> Iterator[httpx.Client]:
    made = json.loads(tidemill(["keys", "create", "someone else", "--json"], hub.environment).stdout)
    with httpx.Client(
        base_url=hub.url, headers={"authorization": f"Bearer {made['key']}"}, timeout=60, trust_env=False
    ) as opened:
        yield opened


def begin(client: httpx.Client, **body: Any) -> str:
    answer = client.post("/v1/conversations", json=body)
    assert answer.status_code == 200, answer.text
    return f"/v1/conversations/{answer.json()['id']}"


def say(client: httpx.Client, path: str, content: str | None, **body: Any) -> dict[str, Any]:
    answer = client.post(f"{path}/messages", json={"content": content, **body})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def events(text: str) -> list[tuple[str, Any]]:
    blocks = [block.split("\n") for block in text.strip().split("\n\n")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in blocks]


def test_a_question_is_answered_and_the_conversation_shows_both_with_their_inference(
    hub: Hub, client: httpx.Client
) -> None:
    path = begin(client, system="Be brief.")
    said = say(client, path, "What turns the mill?", options={"temperature": 0})
    assert said["assistant"]["content"] == TEXT
    assert said["assistant"]["parent_id"] == said["user"]["id"]
    assert said["assistant"]["model"] == "scripted"
    assert said["assistant"]["citations"] == []
    assert said["assistant"]["usage"] == {"prompt_tokens": 6, "completion_tokens": 5}
    shown = client.get(path).json()
    assert [message["content"] for message in shown["messages"]] == ["What turns the mill?", TEXT]
    assert shown["title"] == "What turns the mill?"
    assert shown["leaf_id"] == said["assistant"]["id"]
    [row] = query(hub, "SELECT task, subject, status FROM inferences WHERE id = %s", said["assistant"]["inference_id"])
    assert row == {"task": "chat", "subject": shown["id"], "status": "ok"}


def test_a_streamed_answer_comes_in_events_and_is_kept(client: httpx.Client) -> None:
    path = begin(client)
    answer = client.post(f"{path}/messages", json={"content": "What?", "stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = events(answer.text)
    assert [name for name, _ in found[:1] + found[-2:]] == ["message.created", "message.completed", "done"]
    assert "".join(data["content"] for name, data in found if name == "delta") == TEXT
    shown = client.get(path).json()["messages"]
    assert [found[0][1]["id"], found[-2][1]["id"]] == [message["id"] for message in shown]


def test_branches_are_made_listed_and_switched(client: httpx.Client) -> None:
    path = begin(client)
    first = say(client, path, "one")
    old = say(client, path, "two")
    new = say(client, path, "deux", parent_id=first["assistant"]["id"])
    other = say(client, path, "another beginning", parent_id=None)
    assert [one["id"] for one in client.get(path).json()["messages"]] == [other["user"]["id"], other["assistant"]["id"]]
    client.patch(path, json={"leaf_id": old["assistant"]["id"]})
    shown = client.get(path).json()["messages"]
    assert [message["content"] for message in shown] == ["one", TEXT, "two", TEXT]
    assert shown[2]["siblings"] == [old["user"]["id"], new["user"]["id"]]
    assert len(client.get(path, params={"view": "tree"}).json()["messages"]) == 8
    page = client.get(f"{path}/messages", params={"limit": 5}).json()
    assert (len(page["data"]), page["has_more"]) == (5, True)
    rest = client.get(f"{path}/messages", params={"after": page["data"][-1]["id"]}).json()
    assert (len(rest["data"]), rest["has_more"]) == (3, False)


def test_a_failed_answer_is_said_and_the_question_can_be_asked_again(client: httpx.Client) -> None:
    path = begin(client)
    refused = client.post(f"{path}/messages", json={"content": "one", "model": "gone"})
    assert refused.status_code == 503
    assert "can't be reached" in refused.json()["error"]["message"]
    streamed = events(client.post(f"{path}/messages", json={"content": "two", "model": "gone", "stream": True}).text)
    assert [name for name, _ in streamed] == ["message.created", "error", "done"]
    assert streamed[1][1]["error"]["code"] == "unavailable"
    again = say(client, path, None, parent_id=streamed[0][1]["id"])
    assert (again["user"]["content"], again["assistant"]["content"]) == ("two", TEXT)
    assert [message["content"] for message in client.get(path).json()["messages"]] == ["two", TEXT]


@pytest.mark.parametrize("history", ["window", "summary"])
def test_a_history_that_outgrows_the_context_is_fitted(client: httpx.Client, history: str) -> None:
    path = begin(client, history=history)
    for number in range(8):
        say(client, path, f"question {number} " + "word " * 20)
    messages = client.get(path).json()["messages"]
    assert len(messages) == 16
    assert all(one["usage"]["prompt_tokens"] < CONTEXT for one in messages if one["role"] == "assistant")


def test_a_question_that_is_too_long_is_told_both_numbers(client: httpx.Client) -> None:
    answer = client.post(f"{begin(client)}/messages", json={"content": "word " * 300})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == "context_length_exceeded"
    assert "300" in error["message"]
    assert str(CONTEXT) in error["message"]


def test_an_answer_whose_client_goes_is_marked_as_cancelled(client: httpx.Client) -> None:
    path = begin(client)
    with client.stream("POST", f"{path}/messages", json={"content": "x", "model": "slow", "stream": True}) as answer:
        lines = answer.iter_lines()
        while not next(lines).startswith("event: delta"):
            pass
    shown = wait_for(
        lambda: len(found := client.get(path).json()["messages"]) == 2 and found, what="the part of the answer"
    )
    assert shown[1]["finish_reason"] == "cancelled"
    assert shown[1]["content"].startswith("This ")


def test_another_key_s_conversation_is_not_found(client: httpx.Client, stranger: httpx.Client) -> None:
    path = begin(client, title="private plans")
    said = say(client, path, "one")
    own = begin(stranger)
    for answer in (
        stranger.get(path),
        stranger.patch(path, json={"title": "mine"}),
        stranger.delete(path),
        stranger.get(f"{path}/messages"),
        stranger.post(f"{path}/messages", json={"content": "x"}),
        stranger.get("/v1/conversations", params={"after": path.rsplit("/", 1)[1]}),
        stranger.patch(own, json={"leaf_id": said["user"]["id"]}),
        stranger.post(f"{own}/messages", json={"content": "x", "parent_id": said["assistant"]["id"]}),
    ):
        assert answer.status_code == 404, answer.text
    assert stranger.get("/v1/conversations", params={"query": "private"}).json()["data"] == []
    assert client.get(path).json()["title"] == "private plans"


def test_conversations_are_found_listed_and_deleted(client: httpx.Client) -> None:
    path = begin(client)
    say(client, path, "Phố nào đẹp nhất Hải Phòng?")
    [found] = client.get("/v1/conversations", params={"query": "hai phong"}).json()["data"]
    assert "Hải Phòng" in found["snippet"]
    page = client.get("/v1/conversations", params={"limit": 1}).json()
    assert (page["data"][0]["id"], page["has_more"]) == (found["id"], True)
    assert client.delete(path).json() == {"id": found["id"], "object": "conversation.deleted", "deleted": True}
    assert client.get(path).status_code == 404
    assert client.delete(path).status_code == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b'{"content": 3}', 400),
        (b'{"content": "\\ud800"}', 200),
        (b'{"content": "   "}', 400),
        (b'{"content": "x", "parent_id": "none"}', 400),
        (b'{"content": "x", "colour": "blue"}', 400),
        (b'{"content": "x", "options": {"n": 5}}', 400),
        (b'{"content": "x", "options": {"temperature": 3}}', 400),
        (b'{"content": "x", "model": "absent"}', 404),
        (b"[" * 100_000, 400),
        (b"\xff\xfe\x00", 400),
        (b'{"content": "x", "options": {"temperature": NaN}}', 400),
        (b'{"content": "x", "options": {"seed": 9223372036854775808}}', 400),
        (b'{"content": "x", "\\ud800": 1}', 400),
        (b'{"content": "x", "model": "\\u0000"}', 404),
        (b"{}", 400),
        (b'{"content": "' + b"x" * 300_000 + b'"}', 413),
        (b'{"content": "a\\u0000b"}', 200),
    ],
)
def test_a_message_that_can_not_be_used_is_told_why(client: httpx.Client, body: bytes, status: int) -> None:
    answer = client.post(f"{begin(client)}/messages", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status, answer.text


def test_a_beginning_takes_a_system_message_first_and_alone(client: httpx.Client) -> None:
    first = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "x"}]
    path = begin(client, messages=first)
    assert client.get(path).json()["system"] == "Be brief."
    answer = client.post("/v1/conversations", json={"messages": first[::-1]})
    assert answer.status_code == 400
    assert "system" in answer.json()["error"]["message"]


def test_the_command_keeps_a_conversation_goes_on_with_it_and_lists_it(hub: Hub, client: httpx.Client) -> None:
    begun = tidemill(["chat", "--new", "--system", "Be brief.", "What turns the mill?"], hub.environment)
    assert begun.stdout == f"{TEXT}\n", begun.stderr
    kept = begun.stderr.split()[-1]
    again = tidemill(["chat", "--conversation", kept, "--max-tokens", "50", "And then?"], hub.environment)
    assert again.stdout == f"{TEXT}\n", again.stderr
    assert [one["content"] for one in client.get(f"/v1/conversations/{kept}").json()["messages"]] == [
        "What turns the mill?",
        TEXT,
        "And then?",
        TEXT,
    ]
    whole = json.loads(tidemill(["chat", "--conversation", kept, "--json", "Why?"], hub.environment).stdout)
    assert whole["assistant"]["content"] == TEXT
    listed = tidemill(["chat", "--list"], hub.environment).stdout
    assert kept in listed
    assert "What turns the mill?" in listed
    assert json.loads(tidemill(["chat", "--list", "--json"], hub.environment).stdout)["data"][0]["id"] == kept


@pytest.mark.parametrize(
    ("options", "exit_code", "says"),
    [
        (["--new", "--list"], 2, "one of"),
        (["--conversation", "01a1fd2b-450e-7b5e-9dc9-83f5dac14030", "x"], 4, "no conversation"),
        (["--conversation", "01a1fd2b-450e-7b5e-9dc9-83f5dac14030", "--system", "y", "x"], 2, "--system"),
        (["--new", "--model", "gone", "x"], 7, "can't be reached"),
        (["--new", "  "], 2, "nothing to ask"),
    ],
)
def test_the_command_says_what_can_not_be(hub: Hub, options: list[str], exit_code: int, says: str) -> None:
    done = tidemill(["chat", *options], hub.environment)
    assert done.returncode == exit_code
    assert says in done.stderr
