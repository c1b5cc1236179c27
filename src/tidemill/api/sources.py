"""`/v1/sources`: where documents are collected from, and how far that is."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal, cast
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import to_json
from starlette.requests import ClientDisconnect

from tidemill.api.gate import caller_of
from tidemill.api.multipart import read_form
from tidemill.api.rights import needs
from tidemill.api.services import services_of
from tidemill.api.streaming import EventStream
from tidemill.core.accounts import Right
from tidemill.core.classification import Level
from tidemill.core.document import ChunkStrategy, DocumentKind, Source, SourceKind
from tidemill.core.sync import Sync, SyncState
from tidemill.core.text import storable
from tidemill.flows.sync import SyncFlow
from tidemill.knowledge.sources import LONGEST_LOCATION, LONGEST_NAME, NewSource, SourceChanges

router = APIRouter(tags=["knowledge"])

POLL_SECONDS = 0.25
READ = [needs(Right.KNOWLEDGE_READ)]
ADD = [needs(Right.KNOWLEDGE_ADD)]
MANAGE = [needs(Right.KNOWLEDGE_MANAGE)]
FORM = {
    "type": "object",
    "required": ["file"],
    "additionalProperties": False,
    "properties": {"file": {"type": "string", "format": "binary"}, "path": {"type": "string"}},
}

Departments = Annotated[set[UUID], Field(max_length=100)]
SyncEvery = Annotated[int, Field(ge=60, le=31_536_000, description="Seconds between syncs.")]
Limit = Annotated[int, Query(ge=1, le=500)]
AfterText = Annotated[
    Annotated[str, AfterValidator(storable)] | None,
    Query(max_length=2000, description="The last one of the answer before."),
]


class SourceRequest(BaseModel):
    """A source to add. What `options` may hold depends on the kind; docs/knowledge.md lists it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"name": "papers", "kind": "upload", "level": "internal"}]},
    )

    name: str = Field(min_length=1, max_length=LONGEST_NAME)
    kind: SourceKind
    location: str = Field("", max_length=LONGEST_LOCATION)
    level: Level = Level.INTERNAL
    departments: Departments = Field(default_factory=set)
    strategy: ChunkStrategy = ChunkStrategy.AUTO
    options: dict[str, Any] = Field(default_factory=dict)
    sync_every: SyncEvery | None = None


class SourcePatch(BaseModel):
    """What is to change; what is absent stays. With `sync_every: null` only people start syncs."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(None, min_length=1, max_length=LONGEST_NAME)
    level: Level | None = None
    departments: Departments | None = None
    strategy: ChunkStrategy | None = None
    options: dict[str, Any] | None = None
    sync_every: SyncEvery | None = None

    def changes(self) -> SourceChanges:
        """What was given; of null, only the time between syncs."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        if self.departments is not None:
            given["departments"] = frozenset(self.departments)
        return cast(SourceChanges, {k: v for k, v in given.items() if v is not None or k == "sync_every"})


class SourceShown(BaseModel):
    """A source, and how many documents and failures it has."""

    id: UUID
    object: Literal["source"] = "source"
    name: str
    kind: SourceKind
    location: str
    level: Level
    departments: list[UUID]
    strategy: ChunkStrategy
    options: dict[str, Any]
    sync_every: int | None
    documents: int
    failures: int
    created_at: datetime
    synced_at: datetime | None


class SourceList(BaseModel):
    """Sources, by name."""

    object: Literal["list"] = "list"
    data: list[SourceShown]
    has_more: bool


class CountsShown(BaseModel):
    """What a sync did so far; docs/knowledge.md says what each number counts."""

    seen: int
    new: int
    changed: int
    unchanged: int
    gone: int
    failed: int
    chunks_added: int
    chunks_kept: int
    chunks_removed: int
    embedded: int
    shortened: int


