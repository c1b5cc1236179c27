"""A repository's own programs, run in the sandbox over a copy of a head without its history."""

import asyncio
import io
import shutil
import tarfile
import tempfile
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from tidemill.core.change import ChangeSet
from tidemill.core.execution import Execution, Interpreter, Limits, Program
from tidemill.forges.git_process import Git
from tidemill.review.trying import CannotRun

MOST_BYTES = 200_000_000
"""Of a head's files. They lie in the sandbox's memory."""
_PYTHONS = frozenset({"python", "python3"})
_AS_GIVEN = 'exec "$@"'
Trees = Callable[[ChangeSet], AbstractAsyncContextManager[Path]]
"""Lays the files of a change's head out in a folder, for the time of the block; `CannotRun` where it can't."""


class Sandbox(Protocol):
    """Runs one program where it can reach nothing."""

    async def run(self, program: Program) -> Execution:
        """Runs it to its end."""
        ...


class SandboxExecutor:
    """The executor of `review.trying`.

    Args:
        sandbox: runs the programs.
        limits: what each may use, but for its time.
        trees: the files of heads; `None` where none are kept here.
    """

    def __init__(self, sandbox: Sandbox, limits: Limits, trees: Trees | None = None) -> None:
        self._sandbox = sandbox
        self._limits = limits
        self._trees = trees

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
        """As the port says."""
        interpreter, arguments = _interpreted(command)
        program = Program(
            interpreter,
            arguments,
            files={path: text.encode("utf-8", "replace") for path, text in files.items()},
            limits=replace(self._limits, seconds=seconds, cpu_seconds=max(1, int(seconds))),
            outputs=tuple(wanted),
        )
        if not whole:
            return await self._sandbox.run(program)
        if self._trees is None:
            raise CannotRun("no copy of the repository is kept here in which its programs could be run")
        async with self._trees(change) as folder:
            return await self._sandbox.run(replace(program, folder=folder))


def _interpreted(command: Sequence[str]) -> tuple[Interpreter, Sequence[str]]:
    """Python and Node are the sandbox's own; anything else is looked for on its path."""
    if command[0] in _PYTHONS:
        return Interpreter.PYTHON, command[1:]
    if command[0] == "node":
        return Interpreter.NODE, command[1:]
    return Interpreter.SHELL, ("-c", _AS_GIVEN, "sh", *command)


def trees_in(copies: Path, scratch: Path) -> Trees:
    """The files of heads, out of the bare repositories in a folder, each of which keeps the commits that it fetched.

    Args:
        copies: holds the repositories, `*.git`.
        scratch: under it the files are laid out, and removed again.
    """

    @asynccontextmanager
    async def tree(change: ChangeSet) -> AsyncGenerator[Path, None]:
        head = change.head or ""
        git = await _having(copies, head)
        if git is None:
            raise CannotRun("no copy of this head is kept here in which the project's programs could be run")
        archive = await git.run("archive", "--format=tar", head, limit=MOST_BYTES)
        folder = Path(await asyncio.to_thread(tempfile.mkdtemp, "", "tidemill-head-", scratch))
        try:
            await asyncio.to_thread(_laid_out, archive, folder)
            yield folder
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    return tree


async def _having(copies: Path, head: str) -> Git | None:
    if len(head) not in {40, 64} or set(head) - set("0123456789abcdef"):
        return None
    for place in await asyncio.to_thread(lambda: sorted(copies.glob("*.git"))):
        git = Git(place)
        if await git.run("rev-parse", "--verify", "--quiet", f"{head}^{{commit}}", accept=(0, 1, 128)):
            return git
    return None


def _laid_out(archive: bytes, folder: Path) -> None:
    """Regular files alone: a link could lead out of the folder."""
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
        tar.extractall(folder, members=[one for one in tar if one.isreg() or one.isdir()], filter="data")
