"""Pull requests: which are known, what was done for each, what stands there, and what became of it."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from pydantic_core import to_json

from tidemill.api.gate import caller_of
from tidemill.api.rights import needs
from tidemill.api.services import services_of
from tidemill.core.accounts import Right
from tidemill.core.feedback import CommentFeedback
from tidemill.core.placed_comment import PlacedComment, PlacedState
from tidemill.core.pull_request import Project, PullRequestKey, PullRequestState
from tidemill.flows.pull_request import PullRequestStatus
from tidemill.store.pull_requests import PullRequestRow, RunKind, RunRow, RunState

router = APIRouter(tags=["pull requests"])

Forge = Annotated[str, Path(max_length=64, description="The forge's name in the settings.")]
ProjectPath = Annotated[str, Path(max_length=500, description="`owner/name`; on GitLab with groups in front.")]
Number = Annotated[int, Path(ge=1, lt=2**63, description="What people write after `#`.")]


class PullRequestShown(BaseModel):
    """A pull request as it was last seen. What only an event told of has empty fields."""

    object: Literal["pull_request"] = "pull_request"
    forge: str
    project: str
    number: int
    title: str
    author: str
    state: PullRequestState
    head: str
    target: str
    fork: bool
    draft: bool
    url: str
    updated_at: datetime


class RunShown(BaseModel):
    """One piece of work for a pull request. The id of a review's run is the review's."""

    id: UUID
    kind: RunKind
    state: RunState
    head: str
    reason: str | None
    attempt: int
    again_at: datetime | None
    counts: dict[str, Any]
    created_at: datetime
    finished_at: datetime | None


class PlacedShown(BaseModel):
    """An inline comment of Tidemill's."""

    id: UUID
    review_id: UUID | None
    comment: str = Field(description="The forge's id.")
    state: PlacedState
    head: str
    engine: str
    rule: str
    severity: str
    path: str
    line: int
    fingerprint: str
    inference_id: UUID | None
    placed_at: datetime


class PullRequestWhole(PullRequestShown):
    """A pull request with what was done for it, oldest first, and what stands there."""

    runs: list[RunShown]
    comments: list[PlacedShown]


class PullRequestList(BaseModel):
    """Pull requests, the one that something happened to last first."""

    object: Literal["list"] = "list"
    data: list[PullRequestShown]


class LoginForgotten(BaseModel):
    """In how many rows a login stood."""

    object: Literal["login_forgotten"] = "login_forgotten"
    rows: int


class FeedbackShown(BaseModel):
    """What became of a comment."""

    object: Literal["feedback"] = "feedback"
    id: UUID
    outcome: str
    source: str
    at: datetime
    login: str | None
    level: str
    code_before: str | None
    code_after: str | None
    detail: dict[str, Any]
    forge: str
    project: str
    number: int
    head: str
    review_id: UUID | None
    inference_id: UUID | None
    comment: str
    fingerprint: str
    engine: str
    rule: str
    path: str
    line: int
    severity: str
    message: str


class FeedbackList(BaseModel):
    """Outcomes, oldest first."""

    object: Literal["list"] = "list"
    data: list[FeedbackShown]


@router.get("/pull-requests", summary="The pull requests that are known", dependencies=[needs(Right.REVIEWS_READ_ALL)])
async def list_pull_requests(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    forge: Annotated[str | None, Query(max_length=64)] = None,
    project: Annotated[str | None, Query(max_length=500)] = None,
) -> PullRequestList:
    """Those that something happened to last; of one forge or project where they are named."""
    rows = await services_of(request).pull_requests.latest(limit=limit, forge=forge, project=project)
    return PullRequestList(data=[PullRequestShown(**_fields(row)) for row in rows])


@router.delete(
    "/pull-requests/logins/{forge}/{login}",
    summary="Forget a login of a forge",
    dependencies=[needs(Right.DATA_MANAGE)],
)
async def forget_login(request: Request, forge: Forge, login: Annotated[str, Path(max_length=200)]) -> LoginForgotten:
    """Takes a person's login out of pull requests, commands and feedback; what they led to stays."""
    return LoginForgotten(rows=await services_of(request).pull_requests.forget_login(forge, login))


