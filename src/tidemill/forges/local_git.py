"""Reads changes from a local repository with the git program.

A repository is data, and may be hostile: nothing that its configuration or attributes name is run. External diff
programs, text conversion, hooks, file-system monitors, signature checks and every transport are off, replacement
objects are ignored, and a revision can never be taken for an option.
"""

import asyncio
import logging
import os
import re
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path, PurePosixPath

from tidemill.core.change import ChangeSet, storable_change
from tidemill.core.errors import InvalidInput, NotFound, TooLarge, Unavailable
from tidemill.forges.file_history import committed_at, file_histories, with_histories
from tidemill.forges.git_process import Git
from tidemill.forges.limits import file_sizes, within_limits
from tidemill.settings import ReviewSettings

log = logging.getLogger(__name__)

_PATCH_OPTIONS = (
    "--no-ext-diff",
    "--no-textconv",
    "--no-color",
    "--full-index",
    "--submodule=short",
    "--ignore-submodules=none",
    "--src-prefix=a/",
    "--dst-prefix=b/",
    "--unified=3",
    "--inter-hunk-context=0",
    "--diff-algorithm=default",
    "--indent-heuristic",
    "-O/dev/null",
    "-M",
)
"""Spelled out, so that no repository's configuration changes what the diff says."""
_FILE_MODES = frozenset({"100644", "100755"})
_BINARY_PROBE = 8000
"""Like git: a NUL byte in the first 8000 makes a file binary."""
_ATTRIBUTES = ".gitattributes"
_MOST_ATTRIBUTES, _LARGEST_ATTRIBUTES = 1000, 100_000
"""Folders that are looked in, those at the top first; and bytes of a file that is read."""
_RANGE = re.compile(r"(?P<base>.*?)(?P<dots>\.{2,3})(?P<head>.*)", re.DOTALL)
_COMMIT_FORMAT = "%x00%H%x00%cI%x00%an%x00%s%x00"
"""Between NULs, which no commit can hold; `rev-list` puts a line of its own before each."""


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit, for choosing one to review."""

    sha: str
    title: str
    author: str
    committed_at: datetime


@dataclass(frozen=True, slots=True)
class _Sides:
    """What is compared: tree-ish `old` with commit `new`, or with the index where `new` is `None`."""

    old: str
    new: str | None
    base: str | None
    title: str


async def read_change(repo: Path, revision: str | None, *, staged: bool, limits: ReviewSettings) -> ChangeSet:
    """Everything that a review of this change reads, so that the repository isn't needed again; all of it `storable`.

    Args:
        repo: a folder in the repository's work tree, or a bare repository.
        revision: a commit (compared with its first parent; a first commit with the empty tree), `a..b` (a with b),
            `a...b` (their merge base with b), or `None` for `HEAD`.
        staged: compare the index with `HEAD` instead; `revision` must be `None`.
        limits: the largest diff and the largest file.

    Raises:
        Configuration: git is not installed.
        InvalidInput: not a repository, or a revision that can't be one.
        NotFound: the folder or the revision does not exist.
        NotPermitted: git does not trust the repository's owner.
        TooLarge: the diff is over `limits.max_diff_bytes`.
        Unavailable: git took too long.
    """
    git = Git(repo)
    if staged and revision is not None:
        raise InvalidInput("A review is of the staged changes or of a revision, not of both.", param="revision")
    await git.check()
    sides = await _staged(git) if staged else await _sides(git, "HEAD" if revision is None else revision)
    change = await _change(git, sides, limits)
    shallow = await git.run("rev-parse", "--is-shallow-repository") == b"true\n"
    if sides.base is None or shallow:  # where a year's commits are not all here, too few would be counted
        return change
    try:
        histories = await file_histories(git, sides.base, await committed_at(git, sides.base))
    except (TooLarge, Unavailable) as error:
        log.warning("How often the files of %s were changed is not known: %s", repo, error.message)
        return change
    return await asyncio.to_thread(with_histories, change, histories)


async def change_between(git: Git, base: str, head: str, *, title: str, limits: ReviewSettings) -> ChangeSet:
    """As `read_change`, of two commits that the repository has, by their whole ids; without its history.

    Raises:
        TooLarge, Unavailable: as `read_change`.
    """
    return await _change(git, _Sides(base, head, base, title), limits)


async def file_at(git: Git, commit: str, path: str, *, max_bytes: int) -> bytes | None:
    """A file as a commit, which the repository has, holds it; `None` where it has no file of this path.

    Raises:
        TooLarge: it has more than `max_bytes`.
    """
    listed = await git.run("--literal-pathspecs", "ls-tree", "-z", "--full-tree", commit, "--", path)
    found = [entry.partition(b"\t") for entry in listed.split(b"\0")]
    blob = next((head.split()[2] for head, _, name in found if name == os.fsencode(path) and b" blob " in head), None)
    if blob is None:
        return None
    size = int(await git.run("cat-file", "-s", blob.decode("ascii")))
    if size > max_bytes:
        raise TooLarge(f"The file {path[:200]!r} has {size:,} bytes; at most {max_bytes:,} are read.")
    return await git.run("cat-file", "blob", blob.decode("ascii"))


async def _change(git: Git, sides: _Sides, limits: ReviewSettings) -> ChangeSet:
    command = ["diff-index", "--cached"] if sides.new is None else ["diff-tree", "-r"]
    trees = [sides.old] if sides.new is None else [sides.old, sides.new]
    patch = await git.run(*command, "-p", *_PATCH_OPTIONS, *trees, "--", limit=limits.max_diff_bytes)
    raw = await git.run(*command, "--raw", "-z", "--no-abbrev", "-M", *trees, "--")
    old, new = _blobs(raw)
    files = await _contents(git, new, limits)
    before = await _contents(git, {path: blob for path, blob in old.items() if path in files}, limits)
    diff = patch.decode("utf-8", "replace")
    attributes = await _attributes(git, sides.old, {*old, *new})
    change = storable_change(
        ChangeSet(
            title=sides.title,
            base=sides.base,
            head=sides.new,
            diff=diff,
            files=files,
            before=before,
            attributes=attributes,
        )
    )
    kept = within_limits(file_sizes(change.files), limits)  # U+FFFD is longer than the byte that it stands for
    kept_before = within_limits(file_sizes(change.before), limits)
    return replace(
        change,
        files={path: change.files[path] for path in kept},
        before={path: change.before[path] for path in kept_before if path in set(kept)},
    )


async def recent_commits(repo: Path, count: int) -> list[Commit]:
    """The last `count` commits before and at `HEAD`, newest first; none where there are no commits yet.

    Raises:
        Configuration, InvalidInput, NotFound, NotPermitted, Unavailable: as `read_change`.
    """
    git = Git(repo)
    await git.check()
    head = await _commit_or_none(git, "HEAD")
    if head is None:
        return []
    listing = await git.run(
        "rev-list", f"--max-count={max(count, 0)}", "--encoding=UTF-8", f"--format={_COMMIT_FORMAT}", head, "--"
    )
    fields = listing.decode("utf-8", "replace").split("\0")
    return [
        Commit(sha, title, author, datetime.fromisoformat(when))
        for sha, when, author, title in zip(fields[1::5], fields[2::5], fields[3::5], fields[4::5], strict=True)
    ]


async def _staged(git: Git) -> _Sides:
    head = await _commit_or_none(git, "HEAD")
    return _Sides(head or await _empty_tree(git), None, head, "Staged changes")


async def _sides(git: Git, revision: str) -> _Sides:
    match = _RANGE.fullmatch(revision)
    if match is None:
        head = await _commit_id(git, revision)
        parent = await _commit_or_none(git, f"{head}^1")
        if parent is None:
            await _refuse_shallow(git, head)
        return _Sides(parent or await _empty_tree(git), head, parent, await _subject(git, head))
    base = await _commit_id(git, match["base"] or "HEAD")
    head = await _commit_id(git, match["head"] or "HEAD")
    if match["dots"] == "...":
        found = await git.run("merge-base", base, head, accept=(0, 1))
        if not found:
            raise InvalidInput(f"{revision!r}: the two sides have no commit in common.", param="revision")
        base = found.decode().split()[0]
    return _Sides(base, head, base, f"{match['base'] or 'HEAD'}{match['dots']}{match['head'] or 'HEAD'}")


async def _refuse_shallow(git: Git, commit: str) -> None:
    """A commit whose parent was not cloned looks like a first commit, and would be compared with nothing."""
    head, _, _ = (await git.run("cat-file", "commit", commit)).partition(b"\n\n")
    if any(line.startswith(b"parent ") for line in head.split(b"\n")):
        raise NotFound(
            f"The parent of commit {commit[:12]} is not in this shallow clone. Run `git fetch --deepen=1` first.",
            param="revision",
        )


async def _commit_id(git: Git, revision: str) -> str:
    found = await _commit_or_none(git, revision)
    if found is None and revision == "HEAD":
        raise NotFound("This repository has no commits yet. Review the staged changes instead.", param="revision")
    if found is None:
        raise NotFound(
            f"The repository has no commit {revision!r}. If it is on a remote, run `git fetch` first.",
            param="revision",
        )
    return found


async def _commit_or_none(git: Git, revision: str) -> str | None:
    if not revision or any(ord(character) < 32 for character in revision) or len(revision) > 1000:
        raise InvalidInput(f"{revision[:80]!r} can't be a revision.", param="revision")
    commit = f"{revision}^{{commit}}"
    found = await git.run("rev-parse", "--verify", "--quiet", "--end-of-options", commit, accept=(0, 1, 128))
    return found.decode("ascii", "replace").strip() or None


async def _empty_tree(git: Git) -> str:
    """The id of the tree without files, in the repository's own hash; git knows it without it being stored."""
    return (await git.run("hash-object", "-t", "tree", "--stdin")).decode("ascii").strip()


