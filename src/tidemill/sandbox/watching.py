"""What all the processes of a sandbox use together, read from outside while they run: no kernel limit says it of a tree."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")
PROC = Path("/proc")
MOST_FILES = 100_000


@dataclass(frozen=True)
class Use:
    """A moment of a tree of processes: bytes of memory that are its own, and files in its working folder."""

    memory_bytes: int
    files: int


def use_of(root: int) -> Use:
    """What the process that made a sandbox, and everything in there, use. What ends meanwhile counts nothing."""
    tree = list(_tree(root))
    return Use(sum(map(_private_bytes, tree)), max(map(_files, tree[1:2]), default=0))


def first_of(root: int) -> int | None:
    """The first process of the namespace below this one: when it is killed, the kernel kills all of them."""
    return next(iter(list(_tree(root))[1:2]), None)


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
    """Files in the working folder, as a process of the sandbox sees it."""
    try:
        status = os.statvfs(PROC / str(pid) / "root" / "work")
    except (FileNotFoundError, ProcessLookupError, PermissionError):  # it has ended, or has no file system yet
        return 0
    return status.f_files - status.f_ffree
