"""Each provider's wire, through its own client and over real HTTP, against the scripted server."""

import asyncio
import base64
import json
import re
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from uuid import uuid4

import pytest
import pytest_asyncio

from tests.support.failing_provider import asked_over_http, failing_server
from tidemill.core.chat import ChatRequest, TextRequest, Usage
from tidemill.core.context import Attempt, InferenceContext
from tidemill.core.deployment import Deployment, Task
from tidemill.core.embedding import EmbeddingRequest, TextKind, floats_of
from tidemill.core.errors import Configuration, ContentRefused, InvalidInput, ModelFailed, TidemillError, Unavailable
from tidemill.core.failure import Failure
from tidemill.core.provider import Provider, ProviderKind, ProviderModel
from tidemill.llm.providers.connections import Connections
from tidemill.llm.providers.dispatch import Backends, ProviderEmbedder
from tidemill.llm.providers.scripted import Script, Trouble
from tidemill.llm.scripted import ScriptedModel
from tidemill.outbound import Outbound

pytestmark = pytest.mark.asyncio(loop_scope="module")
KEY = "sk-test-0123456789abcdef"
WIRES = ("openai", "anthropic", "gemini")
QUIET = [leaf for leaf in Failure if leaf not in (Failure.NETWORK_DNS, Failure.NETWORK_TIMEOUT)]
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n and so on").decode()
WAV = base64.b64encode(b"RIFF and so on").decode()
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a place.",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
    },
}
SCHEMA = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}


class Book:
    """Three providers at the scripted server, each of another wire."""

    def __init__(self, url: str) -> None:
        self.usual = {
            "openai": Provider("openai", ProviderKind.OPENAI, (f"{url}/v1",), allow_private=True),
            "anthropic": Provider("anthropic", ProviderKind.ANTHROPIC, (url,), allow_private=True),
            "gemini": Provider("gemini", ProviderKind.GEMINI, (url,), allow_private=True),
        }
        self.begin()

    def begin(self) -> None:
        self.key_now = KEY
        self.providers = dict(self.usual)

    def find(self, model: str) -> tuple[Provider, str] | None:
        name, slash, there = model.partition("/")
        return (self.providers[name], there) if slash and name in self.providers else None

    async def key(self, provider: Provider) -> str | None:
        return self.key_now


@dataclass
class Far:
    """The innermost model, and the server that it asks."""

    model: Backends
    script: Script
    book: Book

    @property
    def body(self):
        """What was sent last."""
        noted = self.script.noted[-1]
        return camel(noted["body"]) if noted["wire"] == "gemini" else noted["body"]

    async def ask(self, wire, *messages, model="m", seconds=5.0, endpoint=0, sampling=None, **options):
        return await self.model.complete(
            asking(wire, *messages, model=model, seconds=seconds, endpoint=endpoint, sampling=sampling, **options)
        )

    async def stream(self, wire, *messages, model="m", seconds=5.0, **options):
        request = asking(wire, *messages, model=model, seconds=seconds, **options)
        async with aclosing(self.model.stream(request)) as chunks:
            return [chunk async for chunk in chunks]


def asking(wire, *messages, model="m", seconds=5.0, endpoint=0, sampling=None, **options):
    name = f"{wire}/{model}"
    context = InferenceContext(
        uuid4(),
        Deployment(Task.CHAT, name, "v", sampling=sampling or {}),
        "0" * 32,
        request_id="req-of-ours",
        attempt=Attempt(endpoint, seconds),
    )
    said = [{"role": "user", "content": one} if isinstance(one, str) else one for one in messages or ("Hello there",)]
    return ChatRequest(name, said, options, context)


def camel(value):
    """Google takes both ways of writing a field's name, and its client uses both."""
    if isinstance(value, dict):
        return {re.sub(r"_([a-z])", lambda found: found[1].upper(), name): camel(one) for name, one in value.items()}
    return [camel(one) for one in value] if isinstance(value, list) else value


def text_of(chunks):
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk.choices)


async def collect(stream, passed):
    async with aclosing(stream) as chunks:
        async for chunk in chunks:
            passed.append(chunk)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared():
    """One server and one set of clients for all of these tests, since making a client takes longer than most."""
    async with AsyncExitStack() as stack:
        script, url = await stack.enter_async_context(failing_server())
        book = Book(url)
        yield Far(await stack.enter_async_context(asked_over_http(book)), script, book)


