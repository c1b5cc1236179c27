"""The whole hub with a real small model, as its clients and commands see it."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import openai
import psutil
import pytest
from pydantic import BaseModel

from tests.conftest import reachable
from tests.model.test_runtime import FILE as MODEL_FILE
from tests.support.hubs import Hub, running_hub, stop, tidemill, wait_for
from tests.support.rows import query

pytestmark = [pytest.mark.needs_model, pytest.mark.unmeasured]
HELLO = [{"role": "user", "content": "Say hello."}]


class Person(BaseModel):
    name: str
    age: int


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    assert MODEL_FILE.is_file(), "run `make test`, which fetches the model first"
    settings = {"models": {"default": "tiny", "files": {"tiny": str(MODEL_FILE)}, "context_tokens": 1024, "slots": 2}}
    folder = reachable(tmp_path_factory.mktemp("a hub with a model"))
    with running_hub(folder / "data", settings) as running:
        yield running


@pytest.fixture
def ask(hub: Hub) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{hub.url}/v1", api_key=hub.key, max_retries=0, timeout=120)


def status(hub: Hub) -> dict[str, object]:
    [one] = json.loads(tidemill(["models", "status", "--json"], hub.environment).stdout)
    return dict(one)


def test_the_commands_load_show_and_unload_a_model_and_its_memory_is_free_again(hub: Hub) -> None:
    assert "tiny (default)" in tidemill(["models", "list"], hub.environment).stdout
    loaded = tidemill(["models", "load", "tiny"], hub.environment)
    assert loaded.returncode == 0, loaded.stderr
    assert "ready" in loaded.stdout
    pid = status(hub)["pid"]
    assert psutil.pid_exists(int(str(pid)))
    assert "tidemill_model_memory_bytes" in hub.client().get("/metrics").text
    assert tidemill(["models", "unload", "tiny"], hub.environment).returncode == 0
    assert not psutil.pid_exists(int(str(pid)))


def test_the_official_client_chats_streams_and_gets_json_and_log_probabilities(ask: openai.OpenAI) -> None:
    whole = ask.chat.completions.create(
        model="tiny", messages=HELLO, max_tokens=12, seed=3, temperature=0, logprobs=True, top_logprobs=2
    )
    assert whole.usage is not None
    assert 1 <= whole.usage.completion_tokens <= 12
    assert whole.choices[0].logprobs is not None
    assert len(whole.choices[0].logprobs.content or []) == whole.usage.completion_tokens
    stream = ask.chat.completions.create(
        model="tiny",
        messages=HELLO,
        max_tokens=12,
        seed=3,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage or chunks[-1].usage is not None
    parsed = ask.chat.completions.parse(
        model="tiny", messages=[{"role": "user", "content": "Ann is 31."}], response_format=Person, max_tokens=200
    )
    assert isinstance(parsed.choices[0].message.parsed, Person)


def test_a_context_that_is_too_long_is_refused_with_both_numbers(ask: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        ask.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "word " * 3000}])
    assert refused.value.code == "context_length_exceeded"
    assert "1024" in refused.value.message
    assert "30" in refused.value.message


def test_a_client_that_goes_stops_the_decoding(hub: Hub, ask: openai.OpenAI) -> None:
    stream = ask.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": "Tell a long story."}], stream=True, max_tokens=900
    )
    next(iter(stream))
    stream.close()
    child = psutil.Process(int(str(status(hub)["pid"])))
    wait_for(lambda: child.cpu_percent(0.5) < 40, seconds=20, what="a child at rest")
    [row] = query(hub, "SELECT status FROM inferences WHERE streamed ORDER BY created_at DESC LIMIT 1")
    assert row["status"] == "cancelled"


def test_a_killed_child_is_restarted_and_the_next_request_is_answered(hub: Hub, ask: openai.OpenAI) -> None:
    ask.chat.completions.create(model="tiny", messages=HELLO, max_tokens=2)
    before = int(str(status(hub)["pid"]))
    os.kill(before, signal.SIGKILL)
    answer = ask.chat.completions.create(model="tiny", messages=HELLO, max_tokens=2)
    assert answer.choices
    assert status(hub)["pid"] != before
    assert status(hub)["restarts"] == 1


def test_ctrl_c_leaves_no_process_of_model_or_database(hub: Hub) -> None:
    family = psutil.Process(hub.process.pid).children(recursive=True)
    assert len(family) >= 1
    stop(hub)
    assert hub.process.returncode == 0
    gone = [one for one in family if not one.is_running() or one.status() == psutil.STATUS_ZOMBIE]
    assert gone == family
    assert not [
        process.info["cmdline"]
        for process in psutil.process_iter(["cmdline"])
        if str(hub.data_dir) in " ".join(process.info["cmdline"] or [])
    ]


def test_a_hub_reviews_an_example_at_its_start(tmp_path: Path) -> None:
    settings = {
        "models": {"default": "tiny", "files": {"tiny": str(MODEL_FILE)}},
        "review": {"max_hunks": 1, "max_refinements": 1},
    }
    bundle = Path(__file__).parents[2] / "examples" / "orders.bundle"
    with running_hub(reachable(tmp_path) / "data", settings, "--example", str(bundle)) as hub:
        wait_for(
            lambda: query(hub, "SELECT 1 FROM reviews WHERE state = 'done' HAVING count(*) = 3"),
            seconds=480,
            what="three reviews",
        )
        found = query(hub, "SELECT path, line FROM review_findings WHERE engine <> 'model'")
        assert {"path": "orders/stock.py", "line": 45} in found
