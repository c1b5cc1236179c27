"""A real small model in a real child process: what it answers, and what happens when something dies."""

import asyncio
import json
import os
import signal
import struct
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import psutil
import pytest
import pytest_asyncio

from tidemill.core.chat import ChatRequest
from tidemill.core.errors import Configuration, Conflict, ContextTooLong, InvalidInput, ModelFailed, Unavailable
from tidemill.llm.catalog import SMOLLM2_135M
from tidemill.llm.openai_http import OpenAIHTTP, Target
from tidemill.llm.runtime import supervised
from tidemill.llm.runtime.local import LocalRuntime, RuntimeState
from tidemill.settings import ModelSettings, Settings

pytestmark = [pytest.mark.needs_model, pytest.mark.asyncio(loop_scope="module")]

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / ".cache" / "tidemill" / "models" / SMOLLM2_135M.file
CONTEXT = 1024
HELLO = [{"role": "user", "content": "Say hello and then count to ten."}]


def settings_for(folder, **changes):
    if not FILE.is_file():
        pytest.fail(
            f"{FILE} is missing. Fetch it with "
            f"`TIDEMILL_DATA_DIR=.cache/tidemill tidemill models pull {SMOLLM2_135M.name}`."
        )
    models = {"files": {"tiny": FILE}, "default": "tiny", "context_tokens": CONTEXT, "slots": 2, "start_timeout": 60}
    return Settings(data_dir=folder, models=ModelSettings(**{**models, **changes}))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def runtime(tmp_path_factory):
    opened = LocalRuntime(settings_for(tmp_path_factory.mktemp("a folder") / "data"))
    yield opened
    await opened.aclose()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def model(runtime):
    @asynccontextmanager
    async def serve(name, priority):
        async with runtime.serve(name, priority) as served:
            yield Target(served.endpoint.base_url, served.endpoint.api_key, served.model, served.options)

    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
        yield OpenAIHTTP(client, serve)


