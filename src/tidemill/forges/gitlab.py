"""GitLab: https://docs.gitlab.com/api/rest (version 4).

A merge request is a pull request here, and a discussion a thread.
"""

import base64
from collections.abc import Awaitable, Callable, Mapping, Sequence
from hashlib import sha1
from typing import ClassVar
from urllib.parse import quote

from pydantic import AwareDatetime, BaseModel

from tidemill.analysis.diff import parse_diff
from tidemill.core.change import ChangeSet, FileDiff, Line, LineKind
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
from tidemill.forges.webhooks_gitlab import REACTIONS
from tidemill.settings import ReviewSettings

PAGE = 100
_STATES = {"merged": PullRequestState.MERGED, "closed": PullRequestState.CLOSED, "locked": PullRequestState.CLOSED}
_STATUSES = {
    CheckState.RUNNING: "running",
    CheckState.PASSED: "success",
    CheckState.FAILED: "failed",
    CheckState.NEUTRAL: "success",
}
_DESCRIPTION_LIMIT = 255
_DEVELOPER = 30
"""The access level from which on people may push."""


class _User(BaseModel):
    id: int = 0
    username: str


class _Refs(BaseModel):
    base_sha: str
    head_sha: str
    start_sha: str


class _MergeRequest(BaseModel):
    title: str
    description: str | None = None
    author: _User
    state: str
    draft: bool = False
    source_branch: str
    target_branch: str
    source_project_id: int | None = None
    target_project_id: int
    sha: str | None = None
    diff_refs: _Refs | None = None
    web_url: str
    merge_commit_sha: str | None = None
    squash_commit_sha: str | None = None
    labels: list[str] = []


class _End(BaseModel):
    new_line: int | None = None


class _Range(BaseModel):
    start: _End | None = None


class _Position(BaseModel):
    head_sha: str | None = None
    new_path: str | None = None
    new_line: int | None = None
    line_range: _Range | None = None


class _Note(BaseModel):
    id: int
    body: str
    author: _User
    created_at: AwareDatetime
    system: bool = False
    resolved: bool = False
    position: _Position | None = None


class _Issue(BaseModel):
    title: str
    description: str | None = None
    confidential: bool = False


class _Tip(BaseModel):
    id: str


class _Branch(BaseModel):
    commit: _Tip
    default: bool = False


class _Discussion(BaseModel):
    id: str
    individual_note: bool = False
    notes: list[_Note]


class _Emoji(BaseModel):
    name: str


class _Member(BaseModel):
    access_level: int


