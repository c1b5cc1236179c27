"""A response and its events, made from the pieces of a chat's answer; the official client's types read them."""

from collections.abc import Iterable
from typing import Any

import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from tidemill.core.chat import ChatChunk, ChatRequest, Usage
from tidemill.core.errors import InvalidInput, ModelFailed, TooManyRequests
from tidemill.core.ids import new_id
from tidemill.flows.response_items import chat_options, to_messages, whole_items
from tidemill.flows.response_writer import Event, ResponseWriter
from tidemill.flows.responses import parse_id, shown_id
from tidemill.llm.scripted import ScriptedAnswer, ScriptedCall, ScriptedModel

BASE = {
    "id": "resp_1", "object": "response", "created_at": 1, "error": None, "incomplete_details": None, "model": "m",
    "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "usage": None,
}  # fmt: skip
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
CALLS = [ScriptedCall("weather", '{"city": "Hue"}'), ScriptedCall("time", "{}")]
ASK = ChatRequest("m", [{"role": "user", "content": "Hi"}], {})


def strictly_read(events: Iterable[Event]) -> list[Event]:
    found = list(events)
    for event in found:
        read = EVENT.validate_python(event)
        assert read.type == event["type"]
    return found


async def written(answer: ScriptedAnswer) -> tuple[ResponseWriter, list[Event]]:
    writer = ResponseWriter(BASE)
    events = list(writer.start())
    async for chunk in ScriptedModel([answer]).stream(ASK):
        events += writer.add(chunk)
    events += [*writer.finish(2), writer.last()]
    return writer, strictly_read(events)


async def test_a_text_makes_openais_sequence_of_events() -> None:
    _, events = await written(ScriptedAnswer("one two"))
    assert [event["type"].removeprefix("response.") for event in events] == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta", "output_text.delta",
        "output_text.done", "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert "".join(event["delta"] for event in events if event["type"].endswith("text.delta")) == "one two"
    assert len({event["item_id"] for event in events if "item_id" in event}) == 1


async def test_calls_make_openais_sequence_of_events() -> None:
    writer, events = await written(ScriptedAnswer("Wait.", calls=CALLS))
    assert [item["type"] for item in writer.response["output"]] == ["message", "function_call", "function_call"]
    done = [event for event in events if event["type"] == "response.function_call_arguments.done"]
    assert [(event["name"], event["arguments"]) for event in done] == [(call.name, call.arguments) for call in CALLS]
    for place, call in enumerate(CALLS, start=1):
        deltas = [e for e in events if e["type"].endswith("arguments.delta") and e["output_index"] == place]
        assert "".join(event["delta"] for event in deltas) == call.arguments
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


@pytest.mark.parametrize(
    "answer",
    [
        ScriptedAnswer("The tide turns the mill."),
        ScriptedAnswer("", calls=CALLS),
        ScriptedAnswer("Wait.", calls=CALLS),
        ScriptedAnswer("cut", finish_reason="length"),
        ScriptedAnswer(""),
    ],
)
async def test_a_streamed_response_is_the_whole_one(answer: ScriptedAnswer) -> None:
    streamed, events = await written(answer)
    whole = ResponseWriter(BASE).whole(await ScriptedModel([answer]).complete(ASK), 2)
    Response.model_validate(whole, strict=True)
    assert without_ids(streamed.response) == without_ids(whole) == without_ids(events[-1]["response"])


def without_ids(response: dict[str, Any]) -> dict[str, Any]:
    return {**response, "output": [{k: v for k, v in item.items() if k != "id"} for item in response["output"]]}


