"""A sandbox that runs nothing: it answers as it was told. For demonstrations, and for tests of what uses a sandbox."""

from collections.abc import Callable, Sequence

from tidemill.core.errors import TidemillError
from tidemill.core.execution import Ending, Execution, Program


def exited(exit_code: int = 0, stdout: bytes = b"", stderr: bytes = b"") -> Execution:
    """A run that ended by itself."""
    return Execution(Ending.EXITED, exit_code, None, stdout, stderr, truncated=False, seconds=0.0, peak_bytes=0)


class ScriptedSandbox:
    """Answers each program by a function, and remembers what it was asked to run.

    Args:
        answer: what becomes of a program; it may raise what a sandbox raises.
    """

    def __init__(self, answer: Callable[[Program], Execution]) -> None:
        self._answer = answer
        self.asked: list[Program] = []

    async def run(self, program: Program) -> Execution:
        """The answer to this program."""
        self.asked.append(program)
        return self._answer(program)

    async def run_all(self, programs: Sequence[Program]) -> Sequence[Execution | TidemillError]:
        """The answers, in order."""
        results = list[Execution | TidemillError]()
        for program in programs:
            try:
                results.append(await self.run(program))
            except TidemillError as error:
                results.append(error)
        return results

    async def aclose(self) -> None:
        """Nothing is open."""
