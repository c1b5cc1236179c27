"""A sandbox that looks for its engine when the first program comes: who never runs one waits for nothing."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from tidemill.core.errors import TidemillError
from tidemill.core.execution import Execution, Program
from tidemill.sandbox.port import Sandbox


class OnDemandSandbox:
    """Opens another one when it is needed.

    Args:
        opened: opens it; fails where no sandbox can be made here, and is asked again at the next program.
    """

    def __init__(self, opened: Callable[[], Awaitable[Sandbox]]) -> None:
        self._opened = opened
        self._sandbox: Sandbox | None = None
        self._lock = asyncio.Lock()

    async def run(self, program: Program) -> Execution:
        """As the port says."""
        return await (await self._ready()).run(program)

    async def run_all(self, programs: Sequence[Program]) -> Sequence[Execution | TidemillError]:
        """As the port says.

        Raises:
            Configuration: no sandbox can be made here.
        """
        return await (await self._ready()).run_all(programs)

    async def aclose(self) -> None:
        """Closes it, where it was opened."""
        async with self._lock:
            if self._sandbox is not None:
                await self._sandbox.aclose()
                self._sandbox = None

    async def _ready(self) -> Sandbox:
        async with self._lock:
            if self._sandbox is None:
                self._sandbox = await self._opened()
            return self._sandbox