@pytest.mark.parametrize(("reason", "said"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
async def test_an_answer_that_was_cut_is_incomplete_and_says_why(reason: str, said: str) -> None:
    writer, events = await written(ScriptedAnswer("one", finish_reason=reason))
    assert events[-1]["type"] == "response.incomplete"
    assert writer.response["incomplete_details"] == {"reason": said}
    assert writer.response["output"][0]["status"] == "incomplete"
    assert "completed_at" not in writer.response


@pytest.mark.parametrize(
    ("error", "code"), [(ModelFailed("It babbles."), "server_error"), (TooManyRequests("Full."), "rate_limit_exceeded")]
)
def test_a_failure_in_the_middle_is_the_last_event(error: Any, code: str) -> None:
    writer = ResponseWriter(BASE)
    events = [*writer.start(), *writer.add(ChatChunk([{"delta": {"content": "The"}}])), writer.fail(error)]
    last = strictly_read(events)[-1]
    assert (last["type"], last["response"]["status"]) == ("response.failed", "failed")
    assert last["response"]["error"] == {"code": code, "message": error.message}


def test_thoughts_and_refusals_are_parts_of_their_own() -> None:
    writer = ResponseWriter(BASE)
    events = list(writer.start())
    for delta in ({"reasoning_content": "Hm"}, {"reasoning_content": "m"}, {"content": "No"}, {"refusal": "I won't."}):
        events += writer.add(ChatChunk([{"delta": delta, "finish_reason": None}]))
    events += writer.add(ChatChunk([{"delta": {}, "finish_reason": "stop"}], Usage(3, 4, 1)))
    events += [*writer.finish(2), writer.last()]
    strictly_read(events)
    parts = [(item["type"], item["content"][0]["type"]) for item in writer.response["output"]]
    assert parts == [("reasoning", "reasoning_text"), ("message", "output_text"), ("message", "refusal")]
    assert writer.response["usage"]["input_tokens_details"]["cached_tokens"] == 1
    assert writer.response["usage"]["total_tokens"] == 7


def call(number: int) -> dict[str, Any]:
    return {"type": "function_call", "call_id": f"c{number}", "name": "f", "arguments": "{}"}


def output(number: int, given: Any = "1") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": f"c{number}", "output": given}


def test_items_become_the_messages_of_a_chat() -> None:
    items = whole_items(
        [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]},
            {"type": "reasoning", "summary": []},
            {"role": "assistant", "content": "Wait."},
            call(1),
            call(2),
            output(1),
            output(2, [{"type": "input_text", "text": "2"}]),
            {"role": "user", "content": [{"type": "input_image", "image_url": "data:x", "detail": "low"}]},
        ]
    )
    assert all(item["id"] and item["type"] for item in items)
    function = {"name": "f", "arguments": "{}"}
    assert to_messages(items) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "ab"},
        {
            "role": "assistant",
            "content": "Wait.",
            "tool_calls": [{"id": f"c{n}", "type": "function", "function": function} for n in (1, 2)],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "1"},
        {"role": "tool", "tool_call_id": "c2", "content": "2"},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:x", "detail": "low"}}]},
    ]


@pytest.mark.parametrize("items", [[output(1)], [call(1)], [call(1), output(2)], [call(1), output(1), output(1)]])
def test_calls_and_their_outputs_have_to_fit(items: list[Any]) -> None:
    with pytest.raises(InvalidInput, match="function call"):
        to_messages(whole_items(items))


def test_a_requests_fields_become_a_chats_options() -> None:
    tool = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}
    fields = {
        "temperature": 0,
        "max_output_tokens": 5,
        "reasoning": {"effort": "low"},
        "tools": [tool],
        "tool_choice": {"type": "function", "name": "f"},
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {}, "strict": None}},
        "metadata": {"a": "b"},
    }
    assert chat_options(fields) == {
        "temperature": 0,
        "max_tokens": 5,
        "reasoning_effort": "low",
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": True}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}},
    }
    assert chat_options({"tools": [], "tool_choice": "auto", "parallel_tool_calls": True}) == {}


def test_an_id_is_read_as_it_was_shown_and_nothing_else_is() -> None:
    made = new_id()
    assert parse_id(shown_id(made)) == made
    for text in (
        "",
        "resp_",
        made.hex,
        f"resp_{made}",
        f"resp_{made.hex.upper()}",
        f"msg_{made.hex}",
        "resp_" + "x" * 32,
    ):
        assert parse_id(text) is None
