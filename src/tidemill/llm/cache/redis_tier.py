"""Kept answers in a Redis, with an index of whose they are, so that an erasure finds them there.

A key `tidemill:answer:HEX` holds the end (milliseconds since 1970, 8 bytes), the owner (16 bytes, zeros for none) and
the answer. `tidemill:answers-of:OWNER` is a sorted set of an owner's keys by their end.
"""

import logging
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from tidemill.core.errors import Unavailable
from tidemill.llm.cache.memory import Entry

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = logging.getLogger(__name__)

ANSWER = "tidemill:answer:"
OWNER = "tidemill:answers-of:"
HEAD = 24
NOBODY = bytes(16)
TIMEOUT_SECONDS = 0.5
PAUSE_SECONDS = 5.0
"""After a failure Redis is left alone for so long, so that requests do not wait for it one by one."""
PAGE = 500


class RedisTier:
    """Answers in Redis. Where it does not answer, reading finds nothing and writing does nothing, and the log says so.

    Erasing and clearing do not go on like that: they raise `Unavailable`.

    Args:
        url: as `redis-py` takes it; it may hold a password, and is never logged.
        timer: seconds, for the pause after a failure.
    """

    def __init__(self, url: str, *, timer: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._timer = timer
        self._client: Redis | None = None
        self._paused_until = 0.0
        self._down = False

    @property
    def down(self) -> bool:
        """Whether it did not answer the last time."""
        return self._down

    async def get(self, key: bytes, now: datetime) -> Entry | None:
        """The entry, where its time is not over."""
        if self._timer() < self._paused_until:
            return None
        try:
            async with self._asking() as client:
                data = await client.get(f"{ANSWER}{key.hex()}")
        except Unavailable:
            return None
        if not isinstance(data, bytes) or len(data) < HEAD:
            return None
        expires_at = datetime.fromtimestamp(int.from_bytes(data[:8]) / 1000, UTC)
        if expires_at <= now:
            return None
        owner = data[8:HEAD]
        return Entry(data[HEAD:], UUID(bytes=owner) if owner != NOBODY else None, expires_at)

    async def put(self, key: bytes, entry: Entry, now: datetime) -> None:
        """Keeps an entry until its end."""
        if self._timer() < self._paused_until:
            return
        end = int(entry.expires_at.timestamp() * 1000)
        left = end - int(now.timestamp() * 1000)
        if left <= 0:
            return
        name = f"{ANSWER}{key.hex()}"
        owner = entry.owner_id.bytes if entry.owner_id else NOBODY
        try:
            async with self._asking() as client, client.pipeline(transaction=True) as pipeline:
                if entry.owner_id is not None:
                    index = f"{OWNER}{entry.owner_id}"
                    pipeline.zremrangebyscore(index, "-inf", end - left)
                    pipeline.zadd(index, {name: end})
                    pipeline.pexpire(index, left)
                pipeline.set(name, end.to_bytes(8) + owner + entry.value, px=left)
                await pipeline.execute()
        except Unavailable:
            return

    async def erase(self, owners: Collection[UUID]) -> int:
        """Deletes what these owners asked first; returns how many there were.

        Raises:
            Unavailable: Redis does not answer; some of it may be there still.
        """
        deleted = 0
        async with self._asking() as client:
            for owner in owners:
                index = f"{OWNER}{owner}"
                names = [name for name in await client.zrange(index, 0, -1) if isinstance(name, bytes)]
                for name in names:
                    if await client.getrange(name, 8, HEAD - 1) == owner.bytes:
                        deleted += int(await client.delete(name))
                await client.delete(index)
        return deleted

    async def clear(self) -> int:
        """Deletes every kept answer, and nothing else; returns how many there were. Raises as `erase` does."""
        deleted = 0
        async with self._asking() as client:
            for pattern, counted in ((f"{ANSWER}*", True), (f"{OWNER}*", False)):
                names = [name async for name in client.scan_iter(match=pattern, count=PAGE)]
                for start in range(0, len(names), PAGE):
                    gone = int(await client.delete(*names[start : start + PAGE]))
                    deleted += gone if counted else 0
        return deleted

    async def aclose(self) -> None:
        """Closes its connections."""
        if self._client is not None:
            await self._client.aclose()

    @asynccontextmanager
    async def _asking(self) -> "AsyncIterator[Redis]":
        """The client for the block; a change between up and down is logged once."""
        from redis.asyncio import Redis  # noqa: PLC0415 - heavy, and needed only where a Redis is configured
        from redis.exceptions import RedisError  # noqa: PLC0415

        if self._client is None:
            self._client = Redis.from_url(
                self._url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS
            )
        try:
            yield self._client
        except (RedisError, OSError) as error:
            self._paused_until = self._timer() + PAUSE_SECONDS
            if not self._down:
                log.warning(
                    "Redis does not answer (%s). Answers are neither read from it nor kept there until it does; "
                    "start it, or correct `cache.redis_url`.",
                    type(error).__name__,
                )
            self._down = True
            raise Unavailable(
                "Redis, which holds kept answers, does not answer. Start it, or correct `cache.redis_url`, then try "
                "again."
            ) from error
        if self._down:
            log.info("Redis answers again.")
            self._down = False
