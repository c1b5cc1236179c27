"""The port: what runs a program so that it can reach nothing and take no more than it may."""

from collections.abc import Sequence
from typing import Protocol

from tidemill.core.errors import TidemillError
from tidemill.core.execution import Execution, Interpreter, Program


class Engine(Protocol):
    """Runs programs without network, with a file system of its own, within limits."""

    @property
    def engine(self) -> str:
        """The name of what isolates."""
        ...

    @property
    def interpreters(self) -> frozenset[Interpreter]:
        """Those that can be run here."""
        ...

    async def run(self, program: Program) -> Execution:
        """Runs one program to its end. Cancelled, it kills everything in the sandbox before it returns.

        Raises:
            InvalidInput: a path leaves the working folder, an argument is none, or something is over its limit.
            Configuration: the interpreter can't be run here, or no sandbox can be made any more.
            Unavailable: the process that starts sandboxes has gone, and the run with it.
        """
        ...

    async def aclose(self) -> None:
        """Ends what still runs, and deletes what was laid out."""
        ...


class Sandbox(Protocol):
    """Takes many programs, and runs a few of them at once."""

    async def run(self, program: Program) -> Execution:
        """As `Engine.run`, when there is room."""
        ...

    async def run_all(self, programs: Sequence[Program]) -> Sequence[Execution | TidemillError]:
        """What became of each, in their order; the error of one that could not be run.

        Cancelled, it kills those that run and starts none of the others.
        """
        ...

    async def aclose(self) -> None:
        """Ends what still runs, and deletes what was laid out."""
        ...
