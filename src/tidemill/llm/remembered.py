"""What was looked up a moment ago, so that it is not asked of the database at every request."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

SECONDS = 1.0
MOST = 10_000

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """Looks a value up once in a while, and once for all that want it at the same time.

    Args:
        look_up: finds the value of a key.
        seconds: how long it is believed.
        timer: a monotonic time, in seconds.
    """

    def __init__(
        self,
        look_up: Callable[[K], Awaitable[V]],
        *,
        seconds: float = SECONDS,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look_up = look_up
        self._seconds = seconds
        self._timer = timer
        self._known: dict[K, tuple[float, V]] = {}
        self._under_way: dict[K, asyncio.Task[V]] = {}

    async def get(self, key: K) -> V:
        """The value, as old as `seconds` at most. Raises what looking it up raises."""
        known = self._known.get(key)
        if known is not None and self._timer() < known[0]:
            return known[1]
        task = self._under_way.get(key)
        if task is None:
            task = self._under_way[key] = asyncio.create_task(self._find(key))
            task.add_done_callback(_retrieved)
        return await asyncio.shield(task)

    async def _find(self, key: K) -> V:
        try:
            value = await self._look_up(key)
        finally:
            del self._under_way[key]
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[key] = (self._timer() + self._seconds, value)
        return value


def _retrieved(task: "asyncio.Task[V]") -> None:
    """Looks at how a task ended, so that nobody has to where everyone who waited is gone."""
    if not task.cancelled():
        task.exception()
