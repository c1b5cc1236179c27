"""The audit log, to be read, exported and checked."""

from collections.abc import AsyncGenerator, AsyncIterator
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import AwareDatetime, BaseModel
from pydantic_core import to_json

from tidemill.accounts.audit import entry_json
from tidemill.api.rights import needs
from tidemill.api.services import services_of
from tidemill.api.streaming import EventStream
from tidemill.core.accounts import Right
from tidemill.core.audit import AuditEntry

LINES = 500
"""Entries that are sent at a time."""

Since = Annotated[AwareDatetime | None, Query(description="Entries from this time on.")]
Until = Annotated[AwareDatetime | None, Query(description="Entries before this time.")]

router = APIRouter(tags=["audit"])


class Entry(BaseModel):
    """One entry: who (`actor`, `actor_id`, and the key by which it acted) did what to which thing.

    `hash` covers the entry and the hash before, under a key of the hub's.
    """

    seq: int
    at: datetime
    actor: str
    actor_id: UUID | None
    key_id: UUID | None
    action: str
    target: str
    target_id: str | None
    details: dict[str, Any]
    hash: str


class EntryList(BaseModel):
    """A part of the log, oldest first; `last_seq` is the next request's `after`."""

    object: Literal["list"] = "list"
    data: list[Entry]
    last_seq: int | None
    has_more: bool


class Verification(BaseModel):
    """What checking the chain of hashes found. Keep `entries` and `hash` elsewhere: a cut end shows against them."""

    object: Literal["audit.verification"] = "audit.verification"
    whole: bool
    entries: int
    hash: str | None
    fault: str | None


class JsonLines(EventStream):
    """One JSON document a line."""

    media_type = "application/x-ndjson"


@router.get("/audit", summary="Read the audit log", dependencies=[needs(Right.AUDIT_READ)])
async def list_entries(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[int, Query(ge=0, lt=2**63, description="The `last_seq` of the answer before.")] = 0,
    since: Since = None,
    until: Until = None,
) -> EntryList:
    """The log's entries, oldest first."""
    audit = services_of(request).accounts.audit
    found = [one async for one in audit.entries(after=after, since=since, until=until, limit=limit + 1)]
    shown = found[:limit]
    return EntryList(
        data=[Entry.model_validate(entry_json(one)) for one in shown],
        last_seq=shown[-1].seq if shown else None,
        has_more=len(found) > limit,
    )


@router.get(
    "/audit/export",
    summary="Export the audit log",
    dependencies=[needs(Right.AUDIT_READ)],
    response_class=Response,
    responses={200: {"content": {"application/x-ndjson": {}}, "description": "One entry a line, as JSON."}},
)
async def export_entries(request: Request, since: Since = None, until: Until = None) -> Response:
    """The whole log, or a part of it by time, as JSON lines; read as it is sent."""
    return JsonLines(_lines(services_of(request).accounts.audit.entries(since=since, until=until)))


@router.get("/audit/verify", summary="Check the audit log", dependencies=[needs(Right.AUDIT_READ)])
async def verify_entries(request: Request) -> Verification:
    """Whether each entry is as it was written, and none is missing before the last."""
    found = await services_of(request).accounts.audit.verify()
    return Verification(whole=found.fault is None, entries=found.entries, hash=found.hash, fault=found.fault)


async def _lines(entries: AsyncIterator[AuditEntry]) -> AsyncGenerator[bytes, None]:
    waiting: list[bytes] = []
    async for entry in entries:
        waiting.append(to_json(entry_json(entry)) + b"\n")
        if len(waiting) >= LINES:
            yield b"".join(waiting)
            waiting.clear()
    yield b"".join(waiting)