async def until(holds, seconds=60.0):
    """Waits for something that happens outside this process."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.05)


def alive(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def ask(messages=HELLO, **options):
    return ChatRequest("tiny", messages, {"max_tokens": 12, "temperature": 0, **options})


async def test_it_answers_and_counts_tokens(model):
    answer = await model.complete(ask())
    assert answer.text
    assert answer.usage.prompt_tokens > 5
    assert answer.usage.completion_tokens == 12
    assert answer.choices[0]["finish_reason"] == "length"


async def test_a_stream_says_the_same_as_the_whole_answer(model):
    whole = await model.complete(ask())
    chunks = [chunk async for chunk in model.stream(ask())]
    text = "".join(one["delta"].get("content") or "" for chunk in chunks for one in chunk.choices)
    assert text == whole.text
    assert chunks[-1].usage.completion_tokens == 12


async def test_a_seed_decides_the_answer(model):
    said = [(await model.complete(ask(temperature=1.2, seed=seed, max_tokens=24))).text for seed in (1, 1, 2)]
    assert said[0] == said[1] != said[2]


async def test_a_schema_binds_the_answer(model):
    schema = {
        "type": "object",
        "properties": {"line": {"type": "integer"}, "kind": {"enum": ["bug", "style"]}},
        "required": ["line", "kind"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "comment", "schema": schema, "strict": True}}
    answer = json.loads((await model.complete(ask(response_format=form, max_tokens=60))).text)
    assert isinstance(answer["line"], int)
    assert answer["kind"] in {"bug", "style"}


async def test_log_probabilities_come_with_the_answer(model):
    answer = await model.complete(ask(logprobs=True, top_logprobs=2, max_tokens=3))
    tokens = answer.choices[0]["logprobs"]["content"]
    assert len(tokens) == 3
    assert all(token["logprob"] <= 0 and len(token["top_logprobs"]) == 2 for token in tokens)


async def test_log_probabilities_without_alternatives_come_where_none_are_asked_for(model):
    for more in ({}, {"top_logprobs": 0}):
        answer = await model.complete(ask(logprobs=True, max_tokens=3, **more))
        chunks = [chunk async for chunk in model.stream(ask(logprobs=True, max_tokens=3, **more))]
        streamed = [one["logprobs"]["content"] for chunk in chunks for one in chunk.choices if one.get("logprobs")]
        for tokens in (answer.choices[0]["logprobs"]["content"], [token for part in streamed for token in part]):
            assert len(tokens) == 3
            assert all(token["logprob"] <= 0 and token["top_logprobs"] == [] for token in tokens)


async def test_too_long_a_prompt_is_refused_with_both_numbers(model):
    long = [{"role": "user", "content": "word " * 1500}]
    for asking in (model.complete(ask(long)), anext(model.stream(ask(long)))):
        with pytest.raises(ContextTooLong) as caught:
            await asking
        assert caught.value.context_tokens == CONTEXT
        assert 1500 <= caught.value.prompt_tokens < 1600


async def test_a_request_that_makes_no_sense_is_refused_with_the_reason(model):
    with pytest.raises(InvalidInput, match="temperature"):
        await model.complete(ask(temperature="hot"))


async def test_who_stops_listening_stops_the_decoding(runtime, model):
    endpoint = await runtime.ensure("tiny")
    headers = {"authorization": f"Bearer {endpoint.api_key}"}
    slots = f"{endpoint.base_url.removesuffix('/v1')}/slots"

    async def busy():
        async with httpx.AsyncClient(trust_env=False, headers=headers) as client:
            return sum(slot["is_processing"] for slot in (await client.get(slots)).json())

    stream = model.stream(ask(max_tokens=900, ignore_eos=True))
    for _ in range(3):
        await anext(stream)
    assert await busy() == 1
    await stream.aclose()
    end = time.monotonic() + 5
    while await busy():
        assert time.monotonic() < end
        await asyncio.sleep(0.05)


async def test_the_child_asks_for_its_key_and_shows_it_nowhere(runtime):
    endpoint = await runtime.ensure("tiny")
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.post(f"{endpoint.base_url}/chat/completions", json={"messages": HELLO})).status_code == 401
    process = psutil.Process(runtime.status()[0].pid)
    assert endpoint.api_key not in " ".join(process.cmdline())
    assert endpoint.api_key not in process.environ().values()
    assert endpoint.api_key not in repr(Target("", endpoint.api_key, ""))


async def test_many_who_ask_at_once_start_one_child(tmp_path):
    runtime = LocalRuntime(settings_for(tmp_path))
    try:
        endpoints = await asyncio.gather(*(runtime.ensure("default") for _ in range(5)))
        assert len(set(endpoints)) == 1
        assert len(psutil.Process().children()) >= 1
        status = runtime.status()
        assert [(one.model, one.state, one.restarts) for one in status] == [("tiny", RuntimeState.READY, 0)]
        assert status[0].rss_bytes > 50_000_000
        published = tmp_path / "run" / "models" / "tiny.json"
        assert published.stat().st_mode & 0o777 == 0o600
        assert published.parent.stat().st_mode & 0o777 == 0o700
    finally:
        await runtime.aclose()
    assert not alive(status[0].pid)
    assert not published.exists()


async def test_a_killed_child_is_started_again(runtime, model):
    await model.complete(ask(max_tokens=1))
    before = runtime.status()[0]
    os.kill(before.pid, signal.SIGKILL)
    await until(lambda: runtime.status()[0].state is not RuntimeState.READY)
    assert (await model.complete(ask(max_tokens=1))).text
    after = runtime.status()[0]
    assert after.pid != before.pid
    assert after.restarts == before.restarts + 1


async def test_who_asks_at_the_moment_of_a_crash_is_answered_by_the_next_child(runtime, model):
    async def streamed():
        return [chunk async for chunk in model.stream(ask(max_tokens=1))]

    for asking in (lambda: model.complete(ask(max_tokens=1)), streamed):
        await model.complete(ask(max_tokens=1))
        before = runtime.status()[0]
        os.kill(before.pid, signal.SIGKILL)
        assert await asking()
        assert runtime.status()[0].restarts == before.restarts + 1


async def test_unloading_ends_the_process_and_the_next_request_starts_it(runtime, model):
    await runtime.ensure("tiny")
    pid = runtime.status()[0].pid
    await runtime.unload("tiny")
    assert not alive(pid)
    assert runtime.status()[0].state is RuntimeState.STOPPED
    assert (await model.complete(ask(max_tokens=1))).text


async def test_a_child_that_keeps_crashing_stays_down_and_the_log_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(supervised, "MAX_CRASHES", 2)
    runtime = LocalRuntime(settings_for(tmp_path))
    try:
        for _ in range(2):
            await runtime.ensure("tiny")
            os.kill(runtime.status()[0].pid, signal.SIGSEGV)
            await until(lambda: runtime.status()[0].state is not RuntimeState.READY)
        with pytest.raises(ModelFailed, match=r"crashed 2 times.*tiny\.log"):
            await runtime.ensure("tiny")
        assert runtime.status()[0].state is RuntimeState.FAILED
        await runtime.unload("tiny")
        await runtime.ensure("tiny")
        assert runtime.status()[0].state is RuntimeState.READY
    finally:
        await runtime.aclose()


OWNER = """
import asyncio, sys
from pathlib import Path
from tidemill.llm.runtime.local import LocalRuntime
from tidemill.settings import ModelSettings, Settings
folder, file = sys.argv[1:]
settings = Settings(data_dir=Path(folder), models=ModelSettings(files={"tiny": Path(file)}, context_tokens=1024))
async def main():
    runtime = LocalRuntime(settings)
    await runtime.ensure("tiny")
    print(runtime.status()[0].pid, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


async def test_two_processes_share_a_child_and_the_second_takes_over_when_the_first_dies(tmp_path):
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OWNER, str(tmp_path), str(FILE), stdout=asyncio.subprocess.PIPE
    )
    runtime = LocalRuntime(settings_for(tmp_path))
    try:
        await until(lambda: (tmp_path / "run/models/tiny.lock").exists(), 30)
        await runtime.ensure("tiny")
        shared = runtime.status()[0].pid
        assert int(await owner.stdout.readline()) == shared
        with pytest.raises(Conflict, match="Unload it there"):
            await runtime.unload("tiny")
        owner.kill()
        await owner.wait()
        await until(lambda: not alive(shared))
        await runtime.ensure("tiny")
        assert runtime.status()[0].pid not in {None, shared}
        assert psutil.Process(runtime.status()[0].pid).ppid() == os.getpid()
    finally:
        await runtime.aclose()
        if owner.returncode is None:
            owner.kill()
            await owner.wait()


