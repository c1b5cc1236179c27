"""Nobody asks faster than a rate limit allows, in whichever process; and who is refused is told when to come back."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from tests.conftest import NOON
from tests.support.people import MovedClock, make_accounts, person
from tests.support.priced import FACTS, asked
from tidemill.accounts.api_keys import Wanted
from tidemill.core.audit import COMMAND
from tidemill.core.chat import ChatChunk, ChatCompletion, ModelRequest
from tidemill.core.context import InferenceContext
from tidemill.core.embedding import EmbeddingRequest
from tidemill.core.errors import ContentRefused, RateLimited, Unavailable
from tidemill.core.ids import new_id
from tidemill.core.inference import Inference
from tidemill.core.limits import LimitScope, RateLimit
from tidemill.core.served import Served
from tidemill.llm import rate_shares
from tidemill.llm.budgets import BudgetedModel, Spending
from tidemill.llm.port import ChatModel
from tidemill.llm.rate_limits import Pace, RateLimitedEmbedder, RateLimitedModel
from tidemill.llm.rate_shares import Shares
from tidemill.llm.recording import RecordedModel, TextPolicy
from tidemill.llm.scripted import ScriptedAnswer, ScriptedModel
from tidemill.llm.scripted_embeddings import ScriptedEmbedder
from tidemill.settings.limits import LimitSettings
from tidemill.store.budgets import BudgetRepository
from tidemill.store.database import Pool, make_pool
from tidemill.store.inferences import InferenceRepository
from tidemill.store.rate_limits import Draw, RateLimitRepository

KEY = UUID(int=7)
FIVE = "one two three four five"
USED = 7
"""Tokens of the question and of the answer."""


def scripted() -> ScriptedModel:
    return ScriptedModel([ScriptedAnswer(FIVE, repeat=True)])


def paced(pool: Pool, clock: MovedClock, inner: ChatModel | None = None, **limits: int) -> RateLimitedModel:
    """A model under limits, which says what it cost, as the real ones do."""
    priced = BudgetedModel(inner or scripted(), Spending(BudgetRepository(pool, pool), FACTS, clock=clock))
    return RateLimitedModel(priced, Pace(RateLimitRepository(pool, pool), LimitSettings(**limits), clock=clock))


async def put_limit(pool: Pool, scope: LimitScope, subject: object, **numbers: int) -> None:
    limit = {"requests_per_minute": None, "tokens_per_minute": None, "burst": None, **numbers}
    async with pool.connection() as connection:
        await RateLimitRepository(pool, pool).put(
            connection, RateLimit(new_id(), scope, str(subject), created_at=NOON, **limit)
        )


def by_key(**options: object) -> ModelRequest:
    return asked("own", key_id=KEY, **options)  # type: ignore[arg-type]


async def test_who_asks_too_fast_waits_as_long_as_is_said_and_no_longer(pool: Pool) -> None:
    clock, inner = MovedClock(), scripted()
    model = paced(pool, clock, inner, requests_per_minute=30, burst=2)
    for _ in range(2):
        await model.complete(by_key())
    with pytest.raises(RateLimited, match="30 requests a minute, is used up") as refused:
        await model.complete(by_key())
    assert refused.value.retry_after == pytest.approx(2.0)
    assert inner.calls == 2
    clock.forward(seconds=1.9)
    with pytest.raises(RateLimited):
        await model.complete(by_key())
    clock.forward(seconds=0.1)
    await model.complete(by_key())


async def test_a_limit_holds_over_two_processes_that_ask_at_once(pool: Pool, database_url: str) -> None:
    clock, inner = MovedClock(), scripted()
    async with make_pool(database_url, size=2, synchronous_commit=False) as other:
        models = [paced(each, clock, inner, requests_per_minute=10) for each in (pool, other)]
        asking = [models[number % 2].complete(by_key()) for number in range(40)]
        answers = await asyncio.gather(*asking, return_exceptions=True)
    assert sum(isinstance(answer, ChatCompletion) for answer in answers) == inner.calls == 10
    assert sum(isinstance(answer, RateLimited) for answer in answers) == 30


class Counted(RateLimitRepository):
    """Buckets that count the statements about them."""

    statements = 0

    async def take(self, draws: Sequence[Draw], now: datetime) -> dict[tuple[str, str], float]:
        self.statements += 1
        return await super().take(draws, now)

    async def correct(self, draws: Sequence[Draw], now: datetime) -> dict[tuple[str, str], float]:
        self.statements += 1
        return await super().correct(draws, now)


async def test_a_large_limit_is_taken_in_shares_and_holds_over_processes_all_the_same(
    pool: Pool, database_url: str
) -> None:
    clock, inner = MovedClock(), scripted()
    async with make_pool(database_url, size=2, synchronous_commit=False) as other:
        rows = [Counted(each, each) for each in (pool, other)]
        paces = [Pace(each, LimitSettings(requests_per_minute=640), clock=clock) for each in rows]
        models = [RateLimitedModel(inner, pace) for pace in paces]
        asking = [models[number % 2].complete(by_key()) for number in range(600)]
        first = await asyncio.gather(*asking)
        assert len(first) == 600
        assert sum(each.statements for each in rows) < 200
        asking = [models[number % 2].complete(by_key()) for number in range(100)]
        answers = await asyncio.gather(*asking, return_exceptions=True)
        for pace in paces:
            await pace.aclose()
        admitted = 600 + sum(isinstance(answer, ChatCompletion) for answer in answers)
        last = await asyncio.gather(*(models[0].complete(by_key()) for _ in range(100)), return_exceptions=True)
    admitted += sum(isinstance(answer, ChatCompletion) for answer in last)
    assert admitted == inner.calls == 640


async def test_who_asks_slowly_never_gets_more_at_once_than_the_bucket_holds(pool: Pool) -> None:
    """A share counts for nothing once the bucket behind it is full again."""
    clock, inner = MovedClock(), scripted()
    model = paced(pool, clock, inner, requests_per_minute=6000, burst=64)
    await model.complete(by_key())
    clock.forward(seconds=30)
    answers = await asyncio.gather(*(model.complete(by_key()) for _ in range(100)), return_exceptions=True)
    assert sum(isinstance(answer, ChatCompletion) for answer in answers) == 64


async def test_what_was_taken_in_advance_is_back_when_the_process_ends(pool: Pool) -> None:
    clock = MovedClock()
    for _ in range(3):
        pace = Pace(
            RateLimitRepository(pool, pool), LimitSettings(requests_per_minute=160, tokens_per_minute=1600), clock=clock
        )
        model = RateLimitedModel(scripted(), pace)
        answer = await model.complete(by_key(max_tokens=100))
        await pace.aclose()
    assert answer.served is None
    async with pool.connection() as connection:
        rows = await (await connection.execute("SELECT kind, level FROM rate_buckets ORDER BY kind")).fetchall()
    assert rows == [
        {"kind": "requests", "level": pytest.approx(157)},
        {"kind": "tokens", "level": pytest.approx(1600 - 3 * USED)},
    ]


class Buckets(RateLimitRepository):
    """Buckets in a database that answers when the test lets it, or not at all."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool, pool)
        self.away = False
        self.asked = asyncio.Event()
        self.free = asyncio.Event()
        self.free.set()

    async def take(self, draws: Sequence[Draw], now: datetime) -> dict[tuple[str, str], float]:
        if self.away:
            raise Unavailable("The database does not answer.")
        return await super().take(draws, now)

    async def correct(self, draws: Sequence[Draw], now: datetime) -> dict[tuple[str, str], float]:
        self.asked.set()
        await self.free.wait()
        return await super().correct(draws, now)


