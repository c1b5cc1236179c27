"""Who is let into a child: as many as it has slots, by priority, and of one adapter at a time.

What a child has not begun waits here and not in the child, whose own queue knows no priority.

- Of those who wait, the better `Priority` goes first, and within one who came first.
- Nobody waits for ever: after each `AGING_SECONDS` a request counts as of the next better priority.
- llama-server decodes only requests of one adapter together, and goes on with the one in its lowest busy slot: under
  constant requests for that one, a request for another adapter would be let in and never decoded. So requests for one
  adapter, or for the plain base, are in the child at a time.
- A place is given back when the answer is read, or after `PLACE_SECONDS`: a client that reads slowly must not hold a
  slot in which nothing is decoded any more, nor keep another adapter out. Whoever is let in then may wait in the
  child.

Processes that share a child keep this order each for itself.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tidemill.core.context import Priority

TURN_SECONDS = 1.0
"""For so long the adapter whose turn it is takes further requests while an equal one of another waits."""
AGING_SECONDS = 30.0
PLACE_SECONDS = 60.0


@dataclass(slots=True, eq=False)
class _Waiter:
    adapter: str | None
    priority: Priority
    since: float
    number: int
    let_in: asyncio.Event = field(default_factory=asyncio.Event)


class Turns:
    """Lets in the requests of one adapter at a time, and of the next one when they are answered.

    Args:
        slots: requests that the child decodes at once.
        now: a monotonic clock, in seconds.
    """

    def __init__(self, slots: int, now: Callable[[], float] = time.monotonic) -> None:
        self._slots = slots
        self._now = now
        self._current: str | None = None
        self._inside: dict[_Waiter, float] = {}
        self._waiting: list[_Waiter] = []
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def turn(self, adapter: str | None, priority: Priority = Priority.INTERACTIVE) -> AsyncIterator[None]:
        """Waits for a place and the adapter's turn, and keeps both until the block ends. `None` is the plain base."""
        self._count += 1
        waiter = _Waiter(adapter, priority, self._now(), self._count)
        self._waiting.append(waiter)
        self._let_in()
        try:
            await waiter.let_in.wait()
            yield
        finally:
            if waiter.let_in.is_set():
                del self._inside[waiter]
            else:
                self._waiting.remove(waiter)
            self._let_in()

    def _let_in(self) -> None:
        """Lets in whoever may be. A turn that begins takes along all of its adapter that wait, as far as they fit."""
        now = self._now()
        patience = TURN_SECONDS
        if not self._taken(now) and self._waiting:
            self._current = min(self._waiting, key=lambda one: self._rank(one, now)).adapter
            patience = math.inf
        own = [one for one in self._waiting if one.adapter == self._current]
        for one in sorted(own, key=lambda one: self._rank(one, now)):
            if self._free(now) and not self._held_back(one, now, patience):
                self._enter(one, now)
        self._look_again(now)

    def _held_back(self, one: _Waiter, now: float, patience: float) -> bool:
        """Whether a request for another adapter keeps this one out, so that the turn passes on."""
        level = self._level(one, now)
        for other in self._waiting:
            if other.adapter != self._current:
                earlier = other.number < one.number and now - other.since >= patience
                if self._level(other, now) < level or (self._level(other, now) == level and earlier):
                    return True
        return False

    def _enter(self, one: _Waiter, now: float) -> None:
        self._waiting.remove(one)
        self._inside[one] = now
        one.let_in.set()

    def _free(self, now: float) -> bool:
        return self._taken(now) < self._slots

    def _taken(self, now: float) -> int:
        return sum(now - begun < PLACE_SECONDS for begun in self._inside.values())

    def _rank(self, one: _Waiter, now: float) -> tuple[int, int]:
        return self._level(one, now), one.number

    def _level(self, one: _Waiter, now: float) -> int:
        return max(0, one.priority - int((now - one.since) / AGING_SECONDS))

    def _look_again(self, now: float) -> None:
        """Has a look when the next place is no longer counted, where somebody waits for it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        ends = [begun + PLACE_SECONDS for begun in self._inside.values() if now - begun < PLACE_SECONDS]
        if self._waiting and ends:
            self._timer = asyncio.get_running_loop().call_later(max(0.01, min(ends) - now), self._let_in)
