"""Equal requests that come at once are one: for whole answers and for streams, whoever goes or fails meanwhile."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import NOON
from tests.support.caching import SERVED, Cache, CacheOf, Serving, asked, chunks_of, said, tier_of
from tidemill.core.chat import ChatRequest
from tidemill.core.classification import Level
from tidemill.core.context import CacheUse, Priority
from tidemill.core.errors import BudgetExceeded, ContextTooLong, DeadlineExceeded, ModelFailed, TidemillError
from tidemill.core.ids import new_id
from tidemill.llm.cache.flights import FLIGHT
from tidemill.llm.recording import RecordedModel, TextPolicy
from tidemill.llm.scripted import Script, ScriptedAnswer, ScriptedModel
from tidemill.store.database import Pool
from tidemill.store.inferences import InferenceRepository

TURNS = "The tide turns the mill."


class Held:
    """A cache over a model that answers when the test lets it."""

    def __init__(
        self,
        cache_of: Callable[[Serving], Cache],
        script: Script | None = None,
        refusals: Sequence[TidemillError] = (),
    ) -> None:
        self.serving = Serving(ScriptedModel(script or (lambda request: TURNS)), refusals=refusals)
        self.serving.gate.clear()
        self.cache = cache_of(self.serving)
        self.model = self.cache.model

    async def together(self, *work: Coroutine[Any, Any, Any]) -> list[asyncio.Task[Any]]:
        """Starts these, one after the other, and returns when each waits."""
        tasks = []
        for one in work:
            wanted = self.model.waiting + 1
            tasks.append(asyncio.create_task(one))
            await until(lambda: self.model.waiting >= wanted)  # noqa: B023 - it is done within the turn
        return tasks

    def release(self) -> None:
        self.serving.gate.set()


@pytest.fixture
def cache_of(pool: Pool, tmp_path: Path) -> CacheOf:
    return lambda serving: Cache(serving, pool, tmp_path / "cache")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is waited for is in the product, which has no event for it
            await asyncio.sleep(0.001)


async def test_a_hundred_equal_requests_cost_one(cache_of: CacheOf, pool: Pool) -> None:
    held = Held(cache_of)
    seen = []
    model = RecordedModel(
        held.model, InferenceRepository(pool), clock=lambda: NOON, texts=TextPolicy(0), observe=seen.append
    )
    tasks = [asyncio.create_task(model.complete(asked(owner_id=new_id()))) for _ in range(100)]
    await until(lambda: held.model.waiting == 100)
    held.release()
    answers = await asyncio.gather(*tasks)
    assert held.serving.asked == 1
    assert {answer.text for answer in answers} == {TURNS}
    assert [tier_of(answer) for answer in answers].count(FLIGHT) == 99
    assert sum(inference.cost_usd or 0 for inference in seen) == SERVED.cost_usd
    async with pool.connection() as connection:
        row = await (await connection.execute("SELECT count(*) AS n, sum(cost_usd) AS cost FROM inferences")).fetchone()
    assert row == {"n": 100, "cost": SERVED.cost_usd}


async def test_who_comes_late_to_a_stream_gets_what_has_come_and_then_what_comes(cache_of: CacheOf) -> None:
    held = Held(cache_of)
    first = held.model.stream(asked())
    assert (await anext(first)).choices[0]["delta"] == {"role": "assistant", "content": ""}
    late, whole = await held.together(chunks_of(held.model.stream(asked())), held.model.complete(asked()))
    held.release()
    rest = await chunks_of(first)
    chunks = await late
    assert (said(rest), said(chunks), (await whole).text) == (TURNS, TURNS, TURNS)
    assert chunks[0].choices[0]["delta"] == {"role": "assistant", "content": ""}
    assert [chunk.served.cache_tier for chunk in (chunks[0], chunks[-1]) if chunk.served] == [FLIGHT, FLIGHT]
    assert (rest[-1].served, rest[-1].usage) == (SERVED, chunks[-1].usage)
    assert held.serving.asked == 1


async def test_who_wants_a_stream_of_an_answer_that_is_made_whole_gets_one(cache_of: CacheOf) -> None:
    held = Held(cache_of)
    first, streamed = await held.together(held.model.complete(asked()), chunks_of(held.model.stream(asked())))
    held.release()
    assert said(await streamed) == (await first).text == TURNS
    assert held.serving.asked == 1


async def test_the_others_get_the_answer_when_who_asked_first_goes_and_one_of_them_pays(cache_of: CacheOf) -> None:
    held = Held(cache_of)
    first, second, third = await held.together(*(held.model.complete(asked()) for _ in range(3)))
    first.cancel()
    await asyncio.wait([first])
    held.release()
    answers = [await second, await third]
    assert {answer.text for answer in answers} == {TURNS}
    assert sorted(answer.served.cost_usd for answer in answers if answer.served) == [0.0, SERVED.cost_usd]
    assert (held.serving.asked, held.serving.cancelled) == (1, 0)


async def test_a_streams_followers_go_on_when_who_asked_first_goes(cache_of: CacheOf) -> None:
    held = Held(cache_of)
    first = held.model.stream(asked())
    await anext(first)
    followers = await held.together(*(chunks_of(held.model.stream(asked())) for _ in range(2)))
    await first.aclose()
    held.release()
    streams = [await follower for follower in followers]
    assert [said(chunks) for chunks in streams] == [TURNS, TURNS]
    assert sorted(chunks[-1].served.cost_usd for chunks in streams if chunks[-1].served) == [0.0, SERVED.cost_usd]


async def test_when_all_have_gone_the_decoding_ends_and_the_next_one_asks_anew(cache_of: CacheOf) -> None:
    held = Held(cache_of)
    tasks = await held.together(held.model.complete(asked()), held.model.complete(asked()))
    await until(lambda: held.serving.asked == 1)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert (held.serving.cancelled, held.model.waiting) == (1, 0)
    held.release()
    assert (await held.model.complete(asked())).text == TURNS
    assert held.serving.asked == 2


async def test_when_all_have_left_a_stream_the_decoding_ends(cache_of: CacheOf) -> None:
    held = Held(cache_of)
    first, second = held.model.stream(asked()), held.model.stream(asked())
    await anext(first)
    await anext(second)
    await first.aclose()
    assert held.serving.cancelled == 0
    await second.aclose()
    assert held.serving.cancelled == 1


async def test_an_error_goes_to_all_and_each_leaves_a_row(cache_of: CacheOf, pool: Pool) -> None:
    held = Held(cache_of, [ScriptedAnswer(error=ModelFailed("It babbles."))])
    model = RecordedModel(
        held.model, InferenceRepository(pool), clock=lambda: NOON, texts=TextPolicy(0), observe=lambda inference: None
    )
    tasks = await held.together(*(model.complete(asked()) for _ in range(5)))
    held.release()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(result) for result in results} == {ModelFailed}
    async with pool.connection() as connection:
        cursor = await connection.execute("SELECT DISTINCT error_code, count(*) AS n FROM inferences GROUP BY 1")
        assert await cursor.fetchall() == [{"error_code": "model_failed", "n": 5}]


async def test_what_an_error_cost_stands_in_one_row(cache_of: CacheOf) -> None:
    error = ContextTooLong(prompt_tokens=9, context_tokens=5)
    error.cost_usd, error.served = 0.5, SERVED
    held = Held(cache_of, refusals=[error])
    tasks = await held.together(*(held.model.complete(asked()) for _ in range(3)))
    held.release()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert {str(result) for result in results} == {error.message}
    assert [type(result) for result in results] == [ContextTooLong] * 3
    assert [getattr(result, "cost_usd", None) for result in results] == [0.5, 0.0, 0.0]
    assert [result.served.cost_usd for result in results if isinstance(result, ContextTooLong) and result.served] == [
        SERVED.cost_usd,
        0.0,
        0.0,
    ]


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_fallbacks_answer_is_its_askers_own(cache_of: CacheOf, streamed: bool) -> None:
    held = Held(cache_of)
    held.serving.served = replace(SERVED, fallback="search")

    def ask() -> Coroutine[Any, Any, Any]:
        return chunks_of(held.model.stream(asked())) if streamed else held.model.complete(asked())

    tasks = [asyncio.create_task(ask()) for _ in range(6)]
    await until(lambda: held.serving.asked >= (2 if streamed else 1))
    held.release()
    await asyncio.gather(*tasks)
    assert held.serving.asked == 6


async def test_an_error_in_the_middle_of_a_stream_goes_to_all_who_follow_it(cache_of: CacheOf) -> None:
    held = Held(cache_of, [ScriptedAnswer("The tide ", error=ModelFailed("It broke off."))])
    first = held.model.stream(asked())
    await anext(first)
    [follower] = await held.together(chunks_of(held.model.stream(asked())))
    held.release()
    for one in (chunks_of(first), follower):
        with pytest.raises(ModelFailed):
            await one


@pytest.mark.parametrize("streamed", [False, True])
async def test_anothers_budget_or_deadline_fails_nobody_else(cache_of: CacheOf, streamed: bool) -> None:
    now = time.monotonic()

    def ask(held: Held, request: ChatRequest) -> Coroutine[Any, Any, Any]:
        return chunks_of(held.model.stream(request)) if streamed else held.model.complete(request)

    for error, first, other in (
        (BudgetExceeded("Spent."), asked(key_id=new_id()), asked(key_id=new_id())),
        (DeadlineExceeded("Late."), asked(deadline=now + 100), asked(deadline=now + 200)),
        (DeadlineExceeded("Late."), asked(deadline=now + 100), asked()),
    ):
        held = Held(cache_of, refusals=[error])
        tasks = await held.together(ask(held, first), ask(held, other))
        held.release()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert results[0] is error
        assert not isinstance(results[1], BaseException)
        assert held.serving.asked == 2
        await held.cache.answers.clear()


async def test_the_same_persons_budget_fails_all_of_their_requests_at_once(cache_of: CacheOf) -> None:
    held = Held(cache_of, [ScriptedAnswer(error=BudgetExceeded("Spent."))])
    tasks = await held.together(held.model.complete(asked()), held.model.complete(asked()))
    held.release()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [BudgetExceeded, BudgetExceeded]
    assert held.serving.asked == 1


async def test_who_waits_for_another_waits_no_longer_than_their_own_deadline(cache_of: CacheOf) -> None:
    held = Held(cache_of)
    [first] = await held.together(held.model.complete(asked()))
    with pytest.raises(DeadlineExceeded, match="this one's deadline"):
        await held.model.complete(asked(deadline=time.monotonic() + 0.01))
    held.release()
    assert (await first).text == TURNS


async def test_who_is_in_a_hurry_does_not_wait_for_who_is_not(cache_of: CacheOf) -> None:
    held = Held(cache_of)
    tasks = await held.together(
        held.model.complete(asked(priority=Priority.BATCH)),
        held.model.complete(asked(priority=Priority.BATCH)),
    )
    urgent = asyncio.create_task(held.model.complete(asked()))
    await until(lambda: held.serving.asked == 2)
    later = asyncio.create_task(held.model.complete(asked(priority=Priority.REVIEW)))
    await until(lambda: held.model.waiting == 2)
    held.release()
    await asyncio.gather(*tasks, urgent, later)
    assert held.serving.asked == 2


async def test_who_wants_a_new_answer_does_not_get_the_one_that_is_being_made(cache_of: CacheOf) -> None:
    held = Held(cache_of)
    tasks = await held.together(held.model.complete(asked()))
    for number, use in enumerate((CacheUse.REFRESH, CacheUse.NONE), start=2):
        tasks.append(asyncio.create_task(held.model.complete(asked(cache=use))))
        await until(lambda: held.serving.asked == number)  # noqa: B023 - it is done within the turn
    held.release()
    assert [(await task).served for task in tasks] == [SERVED] * 3


async def test_requests_of_another_level_are_another_flight(cache_of: CacheOf) -> None:
    held = Held(cache_of)
    tasks = [asyncio.create_task(held.model.complete(asked(level=level))) for level in Level]
    await until(lambda: held.serving.asked == len(Level))
    held.release()
    await asyncio.gather(*tasks)
