"""What all the processes of a sandbox use together, read from outside: no limit of the kernel says it of a tree."""

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")
PROC = Path("/proc")
MOST_FILES = 100_000
BLOCK = 512  # of `st_blocks`, whatever the file system has


@dataclass(frozen=True)
class Use:
    """A moment of a sandbox.

    Args:
        memory_bytes: memory of its processes that is their own.
        files: files and folders in its working folder.
        files_bytes: what they take on the disk, where the kernel does not bound it.
        tasks: processes and threads, where the kernel does not bound them.
    """

    memory_bytes: int
    files: int
    files_bytes: int = 0
    tasks: int = 0


def use_of_namespace(root: int) -> Use:
    """What the process that made namespaces, and everything in there, use. What ends meanwhile counts nothing."""
    tree = list(_tree(root))
    return Use(sum(map(_private_bytes, tree)), max(map(_files, tree[1:2]), default=0))


def use_of_tree(root: int, folder: Path) -> Use:
    """What all below a process use, and what they wrote to their folder."""
    tree = list(_tree(root))[1:]
    files, files_bytes = _written(folder)
    return Use(sum(map(_private_bytes, tree)), files, files_bytes, sum(map(_tasks, tree)))


def _tree(root: int) -> Iterator[int]:
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        yield pid
        try:
            for task in (PROC / str(pid) / "task").iterdir():
                waiting += [int(child) for child in (task / "children").read_text("ascii").split()]
        except (FileNotFoundError, ProcessLookupError):
            continue


def _private_bytes(pid: int) -> int:
    """Resident memory that no file backs; pages that a fork shares count for each."""
    try:
        _, resident, shared, *_ = (PROC / str(pid) / "statm").read_text("ascii").split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return (int(resident) - int(shared)) * PAGE


def _files(pid: int) -> int:
    """Files in the working folder, as a process of the sandbox sees it; none before it has a root of its own."""
    root = PROC / str(pid) / "root"
    try:
        if root.stat().st_dev == PROC.parent.stat().st_dev:
            return 0
        status = os.statvfs(root / "work")
    except (FileNotFoundError, ProcessLookupError, PermissionError):  # it has ended, or has no file system yet
        return 0
    return status.f_files - status.f_ffree


def _tasks(pid: int) -> int:
    try:
        return sum(1 for _ in (PROC / str(pid) / "task").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _written(folder: Path) -> tuple[int, int]:
    """Files and folders below a folder, and the bytes that they take. What vanishes or is closed is not counted."""
    files = taken = 0
    waiting = [str(folder)]
    while waiting and files <= MOST_FILES:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    files += 1
                    taken += entry.stat(follow_symlinks=False).st_blocks * BLOCK
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:  # nested so deeply that nobody can look
                return MOST_FILES + 1, taken
    return files, taken
