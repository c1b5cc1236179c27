"""What nobody waits for: it is written a moment later, together with whatever else has come until then."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from contextvars import Context
from typing import Generic, TypeVar

SECONDS = 0.1

T = TypeVar("T")


class Deferred(Generic[T]):
    """Hands items to `write` in groups, in the order in which they came.

    Args:
        write: writes a group. It says itself what became of one that can't be written.
        most: the most items that wait; whoever brings more waits until those are written.
        seconds: how long a group is waited for.
    """

    def __init__(self, write: Callable[[Sequence[T]], Awaitable[None]], *, most: int, seconds: float = SECONDS) -> None:
        self._write = write
        self._most = most
        self._seconds = seconds
        self._waiting: list[T] = []
        self._hurry = asyncio.Event()
        self._last: asyncio.Task[None] | None = None

    async def add(self, item: T) -> None:
        """Takes an item, also where the caller is cancelled in here. Returns at once where there is room."""
        self._waiting.append(item)
        if len(self._waiting) == 1:
            self._last = asyncio.create_task(self._write_next(self._last), context=Context())  # for no one request
        if len(self._waiting) > self._most:
            await self.written()

    async def written(self) -> bool:
        """Has everything written that was brought by now, and returns then; whether there was anything.

        What others bring meanwhile is not waited for: under load there is always something.
        """
        if self._last is None or self._last.done():
            return False
        self._hurry.set()
        await asyncio.shield(self._last)
        return True

    async def _write_next(self, before: asyncio.Task[None] | None) -> None:
        """One group, after the one before it, whatever became of that."""
        if before is not None:
            await asyncio.wait({before})
        with suppress(TimeoutError):
            async with asyncio.timeout(self._seconds):
                await self._hurry.wait()
        self._hurry.clear()
        group, self._waiting = self._waiting, []
        await self._write(group)
