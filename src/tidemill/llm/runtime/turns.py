"""Turns between a child's adapters.

llama-server decodes only requests of one adapter together, and goes on with the one in its lowest busy slot: under
constant requests for that one, a request for another adapter would be let in and never decoded. So requests for one
adapter, or for the plain base, are in the child at a time, and the others follow in the order in which they came.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

TURN_SECONDS = 1.0
"""For so long the adapter whose turn it is takes further requests while another waits, so that slots are filled."""


@dataclass(slots=True, eq=False)
class _Waiter:
    adapter: str | None
    since: float
    let_in: asyncio.Event = field(default_factory=asyncio.Event)


class Turns:
    """Lets in the requests of one adapter at a time, and of the next one when they are answered."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._current: str | None = None
        self._running = 0
        self._waiting: deque[_Waiter] = deque()

    @asynccontextmanager
    async def turn(self, adapter: str | None) -> AsyncIterator[None]:
        """Waits for the adapter's turn, and keeps it until the block ends. `None` is the plain base."""
        if not self._may_enter(adapter):
            await self._wait(adapter)
        else:
            self._current = adapter
            self._running += 1
        try:
            yield
        finally:
            self._end()

    def _may_enter(self, adapter: str | None) -> bool:
        if not self._running:
            return not self._waiting
        fresh = not self._waiting or self._now() - self._waiting[0].since < TURN_SECONDS
        return adapter == self._current and fresh

    async def _wait(self, adapter: str | None) -> None:
        waiter = _Waiter(adapter, self._now())
        self._waiting.append(waiter)
        try:
            await waiter.let_in.wait()
        except asyncio.CancelledError:
            if waiter.let_in.is_set():
                self._end()
            else:
                self._waiting.remove(waiter)
            raise

    def _end(self) -> None:
        self._running -= 1
        if self._running or not self._waiting:
            return
        self._current = self._waiting[0].adapter
        let_in = [one for one in self._waiting if one.adapter == self._current]
        self._waiting = deque(one for one in self._waiting if one.adapter != self._current)
        self._running = len(let_in)
        for one in let_in:
            one.let_in.set()
