"""The engines of one review, all at work at once, though each has a step of its own and the steps come in turn."""

import asyncio
import time
from collections.abc import Sequence

from tidemill.core.change import ChangeSet, Diff
from tidemill.core.errors import Conflict
from tidemill.review.engines import Engine, EngineMemory, EngineResult, name_of


class EngineRuns:
    """Starts every engine when the first is asked for.

    Args:
        engines: in the order of their steps. A review that goes on after a restart asks for the first whose step is
            not recorded: those before it are not started again.
        memory: of reviews before.
    """

    def __init__(self, engines: Sequence[Engine], memory: EngineMemory) -> None:
        self._engines = list(engines)
        self._memory = memory
        self._name: str | None = None
        self._tasks: dict[str, asyncio.Task[tuple[EngineResult, float]]] = {}

    async def result(self, name: str, change: ChangeSet, diff: Diff) -> tuple[EngineResult, float]:
        """What an engine found, and the seconds that it took. An engine that failed runs again when asked again.

        Raises:
            Conflict: there is no such engine.
            EngineFailed, InvalidInput: the engine's.
        """
        names = [engine.name for engine in self._engines]
        if name not in names:
            raise Conflict(f"This review began with the engine {name}, which this version lacks. Ask for it again.")
        if self._name is None:
            self._name = await asyncio.to_thread(name_of, change, diff)
        for engine in self._engines[names.index(name) :]:
            if engine.name not in self._tasks:
                self._tasks[engine.name] = asyncio.create_task(self._timed(engine, change, diff, self._name))
        task = self._tasks[name]
        try:
            return await task
        finally:
            if task.cancelled() or (task.done() and task.exception() is not None):
                del self._tasks[name]

    async def close(self) -> None:
        """Stops what is still at work."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _timed(self, engine: Engine, change: ChangeSet, diff: Diff, name: str) -> tuple[EngineResult, float]:
        started = time.perf_counter()
        result = await self._memory.run(engine, change, diff, name)
        return result, round(time.perf_counter() - started, 3)
