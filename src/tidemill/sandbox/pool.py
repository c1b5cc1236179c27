"""Many programs on one engine, a few at once."""

import asyncio
from collections.abc import Sequence

from tidemill.core.errors import TidemillError
from tidemill.core.execution import Execution, Interpreter, Program
from tidemill.sandbox.port import Engine


class Pool:
    """Runs at most so many programs at once; the others wait in the order in which they came.

    Args:
        engine: what runs them.
        size: how many run at once.
    """

    def __init__(self, engine: Engine, size: int) -> None:
        self._engine = engine
        self._places = asyncio.Semaphore(size)

    @property
    def engine(self) -> str:
        """The name of what isolates."""
        return self._engine.engine

    @property
    def interpreters(self) -> frozenset[Interpreter]:
        """Those that can be run here."""
        return self._engine.interpreters

    async def run(self, program: Program) -> Execution:
        """Waits for a place, then runs a program."""
        async with self._places:
            return await self._engine.run(program)

    async def run_all(self, programs: Sequence[Program]) -> Sequence[Execution | TidemillError]:
        """As the port says."""
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(self._settled(program)) for program in programs]
        return [task.result() for task in running]

    async def aclose(self) -> None:
        """Closes the engine."""
        await self._engine.aclose()

    async def _settled(self, program: Program) -> Execution | TidemillError:
        try:
            return await self.run(program)
        except TidemillError as error:
            return error
