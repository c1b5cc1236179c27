"""`/v1/files`, as OpenAI's API has it."""

import asyncio
import re
from collections.abc import Mapping
from typing import IO, Annotated, Any, Literal
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tidemill.api.gate import caller_of
from tidemill.api.multipart import read_form
from tidemill.api.rights import needs
from tidemill.api.services import services_of
from tidemill.core.accounts import Right
from tidemill.core.errors import InvalidInput, NotFound
from tidemill.core.file import File, Purpose
from tidemill.files.service import Files

router = APIRouter(tags=["files"])

PREFIX = "file-"
PIECE = 256 * 1024
FIELDS = frozenset({"purpose", "expires_after[anchor]", "expires_after[seconds]"})
UPLOADED = tuple(str(purpose) for purpose in Purpose if purpose is not Purpose.BATCH_OUTPUT)
NEEDS = [needs(Right.FILES)]
FORM = {
    "type": "object",
    "required": ["file", "purpose"],
    "additionalProperties": False,
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "purpose": {"type": "string", "enum": list(UPLOADED)},
        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
        "expires_after[seconds]": {"type": "integer", "minimum": 3600, "maximum": 2_592_000},
    },
}


class FileObject(BaseModel):
    """A file. Times are in seconds since 1970."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: Purpose
    status: Literal["processed"] = "processed"


class FileList(BaseModel):
    """One page of files."""

    object: Literal["list"] = "list"
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeleted(BaseModel):
    """What was deleted."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


@router.post(
    "/files",
    summary="Upload a file",
    dependencies=NEEDS,
    response_model=FileObject,
    openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": FORM}}}},
)
async def create_file(request: Request) -> Response:
    """A form with `file`, `purpose` and, where the file is to end, `expires_after[anchor]` and `…[seconds]`."""
    files, caller = _service(request), caller_of(request.scope)
    async with files.receive(caller) as upload:
        try:
            form = await read_form(request, fields=FIELDS, file="file", write=upload.write)
        except ClientDisconnect:
            return Response(status_code=499)
        file = await files.keep(
            caller,
            upload,
            filename=form.filename or "",
            purpose=_purpose(form.values.get("purpose")),
            seconds=_seconds(form.values),
        )
    return Response(_object(file).model_dump_json(), media_type="application/json")


@router.get("/files", summary="The caller's files", dependencies=NEEDS)
async def list_files(
    request: Request,
    purpose: Purpose | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    order: Literal["asc", "desc"] = "desc",
    after: Annotated[str | None, Query(max_length=100)] = None,
) -> FileList:
    """By the time of their upload, newest first if not asked otherwise."""
    found = await _service(request).list(
        caller_of(request.scope),
        purpose=purpose,
        limit=limit + 1,
        order=order,
        after=None if after is None else _id(after),
    )
    data = [_object(file) for file in found[:limit]]
    return FileList(
        data=data,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
        has_more=len(found) > limit,
    )


@router.get("/files/{file_id}", summary="One file", dependencies=NEEDS)
async def get_file(request: Request, file_id: str) -> FileObject:
    """Its name, size and purpose."""
    return _object(await _service(request).get(caller_of(request.scope), _id(file_id)))


@router.get(
    "/files/{file_id}/content",
    summary="A file's content",
    dependencies=NEEDS,
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}, "description": "The bytes as they were uploaded."}},
)
async def get_file_content(request: Request, file_id: str) -> Response:
    """Sent for a program to save, whatever the file's name says that it is."""
    file, content = await _service(request).open(caller_of(request.scope), _id(file_id))
    return Download(file, content)


@router.delete("/files/{file_id}", summary="Delete a file", dependencies=NEEDS)
async def delete_file(request: Request, file_id: str) -> FileDeleted:
    """Deletes it, with its content where no other file has the same."""
    await _service(request).delete(caller_of(request.scope), _id(file_id))
    return FileDeleted(id=file_id)


class Download(Response):
    """Sends an open file in pieces, and closes it. No browser shows it, or guesses what it is."""

    media_type = "application/octet-stream"

    def __init__(self, file: File, content: IO[bytes]) -> None:
        self.status_code = 200
        self.background = None
        self.body = b""
        self._content = content
        self.init_headers(
            {
                "content-length": str(file.bytes),
                "content-disposition": disposition(file.filename),
                "x-content-type-options": "nosniff",
                "content-security-policy": "sandbox",
                "cache-control": "private, no-store",
            }
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the whole file."""
        with self._content as content:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            while piece := await asyncio.to_thread(content.read, PIECE):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def disposition(filename: str) -> str:
    """A `Content-Disposition` (RFC 6266) under which a file is saved, with a plain name for old programs."""
    plain = re.sub(r"[^A-Za-z0-9 ._()+-]", "_", filename)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"


def _purpose(given: str | None) -> Purpose:
    if given not in UPLOADED:
        fault = "is missing" if given is None else f"can't be {given[:100]!r}"
        raise InvalidInput(f"`purpose` {fault}; it is one of {', '.join(UPLOADED)}.", param="purpose")
    return Purpose(given)


def _seconds(values: Mapping[str, Any]) -> int | None:
    anchor, seconds = values.get("expires_after[anchor]"), values.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at" or seconds is None or not re.fullmatch(r"[0-9]{1,9}", seconds):
        raise InvalidInput(
            "`expires_after` has `anchor`, which is `created_at`, and `seconds`, a number.", param="expires_after"
        )
    return int(seconds)


def _id(given: str) -> UUID:
    if not re.fullmatch(rf"{PREFIX}[0-9a-f]{{32}}", given):
        raise NotFound(f"There is no file {given[:100]!r}.")
    return UUID(given.removeprefix(PREFIX))


def _object(file: File) -> FileObject:
    return FileObject(
        id=f"{PREFIX}{file.id.hex}",
        bytes=file.bytes,
        created_at=int(file.created_at.timestamp()),
        expires_at=None if file.expires_at is None else int(file.expires_at.timestamp()),
        filename=file.filename,
        purpose=file.purpose,
    )


def _service(request: Request) -> Files:
    return services_of(request).files