@pytest.fixture
def far(shared):
    shared.script.clear()
    shared.book.begin()
    return shared


@pytest.mark.parametrize("wire", WIRES)
async def test_a_chat_is_answered_with_its_usage_and_who_answered(far, wire):
    far.script.add({"text": "One two three.", "cached_tokens": 2})
    answer = await far.ask(wire, "Please count to three")
    assert answer.text == "One two three."
    assert answer.choices[0]["finish_reason"] == "stop"
    assert answer.usage == Usage(prompt_tokens=4, completion_tokens=3, cached_tokens=2)
    assert (answer.served.provider, answer.served.model) == (wire, f"{wire}/m")
    assert answer.served.version.startswith(f"{wire}:m@m-")
    assert (far.script.noted[-1]["key"], far.script.noted[-1]["request_id"]) == (KEY, "req-of-ours")


@pytest.mark.parametrize("wire", WIRES)
async def test_a_stream_says_who_answers_first_and_what_it_took_last(far, wire):
    far.script.add({"text": "One two three.", "cached_tokens": 2})
    chunks = await far.stream(wire, "Please count to three")
    assert text_of(chunks) == "One two three."
    assert len(chunks) > 3
    assert chunks[0].served.provider == chunks[-1].served.provider == wire
    assert chunks[0].served.version == chunks[-1].served.version
    assert not any(chunk.served or chunk.usage for chunk in chunks[1:-1])
    assert chunks[-1].usage == Usage(prompt_tokens=4, completion_tokens=3, cached_tokens=2)
    assert [c["finish_reason"] for chunk in chunks for c in chunk.choices if c["finish_reason"]] == ["stop"]


@pytest.mark.parametrize("wire", WIRES)
async def test_instructions_and_turns_reach_the_model_in_its_own_form(far, wire):
    await far.ask(
        wire,
        {"role": "system", "content": "Be brief."},
        "What is a lease?",
        {"role": "assistant", "content": "A contract."},
        {"role": "user", "content": [{"type": "text", "text": "And "}, {"type": "text", "text": "then?"}]},
        max_tokens=7,
        stop=["END"],
    )
    body = far.body
    if wire == "openai":
        assert [message["role"] for message in body["messages"]] == ["system", "user", "assistant", "user"]
        assert (body["max_tokens"], body["stop"], body["model"]) == (7, ["END"], "m")
    elif wire == "anthropic":
        assert body["system"] == "Be brief."
        assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
        assert (body["max_tokens"], body["stop_sequences"], body["model"]) == (7, ["END"], "m")
    else:
        assert body["systemInstruction"]["parts"][0]["text"] == "Be brief."
        assert [content["role"] for content in body["contents"]] == ["user", "model", "user"]
        config = body["generationConfig"]
        assert (config["maxOutputTokens"], config["stopSequences"]) == (7, ["END"])


@pytest.mark.parametrize("wire", WIRES)
async def test_a_model_calls_tools_and_gets_their_results(far, wire):
    calls = [
        {"name": "weather", "arguments": '{"place": "Hanoi"}'},
        {"name": "weather", "arguments": "{}"},
    ]
    far.script.add({"calls": calls})
    answer = await far.ask(wire, "How is it?", tools=[WEATHER], tool_choice="required")
    message = answer.choices[0]["message"]
    assert answer.choices[0]["finish_reason"] == "tool_calls"
    assert [call["function"]["name"] for call in message["tool_calls"]] == ["weather", "weather"]
    assert json.loads(message["tool_calls"][0]["function"]["arguments"]) == {"place": "Hanoi"}
    assert len({call["id"] for call in message["tool_calls"]}) == 2

    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": f"{place} degrees"}
        for place, call in enumerate(message["tool_calls"])
    ]
    after = await far.ask(wire, "How is it?", message, *results, tools=[WEATHER])
    assert after.choices[0]["finish_reason"] == "stop"
    body = far.body
    if wire == "anthropic":
        assert body["tools"][0]["input_schema"] == WEATHER["function"]["parameters"]
        assert body["messages"][1]["content"][0]["input"] == {"place": "Hanoi"}
        assert [block["type"] for block in body["messages"][2]["content"]] == ["tool_result", "tool_result"]
        assert body["messages"][2]["content"][0]["tool_use_id"] == message["tool_calls"][0]["id"]
    elif wire == "gemini":
        declared = body["tools"][0]["functionDeclarations"][0]
        assert declared["parametersJsonSchema"] == WEATHER["function"]["parameters"]
        call = body["contents"][1]["parts"][0]
        assert call["functionCall"]["args"] == {"place": "Hanoi"}
        assert base64.b64decode(call["thoughtSignature"]) == b"signature"
        answered = body["contents"][2]["parts"][1]["functionResponse"]
        assert (answered["name"], answered["response"]) == ("weather", {"result": "1 degrees"})