async def _subject(git: Git, commit: str) -> str:
    shown = await git.run("rev-list", "--max-count=1", "--encoding=UTF-8", "--format=%x00%s", commit, "--")
    return shown.decode("utf-8", "replace").partition("\0")[2].strip("\n")


def _blobs(raw: bytes) -> tuple[dict[str, str], dict[str, str]]:
    """From `--raw -z`: the old and the new side's blob of each regular file that is not deleted, by the new path."""
    fields = iter(raw.split(b"\0"))
    old: dict[str, str] = {}
    new: dict[str, str] = {}
    for field in fields:
        if not field.startswith(b":"):
            continue
        old_mode, mode, old_blob, blob, status = field[1:].decode("ascii", "replace").split(" ")
        path = next(fields)
        if status[0] in "RC":
            path = next(fields)
        if mode in _FILE_MODES and status[0] != "D":
            name = path.decode("utf-8", "replace")
            new[name] = blob
            if old_mode in _FILE_MODES:
                old[name] = old_blob
    return old, new


async def _contents(git: Git, blobs: dict[str, str], limits: ReviewSettings) -> dict[str, str]:
    """The texts of these blobs; without the binary ones, and within the limits."""
    sizes = await _sizes(git, set(blobs.values()))
    known = {path: sizes[blob] for path, blob in blobs.items() if blob in sizes}
    wanted = {path: blobs[path] for path in within_limits(known, limits)}
    if not wanted:
        return {}
    order = list(dict.fromkeys(wanted.values()))
    stream = await git.run("cat-file", "--batch", stdin="".join(f"{blob}\n" for blob in order).encode())
    texts: dict[str, bytes] = {}
    at = 0
    for blob in order:
        end = stream.index(b"\n", at)
        start, at = end + 1, end + 2 + sizes[blob]
        texts[blob] = stream[start : at - 1]
    return {
        path: texts[blob].decode("utf-8", "replace")
        for path, blob in wanted.items()
        if b"\0" not in texts[blob][:_BINARY_PROBE]
    }