class GitLab:
    """One GitLab, spoken to as a token's owner.

    Args:
        name: its name in the settings.
        site: its address, without a slash at its end.
        rest: its API.
        token: gives the access token.
        copies: holds its repositories.
    """

    kind: ClassVar[ForgeKind] = ForgeKind.GITLAB
    comment_limit: ClassVar[int] = 1_000_000

    def __init__(self, name: str, site: str, rest: Rest, token: Callable[[], Awaitable[str]], copies: Copies) -> None:
        self.name = name
        self._rest = rest
        self._token = token
        self._changes = PulledChanges(copies, site, self._git_header, self)

    async def pull_request(self, key: PullRequestKey) -> PullRequest:
        """See `Forge.pull_request`."""
        found = await self._merge_request(key)
        refs = _refs(found, key)
        branch = f"{_project(key)}/repository/branches/{quote(found.target_branch, safe='')}"
        try:
            target = await self._rest.one(_Branch, self.sign, "GET", branch)
        except NotFound:  # it is gone; what it was at when something was pushed last
            target = _Branch(commit=_Tip(id=refs.start_sha))
        return PullRequest(
            key=key,
            title=found.title,
            body=found.description or "",
            author=found.author.username,
            state=_STATES.get(found.state, PullRequestState.OPEN),
            base=refs.base_sha,
            head=refs.head_sha,
            target=found.target_branch,
            target_head=target.commit.id,
            to_default=target.default,
            source=found.source_branch,
            fork=found.source_project_id != found.target_project_id,
            draft=found.draft,
            url=found.web_url,
            merge_commit=found.merge_commit_sha or found.squash_commit_sha if found.state == "merged" else None,
            labels=tuple(found.labels),
        )

    async def head(self, key: PullRequestKey) -> str:
        """The newest commit of a merge request."""
        return _refs(await self._merge_request(key), key).head_sha

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
        """See `Forge.issue`. A confidential issue is none: whoever writes a merge request could have it told in the
        comments."""
        found = await self._rest.one(_Issue, self.sign, "GET", f"{_project(key)}/issues/{number}")
        if found.confidential:
            raise NotFound(f"The issue {number} of {key.project.path} is confidential.")
        return f"{found.title}\n\n{found.description or ''}".strip()

    async def comments(self, key: PullRequestKey) -> Sequence[ForgeComment]:
        """See `Forge.comments`. Reactions are read of Tidemill's own comments alone: each costs a request."""
        head = await self.head(key)
        me = (await self._rest.one(_User, self.sign, "GET", "/user")).username
        path = f"{_path(key)}/discussions"
        discussions = await self._rest.all(_Discussion, self.sign, path, per_page=PAGE)
        found = []
        for discussion in discussions:
            notes = [note for note in discussion.notes if not note.system]
            for note in notes:
                own = note.author.username == me
                emojis = await self._emojis(key, note.id) if own else {}
                found.append(_comment(discussion, note, notes[0], head, own=own, reactions=emojis))
        return sorted(found, key=lambda comment: (comment.created_at, int(comment.id)))

    async def comment(self, key: PullRequestKey, body: str) -> ForgeComment:
        """See `Forge.comment`."""
        note = await self._rest.one(_Note, self.sign, "POST", f"{_path(key)}/notes", {"body": body})
        return _written(note, body)

    async def edit(self, key: PullRequestKey, comment: ForgeComment, body: str) -> None:
        """See `Forge.edit`."""
        await self._rest.do(self.sign, "PUT", f"{_path(key)}/notes/{comment.id}", {"body": body})

    async def comment_inline(
        self, pull_request: PullRequest, position: Position, body: str, *, change: ChangeSet
    ) -> ForgeComment:
        """See `Forge.comment_inline`."""
        key = pull_request.key
        refs = _refs(await self._merge_request(key), key)
        if refs.head_sha != pull_request.head:
            raise Refused(f"{pull_request.head} is not the newest commit of merge request {key.number} any more.")
        placed = _placed(position, change)
        where: dict[str, Json] = {"position_type": "text", **refs.model_dump(), **placed}
        made = await self._rest.one(
            _Discussion, self.sign, "POST", f"{_path(key)}/discussions", {"body": body, "position": where}
        )
        return _written(made.notes[0], body, thread=made.id, position=position)

    async def reply(self, key: PullRequestKey, to: ForgeComment, body: str) -> ForgeComment:
        """See `Forge.reply`."""
        if to.thread is None:
            return await self.comment(key, body)
        path = f"{_path(key)}/discussions/{quote(to.thread, safe='')}/notes"
        note = await self._rest.one(_Note, self.sign, "POST", path, {"body": body})
        return _written(note, body, thread=to.thread, position=to.position, reply_to=to.reply_to or to.id, path=to.path)

    async def resolve(self, key: PullRequestKey, thread: str) -> bool:
        """See `Forge.resolve`."""
        path = f"{_path(key)}/discussions/{quote(thread, safe='')}"
        await self._rest.do(self.sign, "PUT", path, {"resolved": True})
        return True

    async def put_check(self, key: PullRequestKey, check: Check) -> bool:
        """See `Forge.put_check`: a commit's status, which has no annotations."""
        status: dict[str, Json] = {
            "state": _STATUSES[check.state],
            "name": check.name,
            "description": check.title[:_DESCRIPTION_LIMIT],
        }
        if check.link is not None:
            status["target_url"] = check.link
        try:
            await self._rest.do(self.sign, "POST", f"{_project(key)}/statuses/{check.commit}", status)
        except Refused as error:
            if "cannot transition status" not in error.message.lower():  # it is so already
                raise
        return True

    async def may_write(self, key: PullRequestKey, login: str) -> bool:
        """See `Forge.may_write`."""
        users = await self._rest.all(_User, self.sign, "/users", username=login)
        user = next((one for one in users if one.username.lower() == login.lower()), None)
        if user is None:
            return False
        try:
            member = await self._rest.one(_Member, self.sign, "GET", f"{_project(key)}/members/all/{user.id}")
        except NotFound:
            return False
        return member.access_level >= _DEVELOPER

    async def sign(self) -> Mapping[str, str]:
        """The headers that say who asks."""
        return {"private-token": await self._token()}

    async def _merge_request(self, key: PullRequestKey) -> _MergeRequest:
        return await self._rest.one(_MergeRequest, self.sign, "GET", _path(key))

    async def _emojis(self, key: PullRequestKey, note: int) -> Mapping[str, int]:
        path = f"{_path(key)}/notes/{note}/award_emoji"
        counts: dict[str, int] = {}
        for emoji in await self._rest.all(_Emoji, self.sign, path, per_page=PAGE):
            name = REACTIONS.get(emoji.name, emoji.name)
            counts[name] = counts.get(name, 0) + 1
        return counts

    async def _git_header(self, project: str) -> str:
        del project
        return f"Authorization: Basic {base64.b64encode(f'oauth2:{await self._token()}'.encode()).decode()}"