REQUESTS_AND_TOKENS = [Draw("one", "requests", 640, 0, 1), Draw("one", "tokens", 6400, 0, 10)]


async def levels(pool: Pool) -> list[float]:
    """Of the requests and the tokens in the buckets."""
    async with pool.connection() as connection:
        rows = await (await connection.execute("SELECT level FROM rate_buckets ORDER BY kind")).fetchall()
    return [float(str(row["level"])) for row in rows]


async def test_what_goes_back_while_the_process_ends_is_back(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_shares, "SECONDS", 0.0)
    rows = Buckets(pool)
    shares = Shares(rows, clock=MovedClock())
    rows.free.clear()
    assert (await shares.take(REQUESTS_AND_TOKENS))[0]
    await rows.asked.wait()
    ending = asyncio.create_task(shares.aclose())
    await asyncio.sleep(0)
    rows.free.set()
    await ending
    assert await levels(pool) == [pytest.approx(639), pytest.approx(6390)]


async def test_a_request_that_the_database_can_not_count_takes_nothing_of_what_is_here(pool: Pool) -> None:
    rows = Buckets(pool)
    shares = Shares(rows, clock=MovedClock())
    assert (await shares.take(REQUESTS_AND_TOKENS))[0]
    rows.away = True
    large = [REQUESTS_AND_TOKENS[0], Draw("one", "tokens", 6400, 0, 3000)]
    for _ in range(3):
        with pytest.raises(Unavailable):
            await shares.take(large)
    await shares.aclose()
    assert await levels(pool) == [pytest.approx(639), pytest.approx(6390)]