async def test_a_file_that_is_no_model_is_refused(tmp_path):
    text, torn = tmp_path / "text.gguf", tmp_path / "torn.gguf"
    text.write_text("not a model")
    torn.write_bytes(FILE.read_bytes()[:5_000_000])
    runtime = LocalRuntime(settings_for(tmp_path, files={"text": text, "torn": torn}))
    try:
        with pytest.raises(Configuration, match="not a GGUF file"):
            await runtime.ensure("text")
        with pytest.raises(Configuration, match=r"can't load .*torn\.log"):
            await runtime.ensure("torn")
        assert "torn" in (tmp_path / "logs" / "torn.log").read_text()
        assert {one.state for one in runtime.status()} == {RuntimeState.FAILED}
    finally:
        await runtime.aclose()


def gguf_of(**numbers):
    """The head of a GGUF file of architecture `llama`; no weights follow."""

    def string(text):
        return struct.pack("<Q", len(text)) + text.encode()

    entries = [string("general.architecture") + struct.pack("<I", 8) + string("llama")]
    entries += [string(f"llama.{name}") + struct.pack("<II", 4, value) for name, value in numbers.items()]
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(entries)) + b"".join(entries)


async def test_a_model_for_which_there_is_no_memory_is_refused_with_both_numbers(tmp_path):
    """1000 layers, 8192 wide: 31.25 MiB of keys and values for each of 2 x 100,000 tokens, and 0.3 GiB to compute."""
    huge = tmp_path / "huge.gguf"
    numbers = {"block_count": 1000, "embedding_length": 8192, "attention.head_count": 128}
    huge.write_bytes(gguf_of(**numbers, context_length=1_000_000))
    runtime = LocalRuntime(settings_for(tmp_path, files={"huge": huge}, context_tokens=100_000))
    try:
        with pytest.raises(Unavailable, match=r"needs about 6,?103\.8 GiB of memory, and [\d.]+ GiB are free"):
            await runtime.ensure("huge")
    finally:
        await runtime.aclose()


async def test_a_start_that_takes_too_long_is_given_up(tmp_path):
    runtime = LocalRuntime(settings_for(tmp_path, start_timeout=0.05))
    try:
        with pytest.raises(Unavailable, match="start_timeout"):
            await runtime.ensure("tiny")
    finally:
        await runtime.aclose()
    await until(lambda: runtime.status() == [])
