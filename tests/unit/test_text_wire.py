"""Texts continued over the wire: OpenAI's route, llama-server's infill, tokens' log probabilities, and refusals."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from tidemill.core.chat import ChatRequest, TextRequest, Usage
from tidemill.core.errors import InvalidInput, ModelFailed
from tidemill.llm.openai_http import OpenAIHTTP, Target
from tidemill.llm.openai_wire import decode_completion, decode_error, encode_request
from tidemill.llm.scripted import ScriptedCall
from tidemill.llm.scripted_server import Script, scripted_app
from tidemill.llm.text_wire import infill_choice, infill_usage, token_logprobs

ASK = TextRequest("tiny", "def f(", None, {"max_tokens": 5})
FILL = TextRequest("tiny", "def f(", "):", {"max_tokens": 5, "stop": "x", "logprobs": 2})
CHAT = ChatRequest("tiny", [{"role": "user", "content": "Hi"}], {})
INFILLED = {
    "index": 0, "content": "a, b", "stop": True, "stop_type": "eos", "tokens_evaluated": 7, "tokens_predicted": 3,
    "timings": {"cache_n": 2},
    "completion_probabilities": [{"token": "a", "logprob": -0.1, "top_logprobs": []}],
}  # fmt: skip


class Asked:
    """A scripted server in this process, which notes where it was asked."""

    def __init__(self, script: Script, *, local: bool) -> None:
        self.paths: list[str] = []
        self._transport = httpx.ASGITransport(scripted_app(script))
        self._local = local

    @asynccontextmanager
    async def model(self) -> AsyncIterator[OpenAIHTTP]:
        async def note(request: httpx.Request) -> None:
            self.paths.append(request.url.path)

        @asynccontextmanager
        async def serve(name: str, *_: Any) -> AsyncIterator[Target]:
            yield Target("http://model.test/v1", None, name, local=self._local)

        async with httpx.AsyncClient(transport=self._transport, event_hooks={"request": [note]}) as client:
            yield OpenAIHTTP(client, serve)


@pytest.mark.parametrize(
    ("request_", "local", "path"),
    [(ASK, True, "/v1/completions"), (FILL, True, "/infill"), (FILL, False, "/v1/completions")],
)
async def test_a_text_is_continued_at_the_route_that_its_server_has(
    request_: TextRequest, local: bool, path: str
) -> None:
    asked = Asked(Script(text="a, b"), local=local)
    async with asked.model() as model:
        whole = await model.complete(request_)
        pieces = [piece async for piece in model.stream(request_)]
    assert whole.text == "a, b"
    assert whole.usage.completion_tokens == 2
    assert "".join(str(choice["text"]) for piece in pieces for choice in piece.choices) == "a, b"
    assert [choice["finish_reason"] for piece in pieces for choice in piece.choices][-1] == "stop"
    assert pieces[-1].usage == whole.usage
    assert asked.paths == [path, path]


async def test_the_scripted_server_calls_tools_until_it_has_their_result() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    script = Script(text="Done.", calls=[ScriptedCall("f", "{}")])
    result = ChatRequest("tiny", [{"role": "tool", "tool_call_id": "a", "content": "1"}], {"tools": tools})
    async with Asked(script, local=False).model() as model:
        [called] = (await model.complete(ChatRequest("tiny", CHAT.messages, {"tools": tools}))).choices
        assert called["finish_reason"] == "tool_calls"
        assert (await model.complete(result)).text == "Done."
        assert (await model.complete(CHAT)).text == "Done."


async def test_as_many_answers_come_as_n_asks_for() -> None:
    async with Asked(Script(), local=False).model() as model:
        assert len((await model.complete(ChatRequest("tiny", CHAT.messages, {"n": 3}))).choices) == 3
        assert len((await model.complete(TextRequest("tiny", "p", None, {"n": 2}))).choices) == 2


def test_an_infill_is_asked_in_llama_servers_words() -> None:
    body = json.loads(encode_request(FILL, "tiny", stream=False, infill=True))
    assert body == {
        "input_prefix": "def f(", "input_suffix": "):", "max_tokens": 5, "stop": ["x"], "n_probs": 2, "model": "tiny",
    }  # fmt: skip
    assert json.loads(encode_request(FILL, "tiny", stream=False))["suffix"] == "):"


@pytest.mark.parametrize(("stop_type", "reason"), [("eos", "stop"), ("word", "stop"), ("limit", "length")])
def test_an_infill_answers_in_openais_form(stop_type: str, reason: str) -> None:
    answer = {**INFILLED, "stop_type": stop_type}
    assert infill_choice(answer) == {
        "index": 0,
        "text": "a, b",
        "logprobs": {"content": INFILLED["completion_probabilities"]},
        "finish_reason": reason,
    }
    assert infill_usage(answer) == Usage(prompt_tokens=7, completion_tokens=3, cached_tokens=2)
    assert infill_choice({"content": "a", "stop": False})["finish_reason"] is None


CHAT_FORM = {
    "content": [
        {"token": "ab", "logprob": -1.0, "top_logprobs": [{"token": "x", "logprob": -0.5}]},
        {"token": "c", "logprob": -2.0, "top_logprobs": [{"token": "c", "logprob": -2.0}]},
    ]
}
OWN_FORM = {"tokens": ["ab", "c"], "token_logprobs": [-1.0, -2.0], "top_logprobs": [{}, {}], "text_offset": [0, 2]}


def test_log_probabilities_come_in_the_form_of_openais_completions() -> None:
    assert token_logprobs(CHAT_FORM, start=10, alternatives=1) == {
        "tokens": ["ab", "c"],
        "token_logprobs": [-1.0, -2.0],
        "top_logprobs": [{"x": -0.5, "ab": -1.0}, {"c": -2.0}],
        "text_offset": [10, 12],
    }
    none = token_logprobs(CHAT_FORM, start=0, alternatives=0)
    assert none is not None
    assert none["top_logprobs"] is None
    assert token_logprobs(OWN_FORM, start=5, alternatives=1) == {**OWN_FORM, "text_offset": [5, 7]}
    assert token_logprobs(None, start=0, alternatives=1) is None
    assert token_logprobs({"content": ["odd"]}, start=0, alternatives=1) == {
        "tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("status", "message", "param", "says"),
    [
        (500, "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj",
         "messages", "takes no image input"),
        (500, "audio input is not supported", "messages", "takes no audio input"),
        (400, "Failed to load image or audio file", "messages", "can't read an image"),
        (501, "Infill is not supported by this model: prefix token is missing.", "suffix", "suffix"),
        (500, "Failed to parse tool call arguments as JSON: [json.exception", None, "arguments"),
    ],
)  # fmt: skip
def test_what_a_model_can_not_do_is_the_requests_fault(status: int, message: str, param: str, says: str) -> None:
    error = decode_error(json.dumps({"error": {"message": message, "code": status}}).encode(), status, "tiny")
    assert isinstance(error, InvalidInput)
    assert error.param == param
    assert says in error.message


def answered(call: Any, finish: str = "tool_calls") -> bytes:
    message = {"role": "assistant", "content": None, "tool_calls": call if isinstance(call, str) else [call]}
    return json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": finish}]}).encode()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ({"id": "a", "function": {"name": "weather", "arguments": "{not json"}}, "weather"),
        ({"id": "a", "function": {"name": "weather", "arguments": 5}}, "weather"),
        ({"id": "a", "function": {"arguments": "{}"}}, "which"),
        ({"id": "a"}, "which"),
        ("x", "form"),
        (5, "which"),
    ],
)
def test_a_call_that_can_not_be_made_is_the_models_failure(call: Any, says: str) -> None:
    with pytest.raises(ModelFailed, match=says):
        decode_completion(answered(call), CHAT)


@pytest.mark.parametrize(
    ("arguments", "finish", "passed"),
    [
        ('{"a":  1}', "tool_calls", '{"a":  1}'),
        ("", "tool_calls", "{}"),
        (None, "tool_calls", "{}"),
        ({"a": 1}, "tool_calls", '{"a": 1}'),
        ('{"a', "length", '{"a'),
    ],
)
def test_a_call_that_can_be_made_passes(arguments: Any, finish: str, passed: str) -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}
    [choice] = decode_completion(answered(call, finish), CHAT).choices
    assert choice["message"]["tool_calls"][0]["function"]["arguments"] == passed


def test_a_server_that_does_not_know_n_is_told_on() -> None:
    body = json.dumps({"choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": "stop"}]}).encode()
    with pytest.raises(ModelFailed, match="1 of the 2"):
        decode_completion(body, ChatRequest("tiny", [], {"n": 2}))
