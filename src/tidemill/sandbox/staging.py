"""What a program finds in its working folder, laid out on the disk so that the sandbox's user alone can read it."""

import asyncio
import fcntl
import logging
import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path, PurePosixPath

from tidemill.core.errors import InvalidInput, Unavailable
from tidemill.core.execution import Program

log = logging.getLogger(__name__)

LONGEST_PATH = 1000
PAGE = 4096
PLACE = "tidemill-sandbox-"
LOCK = "lock"
USER = 64917
LONGEST_ARGUMENTS = 100_000  # the kernel takes 131,072 for one
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def runner() -> int | None:
    """The user and group that run programs, where this process is root's; `None` where it is another's."""
    return USER if os.geteuid() == 0 else None


def checked_path(path: str) -> PurePosixPath:
    """A relative path below the working folder.

    Raises:
        InvalidInput: it is absolute, leaves the folder, or is no path.
    """
    pure = PurePosixPath(path)
    if (
        not path
        or len(path) > LONGEST_PATH
        or not path.isprintable()
        or pure.is_absolute()
        or ".." in pure.parts
        or not pure.parts
    ):
        raise InvalidInput(f"{path[:80]!r} is not a path below a sandbox's working folder.")
    return pure


def checked_program(program: Program) -> None:
    """Refuses what no program can be started with.

    Raises:
        InvalidInput: an argument or a variable is none, or all of them are too long.
    """
    words = [*program.arguments, *(f"{name}={value}" for name, value in program.environment.items())]
    if any("\0" in word for word in words):
        raise InvalidInput("A program's arguments and variables can't hold a NUL.")
    if any(not NAME.fullmatch(name) for name in program.environment):
        raise InvalidInput("A variable's name has letters, digits and _ alone.")
    if sum(len(word.encode()) for word in words) > LONGEST_ARGUMENTS:
        raise InvalidInput(
            f"The program's arguments and variables are longer than {LONGEST_ARGUMENTS} bytes. "
            "Give what is long as a file, or as standard input."
        )
    for path in program.outputs:
        checked_path(path)


def stage(parent: Path, program: Program) -> Path:
    """A new folder with what a run reads, for this process's user alone: `work`, its working folder, and `stdin`.

    Args:
        parent: where it is made.
        program: whose files they are.

    Raises:
        InvalidInput: a path leaves the folder, or the files are over `Limits.files_bytes`.
    """
    folder = Path(tempfile.mkdtemp(dir=parent))
    try:
        work, most = folder / "work", program.limits.files_bytes
        work.mkdir()
        if program.folder is not None:
            most -= _copy(program.folder, work, most)
        _write(program.files, work, most)
        (folder / "stdin").write_bytes(program.stdin)
    except BaseException:
        shutil.rmtree(folder)
        raise
    return folder


class Place:
    """A folder of this process's own, for as long as it lives. Places of processes that were killed are deleted first.

    Attributes:
        folder: whoever runs programs can pass through it.
    """

    def __init__(self) -> None:
        for other in Path(tempfile.gettempdir()).glob(f"{PLACE}*"):
            _remove_abandoned(other)
        self.folder = Path(tempfile.mkdtemp(prefix=PLACE))
        self._lock = (self.folder / LOCK).open("wb")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.folder.chmod(0o700 if runner() is None else 0o711)

    def close(self) -> None:
        """Deletes it."""
        shutil.rmtree(self.folder)
        self._lock.close()


def _remove_abandoned(place: Path) -> None:
    with suppress(OSError):  # it is another user's, is in use, or has gone meanwhile
        if place.lstat().st_uid == os.geteuid():
            with (place / LOCK).open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove(place)


