"""Asking OpenAI-compatible servers over real connections, also when they misbehave."""

import asyncio
import contextlib
import json
import socket
import sys
from dataclasses import dataclass, field

import pytest

from tidemill.app.models import ANYWHERE, STREAM_BYTES
from tidemill.core.chat import ChatRequest, Usage
from tidemill.core.errors import (
    Configuration,
    ContextTooLong,
    InvalidInput,
    ModelFailed,
    ModelNotFound,
    TidemillError,
    Unavailable,
)
from tidemill.core.failure import Failure
from tidemill.llm.openai_http import OpenAIHTTP, Target
from tidemill.llm.scripted import ScriptedAnswer, ScriptedModel
from tidemill.outbound import Outbound

OUTBOUND = Outbound(ANYWHERE)
KEY = "key-that-must-not-leak"
SECRET_TEXT = "the-text-of-a-message"
ASK = ChatRequest("tiny", [{"role": "user", "content": SECRET_TEXT}], {"temperature": 0, "max_tokens": 5})


@dataclass
class Wire:
    """A server that answers each request with the bytes that the test gives it, and keeps what it was sent.

    `script` has the pieces for the first requests, one list for each; `pieces` are for all others.
    """

    pieces: list = field(default_factory=list)
    script: list = field(default_factory=list)
    requests: list = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    async def serve(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line)
        self.requests.append((head.decode(), json.loads(await reader.readexactly(length))))
        self.asked.set()
        with contextlib.suppress(ConnectionError):
            for piece in self.script.pop(0) if self.script else self.pieces:
                if piece is Ellipsis:
                    await reader.read(1)
                    self.gone.set()
                    return
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.001)
        writer.close()

    def answers(self, body, status=200, kind="application/json", more=""):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = (
            f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(data)}\r\n{more}"
            "connection: close\r\n\r\n"
        )
        self.pieces = [head.encode() + data]

    def streams(self, *pieces):
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
        self.pieces = [head, *pieces]


@pytest.fixture
async def wire():
    served = Wire()
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    served.port = server.sockets[0].getsockname()[1]
    yield served
    server.close()
    await server.wait_closed()


@pytest.fixture
async def model(wire):
    @contextlib.asynccontextmanager
    async def serve(name, priority):
        yield Target(f"http://127.0.0.1:{wire.port}/v1", KEY, f"remote-{name}")

    async with OUTBOUND.client(timeout=2, max_bytes=STREAM_BYTES) as client:
        yield OpenAIHTTP(client, serve)


