"""Copies of the repositories behind pull requests: only the commits that are compared, fetched by git.

An API gives at most 3,000 changed files, and of each large one no diff at all. git gives them all, from every forge
alike.
"""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from tidemill.core.errors import InvalidInput, NotFound, TidemillError, TooLarge, Unavailable
from tidemill.forges.git_process import Git
from tidemill.forges.repositories import READ_SECONDS, fetch
from tidemill.outbound import Outbound
from tidemill.store.data_folder import make_private_folder

LIMITED_BY = "knowledge.sources.max_repository_bytes"


class Copies:
    """The copies on this machine. Any of them may be deleted at any time: what is missing is fetched again.

    Args:
        folder: where they are; private.
        outbound: says which addresses may be asked.
        max_bytes: of one copy; one that has grown larger is begun anew.
    """

    def __init__(self, folder: Path, outbound: Outbound, max_bytes: int) -> None:
        self._folder = folder
        self._outbound = outbound
        self._max_bytes = max_bytes

    async def with_commits(self, url: str, commits: Sequence[str], header: Callable[[], Awaitable[str]]) -> Git:
        """The copy of a repository, once it has these commits.

        Args:
            url: the repository's.
            commits: their whole ids.
            header: gives the HTTP header that says who asks, where something has to be fetched.

        Raises:
            NotFound: the forge has one of them no more.
            TooLarge, Unavailable, Configuration: see `fetch`.
        """
        for commit in commits:
            if len(commit) not in {40, 64} or set(commit) - set("0123456789abcdef"):
                raise InvalidInput(f"{commit[:80]!r} is no commit's id.")
        place = self._folder / f"{sha256(url.encode()).hexdigest()[:32]}.git"
        async with self._alone(place):
            missing = [commit for commit in dict.fromkeys(commits) if not await _has(place, commit)]
            if missing:
                await self._fetch(place, url, missing, await header())
        return Git(place, timeout=READ_SECONDS)

    async def _fetch(self, place: Path, url: str, commits: Sequence[str], header: str) -> None:
        wanted = [f"+{commit}:refs/tidemill/commits/{commit}" for commit in commits]
        address = (await self._outbound.addresses(urlsplit(url).hostname or "", allow_private=True))[0]
        began = (place / "HEAD").exists()
        try:
            await fetch(place, url, wanted, address, self._max_bytes, limited_by=LIMITED_BY, header=header)
        except TooLarge:
            if not began:
                raise
            await fetch(place, url, wanted, address, self._max_bytes, limited_by=LIMITED_BY, header=header)
        except TidemillError as error:
            if type(error) is not TidemillError:
                raise
            if "not our ref" in error.message or "couldn't find remote ref" in error.message:
                raise NotFound(f"{url} has commit {commits[0][:12]} no more: somebody pushed another.") from error
            raise Unavailable(f"{url} could not be fetched. {error.message}") from error

    @asynccontextmanager
    async def _alone(self, place: Path) -> AsyncIterator[None]:
        """Nobody else changes the copy meanwhile, in whichever process."""
        make_private_folder(self._folder.parent)
        make_private_folder(self._folder)
        lock = await asyncio.to_thread(os.open, f"{place}.lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            while not _locked(lock):  # noqa: ASYNC110 - who has it may be another process
                await asyncio.sleep(0.05)
            yield
        finally:
            os.close(lock)  # which gives the lock back


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def _has(place: Path, commit: str) -> bool:
    """Whether the copy has a commit that was fetched by its name: then all that it holds is there."""
    if not await asyncio.to_thread((place / "HEAD").is_file):
        return False
    ref = f"refs/tidemill/commits/{commit}"
    return bool(await Git(place).run("rev-parse", "--verify", "--quiet", ref, accept=(0, 1, 128)))
