"""What a program finds in its working folder, laid out on the disk so that the sandbox's user alone can read it."""

import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from tidemill.core.errors import InvalidInput
from tidemill.core.execution import Program

LONGEST_PATH = 1000
PAGE = 4096


def checked_path(path: str) -> PurePosixPath:
    """A relative path below the working folder.

    Raises:
        InvalidInput: it is absolute, leaves the folder, or is no path.
    """
    pure = PurePosixPath(path)
    if not path or len(path) > LONGEST_PATH or not path.isprintable() or pure.is_absolute() or ".." in pure.parts or not pure.parts:
        raise InvalidInput(f"{path[:80]!r} is not a path below a sandbox's working folder.")
    return pure


def stage(parent: Path, program: Program, group: int | None) -> Path:
    """A new folder with what a run reads: `work`, its working folder; `stdin`; `outputs`, the paths wanted back.

    Args:
        parent: where it is made.
        program: whose files they are.
        group: of the user that runs programs, where that is another one than this process's.

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
        (folder / "outputs").write_text("".join(f"{checked_path(path)}\n" for path in program.outputs), "utf-8")
        if group is not None:
            _give(folder, group)
    except BaseException:
        shutil.rmtree(folder)
        raise
    return folder


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


def _give(stage: Path, group: int) -> None:
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
