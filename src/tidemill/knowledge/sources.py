"""Sources: added, shown, changed and removed, by whom that is allowed; uploads, documents and failures of each."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypedDict
from uuid import UUID

from tidemill.core.accounts import Caller, Right, Role
from tidemill.core.audit import Actor
from tidemill.core.classification import Level
from tidemill.core.clock import Clock
from tidemill.core.document import ChunkStrategy, Source, SourceKind
from tidemill.core.errors import Conflict, InvalidInput, NotFound, NotPermitted, TooLarge
from tidemill.core.ids import new_id
from tidemill.core.json import Json
from tidemill.core.search import Reader
from tidemill.core.sync import DocumentFailure, StoredDocument
from tidemill.core.text import storable
from tidemill.crawlers.port import Crawler
from tidemill.forges.repositories import local_path
from tidemill.forges.roots import resolve_repository
from tidemill.store.audited import Audited
from tidemill.store.blobs import BlobStore, IncomingBlob
from tidemill.store.documents import DocumentRepository
from tidemill.store.sources import SourceRepository
from tidemill.store.teams import TeamRepository

LONGEST_NAME = 100
LONGEST_LOCATION = 2000
LONGEST_PATH = 500
SETTING = "knowledge.sources.roots"


class ReaderOf(Protocol):
    """Says what a caller may see."""

    async def of(self, caller: Caller) -> Reader:
        """What this caller may see, up to the caller's level."""
        ...


@dataclass(frozen=True, slots=True)
class NewSource:
    """A source as someone wants it."""

    name: str
    kind: SourceKind
    location: str = ""
    level: Level = Level.INTERNAL
    departments: frozenset[UUID] = frozenset()
    strategy: ChunkStrategy = ChunkStrategy.AUTO
    options: Mapping[str, Json] | None = None
    sync_every: int | None = None


class SourceChanges(TypedDict, total=False):
    """What is to change of a source; what is absent stays."""

    name: str
    level: Level
    departments: frozenset[UUID]
    strategy: ChunkStrategy
    options: Mapping[str, Json]
    sync_every: int | None


@dataclass(frozen=True, slots=True)
class SourceParts:
    """What the service is made with.

    Attributes:
        crawlers: by the kind of source that each collects; they check locations and options.
        roots: folders of which people who are no admins may make sources.
        max_bytes: of the largest upload.
        forget: takes away what was kept beside the database for a source that is removed.
    """

    sources: SourceRepository
    documents: DocumentRepository
    teams: TeamRepository
    blobs: BlobStore
    readers: ReaderOf
    audit: Audited
    crawlers: Mapping[SourceKind, Crawler]
    roots: Sequence[Path]
    max_bytes: int
    forget: Callable[[UUID], None]
    clock: Clock


class DocumentUpload:
    """A document that is being received."""

    def __init__(self, incoming: IncomingBlob, limit: int) -> None:
        self.incoming = incoming
        self._limit = limit

    async def write(self, data: bytes) -> None:
        """Takes a piece.

        Raises:
            TooLarge: the document is over `knowledge.reading.max_bytes` with it.
            Configuration: the disk does not take it.
        """
        if self.incoming.size + len(data) > self._limit:
            raise TooLarge(
                f"The document has more than {self._limit:,} bytes, which are the most (setting "
                "`knowledge.reading.max_bytes`).",
                param="file",
            )
        await self.incoming.write(data)


