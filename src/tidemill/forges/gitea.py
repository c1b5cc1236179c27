"""Gitea and Forgejo: https://docs.gitea.com/api (version 1).

Their threads have no id of their own: the inline comments on one line of a file are a thread, and it is named by its
first comment. A comment stands on one line: the last of those that it is about. After a push nothing says where an
older comment stands now, so that it has no position then.
"""

import base64
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import ClassVar
from urllib.parse import quote

from pydantic import AwareDatetime, BaseModel

from tidemill.analysis.diff import parse_diff
from tidemill.core.change import ChangeSet
from tidemill.core.errors import NotFound, Unavailable
from tidemill.core.json import Json
from tidemill.core.pull_request import (
    Check,
    CheckState,
    ForgeComment,
    ForgeKind,
    Position,
    PullRequest,
    PullRequestKey,
    PullRequestState,
)
from tidemill.forges.copies import Copies
from tidemill.forges.port import Refused
from tidemill.forges.pulled import PulledChanges
from tidemill.forges.rest import Rest
from tidemill.forges.webhooks_gitea import DRAFT
from tidemill.settings import ReviewSettings

PAGE = 50
_STATUSES = {
    CheckState.RUNNING: "pending",
    CheckState.PASSED: "success",
    CheckState.FAILED: "failure",
    CheckState.NEUTRAL: "success",
}
_DESCRIPTION_LIMIT = 255
_WRITERS = frozenset({"admin", "owner", "write"})


class _User(BaseModel):
    login: str


class _Repository(BaseModel):
    default_branch: str = ""


class _Side(BaseModel):
    sha: str
    ref: str
    repo_id: int = 0
    repo: _Repository | None = None


class _Label(BaseModel):
    name: str


class _Pull(BaseModel):
    title: str
    body: str | None = None
    user: _User | None = None
    state: str
    merged: bool = False
    draft: bool | None = None
    head: _Side
    base: _Side
    merge_base: str
    html_url: str
    merge_commit_sha: str | None = None
    labels: list[_Label] | None = None


class _Comment(BaseModel):
    id: int
    body: str
    user: _User | None = None
    created_at: AwareDatetime


class _ReviewComment(_Comment):
    path: str
    position: int = 0
    original_position: int = 0
    commit_id: str | None = None
    resolver: _User | None = None


class _Review(BaseModel):
    id: int
    comments_count: int = 0


class _Reaction(BaseModel):
    content: str


class _Issue(BaseModel):
    title: str
    body: str | None = None
    pull_request: object = None


class _Permission(BaseModel):
    permission: str


