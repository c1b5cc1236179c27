"""What nobody waits for: it is written a moment later, together with whatever else has come until then."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
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
        self._writer: asyncio.Task[None] | None = None

    async def add(self, item: T) -> None:
        """Takes an item, also where the caller is cancelled in here. Returns at once where there is room."""
        self._waiting.append(item)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_all())
        if len(self._waiting) > self._most:
            await self.written()

    async def written(self) -> bool:
        """Has everything written that was brought by now, and returns then; whether there was anything."""
        if self._writer is None or self._writer.done():
            return False
        self._hurry.set()
        await asyncio.shield(self._writer)
        return True

    async def _write_all(self) -> None:
        while self._waiting:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._seconds):
                    await self._hurry.wait()
            group, self._waiting = self._waiting, []
            await self._write(group)
        self._hurry.clear()