class SyncShown(BaseModel):
    """A sync. `error` is the sentence for a person where it failed."""

    id: UUID
    object: Literal["source.sync"] = "source.sync"
    source_id: UUID
    state: SyncState
    counts: CountsShown
    error: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class SyncList(BaseModel):
    """Syncs, the newest first."""

    object: Literal["list"] = "list"
    data: list[SyncShown]


class DocumentShown(BaseModel):
    """A document. `duplicate_of` names one that says the same; `metadata` is what its text tells."""

    id: UUID
    object: Literal["document"] = "document"
    path: str
    title: str
    url: str | None
    kind: DocumentKind
    level: Level
    bytes: int
    chunks: int
    language: str | None
    author: str | None
    platform: str | None
    licence: str | None
    metadata: dict[str, Any]
    duplicate_of: UUID | None
    similarity: float | None
    published_at: datetime | None
    modified_at: datetime | None
    created_at: datetime
    changed_at: datetime


class DocumentList(BaseModel):
    """Documents, by path."""

    object: Literal["list"] = "list"
    data: list[DocumentShown]
    has_more: bool


class FailureShown(BaseModel):
    """A document that could not be had, and why. `code` is a word for programs."""

    object: Literal["document.failure"] = "document.failure"
    path: str
    code: str
    reason: str
    at: datetime


class FailureList(BaseModel):
    """Failures, by path."""

    object: Literal["list"] = "list"
    data: list[FailureShown]
    has_more: bool


class Uploaded(BaseModel):
    """An upload, which the sync `sync` reads."""

    object: Literal["document.upload"] = "document.upload"
    path: str
    sync: SyncShown


class SpaceShown(BaseModel):
    """An embedding model with vectors of the chunks: whether searches ask it, and how many chunks wait for theirs."""

    object: Literal["embedding.space"] = "embedding.space"
    model: str
    version: str
    dimensions: int
    current: bool
    waiting: int


class SpaceList(BaseModel):
    """The embedding models of the documents, the oldest first."""

    object: Literal["list"] = "list"
    data: list[SpaceShown]


@router.post("/sources", summary="Add a source", dependencies=ADD)
async def add_source(request: Request, body: SourceRequest) -> SourceShown:
    """Adds it; `POST /v1/sources/{id}/sync` collects its documents. Its level is at most your own."""
    new = NewSource(**{**dict(body), "departments": frozenset(body.departments)})
    return _source(await services_of(request).sources.add(new, caller_of(request.scope)), (0, 0))


@router.get("/sources", summary="List sources", dependencies=READ)
async def list_sources(request: Request, limit: Limit = 100, after: AfterText = None) -> SourceList:
    """Those that you may see, by name."""
    sources = services_of(request).sources
    found = await sources.page(caller_of(request.scope), limit=limit + 1, after=after)
    totals = await sources.totals(found[:limit])
    return SourceList(data=[_source(one, totals[one.id]) for one in found[:limit]], has_more=len(found) > limit)


@router.get("/sources/embedding", summary="Which models embed the documents", dependencies=READ)
async def list_spaces(request: Request) -> SpaceList:
    """The model that searches ask, and the one that is to take over, where there is one."""
    found = await services_of(request).syncs.spaces()
    return SpaceList(
        data=[
            SpaceShown(
                model=space.model,
                version=space.version,
                dimensions=space.dimensions,
                current=space.current,
                waiting=waiting,
            )
            for space, waiting in found
        ]
    )


@router.post("/sources/reembed", status_code=202, summary="Embed all documents anew", dependencies=MANAGE)
async def reembed(request: Request) -> SpaceList:
    """Fills the vectors of the model that the settings name now, beside those in use, and then switches to them."""
    await services_of(request).syncs.reembed()
    return await list_spaces(request)


@router.get("/sources/{source_id}", summary="One source", dependencies=READ)
async def get_source(request: Request, source_id: UUID) -> SourceShown:
    """One source."""
    sources = services_of(request).sources
    source = await sources.get(source_id, caller_of(request.scope))
    return _source(source, (await sources.totals([source]))[source.id])


