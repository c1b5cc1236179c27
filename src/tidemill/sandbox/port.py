"""The port: what runs a program so that it can reach nothing and take no more than it may."""

from typing import Protocol

from tidemill.core.execution import Execution, Interpreter, Program


class Sandbox(Protocol):
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
            InvalidInput: a path leaves the working folder, or the files are over the limit.
            Configuration: the interpreter can't be run here, or the sandbox does not start any more.
        """
        ...
