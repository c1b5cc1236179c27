"""What of a suggestion can be told only by running something: engines on the result, the formatter, the tests.

Engines read. The formatter and the tests are programs of the repository's choosing: they run in the sandbox, on a copy
of the head without its history, or not at all.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, cast

from tidemill.core.change import ChangeSet, Diff
from tidemill.core.errors import TidemillError
from tidemill.core.execution import Execution
from tidemill.core.finding import Finding
from tidemill.core.review_policy import ReviewPolicy
from tidemill.review.comment import ENGINE
from tidemill.review.engines import Engine, EngineFailed, TreeEngine
from tidemill.review.suggesting import (
    CLEARS,
    FORMATTED,
    PARSES,
    TESTS,
    Applied,
    NotPlaceable,
    Replacement,
    Unfit,
    apply,
    check_place,
    within,
)

FORMAT_SECONDS = 20.0
TEST_SECONDS = 120.0
_SAID = 300
"""Characters of what a failing program said that are kept."""


class CannotRun(Exception):
    """Why a program can't be run here, for a person."""


class Executor(Protocol):
    """Runs a repository's own programs where they can reach nothing."""

    async def run(
        self,
        command: Sequence[str],
        change: ChangeSet,
        files: Mapping[str, str],
        *,
        whole: bool,
        wanted: Sequence[str] = (),
        seconds: float,
    ) -> Execution:
        """Runs a command in a folder with these files.

        Args:
            command: program and arguments.
            change: what is reviewed; its head is what is checked out.
            files: texts by path, in the place of those that are there.
            whole: the folder holds the head of the change beneath them, without `.git`; else these files alone.
            wanted: files that are wanted back.
            seconds: after which it is stopped.

        Raises:
            CannotRun: there is no sandbox here, no such program in it, or no copy of the head.
        """
        ...


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of a replacement.

    Attributes:
        applied: as it would stand in the file; `None` where it is not offered.
        refused: why it is not offered at all.
        unverified: why it is offered as text alone.
    """

    applied: Applied | None
    refused: str | None = None
    unverified: str | None = None


class Trying:
    """Tries replacements out.

    Args:
        engines: those of the review; one that reads no file by itself can't be asked.
        executor: runs formatters and tests; `None` where nothing can.
    """

    def __init__(self, engines: Sequence[Engine], executor: Executor | None = None) -> None:
        self._engines = {engine.name: cast(TreeEngine, engine) for engine in engines if hasattr(engine, "read")}
        self._executor = executor

    async def tried(
        self, change: ChangeSet, diff: Diff, finding: Finding, replacement: Replacement, policy: ReviewPolicy
    ) -> Tried:
        """Applies a replacement to the finding's file and holds the result to everything that can be checked."""
        source = change.files.get(finding.path)
        if source is None:
            return Tried(None, refused="the whole text of the file is not known")
        try:
            applied = await asyncio.to_thread(apply, finding.path, source, replacement)
            applied = await self._cleared(source, applied, finding)
        except Unfit as error:
            return Tried(None, refused=str(error))
        except EngineFailed as error:
            return Tried(None, refused=error.message)
        try:
            check_place(diff, finding.path, source, applied.replacement)
            if PARSES not in applied.verified:
                raise NotPlaceable("nothing here can parse its language")
            applied = await self._formatted(change, applied, finding.path, policy.format_command)
            await self._tested(change, applied, finding.path, policy.test_command)
        except (NotPlaceable, CannotRun) as error:
            return Tried(applied, unverified=str(error))
        return Tried(replace(applied, verified=_verified(applied, policy)))

    async def _cleared(self, source: str, applied: Applied, finding: Finding) -> Applied:
        """Runs the engine that found it, and ruff and the secret scanner, on both texts.

        Raises:
            Unfit: the finding is still there, or there is something new.
        """
        names = {"ruff", "secrets", finding.engine} & self._engines.keys()
        cleared = False
        for name in sorted(names):
            engine = self._engines[name]
            if not engine.reads(finding.path):
                continue
            readings = [await engine.read({finding.path: text}) for text in (source, applied.text)]
            before, after = [Counter(remark.rule for remark in reading.remarks) for reading in readings]
            if name == finding.engine:
                if finding.path in readings[1].unread:
                    raise Unfit(f"{name} does not read the whole file with it")
                if after[finding.rule] >= before[finding.rule]:
                    raise Unfit(f"{name} still finds {finding.rule} with it")
                cleared = True
            if new := after - before:
                raise Unfit(f"{name} finds {min(new)} with it, which was not there")
        if finding.engine != ENGINE and not cleared:
            raise Unfit(f"{finding.engine} can't be asked whether it is gone")
        return replace(applied, verified=(*applied.verified, CLEARS)) if cleared else applied

    async def _formatted(self, change: ChangeSet, applied: Applied, path: str, command: Sequence[str]) -> Applied:
        """The same, as the project's formatter would have it.

        Raises:
            NotPlaceable: the formatter refuses the file, or would change more of it.
            CannotRun: it can't be run.
        """
        if not command:
            return applied
        asked = [part.replace("{path}", path) for part in command]
        run = await self._executed(
            asked, change, {path: applied.text}, whole=True, wanted=[path], seconds=FORMAT_SECONDS
        )
        if not run.succeeded or path not in run.files:
            raise NotPlaceable(f"the project's formatter refuses it: {_said(run)}")
        text = run.files[path].decode("utf-8", "replace")
        if text == applied.text:
            return applied
        formatted = within(applied.replacement, applied.text, text)
        if formatted is None:
            raise NotPlaceable("the project's formatter would change other lines of the file, too")
        return replace(applied, replacement=formatted, text=text)

    async def _tested(self, change: ChangeSet, applied: Applied, path: str, command: Sequence[str]) -> None:
        """Goes on where the project's tests pass with it.

        Raises:
            NotPlaceable: they don't.
            CannotRun: they can't be run.
        """
        if not command:
            return
        run = await self._executed(command, change, {path: applied.text}, whole=True, seconds=TEST_SECONDS)
        if not run.succeeded:
            raise NotPlaceable(f"the project's tests do not pass with it ({run.ending.value}): {_said(run)}")

    async def _executed(
        self,
        command: Sequence[str],
        change: ChangeSet,
        files: Mapping[str, str],
        *,
        whole: bool,
        wanted: Sequence[str] = (),
        seconds: float,
    ) -> Execution:
        if self._executor is None:
            raise CannotRun("there is no sandbox here in which the project's programs could be run")
        try:
            return await self._executor.run(command, change, files, whole=whole, wanted=wanted, seconds=seconds)
        except TidemillError as error:
            raise CannotRun(f"the project's programs can't be run here: {error.message}") from error


def _verified(applied: Applied, policy: ReviewPolicy) -> tuple[str, ...]:
    more = (FORMATTED,) if policy.format_command else ()
    return (*applied.verified, *more, *((TESTS,) if policy.test_command else ()))


def _said(run: Execution) -> str:
    text = (run.stderr or run.stdout).decode("utf-8", "replace").strip()
    return " ".join(text[-_SAID:].split()) or "it said nothing"
