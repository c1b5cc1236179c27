"""Every inference leaves a committed row, and an answer that was committed is not asked for again."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.conftest import NOON
from tidemill.core.chat import ChatChunk, ChatCompletion, ChatRequest, TextRequest, Usage
from tidemill.core.context import InferenceContext
from tidemill.core.deployment import Deployment, Task
from tidemill.core.errors import ModelFailed, TidemillError, Unavailable
from tidemill.core.ids import new_id
from tidemill.core.inference import Inference, InferenceStatus, InferenceText
from tidemill.llm.port import ChatModel
from tidemill.llm.recording import RecordedModel, TextPolicy
from tidemill.llm.scripted import ScriptedAnswer, ScriptedCall, ScriptedModel
from tidemill.store.database import Pool, make_pool
from tidemill.store.inferences import InferenceRepository

SEVEN_DAYS = 7.0
DEPLOYMENT = Deployment(Task.CHAT, "scripted", "1", sampling={"temperature": 0})
TURNS = "The tide turns the mill."


class Recorder:
    """A recorded model over a script, with a clock that tests set."""

    def __init__(self, inner: ChatModel, pool: Pool, *, days: float = SEVEN_DAYS) -> None:
        self.now = NOON
        self.seen: list[Inference] = []
        self.rows = InferenceRepository(pool)
        self.model = RecordedModel(
            inner, self.rows, clock=lambda: self.now, texts=TextPolicy(days), observe=self.seen.append
        )


def asked(
    text: str = "Hello", *, deployment: Deployment = DEPLOYMENT, reuse: bool = False, **options: Any
) -> ChatRequest:
    context = InferenceContext(new_id(), deployment, trace_id="0" * 31 + "1", subject="a test", reuse=reuse)
    return ChatRequest("scripted", [{"role": "user", "content": text}], options, context)


def inference(**changes: Any) -> Inference:
    made = Inference(
        context=InferenceContext(new_id(), DEPLOYMENT, trace_id="0" * 31 + "1"),
        request_hash="0" * 64,
        status=InferenceStatus.OK,
        usage=Usage(3, 4),
        latency_ms=5.0,
        first_token_ms=1.0,
        streamed=False,
        finish_reason="stop",
        error_code=None,
        cost_usd=0.0,
        cache_tier=None,
        created_at=NOON,
    )
    return replace(made, **changes)


async def rows(pool: Pool) -> list[dict[str, Any]]:
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT i.*, t.response, t.expires_at FROM inferences i "
            "LEFT JOIN inference_texts t ON t.inference_id = i.id ORDER BY i.created_at, i.id"
        )
        return await cursor.fetchall()


async def test_an_answer_of_absurd_counts_and_cost_still_leaves_its_row(pool: Pool) -> None:
    absurd = inference(usage=Usage(3 * 2**31, 2**31, 2**32), cost_usd=4e7)
    await add(InferenceRepository(pool), absurd)
    [row] = await rows(pool)
    assert {row["prompt_tokens"], row["completion_tokens"], row["cached_tokens"]} == {2**31 - 1}
    assert row["cost_usd"] == 40_000_000


async def collect(chunks: AsyncIterator[ChatChunk]) -> str:
    parts = [
        str(choice["delta"].get("content") or "")  # type: ignore[index, call-overload, union-attr]
        async for chunk in chunks
        for choice in chunk.choices
    ]
    return "".join(parts)


async def test_an_answer_is_a_row_with_its_versions_tokens_and_text(pool: Pool) -> None:
    recorder = Recorder(ScriptedModel([TURNS]), pool)
    request = asked("What turns the mill?")
    answer = await recorder.model.complete(request)
    [row] = await rows(pool)
    assert request.context is not None
    assert row["id"] == request.context.inference_id
    assert (row["status"], row["task"], row["model"], row["model_version"]) == ("ok", "chat", "scripted", "1")
    assert (row["config_hash"], row["subject"], row["streamed"]) == (DEPLOYMENT.config_hash, "a test", False)
    assert (row["prompt_tokens"], row["completion_tokens"]) == (4, 5)
    assert (row["finish_reason"], row["error_code"], row["cache_tier"]) == ("stop", None, None)
    assert row["latency_ms"] >= row["first_token_ms"] > 0
    assert row["response"]["choices"] == answer.choices
    assert [one.context.inference_id for one in recorder.seen] == [row["id"]]


async def test_a_failure_is_a_row_with_its_code(pool: Pool) -> None:
    recorder = Recorder(ScriptedModel([ScriptedAnswer(error=ModelFailed("It babbles."))]), pool)
    with pytest.raises(ModelFailed, match="babbles") as raised:
        await recorder.model.complete(asked())
    [row] = await rows(pool)
    assert raised.value.inference_id == row["id"]
    assert (row["status"], row["error_code"], row["completion_tokens"]) == ("error", "model_failed", 0)


async def test_a_stream_that_breaks_leaves_what_was_said_until_then(pool: Pool) -> None:
    recorder = Recorder(ScriptedModel([ScriptedAnswer("The tide ", error=Unavailable("Gone."))]), pool)
    with pytest.raises(Unavailable):
        await collect(recorder.model.stream(asked()))
    [row] = await rows(pool)
    assert (row["status"], row["error_code"], row["streamed"]) == ("error", "unavailable", True)
    assert row["response"]["choices"][0]["message"]["content"] == "The tide "


async def test_a_cancelled_request_is_a_cancelled_row(pool: Pool) -> None:
    recorder = Recorder(ScriptedModel([ScriptedAnswer(TURNS, delay=60)]), pool)
    task = asyncio.create_task(recorder.model.complete(asked()))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    [row] = await rows(pool)
    assert (row["status"], row["error_code"]) == ("cancelled", None)


class Watched:
    """Streams words for ever, and says when that was stopped."""

    def __init__(self) -> None:
        self.stopped = asyncio.Event()

    async def complete(self, request: ChatRequest) -> ChatCompletion:
        raise NotImplementedError

    async def stream(self, request: ChatRequest) -> AsyncGenerator[ChatChunk, None]:
        try:
            while True:
                yield ChatChunk([{"index": 0, "delta": {"content": "word "}, "finish_reason": None}])
                await asyncio.sleep(0)
        finally:
            self.stopped.set()


async def test_a_stream_that_is_closed_in_the_middle_stops_the_model_and_is_a_cancelled_row(pool: Pool) -> None:
    inner = Watched()
    recorder = Recorder(inner, pool)
    chunks = recorder.model.stream(asked())
    async with aclosing(chunks):
        for _ in range(3):
            await anext(chunks)
    assert inner.stopped.is_set()
    [row] = await rows(pool)
    assert (row["status"], row["streamed"]) == ("cancelled", True)
    assert row["response"]["choices"][0]["message"]["content"].startswith("word word word ")


async def test_a_task_that_is_cancelled_while_it_streams_leaves_a_cancelled_row(pool: Pool) -> None:
    inner = Watched()
    recorder = Recorder(inner, pool)
    task = asyncio.create_task(collect(recorder.model.stream(asked())))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert inner.stopped.is_set()
    assert [row["status"] for row in await rows(pool)] == ["cancelled"]


@pytest.mark.parametrize("text", [TURNS, "", " two  spaces\n\nand lines\n", "Thủy triều 🌊 \x00 quay cối xay."])
async def test_a_streams_transcript_is_the_whole_answer(pool: Pool, text: str) -> None:
    recorder = Recorder(ScriptedModel([text, text]), pool)
    whole = await recorder.model.complete(asked())
    recorder.now += timedelta(seconds=1)
    streamed = await collect(recorder.model.stream(asked()))
    first, second = await rows(pool)
    assert streamed == whole.text == text
    assert first["response"] == second["response"]
    assert first["request_hash"] == second["request_hash"]
    assert (first["completion_tokens"], first["finish_reason"]) == (second["completion_tokens"], "stop")


async def asked_texts(pool: Pool) -> list[Any]:
    async with pool.connection() as connection:
        cursor = await connection.execute("SELECT request FROM inference_texts")
        return [row["request"] for row in await cursor.fetchall()]


async def test_a_continued_text_is_a_row_whole_and_streamed(pool: Pool) -> None:
    recorder = Recorder(ScriptedModel([TURNS, TURNS]), pool)
    for _ in range(2):
        context = InferenceContext(new_id(), replace(DEPLOYMENT, task=Task.COMPLETE), trace_id="0" * 31 + "1")
        request = TextRequest("scripted", "The tide", "mill.", {"max_tokens": 5}, context)
        if recorder.seen:
            recorder.now += timedelta(seconds=1)
            assert [chunk async for chunk in recorder.model.stream(request)]
        else:
            assert (await recorder.model.complete(request)).text == TURNS
    first, second = await rows(pool)
    assert (first["task"], first["request_hash"]) == ("complete", second["request_hash"])
    assert [row["response"]["choices"][0]["text"] for row in (first, second)] == [TURNS, TURNS]
    assert await asked_texts(pool) == [{"prompt": "The tide", "suffix": "mill.", "max_tokens": 5}] * 2


async def test_a_streamed_tool_call_is_stored_as_the_whole_one_is(pool: Pool) -> None:
    answer = ScriptedAnswer("", calls=[ScriptedCall("weather", '{"city": "Huế", "days": 3}')])
    recorder = Recorder(ScriptedModel([answer, answer]), pool)
    await recorder.model.complete(asked())
    recorder.now += timedelta(seconds=1)
    await collect(recorder.model.stream(asked()))
    first, second = await rows(pool)
    assert first["response"] == second["response"]
    assert second["finish_reason"] == "tool_calls"


async def test_an_image_is_stored_by_its_digest_and_another_image_is_another_request(pool: Pool) -> None:
    inner = ScriptedModel(["one", "two"])
    recorder = Recorder(inner, pool)
    for data in ("AAAA", "BBBB"):
        parts = [
            {"type": "text", "text": "What is it?"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
            {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}},
        ]
        request = replace(asked(reuse=True), messages=[{"role": "user", "content": parts}])
        await recorder.model.complete(request)
        sent = inner.requests[-1]
        assert isinstance(sent, ChatRequest)
        assert sent.messages == request.messages
    stored = json.dumps(await asked_texts(pool))
    assert stored.count("sha256:") == 4
    assert "AAAA" not in stored
    assert inner.calls == 2


async def test_the_row_is_there_before_a_streams_last_piece(pool: Pool) -> None:
    recorder = Recorder(ScriptedModel([TURNS]), pool)
    async for chunk in recorder.model.stream(asked()):
        if chunk.usage is not None:
            assert [row["status"] for row in await rows(pool)] == ["ok"]


async def test_a_committed_answer_is_given_again_without_asking(pool: Pool) -> None:
    inner = ScriptedModel([TURNS])
    recorder = Recorder(inner, pool)
    first = await recorder.model.complete(asked(reuse=True))
    recorder.now += timedelta(seconds=1)
    again = await recorder.model.complete(asked(reuse=True))
    assert again.choices == first.choices
    assert again.usage == Usage()
    assert inner.calls == 1
    assert [row["cache_tier"] for row in await rows(pool)] == [None, "committed"]


@pytest.mark.parametrize(
    "other",
    [
        replace(DEPLOYMENT, model_version="2"),
        replace(DEPLOYMENT, adapter="a"),
        replace(DEPLOYMENT, prompt_version="2"),
        replace(DEPLOYMENT, sampling={"temperature": 1}),
    ],
)
async def test_an_answer_made_in_another_way_is_not_given(pool: Pool, other: Deployment) -> None:
    inner = ScriptedModel(["old", "new"])
    recorder = Recorder(inner, pool)
    await recorder.model.complete(asked(reuse=True))
    assert (await recorder.model.complete(asked(reuse=True, deployment=other))).text == "new"


async def test_an_answer_is_not_given_to_another_question_nor_where_reuse_is_not_wanted(pool: Pool) -> None:
    recorder = Recorder(ScriptedModel(["one", "two", "three", "four"]), pool)
    assert (await recorder.model.complete(asked(reuse=True))).text == "one"
    assert (await recorder.model.complete(asked("Bye", reuse=True))).text == "two"
    assert (await recorder.model.complete(asked(reuse=True, max_tokens=3))).text == "three"
    assert (await recorder.model.complete(asked())).text == "four"


async def test_a_failure_is_not_given_again(pool: Pool) -> None:
    inner = ScriptedModel([ScriptedAnswer(error=Unavailable("Gone.")), TURNS])
    recorder = Recorder(inner, pool)
    with pytest.raises(Unavailable):
        await recorder.model.complete(asked(reuse=True))
    assert (await recorder.model.complete(asked(reuse=True))).text == TURNS


async def test_texts_expire_when_their_days_are_over_and_are_not_given_after(pool: Pool) -> None:
    inner = ScriptedModel(["old", "new"])
    recorder = Recorder(inner, pool)
    await recorder.model.complete(asked(reuse=True))
    [row] = await rows(pool)
    expiry = NOON + timedelta(days=SEVEN_DAYS)
    assert row["expires_at"] == expiry
    assert await recorder.rows.forget_texts(expiry - timedelta(seconds=1)) == 0
    assert await recorder.rows.forget_texts(expiry) == 1
    assert await recorder.rows.forget_texts(expiry) == 0
    [row] = await rows(pool)
    assert (row["status"], row["response"]) == ("ok", None)
    assert (await recorder.model.complete(asked(reuse=True))).text == "new"


async def test_no_days_keep_no_text_and_give_nothing_again(pool: Pool) -> None:
    inner = ScriptedModel(["one", "two"])
    recorder = Recorder(inner, pool, days=0)
    await recorder.model.complete(asked(reuse=True))
    assert (await recorder.model.complete(asked(reuse=True))).text == "two"
    assert [(row["status"], row["response"]) for row in await rows(pool)] == [("ok", None)] * 2


async def test_a_hundred_at_once_are_a_hundred_rows_in_few_commits(pool: Pool) -> None:
    recorder = Recorder(ScriptedModel(lambda request: str(request.messages[0]["content"])), pool)
    answers = await asyncio.gather(*(recorder.model.complete(asked(f"number {n}")) for n in range(100)))
    found = await rows(pool)
    assert len(found) == 100
    said = {row["response"]["choices"][0]["message"]["content"] for row in found}
    assert said == {answer.text for answer in answers} == {f"number {n}" for n in range(100)}
    async with pool.connection() as connection:
        cursor = await connection.execute("SELECT count(DISTINCT xmin::text) AS commits FROM inferences")
        counted = await cursor.fetchone()
    assert counted is not None
    assert int(str(counted["commits"])) < 20


async def add(store: InferenceRepository, one: Inference, expires_at: datetime | None = None) -> None:
    await store.add(one, InferenceText("{}", "{}") if expires_at else None, expires_at)


@pytest.mark.parametrize(
    "changes",
    [
        {"finish_reason": "a NUL \x00"},
        {"finish_reason": "half a pair \ud83d"},
        {"latency_ms": "no number"},
        {"status": "unheard of"},
    ],
)
async def test_a_row_that_can_not_be_written_fails_alone(pool: Pool, changes: dict[str, Any]) -> None:
    store = InferenceRepository(pool)
    good = [inference() for _ in range(10)]
    group = [*good[:5], inference(**changes), *good[5:]]
    async with asyncio.timeout(10):
        results = await asyncio.gather(*(add(store, one, NOON) for one in group), return_exceptions=True)
    assert [type(result) for result in results] == [type(None)] * 5 + [TidemillError] + [type(None)] * 5
    assert {row["id"] for row in await rows(pool)} == {one.context.inference_id for one in good}
    await add(store, inference())


async def test_an_id_that_is_there_already_fails_alone(pool: Pool) -> None:
    store = InferenceRepository(pool)
    first, second = inference(), inference()
    await add(store, first)
    results = await asyncio.gather(add(store, second), add(store, first), return_exceptions=True)
    assert [type(result) for result in results] == [type(None), TidemillError]
    assert len(await rows(pool)) == 2


async def test_without_its_database_an_answer_is_unavailable_and_soon_so_for_all(database_url: str) -> None:
    pool = make_pool(database_url, size=2, synchronous_commit=False)
    async with pool:
        recorder = Recorder(ScriptedModel([ScriptedAnswer(TURNS, repeat=True)]), pool)
        await recorder.model.complete(asked())
    started = time.monotonic()
    asks = [recorder.model.complete(asked(f"number {n}")) for n in range(20)]
    asks.append(recorder.model.complete(asked(reuse=True)))
    results = await asyncio.gather(*asks, return_exceptions=True)
    assert {type(result) for result in results} == {Unavailable}
    assert time.monotonic() - started < 5


async def test_a_server_that_is_gone_is_waited_for_once_and_not_for_each_row() -> None:
    pool = make_pool("postgresql://nobody@127.0.0.1:9/nothing?connect_timeout=1", size=2)
    pool.timeout = 0.5
    await pool.open(wait=False)
    store = InferenceRepository(pool)
    started = time.monotonic()
    try:
        results = await asyncio.gather(*(add(store, inference()) for _ in range(20)), return_exceptions=True)
    finally:
        await pool.close()
    assert {type(result) for result in results} == {Unavailable}
    assert time.monotonic() - started < 4


async def test_a_text_is_stored_with_its_level_and_a_secret_one_is_not_stored(pool: Pool) -> None:
    key = "ghp_" + "x7Kq2mVb9TzR4nWc8YpL3sHd6FgJ1aQeU5oX"
    recorder = Recorder(ScriptedModel([TURNS, TURNS, TURNS, f"Use {key}."]), pool)
    for text in ("Hello", "Write to lan.nguyen@congty.vn", f"Why is {key} refused?", "Which key?"):
        recorder.now += timedelta(seconds=1)
        await recorder.model.complete(asked(text, reuse=True))
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT level FROM inferences LEFT JOIN inference_texts ON inference_id = id ORDER BY created_at"
        )
        assert [row["level"] for row in await cursor.fetchall()] == ["internal", "confidential", None, None]
    assert recorder.seen[-1].status is InferenceStatus.OK


async def test_an_answer_that_was_not_stored_is_asked_for_again(pool: Pool) -> None:
    model = ScriptedModel([ScriptedAnswer("Use 4111 1111 1111 1111.", repeat=True)])
    recorder = Recorder(model, pool)
    for _ in range(2):
        answer = await recorder.model.complete(asked("Which card?", reuse=True))
        assert "4111" in answer.text
    assert model.calls == 2