def _project(key: PullRequestKey) -> str:
    return f"/projects/{quote(key.project.path, safe='')}"


def _path(key: PullRequestKey) -> str:
    return f"{_project(key)}/merge_requests/{key.number}"


def _refs(found: _MergeRequest, key: PullRequestKey) -> _Refs:
    if found.diff_refs is None:
        raise Unavailable(f"GitLab has not made the diff of merge request {key.number} of {key.project.path} yet.")
    return found.diff_refs


def _placed(position: Position, change: ChangeSet) -> Mapping[str, Json]:
    """Where GitLab has these lines: by both sides' numbers where a line stands on both.

    Raises:
        Refused: they are not part of the diff.
    """
    file = next((one for one in parse_diff(change.diff).files if one.path == position.path), None)
    places = {} if file is None else _places(file)
    if file is None or position.start not in places or position.end not in places:
        raise Refused(f"Lines {position.start} to {position.end} of {position.path} are not part of the diff.")
    line, _ = places[position.end]
    where: dict[str, Json] = {
        "new_path": file.path,
        "old_path": file.old_path or file.path,
        "new_line": position.end,
    }
    if line.kind is LineKind.CONTEXT:
        where["old_line"] = line.old
    if position.start != position.end:
        where["line_range"] = {
            "start": _end(file.path, *places[position.start]),
            "end": _end(file.path, *places[position.end]),
        }
    return where


def _places(file: FileDiff) -> dict[int, tuple[Line, int]]:
    """By its number on the new side: each line of the diff, and the number that its successor has on the old side."""
    found: dict[int, tuple[Line, int]] = {}
    for hunk in file.hunks:
        old = hunk.old_start if hunk.old_count else hunk.old_start + 1
        for line in hunk.lines:
            if line.new is not None:
                found[line.new] = line, old
            if line.old is not None:
                old = line.old + 1
    return found


def _end(path: str, line: Line, old: int) -> Json:
    code = f"{sha1(path.encode(), usedforsecurity=False).hexdigest()}_{old}_{line.new}"
    end: dict[str, Json] = {"line_code": code, "new_line": line.new}
    return end | ({"type": "new"} if line.kind is LineKind.ADDED else {"type": None, "old_line": line.old})


def _comment(
    discussion: _Discussion, note: _Note, first: _Note, head: str, *, own: bool, reactions: Mapping[str, int]
) -> ForgeComment:
    place, position = note.position, None
    if place is not None and place.head_sha == head and place.new_line is not None and place.new_path is not None:
        begin = place.line_range.start.new_line if place.line_range and place.line_range.start else None
        position = Position(place.new_path, begin or place.new_line, place.new_line)
    return ForgeComment(
        id=str(note.id),
        thread=None if discussion.individual_note else discussion.id,
        author=note.author.username,
        body=note.body,
        created_at=note.created_at,
        position=position,
        path=None if place is None else place.new_path,
        reply_to=None if note.id == first.id else str(first.id),
        resolved=note.resolved,
        own=own,
        reactions=reactions,
    )


def _written(
    note: _Note,
    body: str,
    *,
    thread: str | None = None,
    position: Position | None = None,
    reply_to: str | None = None,
    path: str | None = None,
) -> ForgeComment:
    return ForgeComment(
        id=str(note.id),
        thread=thread,
        author=note.author.username,
        body=body,
        created_at=note.created_at,
        position=position,
        path=position.path if position else path,
        reply_to=reply_to,
        own=True,
    )
