"""The scripted adapter of durable work: runs each workflow at once, in memory; nothing survives the process."""

from collections.abc import Awaitable, Callable, Sequence

from tidemill.core.context import Priority
from tidemill.core.json import Json
from tidemill.jobs.port import Strays, Workflow


class DirectJobs:
    """Runs a workflow inside `submit`, keeping the steps' results by subject.

    Args:
        stop_after: names of steps after which the workflow is broken off once with `Interrupted`, as by a kill.
    """

    def __init__(self, *, stop_after: set[str] | None = None) -> None:
        self._workflows: dict[str, Workflow] = {}
        self._stop_after = set(stop_after or ())
        self.results: dict[str, dict[str, Json]] = {}
        self._broken: set[str] = set()
        self._ended: set[str] = set()

    def register(self, name: str, workflow: Workflow, *, concurrency: int | None = None) -> None:
        """As the port says."""
        self._workflows[name] = workflow

    async def submit(self, name: str, subject: str, *, priority: Priority = Priority.INTERACTIVE) -> None:
        """Runs the workflow to its end, from its first step without a recorded result.

        Raises:
            Interrupted: as the script asked; submitting the same again goes on.
        """
        results = self.results.setdefault(f"{name}:{subject}", {})
        await self._workflows[name](_RememberedSteps(results, self._stop_after), subject)
        self._ended.add(f"{name}:{subject}")

    def break_off(self, subject: str) -> None:
        """Has `strays` name this subject, as after an error that its workflow did not handle."""
        self._broken.add(subject)

    async def strays(self, name: str, subjects: Sequence[str]) -> Strays:
        """As the port says. What was interrupted has no workflow: nothing runs outside of `submit`."""
        broken = self._broken & {*subjects}
        return Strays(frozenset(broken), frozenset(one for one in subjects if f"{name}:{one}" not in self._ended))


class Interrupted(BaseException):
    """A workflow was broken off on purpose."""


class _RememberedSteps:
    def __init__(self, results: dict[str, Json], stop_after: set[str]) -> None:
        self._results = results
        self._stop_after = stop_after

    async def run(self, name: str, step: Callable[[], Awaitable[Json]]) -> Json:
        if name not in self._results:
            result = await step()
            if name in self._stop_after:
                self._stop_after.discard(name)
                raise Interrupted(name)
            self._results[name] = result
        return self._results[name]
