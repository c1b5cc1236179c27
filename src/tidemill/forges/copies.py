"""Copies of the repositories behind pull requests: only the commits that are compared, fetched by git.

An API gives at most 3,000 changed files, and of each large one no diff at all. git gives them all, from every forge
alike.
"""

import asyncio
import fcntl
import logging
import os
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from tidemill.core.change import FileHistory
from tidemill.core.errors import (
    Configuration,
    InvalidInput,
    NotFound,
    NotPermitted,
    TidemillError,
    TooLarge,
    TooManyRequests,
    Unavailable,
)
from tidemill.forges.file_history import YEAR, file_histories
from tidemill.forges.git_process import Git
from tidemill.forges.repositories import READ_SECONDS, fetch
from tidemill.outbound import Outbound
from tidemill.store.data_folder import make_private_folder

log = logging.getLogger(__name__)

MOST_COMMITS = 200
"""In one copy; beyond, the older half is taken out."""
MOST_PACKS = 100
"""Of a history, which gets one with each commit; beyond, it is begun anew."""
HISTORY_SECONDS = 60.0
LONG_SECONDS = 10.0
RETRY_SECONDS = 3600.0
BUSY_SECONDS = 60.0
_REFS = "refs/tidemill/commits/"
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

    @asynccontextmanager
    async def with_commits(
        self, url: str, commits: Sequence[str], header: Callable[[], Awaitable[str]]
    ) -> AsyncIterator[Git]:
        """The copy of a repository, once it has these commits; nobody takes them out while the block runs.

        Args:
            url: the repository's.
            commits: their whole ids.
            header: gives the HTTP header that says who asks, where something has to be fetched.

        Raises:
            NotFound: the forge has one of them no more.
            NotPermitted: the token may not read the repository.
            TooManyRequests, TooLarge, Unavailable, Configuration: see `fetch`.
        """
        for commit in commits:
            if len(commit) not in {40, 64} or set(commit) - set("0123456789abcdef"):
                raise InvalidInput(f"{commit[:80]!r} is no commit's id.")
        place = self._place(url, "git")
        while True:
            async with self._held(place, fcntl.LOCK_SH):
                missing = await _missing(place, commits)
                if not missing:
                    yield Git(place, timeout=READ_SECONDS)
                    return
            async with self._held(place, fcntl.LOCK_EX):
                missing = await _missing(place, commits)
                if missing:
                    await self._fetch(place, url, missing, await header())
                    await _tidy(place, keep=commits)

    async def histories(
        self, url: str, commit: str, at: datetime, header: Callable[[], Awaitable[str]]
    ) -> Mapping[str, FileHistory]:
        """See `file_histories`. Empty where the history can't be had in a minute: the log says why, and what took long
        in vain is not tried again for an hour.

        Args:
            url: the repository's.
            commit: the whole id of the last one that counts.
            at: when that was made.
            header: as in `with_commits`.
        """
        place = self._place(url, "history")
        failed = place.with_suffix(".history-failed")
        began = time.monotonic()
        try:
            if await asyncio.to_thread(_is_young, failed):
                return {}
            async with asyncio.timeout(HISTORY_SECONDS):
                async with self._held(place, fcntl.LOCK_SH):
                    if not await _missing(place, [commit]):
                        return await file_histories(Git(place), commit, at)
                async with self._held(place, fcntl.LOCK_EX):
                    if await _missing(place, [commit]):
                        await self._fetch_history(place, url, commit, at, await header())
                    return await file_histories(Git(place), commit, at)
        except (TidemillError, OSError) as error:  # a timeout is an OSError
            said = error.message if isinstance(error, TidemillError) else str(error) or "it took too long."
            log.warning("How often the files of %s were changed is not known: %s", url, said)
            if time.monotonic() - began > LONG_SECONDS:
                await asyncio.to_thread(failed.touch)
            return {}

    async def _fetch_history(self, place: Path, url: str, commit: str, at: datetime, header: str) -> None:
        if await asyncio.to_thread(_packs, place) >= MOST_PACKS:
            await asyncio.to_thread(shutil.rmtree, place)
        address = (await self._outbound.addresses(urlsplit(url).hostname or "", allow_private=True))[0]
        await fetch(
            place,
            url,
            [f"+{commit}:{_REFS}{commit}"],
            address,
            self._max_bytes,
            limited_by=LIMITED_BY,
            header=header,
            since=at - YEAR,
        )

    def _place(self, url: str, kind: str) -> Path:
        return self._folder / f"{sha256(url.encode()).hexdigest()[:32]}.{kind}"

    async def _fetch(self, place: Path, url: str, commits: Sequence[str], header: str) -> None:
        wanted = [f"+{commit}:{_REFS}{commit}" for commit in commits]
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
            raise _said(url, commits[0], error.message) from error

    @asynccontextmanager
    async def _held(self, place: Path, how: int) -> AsyncIterator[None]:
        """The copy, shared with others who read it or alone, in whichever process they are."""
        make_private_folder(self._folder.parent)  # the cache, which nobody else may have made yet
        make_private_folder(self._folder)
        lock = await asyncio.to_thread(os.open, f"{place}.lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            while not _locked(lock, how):  # noqa: ASYNC110 - who has it may be another process
                await asyncio.sleep(0.05)
            yield
        finally:
            os.close(lock)  # which gives the lock back


def _is_young(mark: Path) -> bool:
    """Whether a file was written within the last hour."""
    try:
        return time.time() - mark.stat().st_mtime < RETRY_SECONDS
    except FileNotFoundError:
        return False


def _packs(place: Path) -> int:
    """How many packs a repository has."""
    return sum(1 for _ in (place / "objects" / "pack").glob("*.pack"))


def _locked(lock: int, how: int) -> bool:
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def _missing(place: Path, commits: Sequence[str]) -> list[str]:
    """Those that were not fetched by their names: of the others, all that they hold is there."""
    wanted = list(dict.fromkeys(commits))
    if not await asyncio.to_thread((place / "HEAD").is_file):
        return wanted
    refs = [f"{_REFS}{commit}" for commit in wanted]
    found = await Git(place).run("for-each-ref", "--format=%(objectname)", "--", *refs)
    return [commit for commit in wanted if commit not in found.decode("ascii").split()]


async def _tidy(place: Path, keep: Sequence[str]) -> None:
    """Takes the oldest commits out where there are many."""
    git = Git(place, timeout=READ_SECONDS)
    listed = (await git.run("for-each-ref", "--sort=-creatordate", "--format=%(objectname)", "--", _REFS)).decode()
    commits = [commit for commit in listed.split() if commit not in keep]
    if len(commits) < MOST_COMMITS:
        return
    gone = "".join(f"delete {_REFS}{commit}\n" for commit in commits[MOST_COMMITS // 2 :])
    await git.run("update-ref", "--stdin", stdin=gone.encode())
    await git.run("gc", "--quiet", "--prune=now")


def _said(url: str, commit: str, said: str) -> TidemillError:
    """What git said, as what it means for a pull request."""
    if "not our ref" in said or "couldn't find remote ref" in said:
        return NotFound(f"{url} has commit {commit[:12]} no more: somebody pushed another.")
    if "unadvertised object" in said:
        return Configuration(
            f"{url} gives no commit by its id. Set uploadpack.allowAnySHA1InWant=true in the git of its forge."
        )
    if "error: 429" in said:
        return TooManyRequests(f"{url} wants fewer requests.", retry_after=BUSY_SECONDS)
    if any(sign in said for sign in ("Authentication failed", "could not read Username", "error: 401", "error: 403")):
        return NotPermitted(f"{url} can't be read with this token: it needs the right to read the contents.")
    if "not found" in said:
        return NotFound(f"There is no repository {url}, or not for this token.")
    return Unavailable(f"{url} could not be fetched. {said}")
