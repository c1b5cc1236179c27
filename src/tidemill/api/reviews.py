"""Reviews: asked for, looked at, followed."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import to_json

from tidemill.api.gate import caller_of
from tidemill.api.rights import needs
from tidemill.api.services import services_of
from tidemill.api.streaming import EventStream
from tidemill.core.accounts import Right
from tidemill.core.change import ChangeSet
from tidemill.core.review import ReviewState
from tidemill.core.review_brief import ReviewBrief
from tidemill.flows.review import ReviewFlow, ReviewStatus
from tidemill.flows.review_briefs import base_files, brief_from
from tidemill.flows.surroundings import surrounded_locally
from tidemill.forges.limits import check_files
from tidemill.forges.local_git import read_change
from tidemill.forges.roots import resolve_repository
from tidemill.review.reports import finding_json

POLL_SECONDS = 0.25

router = APIRouter(tags=["reviews"])


class ReviewRequest(BaseModel):
    """A change to review: a `repository` on the hub's machine, or a `diff` with the files that it changes."""

    model_config = ConfigDict(extra="forbid")

    repository: str | None = Field(None, max_length=4096, description="A folder under one of `review.roots`.")
    revision: str | None = Field(None, max_length=500, description="A commit, or a range `a..b`; HEAD when absent.")
    diff: str | None = Field(None, description="A unified diff.")
    files: dict[str, str] = Field(
        default_factory=dict, description="The new side's text of changed files, by path; engines need it whole."
    )
    before: dict[str, str] = Field(
        default_factory=dict,
        description="The old side's text of the same files, by the new side's path: what was wrong before is not told.",
    )
    around: dict[str, str] = Field(
        default_factory=dict, description="Texts of other files that the change calls, or that call it, by path."
    )
    guidelines: dict[str, str] = Field(
        default_factory=dict,
        description="Texts of the base side's `.tidemill.yml`, AGENTS.md, CONTRIBUTING and CODEOWNERS files, by path.",
    )
    title: str | None = Field(None, max_length=1000)
    base: str | None = Field(None, max_length=100)
    head: str | None = Field(None, max_length=100)
    model: bool = Field(True, description="Whether a model comments after the engines.")

    @model_validator(mode="after")
    def one_source(self) -> "ReviewRequest":
        """Either a repository or a diff."""
        if (self.repository is None) == (self.diff is None):
            raise ValueError("give either `repository` or `diff`")
        if self.diff is None and (self.files or self.before or self.around or self.guidelines):
            raise ValueError("`files`, `before`, `around` and `guidelines` go with a `diff`, not with a `repository`")
        if self.diff is not None and self.revision is not None:
            raise ValueError("`revision` goes with a `repository`, not with a `diff`")
        return self


class Review(BaseModel):
    """A review. `result` is there once `state` is `done`; docs/review.md describes it."""

    id: UUID
    object: Literal["review"] = "review"
    state: ReviewState
    title: str
    base: str | None
    head: str | None
    with_model: bool
    created_at: datetime
    finished_at: datetime | None
    error: str | None
    findings: list[dict[str, Any]]
    result: dict[str, Any] | None


class ReviewList(BaseModel):
    """The newest reviews."""

    object: Literal["list"] = "list"
    data: list[Review]


@router.post("/reviews", status_code=202, summary="Review a change", dependencies=[needs(Right.REVIEWS_CREATE)])
async def create_review(request: Request, response: Response, body: ReviewRequest) -> Review:
    """Queues a review and answers at once; `GET /v1/reviews/{id}/events` follows it."""
    services = services_of(request)
    change, brief = await _change(request, body)
    caller = caller_of(request.scope)
    row = await services.reviews.submit(change, with_model=body.model, caller=caller, brief=brief)
    response.headers["location"] = f"/v1/reviews/{row.id}"
    return _review(ReviewStatus(row, ()))


@router.get("/reviews", summary="The newest reviews", dependencies=[needs(Right.REVIEWS_READ)])
async def list_reviews(request: Request, limit: Annotated[int, Query(ge=1, le=100)] = 20) -> ReviewList:
    """The reviews of the caller and the caller's teams, or all with the right `reviews.read_all`; without findings."""
    rows = await services_of(request).reviews.latest(caller_of(request.scope), limit=limit)
    reviews = [_review(ReviewStatus(row, ())) for row in rows]
    return ReviewList(data=[review.model_copy(update={"result": None}) for review in reviews])


@router.get("/reviews/{review_id}", summary="One review", dependencies=[needs(Right.REVIEWS_READ)])
async def get_review(request: Request, review_id: UUID) -> Review:
    """How far it has come, and what it has found so far."""
    return _review(await services_of(request).reviews.status(review_id, caller_of(request.scope)))


@router.get(
    "/reviews/{review_id}/events",
    summary="Follow a review",
    dependencies=[needs(Right.REVIEWS_READ)],
    response_class=Response,
    responses={200: {"content": {"text/event-stream": {}}, "description": "One server-sent event for each step."}},
)
async def review_events(
    request: Request,
    review_id: UUID,
    after: Annotated[int, Query(ge=0, lt=2**63)] = 0,
    last_event_id: Annotated[int, Header(ge=0, lt=2**63)] = 0,
) -> Response:
    """Every step so far and, until the review ends, each that follows. `Last-Event-ID` goes on after a break."""
    reviews = services_of(request).reviews
    await reviews.status(review_id, caller_of(request.scope))
    return EventStream(_events(reviews, review_id, max(after, last_event_id)))


async def _events(reviews: ReviewFlow, review_id: UUID, seen: int) -> AsyncGenerator[bytes, None]:
    while True:
        fresh = await reviews.events(review_id, after=seen)
        for event in fresh:
            seen = event.seq
            yield f"id: {seen}\nevent: {event.kind}\ndata: ".encode() + to_json(event.data) + b"\n\n"
            if event.kind in {"finished", "failed"}:
                return
        if not fresh:
            if await reviews.ended(review_id):
                return
            await asyncio.sleep(POLL_SECONDS)
            yield b": waiting\n\n"


async def _change(request: Request, body: ReviewRequest) -> tuple[ChangeSet, ReviewBrief | None]:
    """What is to be reviewed, and what the review is told beside it."""
    whole = services_of(request).settings
    settings, language = whole.review, whole.prompts.language
    if body.repository is not None:
        repository = await asyncio.to_thread(resolve_repository, Path(body.repository), settings.roots)
        change = await read_change(repository, body.revision, staged=False, limits=settings)
        brief = await brief_from(await base_files(repository, change), change, language)
        return (await surrounded_locally(change, repository) if body.model else change), brief
    assert body.diff is not None  # noqa: S101 - ReviewRequest.one_source has seen to it
    check_files({**body.guidelines, **body.around, **body.files}, settings)
    check_files(body.before, settings)
    change = ChangeSet(
        title=body.title or "a diff",
        base=body.base or None,
        head=body.head or None,
        diff=body.diff,
        files=body.files,
        before=body.before,
        around=body.around,
    )
    return change, await brief_from(body.guidelines, change, language)


def _review(status: ReviewStatus) -> Review:
    row = status.row
    return Review(
        id=row.id,
        state=row.state,
        title=row.title,
        base=row.base,
        head=row.head,
        with_model=row.with_model,
        created_at=row.created_at,
        finished_at=row.finished_at,
        error=row.error,
        findings=[dict(finding_json(finding)) for finding in status.findings],
        result=dict(row.result) if row.result is not None else None,
    )
