"""The code of a pull request's head, for what a review reads beside the change."""

import logging
from collections.abc import Mapping, Sequence

from tidemill.core.change import ChangeSet
from tidemill.core.errors import TidemillError
from tidemill.core.pull_request import PullRequest
from tidemill.forges.port import Forge
from tidemill.review.code_index import with_surroundings

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
    """The change with the files around it.

    Where the repository can't be searched for good, the review is made from the changed files alone, and the log says
    why.

    Raises:
        TidemillError: what may pass by itself.
    """
    try:
        return await with_surroundings(change, PulledCode(forge, pull_request))
    except TidemillError as error:
        if error.transient:
            raise
        log.warning("%s is reviewed without the files around the change: %s", pull_request.key, error.message)
        return change
