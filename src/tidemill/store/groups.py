"""Writing in groups: whatever arrives while one group is being committed makes up the next.

Under load one commit serves many, and each still returns only after its own part is committed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import psycopg

T = TypeVar("T")
R = TypeVar("R")


class Grouped(Generic[T, R]):
    """Hands items to `write` in the order in which they came, one group at a time.

    Args:
        write: commits a group, and gives a result for each item of it, or fails as a whole.
        most: the most items of one group.
        seconds: how long a group is waited for, where nobody minds.
    """

    def __init__(
        self, write: Callable[[Sequence[T]], Awaitable[Sequence[R]]], *, most: int = 100, seconds: float = 0.0
    ) -> None:
        self._write = write
        self._most = most
        self._seconds = seconds
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def add(self, item: T) -> R:
        """The result of one item, after it is committed. It is written also where the caller is cancelled."""
        done: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_all())
        return await done

    async def _write_all(self) -> None:
        while self._waiting:
            if self._seconds:
                await asyncio.sleep(self._seconds)
            group, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            try:
                await self._settle(group)
            except psycopg.Error as error:
                await self._settle_singly(group, error)

    async def _settle(self, group: Sequence[tuple[T, asyncio.Future[R]]]) -> None:
        """Writes a group. An error of the whole server is everybody's, that of a statement is raised."""
        try:
            results = await self._write([item for item, _ in group])
        except psycopg.Error:
            raise
        except Exception as error:  # noqa: BLE001 - nothing is passed over: it is raised to everyone who waits
            for _, done in group:
                if not done.done():
                    done.set_exception(error)
            return
        for (_, done), result in zip(group, results, strict=True):
            if not done.done():
                done.set_result(result)

    async def _settle_singly(self, group: Sequence[tuple[T, asyncio.Future[R]]], error: psycopg.Error) -> None:
        """After a failed group, so that one item does not take its neighbours with it."""
        for item, done in group:
            try:
                if len(group) == 1:
                    raise error
                await self._settle([(item, done)])
            except psycopg.Error as own:
                if not done.done():
                    done.set_exception(own)