@router.patch("/sources/{source_id}", summary="Change a source", dependencies=ADD)
async def change_source(request: Request, source_id: UUID, body: SourcePatch) -> SourceShown:
    """Who may see its documents is changed at once; another way of cutting them, with the next sync."""
    sources = services_of(request).sources
    source = await sources.change(source_id, body.changes(), caller_of(request.scope))
    return _source(source, (await sources.totals([source]))[source.id])


@router.delete("/sources/{source_id}", status_code=204, summary="Remove a source", dependencies=ADD)
async def remove_source(request: Request, source_id: UUID) -> Response:
    """Removes it with all that was collected from it. A sync that is under way ends."""
    await services_of(request).sources.remove(source_id, caller_of(request.scope))
    return Response(status_code=204)


@router.post("/sources/{source_id}/sync", status_code=202, summary="Sync a source", dependencies=ADD)
async def start_sync(request: Request, source_id: UUID) -> SyncShown:
    """Queues a sync and answers at once; where one is under way, with that one, after which another follows."""
    services, caller = services_of(request), caller_of(request.scope)
    source = await services.sources.mine(source_id, caller)
    return _sync(await services.syncs.start(source.id, caller.owner_id))


@router.get("/sources/{source_id}/syncs", summary="A source's syncs", dependencies=READ)
async def list_syncs(request: Request, source_id: UUID, limit: Limit = 20) -> SyncList:
    """The newest first."""
    services = services_of(request)
    source = await services.sources.get(source_id, caller_of(request.scope))
    return SyncList(data=[_sync(one) for one in await services.syncs.latest(source.id, limit=limit)])


@router.get("/sources/{source_id}/syncs/{sync_id}", summary="One sync", dependencies=READ)
async def get_sync(request: Request, source_id: UUID, sync_id: UUID) -> SyncShown:
    """How far it has come."""
    services = services_of(request)
    source = await services.sources.get(source_id, caller_of(request.scope))
    return _sync(await services.syncs.get(source.id, sync_id))


@router.post("/sources/{source_id}/syncs/{sync_id}/cancel", summary="Cancel a sync", dependencies=ADD)
async def cancel_sync(request: Request, source_id: UUID, sync_id: UUID) -> SyncShown:
    """Ends it. What it has written stays, and the next sync goes on from there."""
    services = services_of(request)
    source = await services.sources.mine(source_id, caller_of(request.scope))
    return _sync(await services.syncs.cancel(source.id, sync_id))


@router.get(
    "/sources/{source_id}/syncs/{sync_id}/events",
    summary="Follow a sync",
    dependencies=READ,
    response_class=Response,
    responses={200: {"content": {"text/event-stream": {}}, "description": "One event for each change of the numbers."}},
)
async def sync_events(request: Request, source_id: UUID, sync_id: UUID) -> Response:
    """`progress` with the sync whenever its numbers change, and `done`, `failed` or `cancelled` at its end."""
    services = services_of(request)
    source = await services.sources.get(source_id, caller_of(request.scope))
    return EventStream(_events(services.syncs, await services.syncs.get(source.id, sync_id)))


@router.get("/sources/{source_id}/documents", summary="A source's documents", dependencies=READ)
async def list_documents(
    request: Request, source_id: UUID, limit: Limit = 100, after: AfterText = None
) -> DocumentList:
    """Those that you may see, by path; `after` is a path."""
    found = await services_of(request).sources.documents(
        source_id, caller_of(request.scope), limit=limit + 1, after=after
    )
    return DocumentList(data=[DocumentShown(**asdict(one)) for one in found[:limit]], has_more=len(found) > limit)


