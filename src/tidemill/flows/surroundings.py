"""The rest of the repository, for what a review reads beside the change: of a pull request, or on this machine."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from tidemill.core.change import ChangeSet
from tidemill.core.errors import TidemillError
from tidemill.core.pull_request import PullRequest
from tidemill.forges.code_search import GitCodeIndex
from tidemill.forges.git_process import Git
from tidemill.forges.port import Forge
from tidemill.review.code_index import CodeIndex, with_surroundings

log = logging.getLogger(__name__)


class PulledCode:
    """The repository's files at a pull request's head."""

    def __init__(self, forge: Forge, pull_request: PullRequest) -> None:
        self._forge = forge
        self._pull_request = pull_request

    async def files_naming(self, names: Sequence[str], *, most: int) -> Mapping[str, str]:
        """As `CodeIndex` says."""
        return await self._forge.files_naming(self._pull_request, names, most=most)


async def surrounded(change: ChangeSet, forge: Forge, pull_request: PullRequest) -> ChangeSet:
    """The change of a pull request with the files around it, as `_surrounded`.

    Raises:
        TidemillError: what may pass by itself.
    """
    return await _surrounded(change, PulledCode(forge, pull_request), str(pull_request.key.number))


async def surrounded_locally(change: ChangeSet, repo: Path) -> ChangeSet:
    """A change that was read from a local repository with the files around it, as `_surrounded`.

    Raises:
        Unavailable: git took too long.
    """
    return await _surrounded(change, GitCodeIndex(Git(repo), change.head), change.title)


async def _surrounded(change: ChangeSet, index: CodeIndex, what: str) -> ChangeSet:
    """Where the repository can't be searched for good, the review is made from the changed files alone, and the log
    says why."""
    try:
        return await with_surroundings(change, index)
    except TidemillError as error:
        if error.transient:
            raise
        log.warning("%s is reviewed without the files around the change: %s", what, error.message)
        return change
