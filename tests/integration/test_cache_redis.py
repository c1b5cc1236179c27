"""Answers in a Redis: shared between processes, found by an erasure, and done without where it is down."""

import logging
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from redis.asyncio import Redis

from tests.conftest import NOON
from tests.support.caching import EMBEDDING, OWNER, Cache, CacheOf, Serving, asked, tier_of
from tests.support.redis import RedisServer, needs_redis, redis_server
from tidemill.core.deployment import Task
from tidemill.core.embedding import EmbeddingRequest, Embeddings, unit_vector
from tidemill.core.errors import Unavailable
from tidemill.llm.cache.memory import Entry
from tidemill.llm.cache.redis_tier import ANSWER, RedisTier
from tidemill.llm.scripted import ScriptedModel
from tidemill.settings import CacheSettings, SemanticCacheSettings
from tidemill.store.database import Pool

pytestmark = needs_redis
OTHER = UUID("22222222-2222-7222-8222-222222222222")


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as running:
        yield running


@pytest.fixture
async def client(server: RedisServer) -> AsyncIterator[Redis]:
    async with Redis.from_url(server.url) as opened:
        yield opened
        await opened.flushall()


class Timer:
    """A clock for the pause after a failure."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def serving() -> Serving:
    return Serving(ScriptedModel(lambda request: "tide " * (30_000 if "long" in str(request) else 1)))


@pytest.fixture
async def cache_of(pool: Pool, tmp_path: Path, server: RedisServer, serving: Serving) -> AsyncIterator[CacheOf]:
    made: list[Cache] = []

    def make(timer: Timer | None = None, url: str | None = None, **options: object) -> Cache:
        redis = RedisTier(url or server.url, timer=timer or Timer())
        made.append(Cache(serving, pool, tmp_path / "cache", redis=redis, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for cache in made:
        await cache.answers.aclose()


async def rows(pool: Pool) -> int:
    async with pool.connection() as connection:
        row = await (await connection.execute("SELECT count(*) AS n FROM answer_cache")).fetchone()
    assert row is not None
    return int(str(row["n"]))


async def test_another_process_finds_the_answer_in_redis_and_then_in_its_memory(
    cache_of: CacheOf, serving: Serving, client: Redis, pool: Pool
) -> None:
    one, other = cache_of(), cache_of()
    await one.model.complete(asked())
    await one.answers.written()
    assert tier_of(await other.model.complete(asked())) == "redis"
    assert tier_of(await other.model.complete(asked())) == "l1"
    assert (serving.asked, await rows(pool), (await other.answers.status()).redis) == (1, 0, "up")
    [name] = [name async for name in client.scan_iter(match=f"{ANSWER}*")]
    assert 0 < await client.pttl(name) <= 3_600_000


async def test_a_large_answer_is_a_file_with_a_row_all_the_same(cache_of: CacheOf, client: Redis, pool: Pool) -> None:
    one, other = cache_of(), cache_of()
    await one.model.complete(asked("long"))
    await one.answers.written()
    assert tier_of(await other.model.complete(asked("long"))) == "l3"
    assert (await rows(pool), await client.dbsize()) == (1, 0)


async def test_its_time_is_over_by_the_hubs_clock_too(cache_of: CacheOf, client: Redis) -> None:
    one, other = cache_of(), cache_of()
    await one.model.complete(asked())
    await one.answers.written()
    other.now = NOON + timedelta(seconds=3601)
    assert tier_of(await other.model.complete(asked())) is None


async def test_an_erasure_finds_a_persons_answers_in_redis_and_leaves_anothers(
    cache_of: CacheOf, client: Redis
) -> None:
    cache = cache_of()
    for text, owner in (("one", OWNER), ("two", OWNER), ("three", OTHER), ("four", None)):
        await cache.model.complete(asked(text, owner_id=owner))
    assert await cache.answers.erase([OWNER]) == 2
    left = cache_of()
    tiers = [tier_of(await left.model.complete(asked(text, owner_id=OTHER))) for text in ("one", "three", "four")]
    assert tiers == [None, "redis", "redis"]


async def test_the_index_of_a_person_forgets_what_redis_has_forgotten(client: Redis, server: RedisServer) -> None:
    tier = RedisTier(server.url)
    now = datetime.now(UTC)
    await tier.put(b"a" * 32, Entry(b"x", OWNER, now + timedelta(seconds=1)), now)
    later = now + timedelta(seconds=2)
    await tier.put(b"b" * 32, Entry(b"x", OWNER, later + timedelta(hours=1)), later)
    assert await client.zcard(f"tidemill:answers-of:{OWNER}") == 1
    await tier.aclose()


async def test_clearing_leaves_other_keys_of_that_redis_alone(cache_of: CacheOf, client: Redis) -> None:
    await client.set("someone:else", "1")
    cache = cache_of()
    await cache.model.complete(asked())
    await cache.answers.written()
    assert await cache.answers.clear() == 1
    assert [name async for name in client.scan_iter()] == [b"someone:else"]


async def test_a_redis_that_is_down_costs_nobody_an_answer_and_the_log_says_so_once(
    cache_of: CacheOf, serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    timer = Timer()
    with redis_server() as own:
        cache = cache_of(timer, own.url)
        await cache.model.complete(asked("one"))
        await cache.answers.written()
        own.stop()
        for _ in range(3):
            timer.seconds += 10
            assert tier_of(await cache.model.complete(asked(f"two at {timer.seconds}"))) is None
            await cache.answers.written()
        assert tier_of(await cache.model.complete(asked("one"))) == "l1"
        assert (await cache.answers.status()).redis == "down"
        [warning] = [record.message for record in caplog.records if record.levelno == logging.WARNING]
        assert "Redis does not answer" in warning
        assert "redis.sock" not in warning
        with pytest.raises(Unavailable, match="Redis, which holds kept answers"):
            await cache.answers.erase([OWNER])
        own.start()
        timer.seconds += 10
        await cache.model.complete(asked("three"))
        await cache.answers.written()
        assert tier_of(await cache_of(Timer(), own.url).model.complete(asked("three"))) == "redis"
        assert [record.message for record in caplog.records if "answers again" in record.message]


async def test_after_a_failure_redis_is_left_alone_for_a_while(cache_of: CacheOf) -> None:
    timer = Timer()
    with redis_server() as own:
        own.stop()
        cache = cache_of(timer, own.url)
        await cache.model.complete(asked("one"))
        own.start()
        await cache.model.complete(asked("two"))
        await cache.answers.written()
        assert (await cache.answers.status()).redis == "down"
        timer.seconds = 6.0
        await cache.model.complete(asked("three"))
        assert (await cache.answers.status()).redis == "up"


class Near:
    """Embeds every text as one and the same vector."""

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        return Embeddings([unit_vector([1.0, 2.0, 3.0], EMBEDDING.model)], [3])


async def test_the_semantic_tier_works_beside_redis(cache_of: CacheOf, serving: Serving, client: Redis) -> None:
    settings = CacheSettings(semantic=SemanticCacheSettings(tasks=[Task.CHAT]))
    one, other = cache_of(settings=settings, embedder=Near()), cache_of(settings=settings, embedder=Near())
    await one.model.complete(asked("What turns the mill?"))
    await one.answers.written()
    assert tier_of(await other.model.complete(asked("What makes the mill turn?"))) == "semantic"
    assert tier_of(await other.model.complete(asked("What turns the mill?"))) == "redis"
