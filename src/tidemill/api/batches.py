"""`/v1/batches`, as OpenAI's API has it: many requests from an uploaded file."""

import re
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from tidemill.api.gate import caller_of
from tidemill.api.jobs import maker_of
from tidemill.api.rights import needs
from tidemill.api.services import services_of
from tidemill.core.accounts import Right
from tidemill.core.errors import InvalidInput, NotFound
from tidemill.core.generation import Batch, BatchState
from tidemill.core.text import storable
from tidemill.flows.batches import BatchFlow, NewBatch

router = APIRouter(tags=["batches"])
NEEDS = [needs(Right.MODELS_USE), needs(Right.FILES)]
PREFIX = "batch_"
FILE = "file-"


class OutputExpiry(BaseModel):
    """When the files with the answers end: so many seconds after they were written."""

    model_config = ConfigDict(extra="forbid")

    anchor: Literal["created_at"]
    seconds: Annotated[int, Field(ge=3600, le=2_592_000)]


class BatchRequest(BaseModel):
    """A file of requests, uploaded with the purpose `batch`, and the endpoint to which they go."""

    model_config = ConfigDict(extra="forbid")

    input_file_id: Annotated[str, Field(max_length=100)]
    endpoint: Annotated[str, Field(max_length=100)]
    completion_window: Literal["24h"]
    metadata: (
        Annotated[
            dict[Annotated[str, StringConstraints(max_length=64)], Annotated[str, StringConstraints(max_length=512)]],
            Field(max_length=16),
        ]
        | None
    ) = None
    output_expires_after: OutputExpiry | None = None


class BatchFault(BaseModel):
    """What is wrong with the input file; `line` counts from 1."""

    code: str
    message: str
    param: str | None
    line: int | None


class BatchFaults(BaseModel):
    """All that is wrong with the input file, the first hundred."""

    object: Literal["list"] = "list"
    data: list[BatchFault]


class RequestCounts(BaseModel):
    """How far a batch is."""

    total: int
    completed: int
    failed: int


class BatchObject(BaseModel):
    """A batch. Times are in seconds since 1970."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    errors: BatchFaults | None
    input_file_id: str
    completion_window: Literal["24h"] = "24h"
    status: BatchState
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    metadata: dict[str, Any] | None


class BatchList(BaseModel):
    """One page of batches, newest first."""

    object: Literal["list"] = "list"
    data: list[BatchObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


@router.post("/batches", summary="Begin a batch", dependencies=NEEDS)
async def create_batch(request: Request, body: BatchRequest) -> BatchObject:
    """Stores the batch and answers at once. Its file is checked then, and its lines are asked within 24 hours."""
    new = NewBatch(
        input_file_id=_id(body.input_file_id, FILE, "file"),
        endpoint=body.endpoint,
        metadata=_metadata(body.metadata),
        output_seconds=None if body.output_expires_after is None else body.output_expires_after.seconds,
    )
    return _object(await _service(request).create(new, caller_of(request.scope), maker_of(request)))


@router.get("/batches", summary="The caller's batches", dependencies=NEEDS)
async def list_batches(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[str | None, Query(max_length=100)] = None,
) -> BatchList:
    """Newest first, from the one after `after` on."""
    found = await _service(request).page(
        caller_of(request.scope), limit=limit + 1, after=None if after is None else _id(after, PREFIX, "batch")
    )
    data = [_object(batch) for batch in found[:limit]]
    return BatchList(
        data=data,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
        has_more=len(found) > limit,
    )


@router.get("/batches/{batch_id}", summary="One batch", dependencies=NEEDS)
async def get_batch(request: Request, batch_id: str) -> BatchObject:
    """How far it is, and where its answers are."""
    return _object(await _service(request).get(_id(batch_id, PREFIX, "batch"), caller_of(request.scope)))


@router.post("/batches/{batch_id}/cancel", summary="Cancel a batch", dependencies=NEEDS)
async def cancel_batch(request: Request, batch_id: str) -> BatchObject:
    """Asks no further line. What was answered is in the output file once the batch is `cancelled`."""
    return _object(await _service(request).cancel(_id(batch_id, PREFIX, "batch"), caller_of(request.scope)))


def _metadata(given: dict[str, str] | None) -> dict[str, Any] | None:
    for text in (*(given or {}), *(given or {}).values()):
        if storable(text) != text:
            raise InvalidInput("`metadata` holds a character that can't be stored.", param="metadata")
    return None if given is None else dict(given)


def _id(given: str, prefix: str, what: str) -> UUID:
    if not re.fullmatch(rf"{prefix}[0-9a-f]{{32}}", given):
        raise NotFound(f"There is no {what} {given!r}.")
    return UUID(given.removeprefix(prefix))


def _object(batch: Batch) -> BatchObject:
    ended = {batch.state: _seconds(batch.ended_at)} if batch.state.ended else {}
    files = (batch.output_file_id, batch.error_file_id) if batch.state.ended else (None, None)
    output, error = (None if one is None else f"{FILE}{one.hex}" for one in files)
    faults = [BatchFault(code=one.code, message=one.message, param=one.param, line=one.line) for one in batch.errors]
    return BatchObject(
        id=f"{PREFIX}{batch.id.hex}",
        endpoint=batch.endpoint,
        errors=BatchFaults(data=faults) if faults else None,
        input_file_id=f"{FILE}{batch.input_file_id.hex}",
        status=batch.state,
        output_file_id=output,
        error_file_id=error,
        created_at=int(batch.created_at.timestamp()),
        in_progress_at=_seconds(batch.started_at),
        expires_at=int(batch.expires_at.timestamp()),
        finalizing_at=_seconds(batch.finalizing_at),
        completed_at=ended.get(BatchState.COMPLETED),
        failed_at=ended.get(BatchState.FAILED),
        expired_at=ended.get(BatchState.EXPIRED),
        cancelling_at=_seconds(batch.cancelling_at),
        cancelled_at=ended.get(BatchState.CANCELLED),
        request_counts=RequestCounts(total=batch.total, completed=batch.completed, failed=batch.failed),
        metadata=None if batch.metadata is None else dict(batch.metadata),
    )


def _seconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())


def _service(request: Request) -> BatchFlow:
    return services_of(request).generation.batches
