"""What is seen of the model port: a span around each wrapper, and an event in the log for what happened."""

import asyncio
import json
import logging
from contextlib import aclosing
from dataclasses import replace

import pytest

from tidemill.core.chat import ChatChunk, ChatCompletion, ChatRequest, TextRequest, Usage
from tidemill.core.context import InferenceContext
from tidemill.core.deployment import Deployment, Fallback, Route, Target, Task
from tidemill.core.errors import AllFailed, InvalidInput, Unavailable
from tidemill.core.failure import Failure
from tidemill.core.ids import new_id
from tidemill.core.served import Served
from tidemill.llm.scripted import ScriptedAnswer, ScriptedModel
from tidemill.llm.traced import LONGEST, ToldAttempts, ToldModel, TracedModel
from tidemill.telemetry.spans import Traces, current_span, span

MARKER = "zebra-marker"
SERVED = Served("openai", "openai/mini", "mini-1", cost_usd=0.5, attempts=2, recovery=("overload.high",))


class Answering:
    """Gives one answer, and notes the span that it was asked within."""

    def __init__(self, served=SERVED):
        self.served = served
        self.within = []

    async def complete(self, request):
        self.within.append(current_span())
        message = {"role": "assistant", "content": MARKER}
        return ChatCompletion([{"index": 0, "message": message}], Usage(3, 5, 1), self.served)

    async def stream(self, request):
        for word in ("zebra", "-", "marker"):
            self.within.append(current_span())
            yield ChatChunk([{"index": 0, "delta": {"content": word}}], served=self.served)
        yield ChatChunk([], Usage(3, 5, 1), self.served)


def asked(route=None, **options):
    deployment = Deployment(Task.CHAT, "openai/mini", "1", route=route)
    context = InferenceContext(new_id(), deployment, "0" * 32)
    parts = [{"type": "text", "text": "abc"}, {"type": "image_url", "image_url": {}}]
    messages = [{"role": "user", "content": MARKER}, {"role": "user", "content": parts}]
    return ChatRequest("openai/mini", messages, options, context)


async def whole(model, request, *, streamed):
    if not streamed:
        return await model.complete(request)
    async with aclosing(model.stream(request)) as chunks:
        return [chunk async for chunk in chunks]


def events(caplog):
    return [(record.event, record.levelname, record.fields) for record in caplog.records if hasattr(record, "event")]


@pytest.mark.parametrize("streamed", [False, True])
async def test_each_wrapper_has_a_span_within_the_one_around_it(streamed):
    traces, inner = Traces(1), Answering()
    model = TracedModel("outer", TracedModel("inner", inner), detailed=True, names=True)
    request = asked(temperature=0.5, max_tokens=9)
    with traces.begin("request") as root:
        await whole(model, request, streamed=streamed)
        assert current_span() is root
    _, outer, within = root.trace.spans
    assert (outer.name, within.name) == ("outer", "inner")
    assert (outer.parent_id, within.parent_id) == (root.span_id, outer.span_id)
    assert set(inner.within) == {within}
    assert outer.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "openai/mini",
        "gen_ai.request.max_tokens": 9,
        "gen_ai.request.temperature": 0.5,
        "tidemill.task": "chat",
        "tidemill.inference_id": str(request.context.inference_id),
        "gen_ai.provider.name": "openai",
        "gen_ai.response.model": "openai/mini",
        "tidemill.attempts": 2,
        "tidemill.cost_usd": 0.5,
        "tidemill.recovery": ("overload.high",),
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 1,
    }
    assert within.attributes == {}
    assert [name for _, name in outer.events] == (["first_token"] if streamed else [])
    assert all(one.ended for one in root.trace.spans)


@pytest.mark.parametrize("streamed", [False, True])
async def test_where_no_trace_is_made_the_answer_passes_untouched(streamed):
    inner = Answering()
    assert await whole(TracedModel("x", inner, detailed=True), asked(), streamed=streamed)
    assert set(inner.within) == {None}


async def test_what_the_reader_of_a_stream_does_is_not_the_spans():
    traces = Traces(1)
    with traces.begin("request") as root:
        async for _ in TracedModel("model", Answering()).stream(asked()):
            with span("reader") as reader:
                assert reader.parent_id == root.span_id


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_failure_is_the_spans_too(streamed):
    traces = Traces(1)
    away = Unavailable("away", failure=Failure.NETWORK_DNS)
    model = TracedModel("model", ScriptedModel([ScriptedAnswer(error=away)]))
    with traces.begin("request") as root, pytest.raises(Unavailable):
        await whole(model, asked(), streamed=streamed)
    failed = root.trace.spans[1]
    assert (failed.error, failed.attributes) == ("unavailable", {"tidemill.failure": "network.dns"})


async def test_a_reader_that_leaves_ends_the_span():
    traces = Traces(1)
    with traces.begin("request") as root:
        async with aclosing(TracedModel("model", Answering()).stream(asked())) as chunks:
            await anext(chunks)
    assert (root.trace.spans[1].error, root.trace.spans[1].ended is not None) == ("cancelled", True)


@pytest.mark.parametrize("streamed", [False, True])
async def test_what_was_said_is_in_the_span_only_where_the_setting_says_so(streamed):
    for content in (False, True):
        traces = Traces(1)
        with traces.begin("request") as root:
            await whole(TracedModel("model", Answering(), detailed=True, content=content), asked(), streamed=streamed)
        said = root.trace.spans[1].attributes
        assert (MARKER in str(said)) is content
        if content:
            assert MARKER in said["gen_ai.input.messages"]
            assert json.loads(said["gen_ai.output.messages"])[0]["message"]["content"] == MARKER


