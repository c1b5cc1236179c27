"""GitHub, and GitHub Enterprise servers: https://docs.github.com/rest (version 2022-11-28), and GraphQL for threads."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote

from pydantic import AwareDatetime, BaseModel

from tidemill.core.change import ChangeSet
from tidemill.core.errors import NotFound
from tidemill.core.json import Json
from tidemill.core.pull_request import (
    Annotation,
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
from tidemill.forges.github_threads import GraphAnswer, Threads
from tidemill.forges.github_tokens import VERSION, Tokens
from tidemill.forges.pulled import PulledChanges
from tidemill.forges.rest import Rest, Sign
from tidemill.settings import ReviewSettings

PUBLIC_SITE = "https://github.com"
PUBLIC_API = "https://api.github.com"
ANNOTATIONS = 50
"""Of one request."""
SUMMARY_LIMIT = 65_535
STATUS_LIMIT = 140
EXTERNAL_ID = "tidemill"
"""By which check runs that Tidemill began are known from others of the same name."""
_TITLE_LIMIT = 255
_CONCLUSIONS = {CheckState.PASSED: "success", CheckState.FAILED: "failure", CheckState.NEUTRAL: "neutral"}
_STATUSES = {
    CheckState.RUNNING: "pending",
    CheckState.PASSED: "success",
    CheckState.FAILED: "failure",
    CheckState.NEUTRAL: "success",
}
_WRITERS = frozenset({"admin", "maintain", "write"})


class _User(BaseModel):
    login: str


class _Repository(BaseModel):
    full_name: str
    default_branch: str = ""


class _Side(BaseModel):
    sha: str
    ref: str
    repo: _Repository | None = None


class _Label(BaseModel):
    name: str


class _Pull(BaseModel):
    title: str
    body: str | None = None
    user: _User | None = None
    state: str
    merged: bool = False
    draft: bool = False
    head: _Side
    base: _Side
    html_url: str
    merge_commit_sha: str | None = None
    labels: list[_Label] = []


class _Commit(BaseModel):
    sha: str


class _Branch(BaseModel):
    commit: _Commit


class _Comparison(BaseModel):
    merge_base_commit: _Commit


class _Written(BaseModel):
    id: int
    created_at: AwareDatetime
    user: _User | None = None


class _Output(BaseModel):
    annotations_count: int = 0


class _Run(BaseModel):
    id: int
    status: str
    external_id: str | None = None
    output: _Output = _Output()


class _Runs(BaseModel):
    check_runs: list[_Run]


class _Issue(BaseModel):
    title: str
    body: str | None = None
    pull_request: object = None


class _Permission(BaseModel):
    permission: str


class GitHub:
    """One GitHub, spoken to as a token's owner or as an App.

    Args:
        name: its name in the settings.
        site: its address, without a slash at its end.
        rest: its API.
        tokens: says who Tidemill is there.
        copies: holds its repositories.
        app: whether Tidemill is an App, which alone may write check runs; others write commit statuses.
    """

    kind: ClassVar[ForgeKind] = ForgeKind.GITHUB
    comment_limit: ClassVar[int] = 65_536

    def __init__(self, name: str, site: str, rest: Rest, tokens: Tokens, copies: Copies, *, app: bool) -> None:
        self.name = name
        self._rest = rest
        self._tokens = tokens
        self._app = app
        self._changes = PulledChanges(copies, site, self._git_header, self)
        host = rest.base.removesuffix("/v3") if rest.base.endswith("/api/v3") else rest.base
        self._graphql = f"{host}/graphql"

    async def pull_request(self, key: PullRequestKey) -> PullRequest:
        """See `Forge.pull_request`."""
        sign, path = self._sign(key), _repo(key)
        pull = await self._rest.one(_Pull, sign, "GET", f"{path}/pulls/{key.number}")
        compared = f"{path}/compare/{pull.base.sha}...{pull.head.sha}?per_page=1&page=2"  # page 1 alone has the files
        comparison = await self._rest.one(_Comparison, sign, "GET", compared)
        branch = f"{path}/branches/{quote(pull.base.ref, safe='')}"
        try:
            tip = (await self._rest.one(_Branch, sign, "GET", branch)).commit.sha
        except NotFound:
            tip = pull.base.sha  # the branch is gone; what it was at, as the pull request has it
        state = PullRequestState.OPEN if pull.state == "open" else PullRequestState.CLOSED
        return PullRequest(
            key=key,
            title=pull.title,
            body=pull.body or "",
            author=pull.user.login if pull.user else "",
            state=PullRequestState.MERGED if pull.merged else state,
            base=comparison.merge_base_commit.sha,
            head=pull.head.sha,
            target=pull.base.ref,
            target_head=tip,
            to_default=pull.base.repo is not None and pull.base.ref == pull.base.repo.default_branch,
            source=pull.head.ref,
            fork=pull.head.repo is None or pull.head.repo.full_name.lower() != key.project.path.lower(),
            draft=pull.draft,
            url=pull.html_url,
            merge_commit=pull.merge_commit_sha if pull.merged else None,
            labels=tuple(label.name for label in pull.labels),
        )

    async def head(self, key: PullRequestKey) -> str:
        """The newest commit of a pull request."""
        path = f"{_repo(key)}/pulls/{key.number}"
        return (await self._rest.one(_Pull, self._sign(key), "GET", path)).head.sha

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
        found = await self._rest.one(_Issue, self._sign(key), "GET", f"{_repo(key)}/issues/{number}")
        if found.pull_request is not None:
            raise NotFound(f"{number} of {key.project.path} is a pull request, and no issue.")
        return f"{found.title}\n\n{found.body or ''}".strip()

    async def comments(self, key: PullRequestKey) -> Sequence[ForgeComment]:
        """See `Forge.comments`."""
        return await self._threads(key).comments(key)

    async def comment(self, key: PullRequestKey, body: str) -> ForgeComment:
        """See `Forge.comment`."""
        path = f"{_repo(key)}/issues/{key.number}/comments"
        made = await self._rest.one(_Written, self._sign(key), "POST", path, {"body": body})
        return _own(made, body)

    async def edit(self, key: PullRequestKey, comment: ForgeComment, body: str) -> None:
        """See `Forge.edit`."""
        kind = "issues" if comment.thread is None else "pulls"
        path = f"{_repo(key)}/{kind}/comments/{comment.id}"
        await self._rest.do(self._sign(key), "PATCH", path, {"body": body})

    async def comment_inline(
        self, pull_request: PullRequest, position: Position, body: str, *, change: ChangeSet
    ) -> ForgeComment:
        """See `Forge.comment_inline`."""
        del change
        key = pull_request.key
        said: dict[str, Json] = {
            "body": body,
            "commit_id": pull_request.head,
            "path": position.path,
            "line": position.end,
            "side": "RIGHT",
        }
        if position.start != position.end:
            said |= {"start_line": position.start, "start_side": "RIGHT"}
        path = f"{_repo(key)}/pulls/{key.number}/comments"
        made = await self._rest.one(_Written, self._sign(key), "POST", path, said)
        return _own(made, body, thread=str(made.id), position=position)

    async def reply(self, key: PullRequestKey, to: ForgeComment, body: str) -> ForgeComment:
        """See `Forge.reply`."""
        if to.thread is None:
            return await self.comment(key, body)
        path = f"{_repo(key)}/pulls/{key.number}/comments/{to.thread}/replies"
        made = await self._rest.one(_Written, self._sign(key), "POST", path, {"body": body})
        return _own(made, body, thread=to.thread, position=to.position, reply_to=to.thread, path=to.path)

    async def resolve(self, key: PullRequestKey, thread: str) -> bool:
        """See `Forge.resolve`."""
        await self._threads(key).resolve(key, thread)
        return True

    async def put_check(self, key: PullRequestKey, check: Check) -> bool:
        """See `Forge.put_check`. A token can write no check run: then it is a commit status, without annotations."""
        if self._app:
            await self._put_run(key, check)
            return True
        status: dict[str, Json] = {
            "state": _STATUSES[check.state],
            "context": check.name,
            "description": _cut(check.title, STATUS_LIMIT),
        }
        if check.link is not None:
            status["target_url"] = check.link
        await self._rest.do(self._sign(key), "POST", f"{_repo(key)}/statuses/{check.commit}", status)
        return True

    async def may_write(self, key: PullRequestKey, login: str) -> bool:
        """See `Forge.may_write`."""
        path = f"{_repo(key)}/collaborators/{quote(login, safe='')}/permission"
        try:
            return (await self._rest.one(_Permission, self._sign(key), "GET", path)).permission in _WRITERS
        except NotFound:
            return False

    async def _put_run(self, key: PullRequestKey, check: Check) -> None:
        """Annotations can only be added to a run. So one that has some, or has ended, is followed by a new one."""
        runs = f"{_repo(key)}/check-runs"
        sign = self._sign(key)
        wanted = f"{_repo(key)}/commits/{check.commit}/check-runs?check_name={quote(check.name, safe='')}"
        found = (await self._rest.one(_Runs, sign, "GET", wanted)).check_runs
        own = [run for run in found if run.external_id == EXTERNAL_ID]  # another App's can't be changed
        usable = (run for run in own if run.status != "completed" and not run.output.annotations_count)
        run = next(usable, None)
        pages = [check.annotations[at : at + ANNOTATIONS] for at in range(0, len(check.annotations), ANNOTATIONS)]
        for page in pages[:-1]:
            run = await self._write_run(sign, runs, run, _run_json(check, page, ended=False))
        ended = check.state is not CheckState.RUNNING
        await self._write_run(sign, runs, run, _run_json(check, pages[-1] if pages else (), ended=ended))

    async def _write_run(self, sign: Sign, runs: str, run: _Run | None, body: Mapping[str, Json]) -> _Run:
        if run is None:
            return await self._rest.one(_Run, sign, "POST", runs, dict(body))
        changed = {name: value for name, value in body.items() if name != "head_sha"}
        return await self._rest.one(_Run, sign, "PATCH", f"{runs}/{run.id}", changed)

    def _sign(self, key: PullRequestKey) -> Sign:
        async def sign() -> Mapping[str, str]:
            token = await self._tokens.token(key.project.path)
            return {"authorization": f"Bearer {token}", "x-github-api-version": VERSION}

        return sign

    def _threads(self, key: PullRequestKey) -> Threads:
        async def ask(query: str, variables: Mapping[str, Json]) -> Mapping[str, Any]:
            body: Json = {"query": query, "variables": dict(variables)}
            answer = await self._rest.send(self._sign(key), "POST", self._graphql, body)
            return GraphAnswer.model_validate_json(answer.content).checked(self.name)

        return Threads(ask)

    async def _git_header(self, project: str) -> str:
        pair = f"x-access-token:{await self._tokens.token(project)}"
        return f"Authorization: Basic {base64.b64encode(pair.encode()).decode()}"


def _repo(key: PullRequestKey) -> str:
    return f"/repos/{quote(key.project.path)}"


def _own(
    made: _Written,
    body: str,
    *,
    thread: str | None = None,
    position: Position | None = None,
    reply_to: str | None = None,
    path: str | None = None,
) -> ForgeComment:
    return ForgeComment(
        id=str(made.id),
        thread=thread,
        author=made.user.login if made.user else "",
        body=body,
        created_at=made.created_at,
        position=position,
        path=position.path if position else path,
        reply_to=reply_to,
        own=True,
    )


def _run_json(check: Check, annotations: Sequence[Annotation], *, ended: bool) -> Mapping[str, Json]:
    output: dict[str, Json] = {
        "title": _cut(check.title, _TITLE_LIMIT),
        "summary": _cut(check.summary, SUMMARY_LIMIT),
        "annotations": [
            {
                "path": one.position.path,
                "start_line": one.position.start,
                "end_line": one.position.end,
                "annotation_level": one.level.value,
                "title": _cut(one.title, _TITLE_LIMIT),
                "message": _cut(one.message, 16_000),
            }
            for one in annotations
        ],
    }
    body: dict[str, Json] = {
        "name": check.name,
        "head_sha": check.commit,
        "external_id": EXTERNAL_ID,
        "output": output,
    }
    if check.link is not None:
        body["details_url"] = check.link
    if ended:
        return body | {"status": "completed", "conclusion": _CONCLUSIONS[check.state]}
    return body | {"status": "in_progress"}


def _cut(text: str, limit: int) -> str:
    """The text, or as much as a forge takes of it, with a sign that there was more."""
    return text if len(text) <= limit else text[: limit - 2] + " …"