async def test_who_waits_for_another_s_share_and_is_cancelled_loses_nothing_of_it(pool: Pool) -> None:
    clock, inner = MovedClock(), scripted()
    pace = Pace(RateLimitRepository(pool, pool), LimitSettings(requests_per_minute=64), clock=clock)
    model = RateLimitedModel(inner, pace)
    asking = [asyncio.ensure_future(model.complete(by_key())) for _ in range(10)]
    await asyncio.sleep(0)
    for one in asking[1::2]:
        one.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    await pace.aclose()
    answers = await asyncio.gather(*(model.complete(by_key()) for _ in range(100)), return_exceptions=True)
    assert inner.calls <= 64
    assert sum(isinstance(answer, ChatCompletion) for answer in answers) >= 64 - 10


async def test_tokens_are_taken_by_an_estimate_and_corrected_by_what_was_used(pool: Pool) -> None:
    clock = MovedClock()
    model = paced(pool, clock, tokens_per_minute=600)
    for _ in range(3):  # of each estimate, what was not used came back
        answer = await model.complete(by_key(max_tokens=400))
    assert answer.served is not None
    assert answer.served.rate is not None
    assert answer.served.rate.tokens is not None
    assert answer.served.rate.tokens.limit == 600
    assert 0 < answer.served.rate.tokens.remaining < 200 - 2 * USED


async def test_who_used_more_than_was_thought_waits_longer(pool: Pool) -> None:
    clock = MovedClock()
    talkative = ScriptedModel([ScriptedAnswer("word " * 900, repeat=True)])
    model = paced(pool, clock, talkative, tokens_per_minute=600)
    await model.complete(by_key())
    with pytest.raises(RateLimited, match="600 tokens a minute") as refused:
        await model.complete(by_key())
    assert refused.value.retry_after is not None
    assert 30 < refused.value.retry_after < 60
    clock.forward(seconds=refused.value.retry_after)
    await model.complete(by_key())


async def test_a_request_for_more_than_a_minute_s_tokens_passes_when_the_bucket_is_full(pool: Pool) -> None:
    clock = MovedClock()
    model = paced(pool, clock, tokens_per_minute=100)
    await model.complete(by_key(max_tokens=5000))
    with pytest.raises(RateLimited):
        await model.complete(by_key(max_tokens=5000))


async def test_a_failed_request_takes_no_tokens(pool: Pool) -> None:
    clock = MovedClock()
    failing = ScriptedModel([ScriptedAnswer(error=Unavailable("Gone.")), ScriptedAnswer(error=Unavailable("Gone."))])
    model = paced(pool, clock, failing, tokens_per_minute=100)
    with pytest.raises(Unavailable):
        await model.complete(by_key(max_tokens=100))
    with pytest.raises(Unavailable):
        async for _ in model.stream(by_key(max_tokens=100)):
            pass


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_that_is_refused_takes_the_tokens_that_it_may_have_used(pool: Pool, streamed: bool) -> None:
    refused = ContentRefused("A guardrail does not let it pass.")
    refused.served = Served("acme", "own", "v1")

    class Refused(ScriptedModel):
        async def stream(self, request: ModelRequest) -> AsyncGenerator[ChatChunk, None]:
            raise refused
            yield

    model = paced(pool, MovedClock(), Refused([ScriptedAnswer(error=refused)]), tokens_per_minute=100)
    with pytest.raises(ContentRefused):
        await (anext(model.stream(by_key(max_tokens=100))) if streamed else model.complete(by_key(max_tokens=100)))
    with pytest.raises(RateLimited):
        await model.complete(by_key(max_tokens=100))


async def test_a_stream_says_how_its_asker_stands_and_is_corrected_at_its_end(pool: Pool) -> None:
    clock = MovedClock()
    model = paced(pool, clock, tokens_per_minute=600, requests_per_minute=5)
    for _ in range(3):
        chunks = [chunk async for chunk in model.stream(by_key(max_tokens=400))]
    first = chunks[0].served
    assert first is not None
    assert first.rate is not None
    assert first.rate.requests is not None
    assert (first.rate.requests.limit, first.rate.requests.remaining) == (5, 2)
    assert first.rate.requests.reset_seconds == pytest.approx(36.0)
    async with aclosing(model.stream(by_key(max_tokens=400))) as left:
        await anext(left)
    with pytest.raises(RateLimited):  # nobody knows what it used, so it counts as long as it might have been
        await model.complete(by_key(max_tokens=400))


