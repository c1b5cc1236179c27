"""The tiers of kept answers together: memory, then the database or Redis, then files; a hit goes up to memory."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from tidemill.core.clock import Clock
from tidemill.core.errors import TidemillError
from tidemill.llm.cache.memory import Entry, MemoryTier
from tidemill.llm.cache.redis_tier import RedisTier
from tidemill.settings import CacheSettings
from tidemill.store.answer_cache import AnswerCacheRepository, KeptAnswer, Meaning, StoredAnswer
from tidemill.telemetry.logs import log_event

log = logging.getLogger(__name__)

MOST_WRITES = 128
"""Answers that are being written at a time; who brings another one waits."""
NONE = "none"


class Observe(Protocol):
    """Is told of every look into the cache; the metrics are one."""

    def __call__(self, *, tier: str, hit: bool) -> None:
        """Called with the tier that had the answer: `l1`, `l2`, `l3`, `redis`, `semantic`, `flight`; else `none`."""
        ...


@dataclass(frozen=True, slots=True)
class Found:
    """A kept answer, still encoded, and the tier that had it."""

    value: bytes
    tier: str


@dataclass(frozen=True, slots=True)
class CacheStatus:
    """What each tier holds, and how often each had an answer since the process started. `redis` is up, down or None."""

    l1_entries: int
    l1_bytes: int
    l2_entries: int
    l2_bytes: int
    l3_entries: int
    l3_bytes: int
    redis: str | None
    hits: dict[str, int]
    misses: int

    @property
    def hit_rate(self) -> float | None:
        """The share of looks that found something; `None` before the first."""
        hits = sum(self.hits.values())
        return hits / (hits + self.misses) if hits + self.misses else None


class Answers:
    """Kept answers of all tiers.

    Args:
        rows: the database's tier, and the files'.
        redis: takes the place of the database for what is no file.
        settings: how much and how long.
        hours: the longest that anything is kept.
        clock: gives the time.
        observe: is told of every look.
    """

    def __init__(
        self,
        rows: AnswerCacheRepository,
        redis: RedisTier | None,
        settings: CacheSettings,
        *,
        hours: float,
        clock: Clock,
        observe: Observe,
    ) -> None:
        self._rows = rows
        self._redis = redis
        self._settings = settings
        self._longest = timedelta(hours=hours)
        self._clock = clock
        self._observe = observe
        self._memory = MemoryTier(settings.memory_bytes)
        self._writes: dict[bytes, asyncio.Task[None]] = {}
        self._seen: Counter[str] = Counter()

    def look(self, key: bytes) -> Found | None:
        """What is in memory."""
        entry = self._memory.get(key, self._clock())
        return None if entry is None else Found(entry.value, "l1")

    async def find(self, key: bytes) -> Found | None:
        """What is in a tier below memory; it is in memory from then on.

        Raises:
            Unavailable: the database does not answer.
        """
        now = self._clock()
        if self._redis is not None and (entry := await self._redis.get(key, now)) is not None:
            self._remember(key, entry)
            return Found(entry.value, "redis")
        stored = await self._rows.find(key, now)
        if stored is None:
            return None
        self._remember(key, Entry(stored.value, stored.owner_id, stored.expires_at))
        return Found(stored.value, _tier(stored))

    async def find_like(self, meaning: Meaning, threshold: float) -> Found | None:
        """The answer to a question of the same meaning. It does not go up: each time is said to be such a one."""
        stored = await self._rows.nearest(meaning, self._clock(), at_least=threshold)
        return None if stored is None else Found(stored.value, "semantic")

    async def keep(self, answer: KeptAnswer, storable: Callable[[], Awaitable[bool]]) -> None:
        """Keeps an answer in memory at once, and below it where `storable` says that its texts may be stored.

        That is done meanwhile; what fails there is logged, since the answer itself is there.
        """
        now = self._clock()
        _log(answer.key, "set")
        self._remember(answer.key, Entry(answer.value, answer.owner_id, now + self._longest))
        while len(self._writes) >= MOST_WRITES:
            await asyncio.wait(self._writes.values(), return_when=asyncio.FIRST_COMPLETED)
        while (before := self._writes.get(answer.key)) is not None:  # the later answer is the one that stays
            await asyncio.wait([before])
        task = asyncio.create_task(self._write(answer, storable, now))
        self._writes[answer.key] = task
        task.add_done_callback(lambda done: self._writes.pop(answer.key))

    def count(self, key: bytes, tier: str | None) -> None:
        """Notes a look for a key, and the tier that had the answer where one had."""
        self._seen[tier or NONE] += 1
        _log(key, "get", cache_hit=tier is not None, tier=tier)
        self._observe(tier=tier or NONE, hit=tier is not None)

    async def written(self) -> None:
        """Returns when what is being written now is written; what begins meanwhile is not waited for."""
        if self._writes:
            await asyncio.wait(list(self._writes.values()))

    async def erase(self, owners: Collection[UUID]) -> int:
        """Deletes what these owners asked first, from every tier below the memory of other processes.

        Raises:
            Unavailable: the database or Redis does not answer; it may not be deleted there yet.
        """
        await self.written()
        self._memory.erase(owners)
        deleted = await self._rows.erase(owners)
        return deleted + (await self._redis.erase(owners) if self._redis is not None else 0)

    async def clear(self) -> int:
        """Deletes everything; returns how many answers the tiers below memory held. Raises as `erase` does."""
        await self.written()
        self._memory.clear()
        deleted = await self._rows.clear()
        return deleted + (await self._redis.clear() if self._redis is not None else 0)

    async def tend(self) -> None:
        """Keeps every tier within its bounds."""
        now = self._clock()
        self._memory.forget(now)
        await self._rows.fit(now, row_bytes=self._settings.shared_bytes, file_bytes=self._settings.file_bytes)

    async def status(self) -> CacheStatus:
        """How the tiers stand."""
        rows, files = await self._rows.amounts()
        return CacheStatus(
            l1_entries=len(self._memory),
            l1_bytes=self._memory.bytes,
            l2_entries=rows.entries,
            l2_bytes=rows.bytes,
            l3_entries=files.entries,
            l3_bytes=files.bytes,
            redis=None if self._redis is None else "down" if self._redis.down else "up",
            hits={tier: count for tier, count in self._seen.items() if tier != NONE},
            misses=self._seen[NONE],
        )

    async def aclose(self) -> None:
        """Waits for what is being written, and closes the connections to Redis."""
        while self._writes:
            await self.written()
        if self._redis is not None:
            await self._redis.aclose()

    def _remember(self, key: bytes, entry: Entry) -> None:
        end = self._end(self._settings.memory_seconds)
        if end > self._clock():
            self._memory.put(key, replace(entry, expires_at=min(entry.expires_at, end)))

    def _end(self, seconds: float) -> datetime:
        return self._clock() + min(timedelta(seconds=seconds), self._longest)

    async def _write(self, answer: KeptAnswer, storable: Callable[[], Awaitable[bool]], now: datetime) -> None:
        try:
            if not await storable():
                return
            large = self._rows.is_large(answer.value)
            end = self._end(self._settings.file_seconds if large else self._settings.shared_seconds)
            if end <= now:
                return
            if self._redis is not None and not large:
                await self._redis.put(answer.key, Entry(answer.value, answer.owner_id, end), now)
            if self._redis is None or large or answer.meaning is not None:
                await self._rows.put(answer, now, end)
        except TidemillError as error:
            log.warning("An answer is kept in memory alone: %s", error.message)


def _tier(stored: StoredAnswer) -> str:
    return "l3" if stored.in_file else "l2"


def _log(key: bytes, operation: str, **fields: object) -> None:
    log_event(log, logging.DEBUG, "cache_operation", operation=operation, key_hash=key[:8].hex(), **fields)
