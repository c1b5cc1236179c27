"""Finds the files of a local repository in which names stand, with `git grep`: no index is kept, and nothing is run."""

import math
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from tidemill.analysis.syntax import SUFFIXES
from tidemill.core.text import storable
from tidemill.forges.git_process import Git

_GREP = ("grep", "-I", "-z", "-o", "-w", "-E", "--full-name", "--no-color", "--no-line-number", "--no-column")
_OUTPUT = 20_000_000
"""Bytes of what git grep may say; a file of a million matches has `--max-count` of them."""
_EACH = 200
"""Matching lines of one file that are looked at."""
_LARGEST = 400_000
"""Bytes of a file that is given."""


class GitCodeIndex:
    """The code of one commit.

    Args:
        git: for the repository; `Git.check` has been done on it.
        commit: its whole id; `None` for the index, as for staged changes.
    """

    def __init__(self, git: Git, commit: str | None) -> None:
        self._git = git
        self._commit = commit

    async def files_naming(self, names: Sequence[str], *, most: int) -> Mapping[str, str]:
        """As `CodeIndex` of `tidemill.review` says.

        Raises:
            TooLarge: the names stand in so many places that they tell nothing.
            Unavailable: git took too long.
        """
        plain = [name for name in names if name.isidentifier()]
        if not plain:
            return {}
        wanted = ["-e", "|".join(plain)]  # ten times as fast as a pattern for each
        where = [self._commit] if self._commit is not None else ["--cached"]
        paths = [f":(top,glob)**/*{suffix}" for suffix in SUFFIXES]
        said = await self._git.run(
            *_GREP, f"--max-count={_EACH}", *wanted, *where, "--", *paths, accept=(0, 1), limit=_OUTPUT
        )
        ranked = self._ranked(said)
        return {storable(os.fsdecode(path)): text for path in ranked[:most] if (text := await self._text(path))}

    def _ranked(self, said: bytes) -> list[bytes]:
        """The files, those with the rarest names first: a name that is in one file only says most."""
        names: dict[bytes, set[bytes]] = defaultdict(set)
        prefix = b"" if self._commit is None else self._commit.encode() + b":"
        for line in said.split(b"\n"):
            path, separator, name = line.partition(b"\0")
            if separator:
                names[path.removeprefix(prefix)].add(name)
        spread = Counter(name for found in names.values() for name in found)
        worth = {path: sum(1 / math.sqrt(spread[name]) for name in found) for path, found in names.items()}
        return sorted(worth, key=lambda path: (-worth[path], path))

    async def _text(self, path: bytes) -> str:
        """Empty for a file that is too large."""
        name = b":" + path if self._commit is None else self._commit.encode() + b":" + path
        asked = os.fsdecode(name)
        size = int(await self._git.run("cat-file", "-s", asked))
        if size > _LARGEST:
            return ""
        return storable((await self._git.run("cat-file", "blob", asked)).decode("utf-8", "replace"))
