"""A bound on how long a stream may be silent, with one timer for all the waits for its pieces.

`asyncio.timeout` around each wait costs more than the piece that is waited for.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import TypeVar

T = TypeVar("T")


class Silence:
    """Ends a wait for a stream's next piece that has lasted too long; the times between the waits do not count.

    Args:
        seconds: the longest wait.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[object] | None = None
        self._since = 0.0
        self._over = False

    async def next_of(self, pieces: AsyncGenerator[T, None]) -> T | None:
        """The next piece; `None` at the end.

        Raises:
            TimeoutError: it did not come in time.
        """
        task = self._task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        cancelled_before = task.cancelling()
        self._since = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_at(self._since + self._seconds, self._look)
        try:
            return await anext(pieces, None)
        except asyncio.CancelledError as error:
            if self._over and task.cancelling() - 1 <= cancelled_before:
                raise TimeoutError from error
            raise
        finally:
            self._task = None
            if self._over:
                self._over = False
                task.uncancel()

    def end(self) -> None:
        """Stops the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        """Ends the wait that is too long, or looks again when it would be."""
        self._timer = None
        if self._task is None:  # the next wait sets it again
            return
        until = self._since + self._seconds
        if self._loop.time() < until:
            self._timer = self._loop.call_at(until, self._look)
            return
        self._over = True
        self._task.cancel()
