"""Asking a model for whoever does not wait: with patience, under the maker's rights of now, until told to stop."""

import asyncio
import itertools
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from uuid import UUID

from tidemill.core.accounts import Caller, Right
from tidemill.core.classification import Level
from tidemill.core.context import Asker, Priority
from tidemill.core.errors import TidemillError
from tidemill.core.generation import Maker

T = TypeVar("T")

PAUSES = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Seconds before a new try at what may pass by itself; the last one again and again."""
LONGEST_PAUSE = 300.0
"""Seconds; what asks for a longer rest is tried again nevertheless."""
ANSWER_SECONDS = 3600.0
"""For one try, waiting for a slot included: a batch may stand behind people for longer than they would wait."""
LOOK_SECONDS = 0.5
"""Between two looks at whether the work is still wanted."""
UNEXPECTED = TidemillError("Tidemill failed at this request. The hub's log says why.")

log = logging.getLogger(__name__)


class Answers(Protocol):
    """Answers a request's body as the HTTP route of its endpoint does."""

    async def check(self, endpoint: str, body: bytes) -> None:
        """Goes on with a body that can be used there, and raises `InvalidInput` or `TooLarge` for any other."""
        ...

    async def answer(self, endpoint: str, body: bytes, asker: Asker) -> bytes:
        """The JSON of the whole answer; raises what the route would answer."""
        ...

    def refusal(self, error: TidemillError) -> bytes:
        """The JSON that the route would answer for an error."""
        ...


class Makers(Protocol):
    """Says who made something earlier is now."""

    async def caller(self, *, key_id: UUID | None, user_id: UUID | None) -> Caller:
        """What the maker may do now, or `NotAuthenticated`."""
        ...


@dataclass(frozen=True, slots=True)
class Standing:
    """A maker as of now: what is asked runs under this."""

    maker: Maker
    key_id: UUID | None
    level: Level

    def asker(self, job: str, priority: Priority) -> Asker:
        """Who asks for one request of the maker's; `job` names the work, and is the inferences' subject."""
        return Asker(
            trace_id=self.maker.trace_id,
            key_id=self.key_id,
            owner_id=self.maker.owner_id,
            user_id=self.maker.user_id,
            request_id=self.maker.request_id,
            level=self.level,
            priority=priority,
            cache=self.maker.cache,
            deadline=time.monotonic() + ANSWER_SECONDS,
            language=self.maker.language,
            job=job,
            max_cost_usd=self.maker.max_cost_usd,
        )


async def standing_of(maker: Maker, makers: Makers) -> Standing:
    """How a maker stands now: never above what it was.

    Raises:
        NotAuthenticated: the key is revoked or has ended, or the person is disabled.
        NotPermitted: it may ask models no longer.
    """
    caller = await makers.caller(key_id=maker.key_id, user_id=maker.user_id)
    caller.require(Right.MODELS_USE)
    level = min(caller.level, maker.level, key=lambda one: one.rank)
    return Standing(maker, caller.key_id, level)


def maker_from(caller: Caller, asker: Asker) -> Maker:
    """Who asks now, and under which conditions, to be known again later."""
    return Maker(
        owner_id=caller.owner_id,
        key_id=caller.key_id,
        user_id=caller.user_id,
        level=caller.level,
        request_id=asker.request_id,
        trace_id=asker.trace_id,
        cache=asker.cache,
        language=asker.language,
        max_cost_usd=asker.max_cost_usd,
    )


class Stopped(Exception):
    """The work is no longer wanted."""


async def unless(stopped: Callable[[], Awaitable[bool]], work: Coroutine[Any, Any, T]) -> T:
    """The work's result, as long as it is wanted; else it is cancelled, which stops the decoding.

    Raises:
        Stopped: it is no longer wanted.
    """
    task = asyncio.create_task(work)
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=LOOK_SECONDS)
            if not task.done() and await stopped():
                raise Stopped
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def pauses() -> Iterator[float]:
    """Seconds before each new try, without end."""
    return itertools.chain(PAUSES, itertools.repeat(PAUSES[-1]))


async def patiently(work: Callable[[], Awaitable[T]], *, seconds: float) -> T:
    """The work's result, tried again as long as it fails in a way that may pass, for so many seconds.

    Whoever says when a new try may work (`retry_after`) is believed, within limits.

    Raises:
        TidemillError: it failed for good, or the time is over.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    for pause in pauses():
        try:
            return await work()
        except TidemillError as error:
            wait = min(max(pause, error.retry_after or 0.0), LONGEST_PAUSE)
            if not error.transient or loop.time() + wait > end:
                raise
            log.info("Tried again in %.1f s: %s", wait, error.message)
            await asyncio.sleep(wait)
    raise AssertionError("pauses have no end")


async def surely(work: Callable[[], Awaitable[T]]) -> T:
    """The work's result, tried again while the database is away, as long as that takes."""
    return await patiently(work, seconds=float("inf"))
