"""Durable work: a workflow is an async function whose steps, once finished, are never run again."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tidemill.core.context import Priority
from tidemill.core.json import Json


class Steps(Protocol):
    """What a workflow runs its steps with."""

    async def run(self, name: str, step: Callable[[], Awaitable[Json]]) -> Json:
        """Runs a step and records its result, or gives back the result that was recorded.

        A step runs at least once: one that was killed before its result was recorded runs again, so each must be
        idempotent. The order of steps must follow from their recorded results alone.
        """
        ...


Workflow = Callable[[Steps, str], Awaitable[None]]
"""A workflow: its steps, and the id of the thing that it works on."""


@dataclass(frozen=True, slots=True)
class Strays:
    """Subjects that no workflow brings to their end.

    Attributes:
        broken: their workflow ended by an error that it did not handle.
        missing: they have none.
    """

    broken: frozenset[str]
    missing: frozenset[str]


class Jobs(Protocol):
    """Runs workflows, each at most once for an id, and to their end whatever is killed meanwhile."""

    def register(self, name: str, workflow: Workflow, *, concurrency: int | None = None) -> None:
        """Makes a workflow known under a name; before `start`.

        With `concurrency` it has a queue of its own, of which each process works on so many at once.
        """
        ...

    async def submit(self, name: str, subject: str, *, priority: Priority = Priority.INTERACTIVE) -> None:
        """Queues a workflow for this subject. Submitting the same again does nothing.

        Of the workflows in one queue, those of a better priority begin first.
        """
        ...

    async def strays(self, name: str, subjects: Sequence[str]) -> Strays:
        """Those of these subjects that no workflow of this name brings to their end."""
        ...
