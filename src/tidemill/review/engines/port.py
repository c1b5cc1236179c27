"""The port to static engines, and the adapter that returns what it was given.

Engines read text; none of them runs the code under review.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from tidemill.core.change import ChangeSet, Diff
from tidemill.core.errors import TidemillError
from tidemill.core.finding import Finding
from tidemill.review.placing import Remark


class EngineFailed(TidemillError):
    """A static engine ended in a way that it should not, or said something that can't be read."""

    code = "engine_failed"


@dataclass(frozen=True, slots=True)
class EngineResult:
    """What an engine found of what a change brings, and what a person should know of how it went.

    `unread` are the files that it should have read and did not, or not in full: there its silence proves nothing.
    """

    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """All that an engine says of some files, whatever changed in them, and what a person should know of how it went.

    `unread` are those of the files that it did not read in full.
    """

    remarks: tuple[Remark, ...] = ()
    notes: tuple[str, ...] = ()
    unread: frozenset[str] = frozenset()


class Engine(Protocol):
    """Reads a change and finds the defects that it brings."""

    @property
    def name(self) -> str:
        """A word, the `engine` of its findings."""
        ...

    @property
    def version(self) -> str:
        """Of the program and the rules: two runs with the same one find the same."""
        ...

    async def run(self, change: ChangeSet, diff: Diff) -> EngineResult:
        """Findings that the change brings, by path and line. The same change gives the same result.

        Raises:
            EngineFailed: the engine's program failed or took too long.
        """
        ...


class TreeEngine(Engine, Protocol):
    """An engine that also reads files which no change is about."""

    def reads(self, path: str) -> bool:
        """Whether the engine has anything to say of a file of this name."""
        ...

    def unavailable(self) -> str | None:
        """Why the engine can't run here, with what to do; `None` where it can."""
        ...

    async def read(self, files: Mapping[str, str]) -> Reading:
        """Everything that is wrong in these files, whose texts are given by path.

        Raises:
            EngineFailed: the engine's program failed or took too long.
        """
        ...


class ScriptedEngine:
    """An engine that returns what it was given: for tests, and for findings that come from elsewhere."""

    def __init__(self, result: EngineResult, *, name: str = "scripted", version: str = "1") -> None:
        self.name = name
        self.version = version
        self._result = result

    async def run(self, change: ChangeSet, diff: Diff) -> EngineResult:
        """The result that it was given, whatever the change."""
        return self._result
