"""The scripted forge as an adapter of the port, within the process: for tests, and for demonstrations without a server.

Nothing is simulated that git can do: the change, its files and its merge are those of a real repository. What a real
forge refuses is refused, and what can go wrong on the way does, on command.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from tidemill.core.change import ChangeSet
from tidemill.core.errors import Conflict, NotAuthenticated, NotFound, NotPermitted, TooManyRequests, Unavailable
from tidemill.core.pull_request import Check, ForgeComment, ForgeKind, Position, PullRequest, PullRequestKey
from tidemill.forges.code_search import GitCodeIndex
from tidemill.forges.git_process import Git
from tidemill.forges.local_git import change_between, file_at
from tidemill.forges.port import Refused
from tidemill.forges.scripted_site import COMMENT_LIMIT, ScriptedPull, ScriptedSite
from tidemill.settings import ReviewSettings

_MOST_FILE_BYTES = 100_000_000


@dataclass(slots=True)
class Fault:
    """What goes wrong, on command.

    Attributes:
        status: what is answered: 401, 403, 404, 422, 429, 500 and above; 0 for nothing but slowness.
        action: of which calls: a part of the method's name (of a server: of the path); empty for all.
        times: how often.
        retry_after: with 403 or 429: seconds after which to ask again.
        seconds: how long it takes.
        done: whether what was asked is done all the same, before it is refused: the answer was lost.
    """

    status: int = 0
    action: str = ""
    times: int = 1
    retry_after: float | None = None
    seconds: float = 0.0
    done: bool = False


class Faults:
    """The faults that are to come, each used up by the calls that meet it."""

    def __init__(self) -> None:
        self.waiting: list[Fault] = []

    def take(self, action: str) -> Fault | None:
        """The first fault for this call, counted down."""
        for fault in self.waiting:
            if fault.action in action:
                fault.times -= 1
                if fault.times <= 0:
                    self.waiting.remove(fault)
                return fault
        return None


class ScriptedForge:
    """A forge within the process, spoken to as one account.

    Args:
        site: what it holds.
        name: its name in the settings.
        account: the login under which Tidemill writes.

    Attributes:
        faults: what is to go wrong.
        calls: the names of the methods that were called, in their order.
    """

    kind: ClassVar[ForgeKind] = ForgeKind.SCRIPTED
    comment_limit: ClassVar[int] = COMMENT_LIMIT

    def __init__(self, site: ScriptedSite, name: str = "scripted", account: str = "tidemill") -> None:
        self.name = name
        self.site = site
        self.account = account
        self.faults = Faults()
        self.calls: list[str] = []

    async def pull_request(self, key: PullRequestKey) -> PullRequest:
        """See `Forge.pull_request`."""
        await self._meet("pull_request")
        return await self.site.value(self._pull(key), self.name)

    async def change(self, pull_request: PullRequest, limits: ReviewSettings) -> ChangeSet:
        """See `Forge.change`."""
        await self._meet("change")
        pull = self._pull(pull_request.key)
        if pull.head != pull_request.head:
            raise Conflict(f"Pull request {pull.number} is at {pull.head}, and no more at {pull_request.head}.")
        git = Git(self.site.project(pull.project).repository.folder)
        return await change_between(git, pull_request.base, pull_request.head, title=pull.title, limits=limits)

    async def file(self, pull_request: PullRequest, path: str, commit: str) -> bytes | None:
        """See `Forge.file`."""
        await self._meet("file")
        repository = self.site.project(pull_request.key.project.path).repository
        await repository.commit_of(commit)
        return await file_at(Git(repository.folder), commit, path, max_bytes=_MOST_FILE_BYTES)

    async def files_naming(self, pull_request: PullRequest, names: Sequence[str], *, most: int) -> Mapping[str, str]:
        """See `Forge.files_naming`."""
        await self._meet("files_naming")
        git = Git(self.site.project(pull_request.key.project.path).repository.folder)
        return await GitCodeIndex(git, pull_request.head).files_naming(names, most=most)

    async def issue(self, key: PullRequestKey, number: int) -> str:
        """See `Forge.issue`."""
        await self._meet("issue")
        return "\n\n".join(self.site.issue(key.project.path, number))

    async def comments(self, key: PullRequestKey) -> Sequence[ForgeComment]:
        """See `Forge.comments`."""
        await self._meet("comments")
        pull = self._pull(key)
        return [self.site.comment_value(pull, said, self.account) for said in pull.comments]

    async def comment(self, key: PullRequestKey, body: str) -> ForgeComment:
        """See `Forge.comment`."""
        fault = await self._meet("comment", key)
        pull = self._pull(key)
        said = await self.site.say(pull, self.account, body)
        _raise(fault)
        return self.site.comment_value(pull, said, self.account)

    async def edit(self, key: PullRequestKey, comment: ForgeComment, body: str) -> None:
        """See `Forge.edit`."""
        fault = await self._meet("edit", key)
        pull = self._pull(key)
        if self.site.comment(pull, int(comment.id)).author != self.account:
            raise NotPermitted(f"Comment {comment.id} is not {self.account}'s own.")
        self.site.edit(pull, int(comment.id), body)
        _raise(fault)

    async def comment_inline(
        self, pull_request: PullRequest, position: Position, body: str, *, change: ChangeSet
    ) -> ForgeComment:
        """See `Forge.comment_inline`."""
        fault = await self._meet("comment_inline", pull_request.key)
        pull = self._pull(pull_request.key)
        said = await self.site.say_inline(pull, self.account, body, position, pull_request.head)
        _raise(fault)
        return self.site.comment_value(pull, said, self.account)

    async def reply(self, key: PullRequestKey, to: ForgeComment, body: str) -> ForgeComment:
        """See `Forge.reply`."""
        fault = await self._meet("reply", key)
        pull = self._pull(key)
        said = await self.site.say(pull, self.account, body, int(to.id))
        _raise(fault)
        return self.site.comment_value(pull, said, self.account)

    async def resolve(self, key: PullRequestKey, thread: str) -> bool:
        """See `Forge.resolve`."""
        fault = await self._meet("resolve", key)
        await self.site.resolve(self._pull(key), thread, self.account)
        _raise(fault)
        return True

    async def put_check(self, key: PullRequestKey, check: Check) -> bool:
        """See `Forge.put_check`."""
        fault = await self._meet("put_check", key)
        self._pull(key).checks[check.commit, check.name] = check
        _raise(fault)
        return True

    async def may_write(self, key: PullRequestKey, login: str) -> bool:
        """See `Forge.may_write`."""
        await self._meet("may_write")
        return login in self.site.project(key.project.path).writers

    def _pull(self, key: PullRequestKey) -> ScriptedPull:
        return self.site.pull(key.project.path, key.number)

    async def _meet(self, action: str, key: PullRequestKey | None = None) -> Fault | None:
        """Counts a call and lets its fault happen; one that comes after the deed is given back."""
        self.calls.append(action)
        if key is not None and action in self._pull(key).refused:
            raise NotPermitted(f"{self.account} may not do that on pull request {key.number} ({action}).")
        fault = self.faults.take(action)
        if fault is not None and fault.seconds:
            await asyncio.sleep(fault.seconds)
        if fault is not None and not fault.done:
            _raise(fault)
            return None
        return fault


def _raise(fault: Fault | None) -> None:
    if fault is None or fault.status == 0:
        return
    said = f"The scripted forge answered with HTTP {fault.status}, as it was told to."
    if fault.status == 429 or (fault.status == 403 and fault.retry_after is not None):
        raise TooManyRequests(said, retry_after=fault.retry_after)
    if fault.status >= 500:
        raise Unavailable(said)
    kinds = {401: NotAuthenticated, 403: NotPermitted, 404: NotFound, 409: Conflict}
    raise kinds.get(fault.status, Refused)(said)
