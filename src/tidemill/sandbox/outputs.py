"""The files that a run gives back. Nothing that it made is trusted: not an archive, not a link, not a name."""

import os
import stat
import tarfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from io import BytesIO
from itertools import islice
from pathlib import Path, PurePosixPath

_OTHERS = 1000
"""Members of an archive that are passed over, at most."""
HERE = "./"  # before each name in an archive, so that none is taken for an option


def files_of(archive: bytes, wanted: Iterable[str], most: int) -> Mapping[str, bytes]:
    """The wanted regular files that are in an archive, whole, up to so many bytes together.

    What was cut off or is something else is left out. The archive may be one that the program itself wrote: a sparse
    file in it takes a few bytes there and says that it has any number, and headers can be nested without end.
    """
    names, files = {HERE + str(PurePosixPath(path)): path for path in wanted}, dict[str, bytes]()
    try:
        with tarfile.open(fileobj=BytesIO(archive), mode="r:") as tar:
            for member in islice(tar, len(names) + _OTHERS):
                if member.name in names and _is_plain(member) and member.size <= most:
                    content = tar.extractfile(member)
                    assert content is not None  # noqa: S101 - a regular file has content
                    most -= member.size
                    files[names.pop(member.name)] = content.read()
    except (tarfile.TarError, ValueError, ArithmeticError, RecursionError):
        return files
    return files


def _is_plain(member: tarfile.TarInfo) -> bool:
    return member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and member.sparse is None


def files_in(folder: Path, wanted: Iterable[str], most: int) -> Mapping[str, bytes]:
    """The wanted regular files below a folder, up to so many bytes together. No link is followed."""
    files = dict[str, bytes]()
    for path in wanted:
        with suppress(OSError):  # it is not there, or closed, or behind a link
            content = _read(folder, PurePosixPath(path), most)
            if content is not None:
                most -= len(content)
                files[path] = content
    return files


def _read(folder: Path, path: PurePosixPath, most: int) -> bytes | None:
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        for part in path.parts[:-1]:
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = below
        last = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=here)
    finally:
        os.close(here)
    with open(last, "rb") as file:  # noqa: PTH123
        status = os.fstat(last)
        return file.read() if stat.S_ISREG(status.st_mode) and status.st_size <= most else None
