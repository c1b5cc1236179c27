"""The steps of one sync.

    collect ─ embed ─ finish → done
       any step's error ─ fail → failed

While documents are collected, those that are written are embedded; `embed` does what is left, and says what failed.
What a step has done stands in the tables, document by document and batch by batch. A step that was killed runs again,
finds that, and goes on where it was: so a step may be long.
"""

import asyncio
import contextlib
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, cast
from uuid import UUID

from tidemill.core.clock import Clock
from tidemill.core.context import Asker, Priority
from tidemill.core.document import RawDocument, Source, SourceKind
from tidemill.core.errors import Configuration, TidemillError
from tidemill.core.ids import new_id
from tidemill.core.json import Json
from tidemill.core.sync import DocumentFailure, Sync, SyncCounts, SyncState
from tidemill.core.text import storable
from tidemill.crawlers.port import Crawler, Failed, Known, Unchanged
from tidemill.flows.chunk_vectors import ChunkVectors
from tidemill.flows.reading import DocumentReading
from tidemill.jobs.port import Steps
from tidemill.readers.port import Unreadable
from tidemill.store.documents import DocumentRepository, KnownDocument
from tidemill.store.sources import SourceRepository
from tidemill.store.syncs import SyncEnded, SyncRepository, ended
from tidemill.telemetry.spans import Traces, span

