"""Budgets hold, whoever asks at the same time and however a request ends; and each answer says what it cost."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest

from tests.conftest import NOON
from tests.support.people import MovedClock, make_accounts, person
from tests.support.priced import FACTS, PRICE, asked, facts_of, model_facts, put_budget, reserved, spent
from tidemill.accounts.api_keys import Wanted
from tidemill.core.audit import COMMAND
from tidemill.core.chat import ChatChunk, ChatCompletion, ModelRequest, Usage
from tidemill.core.deployment import Task
from tidemill.core.embedding import EmbeddingRequest, Embeddings
from tidemill.core.errors import (
    BudgetExceeded,
    ModelFailed,
    NotPermitted,
    PriceUnknown,
    TidemillError,
    Unavailable,
)
from tidemill.core.failure import Failure
from tidemill.core.ids import new_id
from tidemill.core.inference import Inference
from tidemill.core.limits import LimitScope, Period
from tidemill.core.provider import Price
from tidemill.llm.budgets import RESERVED_FOR, BudgetedEmbedder, BudgetedModel, Facts, Spending
from tidemill.llm.embeddings import Embedder
from tidemill.llm.embeddings_cached import RecordedEmbedder
from tidemill.llm.port import ChatModel
from tidemill.llm.recording import RecordedModel, TextPolicy
from tidemill.llm.scripted import ScriptedAnswer, ScriptedModel
from tidemill.llm.scripted_embeddings import ScriptedEmbedder
from tidemill.store.budgets import BudgetRepository
from tidemill.store.database import Pool, make_pool
from tidemill.store.inferences import InferenceRepository

FIVE = "one two three four five"
COST = PRICE.input * 2 / 1e6 + PRICE.output * 5 / 1e6
"""Two words are asked, five are answered."""


class Budgeted(BudgetedModel):
    """A model under budgets. `settled` returns when they know what its answers cost."""

    def __init__(self, inner: ChatModel, spending: Spending) -> None:
        super().__init__(inner, spending)
        self.settled = spending.settled


def budgeted(pool: Pool, inner: ChatModel, clock: MovedClock | None = None, facts: Facts = FACTS) -> Budgeted:
    return Budgeted(inner, Spending(BudgetRepository(pool, pool), facts, clock=clock or MovedClock()))


def scripted(**more: object) -> ScriptedModel:
    return ScriptedModel([ScriptedAnswer(FIVE, repeat=True, **more)])  # type: ignore[arg-type]


def cost_of(answer: ChatCompletion) -> float | None:
    assert answer.served is not None
    return answer.served.cost_usd


async def test_an_answer_says_what_it_cost_and_by_whom_it_was_given(pool: Pool) -> None:
    answer = await budgeted(pool, scripted()).complete(asked())
    assert answer.served is not None
    assert (answer.served.provider, answer.served.model, answer.served.version) == ("acme", "dear", "v1")
    assert cost_of(answer) == pytest.approx(COST)


async def test_a_model_of_ones_own_costs_nothing_and_an_unknown_price_is_not_nothing(pool: Pool) -> None:
    model = budgeted(pool, scripted())
    assert cost_of(await model.complete(asked("own"))) == 0.0
    assert cost_of(await model.complete(asked("unpriced"))) is None


async def test_cached_tokens_of_a_prompt_cost_what_they_cost(pool: Pool) -> None:
    class Cached(ScriptedModel):
        async def complete(self, request: ModelRequest) -> ChatCompletion:
            answer = await super().complete(request)
            return replace(answer, usage=replace(answer.usage, cached_tokens=1))

    facts = facts_of(dear=model_facts("dear", Price(10.0, 1000.0, cached=1.0)))
    answer = await budgeted(pool, Cached([FIVE]), facts=facts).complete(asked())
    assert cost_of(answer) == pytest.approx((10 + 1 + 5000) / 1e6)


async def test_a_stream_says_who_answers_first_and_what_it_cost_last(pool: Pool) -> None:
    await put_budget(pool, 100.0)
    model = budgeted(pool, scripted())
    chunks = [chunk async for chunk in model.stream(asked(max_tokens=10))]
    assert chunks[0].served is not None
    assert (chunks[0].served.provider, chunks[0].served.cost_usd) == ("acme", None)
    assert chunks[-1].served is not None
    assert chunks[-1].served.cost_usd == pytest.approx(COST)
    await model.settled()
    assert await spent(pool) == [pytest.approx(COST)]
    assert await reserved(pool) == []


async def test_a_request_that_a_budget_does_not_hold_is_refused_before_it_is_sent(pool: Pool) -> None:
    await put_budget(pool, 0.05)
    inner = scripted()
    with pytest.raises(BudgetExceeded) as refused:
        await budgeted(pool, inner).complete(asked(max_tokens=1000))
    assert inner.calls == 0
    assert refused.value.status == 402
    message = refused.value.message
    assert "everyone together, $0.050000 a day, has $0.050000 left" in message
    assert "renewed at 2026-03-02 00:00 UTC" in message
    assert "may cost $1.00" in message
    assert await reserved(pool) == []


async def test_an_answer_of_unbounded_length_is_bounded_where_a_budget_applies(pool: Pool) -> None:
    inner = scripted()
    model = budgeted(pool, inner)
    await model.complete(asked())
    await put_budget(pool, 100.0, LimitScope.TASK, "chat")
    await budgeted(pool, inner).complete(asked())
    facts = facts_of(dear=model_facts("dear", max_output_tokens=7))
    await budgeted(pool, inner, facts=facts).complete(asked())
    assert [request.options.get("max_tokens") for request in inner.requests] == [None, 4096, None]


async def test_a_model_without_a_price_is_not_asked_where_a_budget_applies(pool: Pool) -> None:
    await put_budget(pool, 100.0)
    inner = scripted()
    with pytest.raises(PriceUnknown, match=r"Set the price of the model 'unpriced' of acme"):
        await budgeted(pool, inner).complete(asked("unpriced"))
    assert inner.calls == 0


async def test_a_model_of_ones_own_is_asked_when_the_budget_is_used_up(pool: Pool) -> None:
    await put_budget(pool, 0.000001)
    assert cost_of(await budgeted(pool, scripted()).complete(asked("own"))) == 0.0


async def test_no_database_is_asked_of_a_model_that_costs_nothing(database_url: str) -> None:
    closed = make_pool(database_url, size=2)
    answer = await budgeted(closed, scripted()).complete(asked("own"))
    assert answer.text == FIVE


async def test_fifty_at_once_in_two_processes_never_exceed_a_budget(pool: Pool, database_url: str) -> None:
    limit = 10.5 * COST
    await put_budget(pool, limit)
    await put_budget(pool, limit * 3, LimitScope.TASK, "chat")
    inner = scripted(delay=0.01)
    async with make_pool(database_url, size=4) as other:
        models = [budgeted(pool, inner), budgeted(other, inner)]

        async def ask(number: int) -> bool:
            try:
                await models[number % 2].complete(asked(max_tokens=5))
            except BudgetExceeded:
                return False
            return True

        answered = sum(await asyncio.gather(*(ask(number) for number in range(50))))
        assert 1 <= answered == inner.calls <= 10
        for _ in range(12):  # what was reserved in excess is there again
            answered += await ask(0)
    assert await reserved(pool) == []
    assert await spent(pool) == [pytest.approx(answered * COST)] * 2
    assert answered * COST <= limit


async def test_a_fallback_can_not_exceed_a_budget_either(pool: Pool) -> None:
    """Recovery asks one target after the other; each attempt is reserved by itself."""
    await put_budget(pool, 0.05)
    inner = scripted()
    model = budgeted(pool, inner)
    with pytest.raises(BudgetExceeded):
        await model.complete(asked("dear", max_tokens=100))
    assert cost_of(await model.complete(asked("cheap", max_tokens=100))) == pytest.approx((2 + 50) / 1e6)
    assert [request.model for request in inner.requests] == ["cheap"]


@pytest.mark.parametrize(
    ("error", "spends"),
    [
        (Unavailable("Slow down.", failure=Failure.RATE_LIMIT_HEAVY), False),
        (NotPermitted("It may not leave."), False),
        (Unavailable("It took too long.", failure=Failure.NETWORK_TIMEOUT), True),
        (ModelFailed("Half an answer."), True),
    ],
    ids=lambda one: str(one),
)
async def test_a_failure_is_settled_by_what_it_can_have_cost(pool: Pool, error: TidemillError, spends: bool) -> None:
    await put_budget(pool, 1.0)
    model = budgeted(pool, ScriptedModel([ScriptedAnswer(error=error)]))
    with pytest.raises(type(error)) as raised:
        await model.complete(asked(max_tokens=10))
    await model.settled()
    [used] = await spent(pool)
    assert (used > 0.01) is spends
    assert raised.value.cost_usd == (None if spends else 0.0)
    assert await reserved(pool) == []


async def test_a_provider_that_can_not_be_reached_costs_nothing(pool: Pool) -> None:
    class Unreachable(ScriptedModel):
        async def complete(self, request: ModelRequest) -> ChatCompletion:
            error = Unavailable("It can't be reached.", failure=Failure.NETWORK_CONNECTION)
            raise error from httpx.ConnectError("refused")

    await put_budget(pool, 1.0)
    model = budgeted(pool, Unreachable([]))
    with pytest.raises(Unavailable):
        await model.complete(asked(max_tokens=10))
    await model.settled()
    assert await spent(pool) == [0.0]


async def test_a_stream_that_breaks_or_is_left_costs_what_was_reserved(pool: Pool) -> None:
    await put_budget(pool, 1.0)
    broken = ScriptedModel([ScriptedAnswer(FIVE, error=Unavailable("Gone.", failure=Failure.OVERLOAD_HIGH))])
    model = budgeted(pool, broken)
    with pytest.raises(Unavailable) as raised:
        async for _ in model.stream(asked(max_tokens=10)):
            pass
    assert raised.value.cost_usd is None
    await model.settled()
    [once] = await spent(pool)
    assert once > 0.01
    model = budgeted(pool, scripted())
    async with aclosing(model.stream(asked(max_tokens=10))) as chunks:
        await anext(chunks)
    await model.settled()
    assert await spent(pool) == [pytest.approx(2 * once)]
    assert await reserved(pool) == []


async def test_what_a_server_says_on_the_way_is_not_what_a_broken_stream_cost(pool: Pool) -> None:
    await put_budget(pool, 1.0)

    class Counting(ScriptedModel):
        async def stream(self, request: ModelRequest) -> AsyncGenerator[ChatChunk, None]:
            yield ChatChunk([])
            yield ChatChunk([{"index": 0, "delta": {"content": "one"}}], Usage(2, 1))
            yield ChatChunk([{"index": 0, "delta": {"content": " two"}}], Usage(2, 2))
            if self._script:
                raise Unavailable("It broke off.")
            yield ChatChunk([{"index": 0, "delta": {}, "finish_reason": "stop"}], Usage(2, 3))

    with pytest.raises(Unavailable) as broken:
        [_ async for _ in budgeted(pool, Counting(["breaks"])).stream(asked(max_tokens=100))]
    [counted] = await spent(pool)
    assert broken.value.cost_usd is None
    assert counted >= PRICE.output * 100 / 1e6
    *_, last = [chunk async for chunk in budgeted(pool, Counting([])).stream(asked(max_tokens=100))]
    cost = PRICE.of(Usage(2, 3))
    assert last.served is not None
    assert last.served.cost_usd == pytest.approx(cost)
    assert await spent(pool) == [pytest.approx(counted + cost)]


async def test_a_cancelled_request_is_settled(pool: Pool) -> None:
    await put_budget(pool, 1.0)
    sent = asyncio.Event()

    class Slow(ScriptedModel):
        async def complete(self, request: ModelRequest) -> ChatCompletion:
            sent.set()
            return await super().complete(request)

    slow = Slow([ScriptedAnswer(FIVE, delay=60)])
    model = budgeted(pool, slow)
    task = asyncio.create_task(model.complete(asked(max_tokens=10)))
    await sent.wait()
    [held] = await reserved(pool)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await model.settled()
    assert await reserved(pool) == []
    assert await spent(pool) == [pytest.approx(held)]


@pytest.mark.parametrize(("model", "cost"), [("own", 0.0), ("dear", None)])
async def test_who_left_a_model_of_ones_own_cost_nothing_and_another_nobody_can_say(
    pool: Pool, model: str, cost: float | None
) -> None:
    sent = asyncio.Event()
    seen: list[Inference] = []

    class Endless(ScriptedModel):
        async def complete(self, request: ModelRequest) -> ChatCompletion:
            sent.set()
            return await super().complete(request)

        async def embed(self, request: EmbeddingRequest) -> Embeddings:
            sent.set()
            await asyncio.sleep(60)
            raise NotImplementedError

    spending, rows, endless = (
        Spending(BudgetRepository(pool, pool), FACTS, clock=MovedClock()),
        InferenceRepository(pool),
        Endless([ScriptedAnswer(FIVE, delay=60)]),
    )
    chat = RecordedModel(
        BudgetedModel(endless, spending),
        rows,
        clock=MovedClock(),
        texts=TextPolicy(0.0),
        observe=seen.append,
        is_free=spending.is_free,
    )
    embedder = RecordedEmbedder(
        BudgetedEmbedder(endless, spending), rows, clock=MovedClock(), observe=seen.append, is_free=spending.is_free
    )
    request = asked(model)
    for work in (
        chat.complete(request),
        embedder.embed(EmbeddingRequest(model, ["one"], context=asked(model).context)),
    ):
        sent.clear()
        task = asyncio.ensure_future(work)
        await sent.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [(row.status, row.cost_usd) for row in seen] == [("cancelled", cost)] * 2


async def test_what_is_cancelled_while_it_is_reserved_gives_it_back(pool: Pool) -> None:
    budget = await put_budget(pool, 1.0)
    inner = scripted()
    async with pool.connection() as connection, connection.transaction():
        await connection.execute("SELECT FROM budgets WHERE id = %s FOR UPDATE", (budget.id,))
        task = asyncio.create_task(budgeted(pool, inner).complete(asked(max_tokens=10)))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert inner.calls == 0
    assert await reserved(pool) == []
    assert await spent(pool) == [0.0]


async def test_what_a_process_reserved_and_did_not_live_to_settle_becomes_spent(pool: Pool) -> None:
    clock = MovedClock()
    await put_budget(pool, 1.0)
    rows = BudgetRepository(pool, pool)
    spending = Spending(rows, FACTS, clock=clock)
    request = asked(max_tokens=10)
    held = await spending.reserve(await spending.budgets(request.context), FACTS("dear"), Usage(completion_tokens=10))
    assert await rows.expire(clock()) == 0
    clock.now += RESERVED_FOR
    assert await rows.expire(clock()) == 1
    assert (await reserved(pool), await spent(pool)) == ([], [pytest.approx(held.amount_usd)])
    await spending.settle(held, 0.001)  # it was slow, not dead
    await spending.settled()
    assert await spent(pool) == [pytest.approx(0.001)]


async def test_a_day_rolls_over_and_what_began_before_midnight_counts_for_the_day_before(pool: Pool) -> None:
    clock = MovedClock(NOON + timedelta(hours=11, minutes=59))
    await put_budget(pool, 0.011)
    inner = ScriptedModel([ScriptedAnswer(FIVE, repeat=True)])

    class UntilTomorrow(ScriptedModel):
        async def complete(self, request: ModelRequest) -> ChatCompletion:
            clock.forward(minutes=2)
            return await inner.complete(request)

    await budgeted(pool, UntilTomorrow([]), clock).complete(asked(max_tokens=8))
    clock.forward(minutes=-2)
    with pytest.raises(BudgetExceeded):
        await budgeted(pool, inner, clock).complete(asked(max_tokens=8))
    clock.forward(minutes=2)
    await budgeted(pool, inner, clock).complete(asked(max_tokens=8))
    assert await spent(pool) == [pytest.approx(COST)] * 2


@pytest.mark.parametrize(("period", "days"), [(Period.MONTH, 31), (Period.TOTAL, None)])
async def test_a_month_rolls_over_and_a_total_does_not(pool: Pool, period: Period, days: int | None) -> None:
    clock = MovedClock()
    await put_budget(pool, 0.009, period=period)
    model = budgeted(pool, scripted(), clock)
    await model.complete(asked(max_tokens=7))
    clock.forward(days=30)
    with pytest.raises(BudgetExceeded, match="renewed at 2026-04-01" if days else "never renewed"):
        await model.complete(asked(max_tokens=7))
    clock.forward(days=400)
    if days:
        await model.complete(asked(max_tokens=7))
        return
    with pytest.raises(BudgetExceeded):
        await model.complete(asked(max_tokens=7))


async def test_a_team_s_budget_is_for_its_people_together_and_for_nobody_else(pool: Pool) -> None:
    accounts = make_accounts(pool, MovedClock())
    an, binh, chi = [await person(accounts, name) for name in ("An", "Binh", "Chi")]
    team = await accounts.teams.add("Platform", COMMAND)
    for one in (an, binh):
        await accounts.teams.add_member(team.id, one.id, COMMAND)
    await put_budget(pool, 0.01, LimitScope.TEAM, team.id)
    model = budgeted(pool, scripted())
    await model.complete(asked(user_id=an.id, max_tokens=8))
    with pytest.raises(BudgetExceeded, match=f"the team {team.id}"):
        await model.complete(asked(user_id=binh.id, max_tokens=8))
    await model.complete(asked(user_id=chi.id, max_tokens=8))


async def test_a_key_s_budget_follows_it_through_rotations(pool: Pool) -> None:
    accounts = make_accounts(pool, MovedClock())
    first = (await accounts.keys.create(Wanted("ci"), COMMAND)).key
    second = (await accounts.keys.rotate(first.id, grace=timedelta(days=1), actor=COMMAND)).key
    third = (await accounts.keys.rotate(second.id, grace=timedelta(days=1), actor=COMMAND)).key
    other = (await accounts.keys.create(Wanted("other"), COMMAND)).key
    await put_budget(pool, 0.01, LimitScope.KEY, first.id)
    model = budgeted(pool, scripted())
    await model.complete(asked(key_id=first.id, max_tokens=8))
    for key in (first, second, third):
        with pytest.raises(BudgetExceeded, match=f"this key {first.id}"):
            await model.complete(asked(key_id=key.id, max_tokens=8))
    await model.complete(asked(key_id=other.id, max_tokens=8))


async def test_a_person_s_and_a_task_s_budget_count_what_is_theirs(pool: Pool) -> None:
    accounts = make_accounts(pool, MovedClock())
    an = await person(accounts, "An")
    await put_budget(pool, 0.01, LimitScope.USER, an.id)
    await put_budget(pool, 0.01, LimitScope.TASK, Task.REVIEW_COMMENT)
    model = budgeted(pool, scripted())
    await model.complete(asked(user_id=an.id, key_id=new_id(), max_tokens=8))
    with pytest.raises(BudgetExceeded, match="this person"):
        await model.complete(asked(user_id=an.id, max_tokens=8))
    await model.complete(asked(task=Task.REVIEW_COMMENT, max_tokens=8))
    with pytest.raises(BudgetExceeded, match=r"the task review\.comment"):
        await model.complete(asked(task=Task.REVIEW_COMMENT, max_tokens=8))


async def test_embeddings_are_reserved_and_settled_as_answers_are(pool: Pool) -> None:
    await put_budget(pool, 0.001)
    inner: Embedder = ScriptedEmbedder()
    embedder = BudgetedEmbedder(inner, Spending(BudgetRepository(pool, pool), FACTS, clock=MovedClock()))
    context = asked(task=Task.EMBED).context
    made = await embedder.embed(EmbeddingRequest("cheap", ["two words"], context=context))
    assert made.served is not None
    assert made.served.cost_usd == pytest.approx(2 / 1e6)
    assert await spent(pool) == [pytest.approx(2 / 1e6)]
    with pytest.raises(BudgetExceeded):
        await embedder.embed(EmbeddingRequest("dear", ["a word " * 100], context=context))


async def test_a_budget_that_is_removed_meanwhile_stops_nobody(pool: Pool) -> None:
    budget = await put_budget(pool, 1.0)
    rows = BudgetRepository(pool, pool)

    class Removing(ScriptedModel):
        async def complete(self, request: ModelRequest) -> ChatCompletion:
            async with pool.connection() as connection:
                await rows.remove(connection, budget.id)
            return await super().complete(request)

    model = budgeted(pool, Removing([FIVE, FIVE]))
    for _ in range(2):  # the second time it is still remembered
        assert (await model.complete(asked(max_tokens=8))).text == FIVE
    await model.settled()
    assert await spent(pool) == []


async def test_requests_at_once_are_reserved_in_groups_and_one_that_is_too_dear_stops_no_other(pool: Pool) -> None:
    await put_budget(pool, 1.0)
    model = budgeted(pool, scripted())
    asking = [model.complete(asked(max_tokens=10**12 if number == 3 else 8)) for number in range(8)]
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert [number for number, answer in enumerate(answers) if isinstance(answer, BudgetExceeded)] == [3]
    assert sum(isinstance(answer, ChatCompletion) for answer in answers) == 7
    await model.settled()
    assert await spent(pool) == [pytest.approx(7 * COST)]


async def test_a_small_request_is_settled_when_the_next_one_needs_what_it_left(pool: Pool) -> None:
    await put_budget(pool, 0.3)
    model = budgeted(pool, scripted())
    await asyncio.gather(*(model.complete(asked(max_tokens=8)) for _ in range(10)))
    assert (await spent(pool), len(await reserved(pool))) == ([], 10)  # much is left, so that nobody waited for it
    await model.complete(asked(max_tokens=220))
    assert await spent(pool) == [pytest.approx(11 * COST)]
    assert await reserved(pool) == []


async def test_costs_that_are_left_for_later_are_settled_before_budgets_are_shown(pool: Pool) -> None:
    budget = await put_budget(pool, 100.0)
    rows = BudgetRepository(pool, pool)
    model = Budgeted(scripted(), Spending(rows, FACTS, clock=MovedClock()))
    await asyncio.gather(*(model.complete(asked(max_tokens=8)) for _ in range(5)))
    [state] = await rows.states([budget], NOON)
    assert (state.spent_usd, state.reserved_usd) == (pytest.approx(5 * COST), 0.0)


async def test_a_process_that_dies_before_it_settles_leaves_the_reservation_which_becomes_spent(
    pool: Pool, database_url: str
) -> None:
    clock = MovedClock()
    await put_budget(pool, 100.0)
    async with make_pool(database_url, size=2) as dying:
        await budgeted(dying, scripted(), clock).complete(asked(max_tokens=8))
    [held] = await reserved(pool)
    clock.now += RESERVED_FOR
    assert await BudgetRepository(pool, pool).expire(clock()) == 1
    assert (await reserved(pool), await spent(pool)) == ([], [pytest.approx(held)])


async def test_a_database_that_is_away_refuses_what_a_budget_may_hold(database_url: str, pool: Pool) -> None:
    await put_budget(pool, 1.0)
    inner = scripted()
    async with make_pool(database_url, size=2) as other:
        model = budgeted(other, inner)
        await model.complete(asked(max_tokens=8))
    with pytest.raises(Unavailable, match="database does not answer"):
        await model.complete(asked(max_tokens=8))
    assert inner.calls == 1


async def test_requests_at_once_of_different_askers_are_held_to_their_own_budgets(pool: Pool) -> None:
    accounts = make_accounts(pool, MovedClock())
    an, binh = [await person(accounts, name) for name in ("An", "Binh")]
    await put_budget(pool, 10 * COST)
    for one in (an, binh):
        await put_budget(pool, 2.5 * COST, LimitScope.USER, one.id)
    model = budgeted(pool, scripted())
    asking = [model.complete(asked(user_id=(an, binh)[number % 2].id, max_tokens=5)) for number in range(12)]
    answers = await asyncio.gather(*asking, return_exceptions=True)
    for mine in (answers[::2], answers[1::2]):
        assert sum(isinstance(answer, ChatCompletion) for answer in mine) in {1, 2}
        assert all(isinstance(answer, ChatCompletion | BudgetExceeded) for answer in mine)
