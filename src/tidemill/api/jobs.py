"""`/v1/jobs`: requests that are answered without a connection, and whose answers are kept."""

import json
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from starlette.responses import Response

from tidemill.api.answering import asker_of
from tidemill.api.gate import caller_of
from tidemill.api.request_body import json_body, parse_body, parsed
from tidemill.api.rights import needs
from tidemill.api.services import services_of
from tidemill.core.accounts import Caller, Right
from tidemill.core.context import Priority
from tidemill.core.errors import InvalidInput, TooLarge
from tidemill.core.generation import CallbackState, JobState, Maker
from tidemill.flows.asking import maker_from
from tidemill.flows.callbacks import job_json
from tidemill.flows.generation import GenerationFlow, NewJob

router = APIRouter(tags=["jobs"])
NEEDS = [needs(Right.MODELS_USE)]
Endpoint = Literal["/v1/chat/completions", "/v1/completions", "/v1/embeddings"]
PRIORITIES = {"interactive": Priority.INTERACTIVE, "batch": Priority.BATCH}


class JobRequest(BaseModel):
    """A request to one of the endpoints. With `priority` `batch` it is answered after everyone who waits."""

    model_config = ConfigDict(extra="forbid")

    endpoint: Endpoint
    body: dict[str, Any]
    callback_url: Annotated[str, Field(min_length=1, max_length=2000)] | None = None
    priority: Literal["interactive", "batch"] = "interactive"


class JobCallback(BaseModel):
    """What became of telling `callback_url`. `delivery_id` is the same at each attempt."""

    url: str
    delivery_id: UUID
    state: CallbackState | None
    attempts: int
    error: str | None


class Job(BaseModel):
    """A job. `result` is what the endpoint answers, `error` the `error` that it answers. Times: seconds since 1970."""

    id: UUID
    object: Literal["generation.job"] = "generation.job"
    status: JobState
    endpoint: Endpoint
    priority: Literal["interactive", "review", "batch"]
    created_at: int
    started_at: int | None
    ended_at: int | None
    expires_at: int
    request_id: str | None
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    callback: JobCallback | None


class JobList(BaseModel):
    """One page of jobs, newest first."""

    object: Literal["list"] = "list"
    data: list[Job]
    has_more: bool


class JobDeleted(BaseModel):
    """What was deleted."""

    id: UUID
    object: Literal["generation.job.deleted"] = "generation.job.deleted"
    deleted: Literal[True] = True


class SigningSecret(BaseModel):
    """With which callbacks are signed: HMAC-SHA256 under this text over `t`, a dot and the body."""

    object: Literal["signing_secret"] = "signing_secret"
    secret: str


REQUEST = TypeAdapter(JobRequest)
SCHEMA = REQUEST.json_schema(ref_template="#/components/schemas/{model}")


@router.post(
    "/jobs",
    status_code=202,
    summary="Ask without waiting",
    dependencies=NEEDS,
    response_model=Job,
    openapi_extra=json_body(SCHEMA),
)
async def create_job(request: Request) -> Response:
    """Stores the request and answers at once; GET /v1/jobs/{id} says what came of it, and `callback_url` is told."""
    asked = await parsed(_parse, await request.body())
    new = NewJob(
        endpoint=asked.endpoint,
        body=_body(asked),
        priority=PRIORITIES[asked.priority],
        callback_url=asked.callback_url,
    )
    try:
        job = await _service(request).submit(new, maker_of(request))
    except (InvalidInput, TooLarge) as error:
        if error.param not in {"endpoint", "callback_url"}:
            error.param = "body" if error.param is None else f"body.{error.param}"
        raise
    return Response(json.dumps(job_json(job)), 202, {"location": f"/v1/jobs/{job.id}"}, "application/json")


@router.get("/jobs", summary="The caller's jobs", dependencies=NEEDS, response_model=JobList)
async def list_jobs(
    request: Request, limit: Annotated[int, Query(ge=1, le=100)] = 20, after: UUID | None = None
) -> Response:
    """Newest first, from the one after `after` on. `result` is left out: GET /v1/jobs/{id} has it."""
    found = await _service(request).page(_caller(request), limit=limit + 1, after=after)
    page = {"object": "list", "data": [job_json(job) for job in found[:limit]], "has_more": len(found) > limit}
    return Response(json.dumps(page), media_type="application/json")


@router.get("/jobs/signing-secret", summary="How callbacks are signed", dependencies=NEEDS)
async def get_signing_secret(request: Request) -> SigningSecret:
    """The secret of the caller's own jobs. It stays the same as long as the hub's `secret.key` does."""
    callbacks = services_of(request).generation.callbacks
    return SigningSecret(secret=callbacks.secret(_caller(request).owner_id))


@router.get("/jobs/{job_id}", summary="One job", dependencies=NEEDS, response_model=Job)
async def get_job(request: Request, job_id: UUID) -> Response:
    """How far it is, and what came of it."""
    return _job(await _service(request).get(job_id, _caller(request)))


@router.post("/jobs/{job_id}/cancel", summary="Cancel a job", dependencies=NEEDS, response_model=Job)
async def cancel_job(request: Request, job_id: UUID) -> Response:
    """Ends a job that is queued or running; within a second nothing is decoded for it any more."""
    return _job(await _service(request).cancel(job_id, _caller(request)))


@router.delete("/jobs/{job_id}", summary="Delete a job", dependencies=NEEDS)
async def delete_job(request: Request, job_id: UUID) -> JobDeleted:
    """Deletes it with its answer; one that is running is stopped."""
    await _service(request).delete(job_id, _caller(request))
    return JobDeleted(id=job_id)


def maker_of(request: Request) -> Maker:
    """Who asks, to be known again when it is done."""
    return maker_from(caller_of(request.scope), asker_of(request))


def _body(asked: JobRequest) -> bytes:
    try:
        return json.dumps(asked.body, allow_nan=False).encode()
    except ValueError as error:
        raise InvalidInput("`body` holds a number that JSON has not, or that is too large.", param="body") from error


def _parse(body: bytes) -> JobRequest:
    return parse_body(REQUEST, body)


def _job(job: Any) -> Response:
    return Response(json.dumps(job_json(job)), media_type="application/json")


def _caller(request: Request) -> Caller:
    return caller_of(request.scope)


def _service(request: Request) -> GenerationFlow:
    return services_of(request).generation.jobs