async def test_a_conversation_with_tools_goes_on_at_another_provider(far):
    called = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    signed = {**called, "extra_content": {"google": {"thought_signature": "c2lnbmF0dXJl"}}}
    result = {"role": "tool", "tool_call_id": "call_1", "content": "cold"}
    for call in (called, signed):
        for wire in WIRES:
            turn = {"role": "assistant", "content": None, "tool_calls": [call]}
            assert (await far.ask(wire, "How is it?", turn, result, tools=[WEATHER])).text
            if wire == "openai":
                assert far.body["messages"][1]["tool_calls"] == [called]
            if wire == "gemini":
                expected = b"signature" if call is signed else b"skip_thought_signature_validator"
                assert base64.urlsafe_b64decode(far.body["contents"][1]["parts"][0]["thoughtSignature"]) == expected


@pytest.mark.parametrize("wire", WIRES)
async def test_a_stream_brings_tool_calls_that_can_be_put_together(far, wire):
    far.script.add(
        {"calls": [{"name": "weather", "arguments": '{"place": "Hanoi"}'}, {"name": "now", "arguments": "{}"}]}
    )
    chunks = await far.stream(wire, "How is it?", tools=[WEATHER])
    calls = {}
    for chunk in chunks:
        for choice in chunk.choices:
            for piece in choice["delta"].get("tool_calls") or ():
                call = calls.setdefault(piece["index"], {"id": "", "name": "", "arguments": ""})
                call["id"] += piece.get("id") or ""
                call["name"] += piece["function"].get("name") or ""
                call["arguments"] += piece["function"].get("arguments") or ""
    assert [call["name"] for call in calls.values()] == ["weather", "now"]
    assert [json.loads(call["arguments"]) for call in calls.values()] == [{"place": "Hanoi"}, {}]
    assert all(call["id"] for call in calls.values())
    assert chunks[-2].choices[0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    ("choice", "anthropic", "gemini"),
    [
        ("auto", {"type": "auto"}, {"mode": "AUTO"}),
        ("none", {"type": "none"}, {"mode": "NONE"}),
        ("required", {"type": "any"}, {"mode": "ANY"}),
        (
            {"type": "function", "function": {"name": "weather"}},
            {"type": "tool", "name": "weather"},
            {"mode": "ANY", "allowedFunctionNames": ["weather"]},
        ),
    ],
)
async def test_a_choice_of_tools_is_passed_on(far, choice, anthropic, gemini):
    await far.ask("anthropic", tools=[WEATHER], tool_choice=choice)
    assert far.body["tool_choice"] == anthropic
    await far.ask("gemini", tools=[WEATHER], tool_choice=choice)
    assert far.body["toolConfig"]["functionCallingConfig"] == gemini


async def test_one_call_at_a_time_is_passed_on_where_it_can_be(far):
    await far.ask("anthropic", tools=[WEATHER], parallel_tool_calls=False)
    assert far.body["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    with pytest.raises(InvalidInput, match="parallel_tool_calls"):
        await far.ask("gemini", tools=[WEATHER], parallel_tool_calls=False)


@pytest.mark.parametrize("wire", WIRES)
async def test_an_image_is_passed_on(far, wire):
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    await far.ask(wire, {"role": "user", "content": [{"type": "text", "text": "What is it?"}, image]})
    if wire == "openai":
        assert far.body["messages"][0]["content"][1] == image
    elif wire == "anthropic":
        source = {"type": "base64", "media_type": "image/png", "data": PNG}
        assert far.body["messages"][0]["content"][1] == {"type": "image", "source": source}
    else:
        sent = far.body["contents"][0]["parts"][1]["inlineData"]
        assert sent["mimeType"] == "image/png"
        assert base64.urlsafe_b64decode(sent["data"]) == base64.b64decode(PNG)


async def test_a_sound_is_passed_on_where_the_api_takes_one(far):
    said = {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}}]}
    await far.ask("openai", said)
    assert far.body["messages"][0]["content"] == said["content"]
    await far.ask("gemini", said)
    assert far.body["contents"][0]["parts"][0]["inlineData"]["mimeType"] == "audio/wav"
    with pytest.raises(InvalidInput, match=r"messages\.0\.content.*input_audio"):
        await far.ask("anthropic", said)


