"""The repositories of a scripted forge: real, bare, with commits that are made by git itself."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from tidemill.analysis.diff import parse_diff
from tidemill.core.change import Diff
from tidemill.core.errors import Conflict, InvalidInput, NotFound
from tidemill.forges.git_process import Git

_SERVED = ("uploadpack.allowAnySHA1InWant", "uploadpack.allowFilter")
"""What the forges that are imitated allow to those who fetch."""


class ScriptedRepository:
    """One bare repository.

    Args:
        folder: where it is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._git = Git(folder)

    @classmethod
    async def clone(cls, source: Path, folder: Path) -> "ScriptedRepository":
        """A new one with all branches of a repository or a bundle."""
        await asyncio.to_thread(folder.mkdir, parents=True)
        git = Git(folder, protocol="file")
        await git.run("init", "--quiet", "--bare", "--template=", "--initial-branch=main", "--", ".")
        await git.run(
            "fetch", "--quiet", "--", str(await asyncio.to_thread(source.absolute)), "+refs/heads/*:refs/heads/*"
        )
        for name in _SERVED:
            await git.run("config", name, "true")
        return cls(folder)

    async def take_in(self, source: Path, branch: str) -> str:
        """Sets a branch to what another repository has under that name; returns its commit."""
        git = Git(self.folder, protocol="file")
        await git.run(
            "fetch",
            "--quiet",
            "--",
            str(await asyncio.to_thread(source.absolute)),
            f"+refs/heads/{branch}:refs/heads/{branch}",
        )
        return await self.commit_of(branch)

    async def commit_of(self, revision: str) -> str:
        """The whole id of a branch's or another revision's commit.

        Raises:
            NotFound: there is none.
        """
        found = await self._git.run(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}", accept=(0, 1, 128)
        )
        if not found:
            raise NotFound(f"The scripted repository has no commit {revision!r}.")
        return found.decode("ascii").strip()

    async def point(self, ref: str, commit: str) -> None:
        """Sets a ref."""
        await self._git.run("update-ref", ref, commit)

    async def delete_branch(self, branch: str) -> None:
        """Deletes a branch; the refs of its pull requests stay, as they do on forges."""
        await self._git.run("update-ref", "-d", f"refs/heads/{branch}")

    async def merge_base(self, one: str, other: str) -> str:
        """Where two commits part."""
        found = await self._git.run("merge-base", one, other, accept=(0, 1))
        if not found:
            raise InvalidInput(f"{one} and {other} have no commit in common.")
        return found.decode("ascii").split()[0]

    async def titles(self, base: str, head: str) -> list[tuple[str, str]]:
        """Id and subject of each commit after `base` up to `head`, oldest first."""
        listed = await self._git.run("rev-list", "--reverse", "--format=%H%x00%s", f"{base}..{head}", "--")
        lines = listed.decode("utf-8", "replace").splitlines()[1::2]
        return [(sha, title) for sha, _, title in (line.partition("\0") for line in lines)]

    async def commit(
        self, branch: str, files: Mapping[str, bytes | None], *, message: str, author: str, at: datetime, parent: str
    ) -> str:
        """A commit on top of `parent`, with these files put in or, where `None`, taken out; the branch is set to it."""
        said = message.encode()
        stream = bytearray(
            f"commit refs/heads/{branch}\ncommitter {author} <{author}@forge.example> {int(at.timestamp())} +0000\n"
            f"data {len(said)}\n".encode()
            + said
            + f"\nfrom {parent}\n".encode()
        )
        for path, data in files.items():
            if "\n" in path or path.startswith('"'):
                raise InvalidInput(f"{path!r} can't be a path here.")
            if data is None:
                stream += f"D {path}\n".encode()
            else:
                stream += f"M 100644 inline {path}\ndata {len(data)}\n".encode() + data + b"\n"
        await self._git.run("fast-import", "--quiet", "--force", "--date-format=raw", stdin=bytes(stream))
        return await self.commit_of(f"refs/heads/{branch}")

    async def file(self, commit: str, path: str) -> bytes | None:
        """A file as a commit has it."""
        found = await self._git.run("ls-tree", "-z", commit, "--", path)
        if b" blob " not in found:
            return None
        return await self._git.run("cat-file", "blob", found.split()[2].decode("ascii"))

    async def merge(self, target: str, head: str, *, message: str, author: str, at: datetime) -> str:
        """Merges a commit into a branch; returns the merge's commit.

        Raises:
            Conflict: the two don't merge by themselves.
        """
        tip = await self.commit_of(f"refs/heads/{target}")
        made = await self._git.run("merge-tree", "--write-tree", "--no-messages", tip, head, accept=(0, 1))
        tree = made.decode("ascii", "replace").split("\n")[0]
        if len(made.split()) > 1:
            raise Conflict(f"{head[:12]} and {target} don't merge without somebody's help.")
        git = Git(self.folder, settings=[f"user.name={author}", f"user.email={author}@forge.example"])
        merged = await git.run("commit-tree", tree, "-p", tip, "-p", head, "-m", message)
        commit = merged.decode("ascii").strip()
        await self.point(f"refs/heads/{target}", commit)
        return commit

    async def diff(self, base: str, head: str, *, context: int = 3, path: str | None = None) -> Diff:
        """What two commits differ in."""
        return parse_diff((await self.patch(base, head, context=context, path=path)).decode("utf-8", "replace"))

    async def patch(self, base: str, head: str, *, context: int = 3, path: str | None = None) -> bytes:
        """The same, as git writes it."""
        options = ("-r", "-p", "-M", "--full-index", "--no-ext-diff", "--no-textconv", "--no-color")
        limits = ["--", path] if path is not None else ["--"]
        return await self._git.run("diff-tree", *options, f"-U{context}", base, head, *limits)