def event(**body):
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def delta(text=None, finish=None):
    return event(choices=[{"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}])


async def collect(model):
    return [chunk async for chunk in model.stream(ASK)]


def text_of(chunks):
    return "".join(one["delta"].get("content") or "" for chunk in chunks for one in chunk.choices)


async def test_an_answer_passes_with_its_usage_and_without_the_servers_extras(wire, model):
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 3}}
    wire.answers({"choices": [choice], "usage": usage, "timings": {"x": 1}, "__verbose": {"prompt": "p"}})
    answer = await model.complete(ASK)
    assert answer.text == "Hi"
    assert answer.usage == Usage(prompt_tokens=7, completion_tokens=2, cached_tokens=3)
    assert list(answer.choices) == [choice]
    head, body = wire.requests[0]
    assert head.startswith("POST /v1/chat/completions ")
    assert f"authorization: Bearer {KEY}" in head
    assert body == {"temperature": 0, "max_tokens": 5, "model": "remote-tiny", "messages": list(ASK.messages)}


async def test_a_stream_passes_piece_by_piece_however_the_network_cuts_it(wire, model):
    events = (
        b": a comment\r\n\r\n"
        + delta("Hel").replace(b"\n", b"\r\n")
        + delta("lo ü")
        + delta(finish="stop")
        + event(choices=[], usage={"prompt_tokens": 4, "completion_tokens": 3}, timings={})
        + b"data: [DONE]\n\n"
    )
    wire.streams(*(events[start : start + 7] for start in range(0, len(events), 7)))
    chunks = await collect(model)
    assert text_of(chunks) == "Hello ü"
    assert chunks[-1].usage == Usage(prompt_tokens=4, completion_tokens=3)
    assert wire.requests[0][1]["stream_options"] == {"include_usage": True}


async def test_closing_a_stream_closes_its_connection(wire, model):
    wire.streams(delta("one"), ...)
    stream = model.stream(ASK)
    assert (await anext(stream)).choices[0]["delta"] == {"content": "one"}
    await stream.aclose()
    await asyncio.wait_for(wire.gone.wait(), 30)


async def test_cancelling_a_request_closes_its_connection(wire, model):
    wire.pieces = [...]
    asking = asyncio.create_task(model.complete(ASK))
    await asyncio.wait_for(wire.asked.wait(), 30)
    asking.cancel()
    await asyncio.wait_for(wire.gone.wait(), 30)


LLAMA_LONG = {"code": 400, "message": "too long", "type": "exceed_context_size_error", "n_prompt_tokens": 9, "n_ctx": 8}
OPENAI_LONG = {
    "code": "context_length_exceeded",
    "message": "This model's maximum context length is 8 tokens. However, your messages resulted in 9 tokens.",
}
VLLM_LONG = {
    "code": 400,
    "message": "This model's maximum context length is 8 tokens. However, you requested 12 tokens "
    "(9 in the messages, 3 in the completion).",
}


@pytest.mark.parametrize("error", [LLAMA_LONG, OPENAI_LONG, VLLM_LONG], ids=["llama-server", "openai", "vllm"])
async def test_a_prompt_that_is_too_long_is_said_with_both_numbers(wire, model, error):
    wire.answers({"error": error}, 400)
    with pytest.raises(ContextTooLong) as caught:
        await model.complete(ASK)
    assert (caught.value.prompt_tokens, caught.value.context_tokens) == (9, 8)
    with pytest.raises(ContextTooLong):
        await collect(model)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, InvalidInput),
        (422, InvalidInput),
        (401, Configuration),
        (403, Configuration),
        (404, ModelNotFound),
        (429, Unavailable),
        (503, Unavailable),
        (500, ModelFailed),
        (502, ModelFailed),
    ],
)
@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "no such thing"}},
        {"error": {"message": "no such thing", "type": ["x"], "code": {}}},
        b"<html>oops</html>",
        {"object": "error"},
    ],
)
async def test_every_refusal_is_one_error_of_the_tree(wire, model, status, expected, body):
    wire.answers(body, status)
    for ask in (model.complete(ASK), collect(model)):
        with pytest.raises(TidemillError) as caught:
            await ask
        assert type(caught.value) is expected
        assert KEY not in caught.value.message
        assert SECRET_TEXT not in caught.value.message
        if expected is InvalidInput and isinstance(body, dict) and "error" in body:
            assert "no such thing" in caught.value.message


@pytest.mark.parametrize(
    "body", [b"", b"not json", b"[" * 200_000, b"[]", {"choices": []}, {"usage": {}}, {"choices": ["x"]}]
)
async def test_an_unusable_answer_is_the_models_failure(wire, model, body):
    wire.answers(body)
    with pytest.raises(ModelFailed):
        await model.complete(ASK)


@pytest.mark.parametrize(
    "choice",
    [
        {"index": [0], "delta": {}},
        {"index": 1, "delta": {}},
        {"index": -1, "delta": {}},
        {"index": 0, "delta": "x"},
        {"index": 0, "delta": {"tool_calls": {"index": 0}}},
        {"index": 0, "delta": {"tool_calls": [{"index": "0"}]}},
        {"index": 0, "delta": {"tool_calls": [{"index": 0, "function": "f"}]}},
        {"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": {"a": 1}}}]}},
    ],
)
async def test_a_piece_that_can_not_be_read_is_the_models_failure(wire, model, choice):
    wire.streams(event(choices=[choice]))
    with pytest.raises(ModelFailed):
        await collect(model)