class Folders:
    """Lays out a folder for each run, and deletes it while others go on: that takes the kernel its time."""

    def __init__(self) -> None:
        self._tasks = set[asyncio.Task[None]]()

    @asynccontextmanager
    async def of(self, lay_out: Callable[[], Path]) -> AsyncIterator[Path]:
        """A folder for the block. A program may write in it, and may have ended when the block does."""
        task = asyncio.ensure_future(asyncio.to_thread(lay_out))
        try:
            yield await asyncio.shield(task)
        finally:
            if not task.done():  # cancelled, and the thread goes on
                await asyncio.wait([task])
            if task.exception() is None:
                self._remove(task.result())

    async def done(self) -> None:
        """Waits until there is nothing left to delete."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    def _remove(self, folder: Path) -> None:
        task = asyncio.create_task(asyncio.to_thread(remove, folder))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s", error)


def remove(folder: Path) -> None:
    """Deletes a folder in which a program has written: it may have closed its folders, and nested them very deeply."""
    try:
        shutil.rmtree(folder)
    except (OSError, RecursionError):
        for command in (["chmod", "-R", "u+rwX"], ["rm", "-rf"]):
            subprocess.run([*command, "--", str(folder)], capture_output=True)
        if folder.exists():
            raise Unavailable(f"{folder} of a run that has ended can't be deleted. Delete it.") from None


def _room(size: int) -> int:
    """What a file takes in memory: whole pages, and its entry."""
    return -(-size // PAGE + 1) * PAGE


def _write(files: Mapping[str, bytes], stage: Path, most: int) -> None:
    if sum(_room(len(content)) for content in files.values()) > most:
        raise InvalidInput(f"The program's files are larger than the {most} bytes that the sandbox holds.")
    for path, content in files.items():
        target = stage / checked_path(path)
        _make_parents(stage, target)
        target.unlink(missing_ok=True)  # never through a link that the folder brought along
        target.write_bytes(content)


def _make_parents(stage: Path, target: Path) -> None:
    """The folders above a file, where a link that the folder brought along gives way to a folder."""
    for parent in reversed([one for one in target.parents if one.is_relative_to(stage) and one != stage]):
        if parent.is_symlink():
            parent.unlink()
        parent.mkdir(exist_ok=True)


def _copy(folder: Path, stage: Path, most: int) -> int:
    """Copies files, folders and links, whatever the links name. The bytes copied."""
    copied = 0
    for root, folders, names in os.walk(folder):
        here = stage / Path(root).relative_to(folder)
        for name in list(folders):
            entry = Path(root, name)
            if entry.is_symlink():
                folders.remove(name)
                names.append(name)
            else:
                (here / name).mkdir()
        for name in names:
            entry = Path(root, name)
            status = entry.lstat()
            if stat.S_ISLNK(status.st_mode):
                (here / name).symlink_to(entry.readlink())
            elif stat.S_ISREG(status.st_mode):
                copied += _room(status.st_size)
                if copied > most:
                    raise InvalidInput(f"{folder} is larger than the {most} bytes that the sandbox holds.")
                shutil.copyfile(entry, here / name, follow_symlinks=False)
                (here / name).chmod(0o700 if status.st_mode & 0o100 else 0o600)
    return copied


def give_to_group(stage: Path, group: int) -> None:
    """Lets the group read all of it, and nobody else."""
    for root, folders, names in os.walk(stage):
        os.chown(root, -1, group)
        Path(root).chmod(0o750)
        for name in (*folders, *names):
            entry = Path(root, name)
            if entry.is_symlink():
                continue
            os.chown(entry, -1, group)
            if name in names:
                entry.chmod(0o750 if entry.stat().st_mode & 0o100 else 0o640)


def give_to_user(stage: Path, user: int) -> None:
    """Gives the working folder to a user, who can reach it and nothing beside it."""
    os.chown(stage, -1, user)
    stage.chmod(0o710)
    for root, folders, names in os.walk(stage / "work"):
        for entry in (root, *(os.path.join(root, name) for name in (*folders, *names))):  # noqa: PTH118
            os.chown(entry, user, user, follow_symlinks=False)