async def _attributes(git: Git, tree: str, paths: set[str]) -> dict[str, str]:
    """The `.gitattributes` of a tree in the folders of these files, and in those above them."""
    folders = sorted(
        {folder for path in paths for folder in PurePosixPath(path).parents}, key=lambda one: len(one.parts)
    )
    names = [str(folder / _ATTRIBUTES) for folder in folders[:_MOST_ATTRIBUTES]]
    if not names:
        return {}
    listed = await git.run("--literal-pathspecs", "ls-tree", "-z", "--full-tree", tree, "--", *names)
    entries = [entry.partition(b"\t") for entry in listed.split(b"\0")]
    blobs = {
        name.decode("utf-8", "replace"): head.split()[2].decode("ascii")
        for head, _, name in entries
        if b" blob " in head
    }
    sizes = await _sizes(git, set(blobs.values()))
    return {
        path: (await git.run("cat-file", "blob", blob)).decode("utf-8", "replace")
        for path, blob in blobs.items()
        if sizes.get(blob, _LARGEST_ATTRIBUTES + 1) <= _LARGEST_ATTRIBUTES
    }


async def _sizes(git: Git, blobs: set[str]) -> dict[str, int]:
    """Bytes of each blob that the repository has."""
    if not blobs:
        return {}
    asked = "".join(f"{blob}\n" for blob in sorted(blobs)).encode()
    answer = (
        await git.run("cat-file", "--batch-check=%(objectname) %(objecttype) %(objectsize)", stdin=asked)
    ).decode()
    parts = [line.split(" ") for line in answer.splitlines()]
    return {part[0]: int(part[2]) for part in parts if len(part) == 3 and part[1] == "blob"}