class Sources:
    """The service for sources. One that the caller may not see does not exist for them.

    Whoever has the right `knowledge.add` adds sources, up to their own level and for their own departments, and looks
    after those; who has `knowledge.manage`, after every one that they see.
    """

    def __init__(self, parts: SourceParts) -> None:
        self._parts = parts

    async def add(self, new: NewSource, caller: Caller) -> Source:
        """Adds a source; nothing is collected yet.

        Raises:
            InvalidInput: the name, the location or an option can't be used.
            NotPermitted: its level or departments are not the caller's, or the folder is not for everyone.
            NotFound: there is no such folder or department.
            Conflict: there is a source of this name.
        """
        source = Source(
            id=new_id(),
            name=_name(new.name),
            kind=new.kind,
            location=await self._location(new, caller),
            owner_id=caller.owner_id,
            created_at=self._parts.clock(),
            level=new.level,
            departments=new.departments,
            strategy=new.strategy,
            options=dict(new.options or {}),
            sync_every=new.sync_every,
        )
        await self._check(source, await self._parts.readers.of(caller), source.departments)
        await self._check_options(source)
        async with self._parts.audit.change(Actor.of(caller)) as change:
            if not await self._parts.sources.add(change.connection, source):
                raise Conflict(f"There is a source {source.name!r} already. Choose another name.", param="name")
            change.note("source.added", "source", source.id, kind=source.kind, level=source.level)
        return source

    async def get(self, source_id: UUID, caller: Caller) -> Source:
        """A source that the caller may see.

        Raises:
            NotFound: there is none.
        """
        source = await self._parts.sources.find(source_id)
        if source is None or not _sees(await self._parts.readers.of(caller), source):
            raise NotFound(f"There is no source {source_id}.")
        return source

    async def mine(self, source_id: UUID, caller: Caller) -> Source:
        """A source that the caller may look after.

        Raises:
            NotFound: there is none that the caller may see.
            NotPermitted: it is another's.
        """
        source = await self.get(source_id, caller)
        if source.owner_id != caller.owner_id:
            caller.require(Right.KNOWLEDGE_MANAGE)
        return source

    async def page(self, caller: Caller, *, limit: int, after: str | None = None) -> Sequence[Source]:
        """The sources that the caller may see, by name."""
        return await self._parts.sources.page(await self._parts.readers.of(caller), limit=limit, after=after)

    async def totals(self, sources: Collection[Source]) -> Mapping[UUID, tuple[int, int]]:
        """How many documents and failures each has."""
        return await self._parts.documents.totals([source.id for source in sources])

    async def change(self, source_id: UUID, changes: SourceChanges, caller: Caller) -> Source:
        """Changes a source. Who may see it, and what was collected from it, is changed at once.

        Raises:
            As `get`, `mine` and `add`.
        """
        before = await self.mine(source_id, caller)
        given = dict(changes)
        if "name" in changes:
            given["name"] = _name(changes["name"])
        source = replace(before, **given)  # type: ignore[arg-type]
        fresh = source.departments - before.departments
        await self._check(source, await self._parts.readers.of(caller), fresh)
        if "options" in changes:
            await self._check_options(source)
        async with self._parts.audit.change(Actor.of(caller)) as change:
            named = await self._parts.sources.named(change.connection, source.name)
            if named not in (None, source.id):
                raise Conflict(f"There is a source {source.name!r} already. Choose another name.", param="name")
            await self._parts.sources.change(change.connection, source)
            change.note(
                "source.changed",
                "source",
                source.id,
                level_before=before.level,
                level=source.level,
                departments=[str(one) for one in sorted(source.departments)],
            )
        return source

    async def remove(self, source_id: UUID, caller: Caller) -> None:
        """Removes a source with all that was collected from it. A sync that is under way ends.

        Raises:
            As `mine`.
        """
        source = await self.mine(source_id, caller)
        while await self._parts.sources.find(source.id) is not None:
            await self._parts.sources.empty(source.id, self._parts.clock())
            async with self._parts.audit.change(Actor.of(caller)) as change:
                if await self._parts.sources.remove(change.connection, source.id):
                    change.note("source.removed", "source", source.id, kind=source.kind)
        await asyncio.to_thread(self._parts.forget, source.id)

    async def documents(
        self, source_id: UUID, caller: Caller, *, limit: int, after: str | None = None
    ) -> Sequence[StoredDocument]:
        """The documents of a source that the caller may see, by path.

        Raises:
            NotFound: there is no such source.
        """
        source = await self.get(source_id, caller)
        reader = await self._parts.readers.of(caller)
        return await self._parts.documents.page(source.id, reader, limit=limit, after=after)

    async def failures(
        self, source_id: UUID, caller: Caller, *, limit: int, after: str | None = None
    ) -> Sequence[DocumentFailure]:
        """What could not be had of a source, by path.

        Raises:
            As `mine`: the names of documents that nobody could classify are for who looks after the source.
        """
        source = await self.mine(source_id, caller)
        return await self._parts.documents.failures(source.id, limit=limit, after=after)

    @asynccontextmanager
    async def receive(self, source_id: UUID, caller: Caller) -> AsyncIterator[DocumentUpload]:
        """Room for a document that is uploaded to a source; where `keep` is not reached, nothing of it is left.

        Raises:
            As `mine`; InvalidInput: the source takes no uploads.
        """
        await self._for_uploads(source_id, caller)
        async with self._parts.blobs.receive() as incoming:
            yield DocumentUpload(incoming, self._parts.max_bytes)

    async def keep(self, source_id: UUID, upload: DocumentUpload, path: str, caller: Caller) -> str:
        """Keeps what was received, in the place of what had this path before; the next sync reads it.

        Raises:
            InvalidInput: the path can't be used, or the document is empty.
            NotFound: the source is gone.
        """
        name = upload_path(path)
        await upload.incoming.finish()
        if not upload.incoming.size:
            raise InvalidInput("The document is empty.", param="file")
        kept = await self._parts.sources.upload(source_id, name, upload.incoming, caller.owner_id, self._parts.clock())
        if not kept:
            raise NotFound(f"There is no source {source_id}.")
        return name

    async def take_back(self, source_id: UUID, document_id: UUID, caller: Caller) -> None:
        """Takes an uploaded document back; the next sync removes it.

        Raises:
            As `receive`; NotFound: the source has no such document that the caller may see.
        """
        source = await self._for_uploads(source_id, caller)
        reader = await self._parts.readers.of(caller)
        document = await self._parts.documents.find(source.id, reader, document_id)
        if document is None or not await self._parts.sources.take_back(source.id, document.path):
            raise NotFound(f"There is no document {document_id}.")

    async def take_back_by_name(self, source_id: UUID, path: str, caller: Caller) -> None:
        """Takes an upload back by the name that it was given, whether or not it could be read.

        The next sync removes what was made of it.

        Raises:
            As `receive`; NotFound: nothing was uploaded under this name.
        """
        source = await self._for_uploads(source_id, caller)
        if not await self._parts.sources.take_back(source.id, upload_path(path)):
            raise NotFound(f"Nothing was uploaded as {path[:300]!r}.", param="path")

    async def _for_uploads(self, source_id: UUID, caller: Caller) -> Source:
        source = await self.mine(source_id, caller)
        if source.kind is not SourceKind.UPLOAD:
            raise InvalidInput(
                f"The source {source.name} collects its documents by itself. Make a source of the kind `upload`.",
                param="source",
            )
        return source

    async def _location(self, new: NewSource, caller: Caller) -> str:
        location = new.location.strip()
        if len(location) > LONGEST_LOCATION or not location.isprintable():
            raise InvalidInput(f"A location has at most {LONGEST_LOCATION} printable characters.", param="location")
        if new.kind in {SourceKind.FOLDER, SourceKind.LINKEDIN}:
            return await asyncio.to_thread(self._folder, location, caller)
        if new.kind is SourceKind.GIT and (path := local_path(location)) is not None:
            roots = [Path("/")] if _is_admin(caller) else self._parts.roots
            return str(await asyncio.to_thread(resolve_repository, path, roots, setting=SETTING))
        return location

    def _folder(self, location: str, caller: Caller) -> str:
        refused = NotPermitted(
            f"You may make no source of {location[:300]!r}. An operator names the folders of which everyone may in the "
            f"setting {SETTING}; an admin may name any.",
            param="location",
        )
        if not location.startswith("/"):
            raise InvalidInput("Give the whole path of what is on the hub's machine.", param="location")
        try:
            folder = Path(location).resolve()
            roots = [root.resolve() for root in self._parts.roots]
        except (OSError, ValueError, RuntimeError):  # a name too long, a NUL, a loop of links
            raise refused from None
        if not _is_admin(caller) and not any(folder == root or root in folder.parents for root in roots):
            raise refused
        return str(folder)

    async def _check(self, source: Source, reader: Reader, departments: Collection[UUID]) -> None:
        if source.level.rank > reader.level.rank:
            raise NotPermitted(
                f"You see documents up to {reader.level}, and can't make {source.level} ones.", param="level"
            )
        if not reader.all_departments and not set(departments) <= reader.departments:
            raise NotPermitted("A source is for departments of your own. Leave the others out.", param="departments")
        for department in departments:
            if await self._parts.teams.find_department(department) is None:
                raise NotFound(f"There is no department {department}.", param="departments")

    async def _check_options(self, source: Source) -> None:
        crawler = self._parts.crawlers.get(source.kind)
        if crawler is None:
            raise InvalidInput(f"Sources of the kind {source.kind} are not collected here.", param="kind")
        await asyncio.to_thread(crawler.check, source)


def upload_path(path: str) -> str:
    """The name under which an upload is kept: a relative path without `..`, as it may be stored and shown.

    Raises:
        InvalidInput: it can't be one.
    """
    parts = [part.strip() for part in storable(path).replace("\\", "/").split("/")]
    name = "/".join(part for part in parts if part not in {"", "."})
    if not name or ".." in parts or len(name) > LONGEST_PATH or not name.isprintable():
        raise InvalidInput(
            f"A document's name has 1 to {LONGEST_PATH} printable characters, and does not lead upwards.", param="file"
        )
    return name


def _name(name: str) -> str:
    clean = name.strip()
    if not clean or len(clean) > LONGEST_NAME or not clean.isprintable():
        raise InvalidInput(f"A source's name has 1 to {LONGEST_NAME} printable characters.", param="name")
    return clean


def _is_admin(caller: Caller) -> bool:
    return caller.role is Role.ADMIN and caller.may(Right.KNOWLEDGE_MANAGE)


def _sees(reader: Reader, source: Source) -> bool:
    if source.level.rank > reader.level.rank:
        return False
    return reader.all_departments or not source.departments or bool(source.departments & reader.departments)