@router.get(
    "/pull-requests/{forge}/{project:path}/{number}",
    summary="One pull request",
    dependencies=[needs(Right.REVIEWS_READ_ALL)],
)
async def get_pull_request(request: Request, forge: Forge, project: ProjectPath, number: Number) -> PullRequestWhole:
    """What was done for it, and Tidemill's comments on it."""
    key = PullRequestKey(Project(forge, project), number)
    return _whole(await services_of(request).pull_requests.status(key))


@router.post(
    "/pull-requests/{forge}/{project:path}/{number}/review",
    status_code=202,
    summary="Review a pull request now",
    dependencies=[needs(Right.REVIEWS_CREATE), needs(Right.REVIEWS_READ_ALL)],
)
async def review_pull_request(request: Request, forge: Forge, project: ProjectPath, number: Number) -> RunShown:
    """Reviews its newest commit, whatever the repository says of reviews that nobody asked for."""
    services = services_of(request)
    return _run(await services.pull_requests.review(PullRequestKey(Project(forge, project), number)))


@router.get(
    "/reviews/{review_id}/feedback",
    summary="What became of a review's comments",
    dependencies=[needs(Right.REVIEWS_READ)],
)
async def review_feedback(request: Request, review_id: UUID) -> FeedbackList:
    """The outcomes of its comments, oldest first; a later one never takes an earlier one's place."""
    services = services_of(request)
    await services.reviews.status(review_id, caller_of(request.scope))
    rows = await services.pull_requests.feedback(review_id)
    return FeedbackList(data=[_feedback(row) for row in rows])


@router.get(
    "/feedback",
    summary="What became of all comments",
    dependencies=[needs(Right.REVIEWS_READ_ALL), needs(Right.METRICS_READ)],
    response_class=StreamingResponse,
    responses={200: {"content": {"application/jsonl": {}}, "description": "One outcome in each line."}},
)
async def export_feedback(request: Request, since: Annotated[datetime | None, Query()] = None) -> StreamingResponse:
    """All outcomes since a time, as JSON lines for datasets. Logins are left out."""
    rows = services_of(request).pull_requests.all_feedback(since=since)

    async def lines() -> AsyncIterator[bytes]:
        async for row in rows:
            yield to_json(_feedback(row), exclude={"login"}) + b"\n"

    return StreamingResponse(lines(), media_type="application/jsonl")


def _fields(row: PullRequestRow) -> dict[str, Any]:
    names = ("title", "author", "state", "head", "target", "fork", "draft", "url", "updated_at")
    key = row.key
    return {
        **{name: getattr(row, name) for name in names},
        "forge": key.project.forge,
        "project": key.project.path,
        "number": key.number,
    }


def _whole(status: PullRequestStatus) -> PullRequestWhole:
    return PullRequestWhole(
        **_fields(status.row),
        runs=[_run(run) for run in status.runs],
        comments=[_placed(placed) for placed in status.placed],
    )


def _run(run: RunRow) -> RunShown:
    return RunShown(**{name: getattr(run, name) for name in RunShown.model_fields})


def _placed(placed: PlacedComment) -> PlacedShown:
    finding = placed.finding
    own = ("id", "review_id", "comment", "state", "head", "inference_id", "placed_at")
    found = ("engine", "rule", "severity", "path", "line", "fingerprint")
    return PlacedShown(
        **{name: getattr(placed, name) for name in own}, **{name: getattr(finding, name) for name in found}
    )


def _feedback(row: CommentFeedback) -> FeedbackShown:
    fields = {name: getattr(row, name) for name in FeedbackShown.model_fields if hasattr(row, name)}
    own = ("id", "outcome", "source", "at", "login", "level", "code_before", "code_after", "detail")
    return FeedbackShown(**fields, **{name: getattr(row.feedback, name) for name in own})
