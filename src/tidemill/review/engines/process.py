"""Runs an engine's program on a private copy of the files, under names of our own.

No file of the change can stand in for a module or a setting, and none decides where anything is written.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from tidemill.review.engines.port import EngineFailed

_KEPT_ENVIRONMENT = ("PATH", "TMPDIR", "SYSTEMROOT", "LANG", "LD_LIBRARY_PATH")
_LONGEST_NAME = 100
_PREFIX, _LOCK = "tidemill-review-", "lock"


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where a program runs: `files` holds the copies, each in a folder of its number; `empty` is where it starts."""

    files: Path
    empty: Path
    home: Path
    scratch: Path


@dataclass(frozen=True, slots=True)
class Program:
    """How an engine's program is run.

    Attributes:
        engine: the engine's name, for messages.
        command: makes the command line, once the copies are there.
        seconds: after which it is killed.
        parent: where the private folder is made and removed again; the system's own if `None`. What a killed process
            leaves there is the owner's to remove.
        accepted: the exit codes that are no failure.
        memory: bytes of address space that it may take; `None` for no bound.
        names: by path, what a copy is called; where it is absent, as the file is.
    """

    engine: str
    command: Callable[[Workplace], Sequence[str]]
    seconds: float
    parent: Path | None = None
    accepted: tuple[int, ...] = (0, 1)
    memory: int | None = None
    names: Mapping[str, str] = field(default_factory=dict)


def is_inside(path: str) -> bool:
    """Whether a path stays in the folder that it is relative to: it is not empty nor absolute, and has no drive, no NUL
    and no component `..`."""
    parts = path.replace("\\", "/").split("/")
    leads_out = parts[0] == "" or re.fullmatch("[A-Za-z]:", parts[0]) is not None or ".." in parts
    return bool(path) and "\0" not in path and not leads_out


def python_module(*arguments: str) -> tuple[str, ...]:
    """The command that runs a module of this Python, without the current folder on its path."""
    return (sys.executable, "-P", "-m", *arguments)


def origin(filename: str, paths: Sequence[str]) -> str:
    """The path of which a copy was made."""
    return paths[int(Path(filename).parent.name)]


async def run_on_copies(program: Program, files: Mapping[str, str]) -> Any:
    """Runs a program on a private copy of the files, and returns the JSON that it writes.

    Raises:
        EngineFailed: an exit code that is not accepted, no JSON, or no end in time.
    """
    with _private_folder(program.parent) as own:
        place = Workplace(*(own / part for part in ("files", "empty", "home", "scratch")))
        for folder in (place.files, place.empty, place.home, place.scratch):
            folder.mkdir(mode=0o700)
        writing = asyncio.ensure_future(asyncio.to_thread(_write, place.files, files, program.names))
        try:
            await asyncio.shield(writing)
        finally:
            while not writing.done():  # nobody can remove a folder that is still written to
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([writing])
        code, output, errors = await _run(program, place, len(files))
    if code not in program.accepted:
        raise EngineFailed(f"{program.engine} failed with exit code {code}: {_said(errors)}")
    try:
        return json.loads(output)
    except ValueError:
        raise EngineFailed(
            f"{program.engine} did not write the JSON that it should have: {_said(errors or output)}"
        ) from None


@contextlib.contextmanager
def _private_folder(parent: Path | None) -> Iterator[Path]:
    """A folder that is removed at the end, with a lock by which others see that its process lives."""
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=parent) as name, Path(name, _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield Path(name)


def remove_leftovers(parent: Path | None = None) -> int:
    """Removes the copies that killed processes of this user left behind; returns how many.

    A process that lives holds a lock on its own; a folder without a lock file is not touched.
    """
    removed = 0
    for folder in Path(parent or tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
        except OSError:  # it went in the meantime, or is of another form
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
        finally:
            os.close(descriptor)
    return removed


async def _run(program: Program, place: Workplace, count: int) -> tuple[int | None, bytes, bytes]:
    environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        *program.command(place),
        cwd=place.empty,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**environment, "HOME": str(place.home), "XDG_CONFIG_HOME": str(place.home)},
        start_new_session=True,
    )
    try:
        if program.memory is not None and sys.platform == "linux":
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(process.pid, resource.RLIMIT_AS, (program.memory, program.memory))
        async with asyncio.timeout(program.seconds):
            output, errors = await process.communicate()
    except TimeoutError:
        raise EngineFailed(f"{program.engine} did not end within {program.seconds:g} s on {count} files.") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return process.returncode, output, errors


def rows(engine: str, report: Any, *, key: str | None = None) -> list[Mapping[str, Any]]:
    """The list of objects in a report, or under a key of it.

    Raises:
        EngineFailed: the report has another shape.
    """
    found = report.get(key) if key and isinstance(report, dict) else report
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise EngineFailed(f"{engine} wrote JSON of a shape that this version of Tidemill does not know.")
    return found


def _write(folder: Path, files: Mapping[str, str], names: Mapping[str, str]) -> None:
    """Each file under its own numbered folder, so that no path of the change decides where anything is written."""
    for number, (path, text) in enumerate(files.items()):
        name, suffix = PurePosixPath(path).name, PurePosixPath(path).suffix
        place = folder / str(number)
        place.mkdir()
        known = names.get(path) or (name if len(name.encode()) <= _LONGEST_NAME else f"module{suffix[:10]}")
        (place / known).write_bytes(text.encode("utf-8", "replace"))


def _said(output: bytes) -> str:
    return output.decode("utf-8", "replace").strip()[-500:] or "it said nothing"
