"""The hub through OpenAI's own client: chats with tools, texts continued, responses."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai.types.responses import ResponseFunctionToolCall
from pydantic import BaseModel

from tests.conftest import reachable
from tests.support.hubs import Hub, running_hub, tidemill, upstream
from tests.support.rows import query

HELLO = [{"role": "user", "content": "Hello"}]
TEXT = "The tide turns the mill."
ARGUMENTS = '{"city": "Huế", "days": 3}'
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(100)).decode()
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL: Any = {"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}
FUNCTION: Any = {"type": "function", "name": "weather", "parameters": PARAMETERS, "strict": False}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder = tmp_path_factory.mktemp("upstream")
    script = folder / "script.json"
    calls = [{"name": "weather", "arguments": ARGUMENTS}]
    script.write_text(json.dumps({"text": TEXT, "json": {"city": "Hue"}, "calls": calls}))
    with upstream(folder, "--script", str(script)) as served:
        endpoints = {name: {"url": served.url} for name in ("scripted", "llama2:7b")}
        settings = {"models": {"default": "scripted", "endpoints": endpoints}}
        with running_hub(reachable(tmp_path_factory.mktemp("hub")) / "data", settings) as running:
            yield running


@pytest.fixture
def ask(hub: Hub) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{hub.url}/v1", api_key=hub.key, max_retries=0)


@pytest.fixture
def client(hub: Hub) -> Iterator[httpx.Client]:
    with hub.client() as opened:
        yield opened


def test_a_tool_is_called_and_its_result_is_answered(ask: openai.OpenAI) -> None:
    called = ask.chat.completions.create(model="scripted", messages=HELLO, tools=[TOOL]).choices[0]
    assert called.finish_reason == "tool_calls"
    assert called.message.tool_calls is not None
    [call] = called.message.tool_calls
    assert call.type == "function"
    assert json.loads(call.function.arguments)["city"] == "Huế"
    result: Any = {"role": "tool", "tool_call_id": call.id, "content": "Sunny"}
    messages = [*HELLO, called.message.model_dump(), result]
    answer = ask.chat.completions.create(model="scripted", messages=messages, tools=[TOOL])
    assert answer.choices[0].message.content == TEXT


def test_a_streamed_tool_call_adds_up_and_is_stored_whole(hub: Hub, ask: openai.OpenAI) -> None:
    with ask.chat.completions.stream(model="scripted", messages=HELLO, tools=[TOOL]) as stream:
        final = stream.get_final_completion().choices[0]
    assert final.message.tool_calls is not None
    assert final.message.tool_calls[0].function.arguments == ARGUMENTS
    row = query(
        hub,
        "SELECT t.response FROM inferences i JOIN inference_texts t ON t.inference_id = i.id "
        "WHERE i.streamed AND i.finish_reason = 'tool_calls'",
    )[0]
    [stored] = row["response"]["choices"]
    assert stored["message"]["tool_calls"][0]["function"] == {"name": "weather", "arguments": ARGUMENTS}


def test_several_answers_have_indexes_of_their_own_whole_and_streamed(ask: openai.OpenAI) -> None:
    whole = ask.chat.completions.create(model="scripted", messages=HELLO, n=3)
    assert [(choice.index, choice.message.content) for choice in whole.choices] == [(n, TEXT) for n in range(3)]
    said = {0: "", 1: "", 2: ""}
    for chunk in ask.chat.completions.create(model="scripted", messages=HELLO, n=3, stream=True):
        for choice in chunk.choices:
            said[choice.index] += choice.delta.content or ""
    assert set(said.values()) == {TEXT}


def test_an_image_goes_to_the_model_and_into_the_record_by_its_digest(hub: Hub, ask: openai.OpenAI) -> None:
    url = f"data:image/png;base64,{PNG}"
    content: Any = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url}}]
    raw = ask.chat.completions.with_raw_response.create(
        model="scripted", messages=[{"role": "user", "content": content}]
    )
    assert raw.parse().choices[0].message.content == TEXT
    asked = query(
        hub,
        "SELECT request FROM inference_texts WHERE inference_id = %s::uuid",
        raw.headers["x-tidemill-inference-id"],
    )[0]["request"]
    assert asked["messages"][0]["content"][1]["image_url"]["url"].startswith("sha256:")
    assert PNG not in json.dumps(asked)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y"}}]}]},
         "messages.0.content.0.image_url.url"),
        ({"messages": [{"role": "tool", "tool_call_id": "a", "content": "x"}]}, "messages.0.tool_call_id"),
    ],
)  # fmt: skip
def test_what_can_not_be_used_is_named(ask: openai.OpenAI, fields: dict[str, Any], param: str) -> None:
    body = {"model": "scripted", "messages": HELLO, **fields}
    with pytest.raises(openai.BadRequestError) as caught:
        ask.chat.completions.create(**body)
    assert caught.value.param == param


def test_texts_are_continued_in_order_echoed_and_counted(ask: openai.OpenAI) -> None:
    answer = ask.completions.create(model="scripted", prompt=["one two", "three"], n=2, echo=True)
    assert answer.id.startswith("cmpl-")
    assert [(choice.index, choice.text) for choice in answer.choices] == [
        (0, "one two" + TEXT), (1, "one two" + TEXT), (2, "three" + TEXT), (3, "three" + TEXT),
    ]  # fmt: skip
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3, 20)


def test_a_streamed_text_adds_up(ask: openai.OpenAI) -> None:
    stream = ask.completions.create(
        model="scripted", prompt=["a", "b"], suffix="c", stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    said = {0: "", 1: ""}
    for chunk in chunks:
        for choice in chunk.choices:
            said[choice.index] += choice.text
    assert said == {0: TEXT, 1: TEXT}
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.prompt_tokens == 2
    assert len({chunk.id for chunk in chunks}) == 1


def test_each_prompt_leaves_a_row_of_its_own_task(hub: Hub, ask: openai.OpenAI) -> None:
    raw = ask.completions.with_raw_response.create(model="scripted", prompt=["a", "b"])
    ids = raw.headers["x-tidemill-inference-id"].split(", ")
    rows = query(hub, "SELECT task, status FROM inferences WHERE id = ANY(%s::uuid[])", ids)
    assert rows == [{"task": "complete", "status": "ok"}] * 2


def test_a_response_is_answered_gone_on_from_looked_up_and_deleted(ask: openai.OpenAI) -> None:
    first = ask.responses.create(model="scripted", input="Hello", instructions="Be brief.", metadata={"a": "b"})
    assert (first.output_text, first.status, first.metadata) == (TEXT, "completed", {"a": "b"})
    assert first.usage is not None
    second = ask.responses.create(model="scripted", input="Again", previous_response_id=first.id)
    assert ask.responses.retrieve(second.id) == second
    [item] = ask.responses.input_items.list(second.id).data
    assert item.type == "message"
    ask.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        ask.responses.retrieve(first.id)


def test_a_streamed_response_is_read_by_the_official_client(ask: openai.OpenAI) -> None:
    with ask.responses.stream(model="scripted", input="Hello") as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    assert final.output_text == TEXT
    assert ask.responses.retrieve(final.id).output_text == TEXT


def test_a_response_calls_a_function_and_takes_its_output(ask: openai.OpenAI) -> None:
    first = ask.responses.create(model="scripted", input="The weather?", tools=[FUNCTION])
    [call] = first.output
    assert isinstance(call, ResponseFunctionToolCall)
    output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny"}
    answer = ask.responses.create(model="scripted", input=[output], previous_response_id=first.id, tools=[FUNCTION])
    assert answer.output_text == TEXT
    question: Any = {"role": "user", "content": "The weather?"}
    for given_back in (call, call.model_dump(), call.model_dump(by_alias=True), call.to_dict()):
        said: Any = [question, given_back, output]
        assert ask.responses.create(model="scripted", input=said, tools=[FUNCTION], store=False).output_text == TEXT
    with ask.responses.stream(model="scripted", input="The weather?", tools=[FUNCTION]) as stream:
        arguments = [event.arguments for event in stream if event.type == "response.function_call_arguments.done"]
    assert arguments == [ARGUMENTS]


def test_a_response_held_to_a_schema_is_parsed(ask: openai.OpenAI) -> None:
    class City(BaseModel):
        city: str

    parsed = ask.responses.parse(model="scripted", input="Where?", text_format=City).output_parsed
    assert parsed == City(city="Hue")


def test_pages_of_input_items_follow_each_other(ask: openai.OpenAI) -> None:
    given: Any = [{"role": "user", "content": str(number)} for number in range(5)]
    made = ask.responses.create(model="scripted", input=given)
    first = ask.responses.input_items.list(made.id, limit=2, order="asc")
    assert (len(first.data), first.has_more) == (2, True)
    assert [item.content[0].text for item in ask.responses.input_items.list(made.id, limit=2)] == list("43210")  # type: ignore[union-attr]
    with pytest.raises(openai.BadRequestError):
        ask.responses.input_items.list(made.id, after="msg_x")


def test_another_keys_response_is_not_there(hub: Hub, ask: openai.OpenAI) -> None:
    made = ask.responses.create(model="scripted", input="Hello")
    key = json.loads(tidemill(["keys", "create", "another", "--json"], hub.environment).stdout)["key"]
    other = openai.OpenAI(base_url=f"{hub.url}/v1", api_key=key, max_retries=0)
    for attempt in (other.responses.retrieve, other.responses.delete, other.responses.input_items.list):
        with pytest.raises(openai.NotFoundError):
            attempt(made.id)
    with pytest.raises(openai.NotFoundError):
        other.responses.create(model="scripted", input="x", previous_response_id=made.id)
    assert ask.responses.retrieve(made.id).id == made.id


def test_a_tool_that_openai_hosts_is_refused_with_what_to_do(ask: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="function of your own"):
        ask.responses.create(model="scripted", input="Hello", tools=[{"type": "web_search"}])


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/v1/chat/completions"])
@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded", "text/plain", None])
def test_json_is_read_whatever_curl_calls_it(client: httpx.Client, path: str, kind: str | None) -> None:
    body = json.dumps({"model": "llama2:7b", "messages": [{"role": "user", "content": "Xin chào!"}]}).encode()
    answer = client.post(path, content=body, headers={"content-type": kind} if kind else {})
    assert answer.json()["choices"][0]["message"]["content"] == TEXT
