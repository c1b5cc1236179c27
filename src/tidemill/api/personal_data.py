"""A person's data: handed to them, and erased."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import datetime
from typing import IO, Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel
from starlette.responses import StreamingResponse

from tidemill.api.gate import caller_of
from tidemill.api.rights import needs
from tidemill.api.services import services_of
from tidemill.core.accounts import Right
from tidemill.core.audit import Actor

PIECE = 1024 * 1024

router = APIRouter(tags=["personal data"])


class Receipt(BaseModel):
    """What an erasure has deleted, without personal data. `sha256` is of the rest, as sorted, compact JSON."""

    erasure: UUID
    user: UUID
    by: dict[str, str | None]
    started_at: str
    finished_at: str
    counts: dict[str, int]
    sha256: str


class ErasureShown(BaseModel):
    """An erasure. `receipt` is there once it is finished."""

    object: str = "erasure"
    id: UUID
    user_id: UUID
    started_at: datetime
    finished_at: datetime | None
    receipt: dict[str, Any] | None


class ErasureList(BaseModel):
    """The newest erasures."""

    object: str = "list"
    data: list[ErasureShown]


@router.get(
    "/me/export",
    summary="All that is stored of the caller",
    dependencies=[needs(Right.ACCOUNT)],
    response_class=Response,
    responses={200: {"content": {"application/zip": {}}, "description": "A zip archive."}},
)
async def export_me(request: Request) -> Response:
    """A zip archive: a JSON file for each kind of data, files' contents, and `manifest.json`."""
    caller = caller_of(request.scope)
    return await _archive(request, lambda file: services_of(request).data.exports.export_own(caller, file))


@router.get(
    "/users/{user_id}/export",
    summary="All that is stored of a person",
    dependencies=[needs(Right.DATA_MANAGE)],
    response_class=Response,
    responses={200: {"content": {"application/zip": {}}, "description": "A zip archive."}},
)
async def export_user(request: Request, user_id: UUID) -> Response:
    """The same of another person."""
    actor = Actor.of(caller_of(request.scope))
    return await _archive(request, lambda file: services_of(request).data.exports.export(user_id, file, actor))


async def _archive(request: Request, write: Callable[[IO[bytes]], Awaitable[None]]) -> Response:
    scratch = services_of(request).data.scratch
    archive = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 - it lives until it is sent
    try:
        await write(archive)
    except BaseException:
        archive.close()
        raise
    headers = {"content-disposition": 'attachment; filename="tidemill-export.zip"'}
    return StreamingResponse(_pieces(archive), headers=headers, media_type="application/zip")


async def _pieces(archive: IO[bytes]) -> AsyncGenerator[bytes, None]:
    """The archive, which has no name on the disk and is gone when it is closed."""
    with archive:
        while piece := await asyncio.to_thread(archive.read, PIECE):
            yield piece


@router.post("/users/{user_id}/erase", summary="Erase a person", dependencies=[needs(Right.DATA_MANAGE)])
async def erase_user(request: Request, user_id: UUID) -> Receipt:
    """Deletes all that is stored of a person, and answers with the receipt when it is done. It can't be undone."""
    receipt = await services_of(request).data.erasures.erase(user_id, Actor.of(caller_of(request.scope)))
    return Receipt.model_validate(receipt)


@router.get("/erasures", summary="The newest erasures", dependencies=[needs(Right.DATA_MANAGE)])
async def list_erasures(request: Request, limit: Annotated[int, Query(ge=1, le=100)] = 20) -> ErasureList:
    """Erasures, newest first, with their receipts."""
    found = await services_of(request).data.erasures.latest(limit=limit)
    return ErasureList(
        data=[
            ErasureShown(
                id=one.id,
                user_id=one.user_id,
                started_at=one.started_at,
                finished_at=one.finished_at,
                receipt=dict(one.receipt) if one.receipt else None,
            )
            for one in found
        ]
    )
