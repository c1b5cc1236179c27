"""OpenAI's routes with a real small model: tools, several answers, texts, and what the model can not do."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.conftest import reachable
from tests.model.test_runtime import FILE as MODEL_FILE
from tests.support.hubs import Hub, running_hub

pytestmark = [pytest.mark.needs_model, pytest.mark.unmeasured]
ASK: Any = [{"role": "user", "content": "What is the weather in Huế?"}]
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS: Any = [
    {"type": "function", "function": {"name": name, "parameters": PARAMETERS}} for name in ("weather", "time")
]
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(100)).decode()


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


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "time"}}])
def test_a_demanded_tool_call_is_made_and_holds_to_its_schema(ask: openai.OpenAI, choice: Any) -> None:
    options: Any = {"model": "tiny", "messages": ASK, "tools": TOOLS, "tool_choice": choice, "max_tokens": 100}
    whole = ask.chat.completions.create(**options).choices[0]
    with ask.chat.completions.stream(**options) as stream:
        streamed = stream.get_final_completion().choices[0]
    for answer in (whole, streamed):
        assert answer.finish_reason == "tool_calls"
        assert answer.message.tool_calls is not None
        [call] = answer.message.tool_calls
        assert call.type == "function"
        assert call.function.name in ({"weather", "time"} if choice == "required" else {"time"})
        assert set(json.loads(call.function.arguments)) == {"city"}


def test_a_response_calls_the_function_that_is_demanded(ask: openai.OpenAI) -> None:
    tool: Any = {"type": "function", "name": "weather", "parameters": PARAMETERS, "strict": True}
    with ask.responses.stream(
        model="tiny", input="The weather?", tools=[tool], tool_choice="required", max_output_tokens=100
    ) as stream:
        [call] = stream.get_final_response().output
    assert call.type == "function_call"
    assert set(json.loads(call.arguments)) == {"city"}


def test_more_answers_than_slots_are_given_and_each_is_paid(ask: openai.OpenAI) -> None:
    options: Any = {"model": "tiny", "messages": ASK, "n": 3, "max_tokens": 4, "logit_bias": {"2": -100}}
    whole = ask.chat.completions.create(**options)
    assert [choice.index for choice in whole.choices] == [0, 1, 2]
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 12
    ends = [
        choice.index
        for chunk in ask.chat.completions.create(**options, stream=True)
        for choice in chunk.choices
        if choice.finish_reason
    ]
    assert sorted(ends) == [0, 1, 2]


def test_a_seed_makes_answers_differ_from_each_other_and_come_again(ask: openai.OpenAI) -> None:
    options: Any = {"model": "tiny", "prompt": "Once", "n": 2, "max_tokens": 12, "temperature": 1.5, "seed": 3}
    first = [choice.text for choice in ask.completions.create(**options).choices]
    assert first == [choice.text for choice in ask.completions.create(**options).choices]
    assert first[0] != first[1]


@pytest.mark.parametrize("alternatives", [0, 2])
def test_a_texts_tokens_have_log_probabilities_and_places(ask: openai.OpenAI, alternatives: int) -> None:
    options: Any = {"model": "tiny", "prompt": "1 2 3", "max_tokens": 6, "logprobs": alternatives, "temperature": 0}
    whole = ask.completions.create(**options).choices[0]
    pieces = [c for chunk in ask.completions.create(**options, stream=True) for c in chunk.choices if c.logprobs]
    assert whole.logprobs is not None
    tokens, offsets = whole.logprobs.tokens, whole.logprobs.text_offset
    assert tokens is not None
    assert offsets is not None
    assert all(whole.text[offset:].startswith(token) for token, offset in zip(tokens, offsets, strict=True))
    assert [offset for piece in pieces for offset in piece.logprobs.text_offset or ()] == offsets  # type: ignore[union-attr]
    assert (whole.logprobs.top_logprobs is None) == (alternatives == 0)


def test_a_text_is_as_long_as_openais_when_nothing_is_said(ask: openai.OpenAI) -> None:
    answer = ask.completions.create(model="tiny", prompt="1 2 3 4 5", logit_bias={"2": -100, "0": -100})
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 16


def test_what_the_model_can_not_do_is_a_clear_refusal(ask: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="suffix"):
        ask.completions.create(model="tiny", prompt="def f(", suffix="):")
    image: Any = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}]
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError, match="takes no image"):
            ask.chat.completions.create(model="tiny", messages=[{"role": "user", "content": image}], stream=stream)
