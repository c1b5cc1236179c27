"""A local model's tool calls reach the client as calls, however the model writes them."""

import json
from typing import Any

import pytest

from tidemill.core.chat import ChatRequest
from tidemill.llm.scripted import ScriptedAnswer, ScriptedCall, ScriptedModel
from tidemill.llm.tool_calls import ToolCalls, read_calls
from tidemill.llm.transcript import Transcript

TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
    for name in ("weather", "time")
]
CALL = '{"name": "weather", "arguments": {"city": "Huế"}}'
WEATHER = ("weather", {"city": "Huế"})


def asked(**options: Any) -> ChatRequest:
    return ChatRequest("tiny", [{"role": "user", "content": "Hi"}], {"tools": TOOLS, **options})


def local(answer: str | ScriptedAnswer) -> tuple[ToolCalls, ScriptedModel]:
    script = ScriptedModel([answer])
    return ToolCalls(script, local=lambda name: name == "tiny"), script


def called(message: dict[str, Any]) -> list[tuple[str, Any]]:
    calls = [call["function"] for call in message.get("tool_calls") or []]
    return [(call["name"], json.loads(call["arguments"])) for call in calls]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (CALL, [WEATHER]),
        (f"\n {CALL}\n", [WEATHER]),
        (f"<tool_call>\n{CALL}\n</tool_call>", [WEATHER]),
        (f"<tool_call>\n{CALL}", [WEATHER]),
        (f"```json\n{CALL}\n```", [WEATHER]),
        (f"```\n{CALL}\n```", [WEATHER]),
        (f'{CALL}\n{{"name": "time", "arguments": {{}}}}', [WEATHER, ("time", {})]),
        (f"<tool_call>{CALL}</tool_call>\n<tool_call>{CALL}</tool_call>", [WEATHER, WEATHER]),
        ('{"name": "time"}', [("time", {})]),
        ('{"name": "unheard_of", "arguments": {}}', []),
        ('{"name": "time", "arguments": "now"}', []),
        ('{"name": "time", "arguments": {}, "age": 5}', []),
        (f"Here it is: {CALL}", []),
        (f"{CALL} and so on", []),
        ('{"a": 1}', []),
        ("[1]", []),
        ("", []),
        ("[" * 100_000, []),
        ("```json" + " " * 20_000, []),
        (f"```json{' ' * 20_000}{CALL}{' ' * 20_000}```", [WEATHER]),
        ('{"name": "time", "argum', []),
    ],
)
def test_a_text_that_consists_of_calls_is_read_and_no_other(text: str, found: list[Any]) -> None:
    assert called({"tool_calls": read_calls(text, frozenset({"weather", "time"}))}) == found


async def test_a_call_that_was_written_as_text_is_a_call_whole_and_streamed() -> None:
    model, _ = local(CALL)
    whole = (await model.complete(asked())).choices[0]
    assert (called(whole["message"]), whole["message"]["content"]) == ([WEATHER], None)
    assert whole["finish_reason"] == "tool_calls"
    model, _ = local(CALL)
    transcript = Transcript()
    async for chunk in model.stream(asked()):
        transcript.add(chunk)
    [streamed] = transcript.choices()
    assert (called(streamed["message"]), streamed["finish_reason"]) == ([WEATHER], "tool_calls")
    assert streamed["message"]["content"] is None


@pytest.mark.parametrize(
    "text", ["The tide turns the mill.", '{"a": 1} is JSON', '{"a": 1}', "```json\n1\n```", "", "<b>"]
)
async def test_a_text_that_is_no_call_comes_as_it_was_written(text: str) -> None:
    model, _ = local(text)
    assert (await model.complete(asked())).text == text
    model, _ = local(text)
    transcript = Transcript()
    async for chunk in model.stream(asked()):
        transcript.add(chunk)
    [choice] = transcript.choices()
    assert (choice["message"]["content"], choice["finish_reason"]) == (text, "stop")


async def test_words_that_can_begin_no_call_are_not_held_back() -> None:
    model, _ = local("The tide turns")
    pieces = [c["delta"].get("content") async for chunk in model.stream(asked()) for c in chunk.choices]
    assert [piece for piece in pieces if piece] == ["The ", "tide ", "turns"]


async def test_calls_that_the_server_has_read_pass_unchanged() -> None:
    model, script = local(ScriptedAnswer("", calls=[ScriptedCall("weather", '{"city":"Hue"}')]))
    chunks = [chunk async for chunk in model.stream(asked())]
    plain = ScriptedModel([ScriptedAnswer("", calls=[ScriptedCall("weather", '{"city":"Hue"}')])])
    assert chunks == [chunk async for chunk in plain.stream(asked())]
    assert script.requests[0].options["tools"] == TOOLS


@pytest.mark.parametrize(
    ("choice", "names"),
    [("required", ["weather", "time"]), ({"type": "function", "function": {"name": "time"}}, ["time"])],
)
async def test_a_call_that_is_demanded_is_held_to_its_form(choice: Any, names: list[str]) -> None:
    model, script = local(CALL)
    await model.complete(asked(tool_choice=choice, parallel_tool_calls=True, max_tokens=9))
    [sent] = script.requests
    assert set(sent.options) == {"tools", "max_tokens", "response_format"}
    schema = sent.options["response_format"]["json_schema"]["schema"]
    forms = schema.get("anyOf", [schema])
    assert [form["properties"]["name"]["const"] for form in forms] == names


async def test_a_demanded_call_that_was_cut_short_says_so() -> None:
    model, _ = local(ScriptedAnswer('{"name": "time", "argu', finish_reason="length"))
    [choice] = (await model.complete(asked(tool_choice="required"))).choices
    assert (choice["finish_reason"], choice["message"]["content"]) == ("length", '{"name": "time", "argu')


async def test_tools_that_may_not_be_called_are_not_shown_to_a_local_model() -> None:
    model, script = local(CALL)
    assert (await model.complete(asked(tool_choice="none"))).text == CALL
    assert script.requests[0].options == {}


async def test_an_endpoint_is_given_everything_as_it_came() -> None:
    script = ScriptedModel([CALL])
    model = ToolCalls(script, local=lambda name: False)
    request = asked(tool_choice="required")
    assert (await model.complete(request)).text == CALL
    assert script.requests == [request]