@pytest.mark.parametrize("wire", WIRES)
async def test_a_json_schema_is_passed_on(far, wire):
    form = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA}}
    answer = await far.ask(wire, response_format=form)
    assert set(json.loads(answer.text)) == {"answer"}
    if wire == "openai":
        assert far.body["response_format"] == form
    elif wire == "anthropic":
        assert far.body["output_config"]["format"] == {"type": "json_schema", "schema": SCHEMA}
    else:
        config = far.body["generationConfig"]
        assert (config["responseMimeType"], config["responseJsonSchema"]) == ("application/json", SCHEMA)


@pytest.mark.parametrize(
    ("wire", "option"),
    [
        ("anthropic", {"seed": 7}),
        ("anthropic", {"logprobs": True}),
        ("anthropic", {"presence_penalty": 0.5}),
        ("anthropic", {"response_format": {"type": "json_object"}}),
        ("anthropic", {"temperature": 1.5}),
        ("anthropic", {"reasoning_effort": "minimal"}),
        ("anthropic", {"n": 2}),
        ("gemini", {"logit_bias": {"5": 1}}),
        ("gemini", {"user": "someone"}),
        ("gemini", {"something_new": 1}),
    ],
)
async def test_an_option_without_a_counterpart_is_refused_by_its_name_and_never_dropped(far, wire, option):
    for ask in (far.ask, far.stream):
        with pytest.raises(InvalidInput, match=next(iter(option))) as caught:
            await ask(wire, **option)
        assert caught.value.param == next(iter(option))
    assert far.script.total == 0


async def test_an_option_that_asks_for_what_comes_anyway_is_none(far):
    nothing = {"n": 1, "logprobs": False, "presence_penalty": 0, "seed": None, "store": False, "tools": []}
    for wire in ("anthropic", "gemini"):
        await far.ask(wire, **nothing)


async def test_the_hubs_own_sampling_is_a_wish_and_a_clients_is_not(far):
    sampling = {"temperature": 0.0, "seed": 7, "logprobs": True, "top_logprobs": 5}
    await far.ask("anthropic", sampling=sampling, **sampling)
    assert not far.body.keys() & {"temperature", "seed", "logprobs", "top_logprobs"}
    await far.ask("gemini", sampling=sampling, **sampling)
    assert (far.body["generationConfig"]["temperature"], far.body["generationConfig"]["seed"]) == (0, 7)
    await far.ask("anthropic", temperature=0.5)
    assert far.body["temperature"] == 0.5


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("streamed", [False, True])
async def test_every_leaf_that_a_server_can_cause_is_told_from_every_other(far, wire, streamed):
    ask = far.stream if streamed else far.ask
    for leaf in QUIET:
        with pytest.raises(TidemillError) as caught:
            await ask(wire, model=f"m!{leaf}")
        assert caught.value.failure is leaf
        assert KEY not in caught.value.message
        if leaf.branch == "rate_limit":
            assert caught.value.retry_after == {"light": 5, "medium": 60, "heavy": 600}[leaf.partition(".")[2]]
    assert far.script.total == len(QUIET)  # none was asked twice


@pytest.mark.parametrize("wire", WIRES)
async def test_a_provider_that_hangs_is_left_after_the_attempts_own_timeout(far, wire):
    for ask in (far.ask, far.stream):
        with pytest.raises(Unavailable, match="did not answer in time") as caught:
            await ask(wire, model="m!hang", seconds=0.2)
        assert caught.value.failure is Failure.NETWORK_TIMEOUT


