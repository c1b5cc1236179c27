"""What the real forges' adapters share: a change and its files by git, and the project's address."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol
from urllib.parse import quote

from tidemill.core.change import ChangeSet
from tidemill.core.errors import Conflict, NotFound
from tidemill.core.pull_request import PullRequest, PullRequestKey
from tidemill.forges.code_search import GitCodeIndex
from tidemill.forges.copies import Copies
from tidemill.forges.file_history import committed_at, with_histories
from tidemill.forges.local_git import change_between, file_at
from tidemill.settings import ReviewSettings

LARGEST_FILE = 64_000_000
"""Bytes of a file that is read by itself."""


class Heads(Protocol):
    """Says where a pull request stands."""

    async def head(self, key: PullRequestKey) -> str:
        """Its newest commit."""
        ...


class PulledChanges:
    """Reads changes from copies of one forge's repositories.

    Args:
        copies: holds them.
        site: the forge's address.
        header: gives the HTTP header that says who asks, for a project.
        heads: says where a pull request stands.
    """

    def __init__(self, copies: Copies, site: str, header: Callable[[str], Awaitable[str]], heads: Heads) -> None:
        self._copies = copies
        self._site = site
        self._header = header
        self._heads = heads

    async def change(self, pull_request: PullRequest, limits: ReviewSettings) -> ChangeSet:
        """See `Forge.change`."""
        path, commits = pull_request.key.project.path, (pull_request.base, pull_request.head)
        url = self._url(path)
        try:
            async with self._copies.with_commits(url, commits, lambda: self._header(path)) as git:
                await self._check_head(pull_request)
                change = await change_between(git, *commits, title=pull_request.title, limits=limits)
                at = await committed_at(git, pull_request.base)
        except NotFound:
            await self._check_head(pull_request)
            raise
        histories = await self._copies.histories(url, pull_request.base, at, lambda: self._header(path))
        return await asyncio.to_thread(with_histories, change, histories)

    async def file(self, pull_request: PullRequest, path: str, commit: str) -> bytes | None:
        """See `Forge.file`."""
        project = pull_request.key.project.path
        async with self._copies.with_commits(self._url(project), (commit,), lambda: self._header(project)) as git:
            return await file_at(git, commit, path, max_bytes=LARGEST_FILE)

    async def files_naming(self, pull_request: PullRequest, names: Sequence[str], *, most: int) -> Mapping[str, str]:
        """See `Forge.files_naming`."""
        project, commit = pull_request.key.project.path, pull_request.head
        async with self._copies.with_commits(self._url(project), (commit,), lambda: self._header(project)) as git:
            return await GitCodeIndex(git, commit).files_naming(names, most=most)

    async def _check_head(self, pull_request: PullRequest) -> None:
        now = await self._heads.head(pull_request.key)
        if now != pull_request.head:
            raise Conflict(
                f"Pull request {pull_request.key.number} of {pull_request.key.project.path} is at {now[:12]}, and no "
                f"more at {pull_request.head[:12]}."
            )

    def _url(self, project: str) -> str:
        return f"{self._site}/{quote(project)}.git"