async def test_counts_that_can_not_be_are_not_counted(wire, model):
    choice = {"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}
    wire.answers({"choices": [choice], "usage": {"prompt_tokens": 10**14, "completion_tokens": -1}})
    assert (await model.complete(ASK)).usage == Usage()


async def test_numbers_that_json_has_not_are_numbers_that_it_has(wire, model):
    found = b'{"content": [{"token": "a", "logprob": -Infinity}, {"token": "b", "logprob": NaN}]}'
    wire.answers(b'{"choices": [{"index": 0, "message": {"content": "a"}, "logprobs": ' + found + b"}]}")
    [choice] = (await model.complete(ASK)).choices
    assert [token["logprob"] for token in choice["logprobs"]["content"]] == [-9999.0, None]


async def test_an_error_in_the_middle_of_a_stream_comes_out_of_it(wire, model):
    wire.streams(delta("one"), event(error={"code": 500, "message": "slot crashed", "type": "server_error"}))
    stream = model.stream(ASK)
    assert text_of([await anext(stream)]) == "one"
    with pytest.raises(ModelFailed):
        await anext(stream)


@pytest.mark.parametrize("rest", [b"", b"data: {broken\n\n"])
async def test_a_stream_that_breaks_off_is_no_whole_answer(wire, model, rest):
    wire.streams(delta("one"), rest)
    with pytest.raises(ModelFailed):
        await collect(model)


async def test_a_server_that_is_not_there_may_be_there_later(wire, model):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        wire.port = free.getsockname()[1]
        for ask in (model.complete(ASK), collect(model)):
            with pytest.raises(Unavailable, match="can't be reached"):
                await ask


async def test_a_server_that_hangs_up_or_says_nothing_may_do_better_later(wire, model):
    wire.pieces = []
    with pytest.raises(Unavailable, match="broke"):
        await model.complete(ASK)
    wire.pieces = [b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{"]
    with pytest.raises(Unavailable, match="broke"):
        await model.complete(ASK)
    wire.pieces = [...]
    with pytest.raises(Unavailable, match="in time"):
        await model.complete(ASK)


def whole(text="Hi", **more):
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop", **more}
    return {"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}


async def test_a_connection_that_ends_before_the_answer_is_tried_once_more_on_a_server_found_anew(wire):
    found = []

    @contextlib.asynccontextmanager
    async def serve(name, priority):
        found.append(name)
        yield Target(f"http://127.0.0.1:{wire.port}/v1", KEY, f"remote-{len(found)}")

    async with OUTBOUND.client(timeout=2, max_bytes=STREAM_BYTES) as client:
        model = OpenAIHTTP(client, serve)
        wire.answers(whole())
        wire.script = [[]]
        assert (await model.complete(ASK)).text == "Hi"
        wire.streams(delta("Hi"), delta(finish="stop"))
        wire.script = [[]]
        assert text_of(await collect(model)) == "Hi"
    assert [body["model"] for _, body in wire.requests] == [f"remote-{number}" for number in (1, 2, 3, 4)]


async def test_what_fails_twice_is_not_tried_a_third_time(wire, model):
    for ask in (model.complete(ASK), collect(model)):
        wire.requests.clear()
        with pytest.raises(Unavailable, match="broke"):
            await ask
        assert len(wire.requests) == 2


async def test_an_answer_of_which_nothing_was_passed_on_is_asked_for_once_more(wire, model):
    torn = [b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{"]
    wire.script = [torn]
    wire.answers({"choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}], "usage": {}})
    assert (await model.complete(ASK)).text == "Hi"
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    wire.script = [[head]]
    wire.streams(delta("Hel"), delta("lo", "stop"))
    assert text_of(await collect(model)) == "Hello"
    assert len(wire.requests) == 4
    wire.script = [torn, torn]
    with pytest.raises(Unavailable, match="broke"):
        await model.complete(ASK)
    assert len(wire.requests) == 6


async def test_an_answer_that_has_begun_and_a_time_out_are_not_tried_again(wire, model):
    wire.pieces = [b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n", delta("one")]
    stream = model.stream(ASK)
    assert text_of([await anext(stream)]) == "one"
    with pytest.raises(Unavailable, match="broke"):
        await anext(stream)
    wire.pieces = [...]
    with pytest.raises(Unavailable, match="in time"):
        await model.complete(ASK)
    assert len(wire.requests) == 2


TOKEN = {"token": "Hi", "logprob": -0.1, "bytes": [72, 105], "top_logprobs": [{"token": "Hi", "logprob": -0.1}]}


@pytest.mark.parametrize(
    ("options", "sent", "kept"),
    [
        ({"logprobs": True}, 1, 0),
        ({"logprobs": True, "top_logprobs": None}, 1, 0),
        ({"logprobs": True, "top_logprobs": 0}, 1, 0),
        ({"logprobs": True, "top_logprobs": 1}, 1, 1),
        ({}, None, 1),
    ],
)
async def test_as_many_alternatives_come_as_were_asked_for(wire, model, options, sent, kept):
    asked = ChatRequest("tiny", ASK.messages, options)
    wire.answers(whole(logprobs={"content": [TOKEN]}))
    (token,) = (await model.complete(asked)).choices[0]["logprobs"]["content"]
    assert (token["logprob"], len(token["top_logprobs"])) == (-0.1, kept)
    wire.streams(event(choices=[{"index": 0, "delta": {}, "logprobs": {"content": [TOKEN]}, "finish_reason": "stop"}]))
    chunks = [chunk async for chunk in model.stream(asked)]
    assert len(chunks[0].choices[0]["logprobs"]["content"][0]["top_logprobs"]) == kept
    assert [body.get("top_logprobs") for _, body in wire.requests] == [sent, sent]


async def test_a_scripted_model_answers_from_its_script():
    late = ScriptedAnswer("for b", match=lambda asked: asked.model == "b", repeat=True)
    model = ScriptedModel([late, "first words here", ScriptedAnswer("half", error=ModelFailed("broken"))])
    assert (await model.complete(ChatRequest("b", []))).text == "for b"
    chunks = [chunk async for chunk in model.stream(ASK)]
    assert text_of(chunks) == "first words here"
    assert chunks[-1].usage == Usage(prompt_tokens=1, completion_tokens=3)
    with pytest.raises(ModelFailed, match="broken"):
        await collect(model)
    with pytest.raises(ModelFailed, match="no answer left"):
        await model.complete(ASK)
    assert (await model.complete(ChatRequest("b", []))).text == "for b"
    assert model.calls == 5
    assert model.requests[1] is ASK


async def test_the_scripted_server_can_be_asked_like_a_real_one(tmp_path):
    script, asked = tmp_path / "script.json", tmp_path / "asked.txt"
    script.write_text(json.dumps({"text": "one two", "json": {"comments": []}}))
    command = [sys.executable, "-m", "tidemill.llm.scripted_server", "--script", str(script), "--log", str(asked)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        port = json.loads(await process.stdout.readline())["port"]

        @contextlib.asynccontextmanager
        async def serve(name, priority):
            yield Target(f"http://127.0.0.1:{port}/v1", None, name)

        async with OUTBOUND.client(timeout=5) as client:
            model = OpenAIHTTP(client, serve)
            assert (await model.complete(ASK)).text == "one two"
            chunks = await collect(model)
            options = {"response_format": {"type": "json_schema", "json_schema": {}}}
            wants_json = ChatRequest("tiny", ASK.messages, options)
            assert json.loads((await model.complete(wants_json)).text) == {"comments": []}
            assert (await client.get(f"http://127.0.0.1:{port}/health")).json() == {"status": "ok"}
        assert text_of(chunks) == "one two"
        assert chunks[-1].usage is not None
        assert len(set(asked.read_text().split())) == 1
        assert len(asked.read_text().splitlines()) == 3
    finally:
        process.terminate()
        await process.wait()


async def test_an_answer_of_a_hundred_megabytes_is_not_read(wire, model):
    wire.answers(b'{"padding": "' + b"a" * 100_000_000 + b'"}')
    with pytest.raises(ModelFailed, match="32,000,000 bytes") as caught:
        await model.complete(ASK)
    assert caught.value.failure is Failure.UNKNOWN
    with pytest.raises(ModelFailed, match="too large"):
        await collect(model)


async def test_a_refusal_says_how_long_to_wait(wire, model):
    wire.answers({"error": {"message": "slow down"}}, 429, more="retry-after: 7\r\n")
    with pytest.raises(Unavailable) as caught:
        await model.complete(ASK)
    assert (caught.value.failure, caught.value.retry_after) == (Failure.RATE_LIMIT_LIGHT, 7)
