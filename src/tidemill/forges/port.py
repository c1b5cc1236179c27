"""The port to a forge: what is read of a pull request, and what is written on it.

Every method may raise:

- `TooManyRequests`: the forge wants fewer requests; `retry_after` says in how many seconds. Transient.
- `Unavailable`: it does not answer, or answers 5xx. Transient.
- `NotAuthenticated`, `NotPermitted`: the token is wrong or has too few rights; the message names the right.
- `NotFound`: the repository, the pull request, the comment or the branch is not there, or not for this token.
- `Refused`: it does not take what was to be written (a line outside of the diff, a text too long). Not transient.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol

from tidemill.core.change import ChangeSet
from tidemill.core.errors import InvalidInput
from tidemill.core.pull_request import Check, ForgeComment, ForgeKind, Position, PullRequest, PullRequestKey
from tidemill.settings import ReviewSettings


class Refused(InvalidInput):
    """The forge does not take what was to be written."""

    code = "forge_refused"


class Forge(Protocol):
    """One forge, spoken to as one account. Safe to use from many tasks at once."""

    name: str
    """Its name in the settings."""
    kind: ClassVar[ForgeKind]
    """Whose Markdown its comments are written in."""
    comment_limit: ClassVar[int]
    """Characters that one comment may have."""

    async def pull_request(self, key: PullRequestKey) -> PullRequest:
        """The pull request as it stands now."""
        ...

    async def change(self, pull_request: PullRequest, limits: ReviewSettings) -> ChangeSet:
        """What it changes between its base and its head, with both sides' texts of changed files within the limits.

        Raises:
            TooLarge: the diff is over `review.max_diff_bytes`.
            Conflict: the head is not that of the value any more (a force-push came between).
        """
        ...

    async def file(self, pull_request: PullRequest, path: str, commit: str) -> bytes | None:
        """A file as a commit has it; `None` where that commit has none of this path."""
        ...

    async def files_naming(self, pull_request: PullRequest, names: Sequence[str], *, most: int) -> Mapping[str, str]:
        """Texts of source files of the head commit in which these names stand, by path, as `CodeIndex` of
        `tidemill.review` says."""
        ...

    async def issue(self, key: PullRequestKey, number: int) -> str:
        """Title and text of an issue of the pull request's project; `NotFound` where the number is no issue's."""
        ...

    async def comments(self, key: PullRequestKey) -> Sequence[ForgeComment]:
        """Every comment, of the pull request as a whole and inline, oldest first; all pages."""
        ...

    async def comment(self, key: PullRequestKey, body: str) -> ForgeComment:
        """Writes a comment on the pull request as a whole."""
        ...

    async def edit(self, key: PullRequestKey, comment: ForgeComment, body: str) -> None:
        """Puts another text in the place of one of Tidemill's own comments."""
        ...

    async def comment_inline(
        self, pull_request: PullRequest, position: Position, body: str, *, change: ChangeSet
    ) -> ForgeComment:
        """Writes an inline comment on the head commit.

        Args:
            pull_request: as it was read; its head is the commit.
            position: on the new side, within the diff.
            body: Markdown.
            change: what `change` gave: forges that count positions in the diff need it.
        """
        ...

    async def reply(self, key: PullRequestKey, to: ForgeComment, body: str) -> ForgeComment:
        """Answers an inline comment in its thread, or a comment on the whole by another one."""
        ...

    async def resolve(self, key: PullRequestKey, thread: str) -> bool:
        """Resolves a thread; false where this forge can't."""
        ...

    async def put_check(self, key: PullRequestKey, check: Check) -> bool:
        """Writes a check run or a commit's status in the place of one of its name; false where this forge can't."""
        ...

    async def may_write(self, key: PullRequestKey, login: str) -> bool:
        """Whether a person may push to the repository: whose commands Tidemill obeys."""
        ...