@router.get("/sources/{source_id}/failures", summary="What could not be read", dependencies=ADD)
async def list_failures(request: Request, source_id: UUID, limit: Limit = 100, after: AfterText = None) -> FailureList:
    """By path, of a source that you look after; `after` is a path."""
    found = await services_of(request).sources.failures(
        source_id, caller_of(request.scope), limit=limit + 1, after=after
    )
    shown = [FailureShown(path=one.path, code=one.code, reason=one.reason, at=one.at) for one in found[:limit]]
    return FailureList(data=shown, has_more=len(found) > limit)


@router.post(
    "/sources/{source_id}/documents",
    status_code=202,
    summary="Upload a document",
    dependencies=ADD,
    response_model=Uploaded,
    openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": FORM}}}},
)
async def upload_document(request: Request, source_id: UUID) -> Response:
    """A form with `file` and, where it is to have another name, `path`. It takes the place of what had that name."""
    services, caller = services_of(request), caller_of(request.scope)
    async with services.sources.receive(source_id, caller) as upload:
        try:
            form = await read_form(request, fields=frozenset({"path"}), file="file", write=upload.write)
        except ClientDisconnect:
            return Response(status_code=499)
        path = await services.sources.keep(source_id, upload, form.values.get("path") or form.filename or "", caller)
    sync = await services.syncs.start(source_id, caller.owner_id)
    shown = Uploaded(path=path, sync=_sync(sync))
    return Response(shown.model_dump_json(), status_code=202, media_type="application/json")


@router.delete(
    "/sources/{source_id}/documents/{document_id}", status_code=202, summary="Take an upload back", dependencies=ADD
)
async def take_back(request: Request, source_id: UUID, document_id: UUID) -> SyncShown:
    """Takes an uploaded document back; the sync that is the answer removes it."""
    services, caller = services_of(request), caller_of(request.scope)
    await services.sources.take_back(source_id, document_id, caller)
    return _sync(await services.syncs.start(source_id, caller.owner_id))


@router.delete(
    "/sources/{source_id}/documents", status_code=202, summary="Take an upload back by its name", dependencies=ADD
)
async def take_back_by_name(
    request: Request, source_id: UUID, path: Annotated[str, Query(min_length=1, max_length=2000)]
) -> SyncShown:
    """Takes what was uploaded under this name back, also where it could not be read; the answer's sync removes it."""
    services, caller = services_of(request), caller_of(request.scope)
    await services.sources.take_back_by_name(source_id, path, caller)
    return _sync(await services.syncs.start(source_id, caller.owner_id))


async def _events(syncs: SyncFlow, sync: Sync) -> AsyncGenerator[bytes, None]:
    said: bytes = b""
    found: Sync | None = sync
    while found is not None:
        told = to_json(_sync(found))
        if told != said:
            said = told
            name = str(found.state) if found.state.ended else "progress"
            yield f"event: {name}\ndata: ".encode() + told + b"\n\n"
        else:
            yield b": waiting\n\n"
        if found.state.ended:
            return
        await asyncio.sleep(POLL_SECONDS)
        found = await syncs.find(sync.id)
    yield b'event: cancelled\ndata: {"error": "The source is deleted."}\n\n'


def _source(source: Source, totals: tuple[int, int]) -> SourceShown:
    return SourceShown(
        id=source.id,
        name=source.name,
        kind=source.kind,
        location=source.location,
        level=source.level,
        departments=sorted(source.departments),
        strategy=source.strategy,
        options=dict(source.options),
        sync_every=source.sync_every,
        documents=totals[0],
        failures=totals[1],
        created_at=source.created_at,
        synced_at=source.synced_at,
    )


def _sync(sync: Sync) -> SyncShown:
    return SyncShown(
        id=sync.id,
        source_id=sync.source_id,
        state=sync.state,
        counts=CountsShown(**asdict(sync.counts)),
        error=sync.error,
        created_at=sync.created_at,
        started_at=sync.started_at,
        finished_at=sync.finished_at,
    )