async def test_a_long_text_is_cut_in_its_span():
    long = replace(asked(), messages=[{"role": "user", "content": "word " * LONGEST}])
    with Traces(1).begin("request") as root:
        await TracedModel("model", Answering(), content=True).complete(long)
    assert len(root.trace.spans[1].attributes["gen_ai.input.messages"]) == LONGEST + 2


async def test_the_kept_answer_of_a_cache_is_named():
    traces = Traces(1)
    with traces.begin("request") as root:
        await TracedModel("cache", Answering(replace(SERVED, cache_tier="l1"))).complete(asked())
    assert root.trace.spans[1].attributes == {"tidemill.cache_tier": "l1"}


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_request_and_its_answer_are_logged_by_their_lengths(caplog, streamed):
    caplog.set_level(logging.DEBUG)
    request = asked()
    await whole(ToldModel(Answering()), request, streamed=streamed)
    received, fallback, created = events(caplog)
    assert received == (
        "generation_request_received",
        "INFO",
        {
            "query_length": len(MARKER) + 3,
            "model": "openai/mini",
            "task": "chat",
            "inference_id": str(request.context.inference_id),
            "access_level": "internal",
        },
    )
    assert fallback[:2] == ("fallback_triggered", "WARNING")
    assert fallback[2] == {"original_provider": "openai/mini", "fallback_strategy": "provider",
                           "fallback_success": True, "failures": ["overload.high"]}  # fmt: skip
    assert created[:2] == ("generation_response_created", "INFO")
    assert created[2]["response_length"] == len(MARKER)
    assert created[2]["output_tokens"] == 5
    assert MARKER not in str([record.__dict__ for record in caplog.records])


async def test_a_text_that_is_continued_is_logged_by_its_length(caplog):
    caplog.set_level(logging.INFO)
    await ToldModel(ScriptedModel(["said"])).complete(replace_text())
    received, created = events(caplog)
    assert (received[2]["query_length"], created[2]["response_length"]) == (7, 4)


def replace_text():
    return TextRequest("m", "abcd", "efg", {}, asked().context)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("error", "level", "message"),
    [
        (InvalidInput(f"The model says: {MARKER}"), "WARNING", None),
        (Unavailable("The server is away.", failure=Failure.NETWORK_CONNECTION), "ERROR", "The server is away."),
    ],
)
async def test_an_error_is_logged_without_what_the_request_said(caplog, streamed, error, level, message):
    caplog.set_level(logging.INFO)
    with pytest.raises(type(error)):
        await whole(ToldModel(ScriptedModel([ScriptedAnswer(error=error)])), asked(), streamed=streamed)
    name, logged, fields = events(caplog)[-1]
    assert (name, logged, fields["error_type"]) == ("generation_error", level, error.code)
    assert fields.get("error_message") == message
    assert fields.get("failure") == (str(error.failure) if error.failure else None)
    assert MARKER not in caplog.text


async def test_fallbacks_that_all_failed_are_logged(caplog):
    route = Route("fast", (Target("openai/mini"),), fallbacks=(Fallback.LOCAL, Fallback.TEMPLATE))
    with pytest.raises(AllFailed):
        await ToldModel(ScriptedModel([ScriptedAnswer(error=AllFailed("none"))])).complete(asked(route))
    name, _, fields = events(caplog)[-1]
    assert (name, fields["fallback_success"], fields["fallback_strategy"]) == (
        "fallback_triggered", False, "local,template")  # fmt: skip


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "ok"),
        (Unavailable("x", failure=Failure.RATE_LIMIT_HEAVY), "rate_limit.heavy"),
        (InvalidInput("x"), "invalid_request"),
        (RuntimeError("x"), "unexpected"),
        (asyncio.CancelledError(), "cancelled"),
    ],
)
async def test_each_try_is_counted_by_how_it_ended(caplog, streamed, error, outcome):
    caplog.set_level(logging.INFO)
    seen = []
    times = iter([1.0, 3.5])
    script = ScriptedModel([ScriptedAnswer("said", error=error)])
    model = ToldAttempts(
        script,
        provider_of=lambda name: name.split("/")[0],
        observe=lambda **said: seen.append(said),
        timer=times.__next__,
    )
    if error is None:
        await whole(model, asked(), streamed=streamed)
    else:
        with pytest.raises(type(error)):
            await whole(model, asked(), streamed=streamed)
    assert seen == [{"provider": "openai", "model": "openai/mini", "outcome": outcome, "seconds": 2.5}]
    selected, ended = events(caplog)
    assert selected[0] == "provider_selected"
    assert selected[2] == {"provider": "openai", "model": "openai/mini", "selection_reason": "requested"}
    assert ended[0] == ("llm_call_completed" if error is None else "llm_call_failed")
    assert error is not None or ended[2]["processing_time_seconds"] == 2.5


async def test_a_try_within_a_route_says_by_which_strategy_it_was_chosen(caplog):
    caplog.set_level(logging.INFO)
    route = Route("fast", (Target("openai/mini"),))
    model = ToldAttempts(Answering(), provider_of=lambda name: "openai", observe=lambda **said: None)
    await model.complete(asked(route))
    assert events(caplog)[0][2]["selection_reason"] == "ordered"