class Gitea:
    """One Gitea or Forgejo, spoken to as a token's owner.

    Args:
        name: its name in the settings.
        site: its address, without a slash at its end.
        rest: its API.
        token: gives the access token.
        copies: holds its repositories.
    """

    kind: ClassVar[ForgeKind] = ForgeKind.GITEA
    comment_limit: ClassVar[int] = 65_535

    def __init__(self, name: str, site: str, rest: Rest, token: Callable[[], Awaitable[str]], copies: Copies) -> None:
        self.name = name
        self._rest = rest
        self._token = token
        self._changes = PulledChanges(copies, site, self._git_header, self)

    async def pull_request(self, key: PullRequestKey) -> PullRequest:
        """See `Forge.pull_request`."""
        pull = await self._pull(key)
        state = PullRequestState.OPEN if pull.state == "open" else PullRequestState.CLOSED
        return PullRequest(
            key=key,
            title=pull.title,
            body=pull.body or "",
            author=pull.user.login if pull.user else "",
            state=PullRequestState.MERGED if pull.merged else state,
            base=pull.merge_base,
            head=pull.head.sha,
            target=pull.base.ref,
            target_head=pull.base.sha,
            to_default=pull.base.repo is not None and pull.base.ref == pull.base.repo.default_branch,
            source=pull.head.ref,
            fork=pull.head.repo_id != pull.base.repo_id,
            draft=bool(DRAFT.match(pull.title)) if pull.draft is None else pull.draft,
            url=pull.html_url,
            merge_commit=pull.merge_commit_sha if pull.merged else None,
            labels=tuple(label.name for label in pull.labels or ()),
        )

    async def head(self, key: PullRequestKey) -> str:
        """The newest commit of a pull request."""
        return (await self._pull(key)).head.sha

    async def change(self, pull_request: PullRequest, limits: ReviewSettings) -> ChangeSet:
        """See `Forge.change`."""
        return await self._changes.change(pull_request, limits)

    async def file(self, pull_request: PullRequest, path: str, commit: str) -> bytes | None:
        """See `Forge.file`."""
        return await self._changes.file(pull_request, path, commit)

    async def files_naming(self, pull_request: PullRequest, names: Sequence[str], *, most: int) -> Mapping[str, str]:
        """See `Forge.files_naming`."""
        return await self._changes.files_naming(pull_request, names, most=most)

    async def issue(self, key: PullRequestKey, number: int) -> str:
        """See `Forge.issue`."""
        found = await self._rest.one(_Issue, self.sign, "GET", f"{_repo(key)}/issues/{number}")
        if found.pull_request is not None:
            raise NotFound(f"{number} of {key.project.path} is a pull request, and no issue.")
        return f"{found.title}\n\n{found.body or ''}".strip()

    async def comments(self, key: PullRequestKey) -> Sequence[ForgeComment]:
        """See `Forge.comments`. Reactions are read of Tidemill's own comments alone: each costs a request."""
        head = await self.head(key)
        me = (await self._rest.one(_User, self.sign, "GET", "/user")).login
        whole = await self._rest.all(_Comment, self.sign, f"{_issue(key)}/comments")
        found = [await self._value(key, one, me) for one in whole]
        inline: list[_ReviewComment] = []
        for review in await self._rest.all(_Review, self.sign, f"{_path(key)}/reviews", limit=PAGE):
            if review.comments_count:
                inline += await self._of_review(key, review.id)
        firsts: dict[tuple[str, int, int], int] = {}
        for one in sorted(inline, key=lambda comment: comment.id):
            first = firsts.setdefault((one.path, one.position, one.original_position), one.id)
            found.append(await self._value(key, one, me, first=first, head=head))
        return sorted(found, key=lambda comment: (comment.created_at, int(comment.id)))

    async def comment(self, key: PullRequestKey, body: str) -> ForgeComment:
        """See `Forge.comment`."""
        made = await self._rest.one(_Comment, self.sign, "POST", f"{_issue(key)}/comments", {"body": body})
        return ForgeComment(str(made.id), None, _login(made), body, made.created_at, own=True)

    async def edit(self, key: PullRequestKey, comment: ForgeComment, body: str) -> None:
        """See `Forge.edit`."""
        await self._rest.do(self.sign, "PATCH", f"{_repo(key)}/issues/comments/{comment.id}", {"body": body})

    async def comment_inline(
        self, pull_request: PullRequest, position: Position, body: str, *, change: ChangeSet
    ) -> ForgeComment:
        """See `Forge.comment_inline`. Gitea takes any line, and shows the comment nowhere: so it is checked here."""
        files = [file for file in parse_diff(change.diff).files if file.path == position.path]
        lines = {line.new for file in files for hunk in file.hunks for line in hunk.lines}
        if position.end not in lines:
            raise Refused(f"Line {position.end} of {position.path} is not part of the diff.")
        return await self._inline(pull_request.key, pull_request.head, position, body)

    async def reply(self, key: PullRequestKey, to: ForgeComment, body: str) -> ForgeComment:
        """See `Forge.reply`. Where a thread has no line any more, the answer is a comment on the whole."""
        if to.thread is None or to.position is None:
            return await self.comment(key, body)
        return await self._inline(key, await self.head(key), to.position, body, reply_to=to.thread)

    async def resolve(self, key: PullRequestKey, thread: str) -> bool:
        """See `Forge.resolve`. Older versions can't; in newer ones it stands in one place or the other."""
        comment = quote(thread, safe="")
        for path in (f"{_repo(key)}/pulls/comments/{comment}/resolve", f"{_path(key)}/comments/{comment}/resolve"):
            try:
                await self._rest.do(self.sign, "POST", path)
            except NotFound:
                continue
            except Refused as error:
                if "(HTTP 405)" not in error.message:
                    raise
                continue
            return True
        return False

    async def put_check(self, key: PullRequestKey, check: Check) -> bool:
        """See `Forge.put_check`: a commit's status, which has no annotations."""
        status: dict[str, Json] = {
            "state": _STATUSES[check.state],
            "context": check.name,
            "description": check.title[:_DESCRIPTION_LIMIT],
        }
        if check.link is not None:
            status["target_url"] = check.link
        await self._rest.do(self.sign, "POST", f"{_repo(key)}/statuses/{check.commit}", status)
        return True

    async def may_write(self, key: PullRequestKey, login: str) -> bool:
        """See `Forge.may_write`."""
        path = f"{_repo(key)}/collaborators/{quote(login, safe='')}/permission"
        try:
            return (await self._rest.one(_Permission, self.sign, "GET", path)).permission in _WRITERS
        except NotFound:
            return False

    async def sign(self) -> Mapping[str, str]:
        """The headers that say who asks."""
        return {"authorization": f"token {await self._token()}"}

    async def _pull(self, key: PullRequestKey) -> _Pull:
        return await self._rest.one(_Pull, self.sign, "GET", _path(key))

    async def _of_review(self, key: PullRequestKey, review: int) -> list[_ReviewComment]:
        return await self._rest.all(_ReviewComment, self.sign, f"{_path(key)}/reviews/{review}/comments")

    async def _inline(
        self, key: PullRequestKey, commit: str, position: Position, body: str, reply_to: str | None = None
    ) -> ForgeComment:
        said: Json = {
            "event": "COMMENT",
            "body": "",
            "commit_id": commit,
            "comments": [{"path": position.path, "body": body, "new_position": position.end, "old_position": 0}],
        }
        review = await self._rest.one(_Review, self.sign, "POST", f"{_path(key)}/reviews", said)
        made = await self._of_review(key, review.id)
        if not made:
            raise Unavailable(f"The forge {self.name} took a comment and does not show it.")
        one = made[-1]
        return ForgeComment(
            id=str(one.id),
            thread=reply_to or str(one.id),
            author=_login(one),
            body=body,
            created_at=one.created_at,
            position=Position(position.path, position.end, position.end),
            path=position.path,
            reply_to=reply_to,
            own=True,
        )

    async def _value(
        self, key: PullRequestKey, one: _Comment, me: str, *, first: int | None = None, head: str = ""
    ) -> ForgeComment:
        own = _login(one) == me
        position, path, resolved = None, None, False
        if isinstance(one, _ReviewComment):
            path, resolved = one.path, one.resolver is not None
            if one.position and one.commit_id == head:
                position = Position(one.path, one.position, one.position)
        return ForgeComment(
            id=str(one.id),
            thread=None if first is None else str(first),
            author=_login(one),
            body=one.body,
            created_at=one.created_at,
            position=position,
            path=path,
            reply_to=None if first is None or first == one.id else str(first),
            resolved=resolved,
            own=own,
            reactions=await self._reactions(key, one.id) if own else {},
        )

    async def _reactions(self, key: PullRequestKey, comment: int) -> Mapping[str, int]:
        path = f"{_repo(key)}/issues/comments/{comment}/reactions"
        counts: dict[str, int] = {}
        for reaction in await self._rest.one(list[_Reaction] | None, self.sign, "GET", path) or ():  # type: ignore[arg-type]
            counts[reaction.content] = counts.get(reaction.content, 0) + 1
        return counts

    async def _git_header(self, project: str) -> str:
        del project
        return f"Authorization: Basic {base64.b64encode(f'oauth2:{await self._token()}'.encode()).decode()}"


def _repo(key: PullRequestKey) -> str:
    return f"/repos/{quote(key.project.path)}"


def _path(key: PullRequestKey) -> str:
    return f"{_repo(key)}/pulls/{key.number}"


def _issue(key: PullRequestKey) -> str:
    return f"{_repo(key)}/issues/{key.number}"


def _login(one: _Comment) -> str:
    return one.user.login if one.user else ""