async def test_nobody_is_limited_by_default_and_no_bucket_is_made(pool: Pool) -> None:
    model = paced(pool, MovedClock())
    for _ in range(20):
        answer = await model.complete(by_key())
    assert answer.served is not None
    assert answer.served.rate is None
    async with pool.connection() as connection:
        assert await (await connection.execute("SELECT FROM rate_buckets")).fetchone() is None


async def test_limits_are_not_asked_of_the_database_again_within_a_second(pool: Pool, database_url: str) -> None:
    async with make_pool(database_url, size=1) as other:
        model = paced(other, MovedClock())
        await model.complete(by_key())
    await model.complete(by_key())  # its pool is closed


async def test_a_limit_of_ones_own_comes_in_the_place_of_the_setting_and_that_of_all_besides(pool: Pool) -> None:
    await put_limit(pool, LimitScope.KEY, KEY, requests_per_minute=3)
    await put_limit(pool, LimitScope.ALL, "", requests_per_minute=4)
    model = paced(pool, MovedClock(), requests_per_minute=1)
    for _ in range(3):
        await model.complete(by_key())
    with pytest.raises(RateLimited, match="of this key, 3 requests"):
        await model.complete(by_key())
    await model.complete(asked("own", key_id=new_id()))
    with pytest.raises(RateLimited, match="of everyone together, 4 requests"):
        await model.complete(asked("own", key_id=new_id()))


async def test_a_person_s_limit_counts_all_of_their_keys_and_a_rotated_key_keeps_its_own(pool: Pool) -> None:
    accounts = make_accounts(pool, MovedClock())
    an = await person(accounts, "An")
    keys = [(await accounts.keys.create(Wanted(name, owner_id=an.id), COMMAND)).key for name in ("a", "b")]
    rotated = (await accounts.keys.rotate(keys[0].id, grace=timedelta(days=1), actor=COMMAND)).key
    await put_limit(pool, LimitScope.USER, an.id, requests_per_minute=3)
    model = paced(pool, MovedClock(), requests_per_minute=2)
    await model.complete(asked("own", user_id=an.id, key_id=keys[0].id))
    await model.complete(asked("own", user_id=an.id, key_id=rotated.id))
    with pytest.raises(RateLimited, match="of this key"):
        await model.complete(asked("own", user_id=an.id, key_id=rotated.id))
    await model.complete(asked("own", user_id=an.id, key_id=keys[1].id))
    with pytest.raises(RateLimited, match="of this person"):
        await model.complete(asked("own", user_id=an.id, key_id=keys[1].id))


async def test_a_refused_request_leaves_a_row_and_costs_nothing(pool: Pool) -> None:
    seen: list[Inference] = []
    model = RecordedModel(
        paced(pool, MovedClock(), requests_per_minute=1),
        InferenceRepository(pool),
        clock=MovedClock(),
        texts=TextPolicy(7.0),
        observe=seen.append,
    )
    await model.complete(asked("own", user_id=KEY))
    with pytest.raises(RateLimited):
        await model.complete(asked("own", user_id=KEY))
    assert [(one.status, one.error_code, one.cost_usd) for one in seen] == [
        ("ok", None, 0.0),
        ("error", "rate_limit_exceeded", 0.0),
    ]


async def test_embeddings_count_as_answers_do(pool: Pool) -> None:
    context = InferenceContext(new_id(), by_key().context.deployment, "0" * 32, key_id=KEY)  # type: ignore[union-attr]
    pace = Pace(RateLimitRepository(pool, pool), LimitSettings(tokens_per_minute=100), clock=MovedClock())
    embedder = RateLimitedEmbedder(ScriptedEmbedder(), pace)
    request = EmbeddingRequest("own", ["word " * 90], context=context)
    await embedder.embed(request)
    with pytest.raises(RateLimited, match="tokens a minute"):
        await embedder.embed(request)


async def test_buckets_that_are_full_again_are_forgotten(pool: Pool) -> None:
    clock = MovedClock()
    await paced(pool, clock, requests_per_minute=1).complete(by_key())
    rows = RateLimitRepository(pool, pool)
    assert await rows.forget_buckets(clock()) == 0
    clock.forward(hours=1)
    assert await rows.forget_buckets(clock()) == 1
