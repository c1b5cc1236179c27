"""Reads files of a commit of a local repository, which is not trusted: `tidemill.forges.git_process`."""

import os
from collections.abc import Callable, Sequence

from tidemill.forges.git_process import Git

_FILE_MODES = (b"100644", b"100755")
_BINARY_PROBE = 8000
"""Like git: a NUL byte in the first 8000 makes a file binary."""


async def read_tree(
    git: Git, commit: str, wanted: Callable[[str, int], bool], *, max_total: int
) -> tuple[dict[str, str], int]:
    """Texts of a commit's files, the smallest first until `max_total` bytes are read; how many wanted are left out.

    Args:
        git: the repository.
        commit: its whole id.
        wanted: whether a file of this path and so many bytes is to be read.
        max_total: bytes of all files together.
    """
    listed = await git.run("ls-tree", "-r", "-l", "-z", "--full-tree", commit)
    blobs: list[tuple[int, str, str]] = []
    for entry in listed.split(b"\0"):
        head, _, name = entry.partition(b"\t")
        fields = head.split()
        if len(fields) == 4 and fields[0] in _FILE_MODES and fields[3].isdigit():
            path = name.decode("utf-8", "replace")
            if wanted(path, int(fields[3])):
                blobs.append((int(fields[3]), path, fields[2].decode("ascii")))
    chosen: list[tuple[int, str, str]] = []
    total = 0
    for size, path, blob in sorted(blobs):
        total += size
        if total > max_total:
            break
        chosen.append((size, path, blob))
    return await _texts(git, chosen), len(blobs) - len(chosen)


async def read_files(git: Git, commit: str, paths: Sequence[str], *, max_bytes: int) -> dict[str, str]:
    """Texts of those of these files that a commit has, none of more than `max_bytes`."""
    if not paths:
        return {}
    asked = "".join(f"{commit}:{path}\n" for path in paths if "\n" not in path)
    named = [path for path in paths if "\n" not in path]
    check = await git.run(
        "cat-file", "--batch-check=%(objectname) %(objecttype) %(objectsize)", stdin=os.fsencode(asked)
    )
    chosen: list[tuple[int, str, str]] = []
    # a line of what is missing repeats the path, with whatever else would end a line or look like fields
    for path, line in zip(named, check.removesuffix(b"\n").split(b"\n"), strict=True):
        fields = [] if line.endswith(b" missing") else line.decode("ascii", "replace").split(" ")
        if len(fields) == 3 and fields[1] == "blob" and int(fields[2]) <= max_bytes:
            chosen.append((int(fields[2]), path, fields[0]))
    return await _texts(git, chosen)


async def _texts(git: Git, files: Sequence[tuple[int, str, str]]) -> dict[str, str]:
    """The texts of blobs, given as (bytes, path, id); without the binary ones."""
    if not files:
        return {}
    stream = await git.run("cat-file", "--batch", stdin="".join(f"{blob}\n" for _, _, blob in files).encode())
    texts: dict[str, str] = {}
    at = 0
    for size, path, _ in files:
        start = stream.index(b"\n", at) + 1
        data, at = stream[start : start + size], start + size + 1
        if b"\0" not in data[:_BINARY_PROBE]:
            texts[path] = data.decode("utf-8", "replace")
    return texts