PAUSES = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Seconds before a step is tried again whose failure may pass by itself."""
TELL_SECONDS = 0.5
LOOK_SECONDS = 0.5
"""How often it is looked, while documents are collected, whether there is something to embed."""
LONGEST_PATH = 2000
"""Bytes of UTF-8: what an index of the database holds of a text."""
KEPT_OF_PATH = 300
"""Characters of a longer one, in the failure that it is."""
LONGEST_REASON = 1000

log = logging.getLogger(__name__)

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SyncParts:
    """What syncs are made with.

    Attributes:
        crawlers: by the kind of source that each collects.
        observe: is told the state in which a sync ended.
    """

    sources: SourceRepository
    syncs: SyncRepository
    documents: DocumentRepository
    crawlers: Mapping[SourceKind, Crawler]
    reading: DocumentReading
    vectors: ChunkVectors
    clock: Clock
    observe: Callable[[str], None]
    traces: Traces


class StepFailed(Exception):
    """A step recorded that it failed, with the sentence for the person; without one the sync had ended already."""


class SyncRun:
    """One sync on its way through the steps."""

    def __init__(self, parts: SyncParts, steps: Steps, sync_id: UUID) -> None:
        self._parts = parts
        self._steps = steps
        self._id = sync_id
        self._counts = SyncCounts()
        self._told = 0.0

    async def run(self) -> None:
        """All steps, to the sync's end."""
        with self._parts.traces.begin("sync", trace_id=self._id.hex) as here:
            here.set({"tidemill.sync_id": str(self._id)})
            try:
                await self._step("collect", self._collect)
                await self._step("embed", self._embed)
                await self._step("finish", self._finish)
            except StepFailed as failure:
                if message := str(failure):
                    await self._step("fail", lambda: self._fail(message))

    async def _step(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Runs a step. What may pass is tried again; any other error ends the sync."""

        async def recorded() -> Json:
            for pause in (*PAUSES, None):
                try:
                    await work()
                except SyncEnded:
                    return {"ended": True}
                except TidemillError as error:
                    later = (error.retry_after or 0.0) > PAUSES[-1]  # than a sync waits
                    if not error.transient or later or pause is None:
                        return {"error": error.message}
                    await asyncio.sleep(max(pause, min(error.retry_after or 0.0, PAUSES[-1])))
                except Exception:
                    log.exception("The step %s of the sync %s failed.", name, self._id)
                    return {"error": f"Tidemill failed at the step {name} of this sync. The hub's log says why."}
                else:
                    return {}
            return None

        with span(name):
            result = cast(Record, await self._steps.run(name, recorded))
        if result.get("ended"):
            raise StepFailed
        if "error" in result:
            raise StepFailed(result["error"])

    async def _here(self) -> tuple[Sync, Source]:
        """The sync, which runs from now on, and its source."""
        sync = await self._parts.syncs.begin(self._id, self._parts.clock())
        source = await self._parts.sources.find(sync.source_id)
        if source is None:
            raise ended(self._id)
        return sync, source

    async def _collect(self) -> None:
        sync, source = await self._here()
        crawler = self._parts.crawlers.get(source.kind)
        if crawler is None:
            raise Configuration(f"This version of Tidemill collects no sources of the kind {source.kind}.")
        self._counts = replace(sync.counts, seen=0, failed=0)
        collected = asyncio.Event()
        embedding = asyncio.create_task(self._embed_meanwhile(source, collected))
        try:
            await self._crawl(source, crawler)
            collected.set()
            await embedding
        finally:
            embedding.cancel()
            await asyncio.gather(embedding, return_exceptions=True)
        await self._tell(at_once=True)

    async def _crawl(self, source: Source, crawler: Crawler) -> None:
        known = await self._parts.documents.known(source.id)
        seen: set[str] = set()
        offered = {path: self._offered(source, one) for path, one in known.items() if one.digest is not None}
        async with aclosing(crawler.crawl(source, offered)) as found:
            async for one in found:
                path = storable(one.path)
                if len(path.encode()) > LONGEST_PATH:
                    one = _path_too_long(path)
                    path = one.path
                if path in seen:
                    continue
                seen.add(path)
                self._counts.seen += 1
                await self._take(source, path, one, known.get(path))
                await self._tell()
        for path in sorted(known.keys() - seen):
            removed = await self._parts.documents.gone(self._id, source.id, path, self._parts.clock())
            self._counts.gone += known[path].id is not None
            self._counts.chunks_removed += removed
            await self._tell()

    async def _embed_meanwhile(self, source: Source, collected: asyncio.Event) -> None:
        """Embeds what is written, until all is collected and embedded. What fails here fails in the next step, too, and
        is said there: collecting goes on without it."""
        while True:
            last = collected.is_set()
            try:
                await self._embed_waiting(source)
            except TidemillError as error:
                if last or not error.transient:
                    return
            if last:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(collected.wait(), LOOK_SECONDS)

    def _offered(self, source: Source, one: KnownDocument) -> Known:
        """What the crawler is told of a document. Of one that may be readable now no bytes are kept: it comes again."""
        if one.digest is None or (one.failed and not self._stands(source, one)):
            return Known("", None)
        return Known(one.digest, one.etag)

    def _stands(self, source: Source, one: KnownDocument) -> bool:
        """Whether nothing is to be done where the bytes are the same."""
        if one.failed:
            return one.chunked_by == self._parts.reading.attempt(source)
        return one.chunked_by == self._parts.reading.recipe(source.strategy)

    async def _take(
        self, source: Source, path: str, found: RawDocument | Unchanged | Failed, known: KnownDocument | None
    ) -> None:
        match found:
            case Unchanged():
                if known is not None:
                    await self._unchanged(source, path, known)
            case Failed():
                self._counts.failed += 1
                await self._fail_one(source, path, found.code, found.reason)
            case RawDocument():
                await self._raw(source, replace(found, path=path), known)

    async def _unchanged(self, source: Source, path: str, known: KnownDocument) -> None:
        self._counts.failed += known.failed
        if known.unfetched:
            await self._parts.documents.touch(self._id, source.id, path, known.etag)
        if known.id is not None and not self._stands(source, known):  # it is cut otherwise now, from the stored bytes
            raw = await self._parts.documents.raw(known.id)
            if raw is not None:
                await self._raw(source, raw, known)

    async def _raw(self, source: Source, raw: RawDocument, known: KnownDocument | None) -> None:
        digest = await asyncio.to_thread(lambda: hashlib.sha256(raw.data).hexdigest())
        if known is not None and known.digest == digest and self._stands(source, known):
            if raw.etag != known.etag or known.unfetched:
                await self._parts.documents.touch(self._id, source.id, raw.path, raw.etag)
            self._counts.failed += known.failed
            return
        document_id = known.id if known is not None else None
        asker = self._asker(source)
        try:
            read = await self._parts.reading.read(
                raw,
                source,
                document_id or new_id(),
                digest,
                lambda texts, level: self._parts.vectors.vectors_of(texts, level, asker),
            )
        except Unreadable as error:
            self._counts.failed += 1
            await self._fail_one(source, raw.path, error.reason_code, error.message, digest, raw.etag)
            return
        written = await self._parts.documents.put(self._id, read.row, raw.data, read.chunks, self._parts.clock())
        self._counts.new += document_id is None
        self._counts.changed += document_id is not None
        self._counts.chunks_added += written.added
        self._counts.chunks_kept += written.kept
        self._counts.chunks_removed += written.removed

    async def _fail_one(
        self, source: Source, path: str, code: str, reason: str, digest: str | None = None, etag: str | None = None
    ) -> None:
        reason = storable(reason)[:LONGEST_REASON]
        tried = None if digest is None else self._parts.reading.attempt(source)
        failure = DocumentFailure(path, code, reason, digest, etag, self._parts.clock(), tried)
        await self._parts.documents.fail(self._id, source.id, failure)

    async def _embed(self) -> None:
        sync, source = await self._here()
        self._counts = sync.counts
        await self._embed_waiting(source)

    async def _embed_waiting(self, source: Source) -> None:
        async def told(embedded: int, shortened: int) -> None:
            self._counts.embedded += embedded
            self._counts.shortened += shortened
            await self._tell(at_once=True)

        await self._parts.vectors.fill(self._asker(source), told, source.id)

    async def _finish(self) -> None:
        if await self._parts.syncs.end(self._id, SyncState.DONE, self._parts.clock()) is not None:
            self._parts.observe(SyncState.DONE)

    async def _fail(self, message: str) -> None:
        if await self._parts.syncs.end(self._id, SyncState.FAILED, self._parts.clock(), message) is not None:
            self._parts.observe(SyncState.FAILED)

    async def _tell(self, *, at_once: bool = False) -> None:
        """Notes how far the sync has come, now and then; a sync that was cancelled meanwhile ends here."""
        now = time.monotonic()
        if at_once or now - self._told >= TELL_SECONDS:
            self._told = now
            counts = self._counts
            counts.unchanged = max(0, counts.seen - counts.new - counts.changed - counts.failed)
            await self._parts.syncs.tell(self._id, counts)

    def _asker(self, source: Source) -> Asker:
        """Who asks the embedding model: the source's owner, behind everyone who waits for an answer."""
        return Asker(
            trace_id=self._id.hex,
            owner_id=source.owner_id,
            level=source.level,
            priority=Priority.BATCH,
            job=f"sync:{self._id}",
        )


def _path_too_long(path: str) -> Failed:
    mark = hashlib.sha256(path.encode()).hexdigest()[:16]
    reason = f"Its path has {len(path.encode()):,} bytes, and at most {LONGEST_PATH:,} are kept. Shorten it: {path}"
    return Failed(f"{path[:KEPT_OF_PATH]}…{mark}", "path_too_long", reason)