@pytest.mark.parametrize("wire", WIRES)
async def test_slow_words_are_no_hang_but_a_slow_whole_answer_is(far, wire):
    far.script.add({"leaf": "slow", "pause": 0.12, "text": " ".join("abcdefghij")})
    assert text_of(await far.stream(wire, seconds=1.0)) == "a b c d e f g h i j"
    far.script.add({"leaf": "slow", "pause": 5})
    with pytest.raises(Unavailable):
        await far.ask(wire, seconds=0.2)


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(
    ("trouble", "whole", "streamed"),
    [
        (Trouble.BREAK_OFF, Failure.NETWORK_CONNECTION, Failure.NETWORK_CONNECTION),
        (Trouble.NO_END, Failure.UNKNOWN, Failure.NETWORK_CONNECTION),
        (Trouble.MALFORMED, Failure.UNKNOWN, Failure.UNKNOWN),
        (Trouble.ERROR_IN_OK, Failure.OVERLOAD_OVERLOADED, Failure.OVERLOAD_OVERLOADED),
        (Trouble.HUGE, Failure.UNKNOWN, Failure.UNKNOWN),
    ],
)
async def test_an_answer_that_cannot_be_used_is_a_clear_error(far, wire, trouble, whole, streamed):
    with pytest.raises((ModelFailed, Unavailable)) as caught:
        await far.ask(wire, model=f"m!{trouble}")
    assert caught.value.failure is whole
    with pytest.raises((ModelFailed, Unavailable)) as caught:
        await far.stream(wire, model=f"m!{trouble}")
    assert caught.value.failure is streamed


@pytest.mark.parametrize("wire", WIRES)
async def test_what_came_before_a_break_was_passed_on(far, wire):
    passed = []
    with pytest.raises((ModelFailed, Unavailable)):
        await collect(far.model.stream(asking(wire, model="m!break_off")), passed)
    assert text_of(passed).startswith("This is")


@pytest.mark.parametrize("wire", WIRES)
async def test_nothing_is_passed_on_of_an_answer_that_a_filter_held_back(far, wire):
    passed = []
    with pytest.raises(ContentRefused):
        await collect(far.model.stream(asking(wire, model="m!content.safety")), passed)
    assert passed == []


@pytest.mark.parametrize("wire", WIRES)
async def test_a_filter_in_the_middle_of_an_answer_ends_it(far, wire):
    finish = {"openai": "content_filter", "anthropic": "refusal", "gemini": "SAFETY"}[wire]
    far.script.add({"text": "So far", "finish": finish, "times": 2})
    assert (await far.ask(wire)).choices[0]["finish_reason"] == "content_filter"
    assert (await far.stream(wire))[-2].choices[0]["finish_reason"] == "content_filter"


@pytest.mark.parametrize("wire", WIRES)
async def test_an_answer_that_met_its_limit_says_so(far, wire):
    finish = {"openai": "length", "anthropic": "max_tokens", "gemini": "MAX_TOKENS"}[wire]
    far.script.add({"text": "So far", "finish": finish, "times": 1})
    assert (await far.ask(wire)).choices[0]["finish_reason"] == "length"


@pytest.mark.parametrize("wire", WIRES)
async def test_a_key_that_was_changed_is_used_from_the_next_request_on(far, wire):
    far.script.add({"accept_key": "sk-new"})
    with pytest.raises(Configuration) as caught:
        await far.ask(wire)
    assert caught.value.failure is Failure.AUTH_EXPIRED
    far.book.key_now = "sk-new"
    assert (await far.ask(wire)).text


async def test_a_provider_that_wants_a_key_is_not_asked_without_one(far):
    far.book.key_now = None
    for wire in WIRES:
        with pytest.raises(Configuration, match="has no key") as caught:
            await far.ask(wire)
        assert caught.value.failure is Failure.AUTH_INVALID
    far.book.providers["openai"] = replace(far.book.providers["openai"], kind=ProviderKind.OLLAMA)
    assert (await far.ask("openai")).text
    assert [one["key"] for one in far.script.noted] == [""]


async def test_a_text_is_continued_where_the_api_has_that(far):
    request = TextRequest("openai/m", "Once upon", options={"max_tokens": 5})
    assert (await far.model.complete(request)).text
    async with aclosing(far.model.stream(request)) as chunks:
        assert "".join(choice["text"] for chunk in [c async for c in chunks] for choice in chunk.choices)
    for wire in ("anthropic", "gemini"):
        with pytest.raises(InvalidInput, match="answers chats"):
            await far.model.complete(replace(request, model=f"{wire}/m"))


async def test_an_endpoint_is_chosen_by_the_attempt_and_a_host_that_is_unknown_is_told(far):
    provider = far.book.providers["openai"]
    far.book.providers["openai"] = replace(provider, base_urls=("http://nowhere.invalid/v1", *provider.base_urls))
    with pytest.raises(Unavailable) as caught:
        await far.ask("openai", endpoint=0)
    assert caught.value.failure is Failure.NETWORK_DNS
    assert (await far.ask("openai", endpoint=1)).text
    assert (await far.ask("openai", endpoint=3)).text


@pytest.mark.parametrize("wire", WIRES)
async def test_a_server_that_is_not_there_is_told(far, wire):
    gone = replace(far.book.providers[wire], base_urls=("http://127.0.0.1:9",))
    far.book.providers[wire] = gone
    with pytest.raises(Unavailable) as caught:
        await far.ask(wire)
    assert caught.value.failure is Failure.NETWORK_CONNECTION


async def test_a_private_address_is_not_asked_unless_it_is_allowed(far):
    far.book.providers["openai"] = replace(far.book.providers["openai"], allow_private=False)
    with pytest.raises(Configuration, match=r"127\.0\.0\.1"):
        await far.ask("openai")
    assert far.script.total == 0


async def test_a_provider_that_is_changed_while_it_answers_goes_on_to_the_end(far):
    far.script.add({"leaf": "slow", "pause": 0.02})
    async with aclosing(far.model.stream(asking("openai"))) as chunks:
        first = await anext(chunks)
        far.book.providers["openai"] = replace(far.book.providers["openai"], timeout=3.0)
        await far.ask("openai")
        assert len(text_of([first, *[chunk async for chunk in chunks]])) > 20


async def test_the_client_of_a_provider_that_was_changed_is_closed_once_nobody_uses_it(far):
    opened = []

    def open_client(one):
        opened.append(Outbound().sdk_client(timeout=5, allow_private=True))
        return opened[-1]

    connections = Connections(far.book, open_client, 5)
    provider = far.book.providers["openai"]
    async with connections.to(provider, 0), connections.to(replace(provider, timeout=2.0), 0):
        assert [one.is_closed for one in opened] == [False, False]
    assert [one.is_closed for one in opened] == [True, False]
    async with connections.to(replace(provider, timeout=3.0), 0):
        assert [one.is_closed for one in opened] == [True, True, False]
    await connections.aclose()
    assert all(one.is_closed for one in opened)


async def test_closing_a_stream_early_leaves_the_provider_usable(far):
    for wire in WIRES:
        async with aclosing(far.model.stream(asking(wire))) as chunks:
            await anext(chunks)
        assert (await far.ask(wire)).text


async def test_many_at_once_share_one_client(far):
    answers = await asyncio.gather(*(far.ask(wire) for wire in WIRES * 10))
    assert all(answer.text for answer in answers)


async def test_a_known_longest_answer_stands_where_anthropic_wants_one(far):
    await far.ask("anthropic")
    assert far.body["max_tokens"] == 8192
    known = {"m": ProviderModel("m", max_output_tokens=64_000)}
    far.book.providers["anthropic"] = replace(far.book.providers["anthropic"], models=known)
    await far.ask("anthropic")
    assert far.body["max_tokens"] == 64_000


async def test_a_model_of_ones_own_is_asked_without_a_client(far):
    answer = await far.model.complete(asking("local"))
    assert (answer.text, answer.served.provider) == ("From the local model.", "local")
    async with aclosing(far.model.stream(asking("local"))) as chunks:
        found = [chunk async for chunk in chunks]
    assert found[0].served.provider == found[-1].served.provider == "local"


@pytest.mark.parametrize("wire", ["openai", "gemini"])
async def test_texts_are_embedded(far, wire):
    outbound = Outbound()
    connections = Connections(far.book, lambda one: outbound.sdk_client(timeout=5, allow_private=True), 5)
    embedder = ProviderEmbedder(far.book, connections, ScriptedModel([]), 5)
    texts = [f"text {number}" for number in range(130)]
    try:
        found = await embedder.embed(EmbeddingRequest(f"{wire}/e", texts, TextKind.QUERY))
        again = await embedder.embed(EmbeddingRequest(f"{wire}/e", texts[:1]))
        with pytest.raises(InvalidInput, match="no embeddings"):
            await embedder.embed(EmbeddingRequest("anthropic/e", texts))
        with pytest.raises(Unavailable) as caught:
            await embedder.embed(EmbeddingRequest(f"{wire}/e!overload.high", texts))
    finally:
        await connections.aclose()
    assert len(found.vectors) == 130
    assert sum(found.tokens) == 260
    assert all(sum(n * n for n in floats_of(one)) == pytest.approx(1, abs=1e-5) for one in found.vectors[:3])
    assert list(floats_of(again.vectors[0])) == pytest.approx(list(floats_of(found.vectors[0])), abs=1e-6)
    assert found.served.provider == wire
    assert caught.value.failure is Failure.OVERLOAD_HIGH
