"""Sources that are synced in a test: real files and a real database, scripted vectors, and durable work in memory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from tidemill.core.classification import Level
from tidemill.core.deployment import Deployment, Task
from tidemill.core.document import CleanDocument, RawDocument, Source, SourceKind
from tidemill.core.errors import ModelNotFound
from tidemill.core.ids import new_id
from tidemill.core.search import Reader
from tidemill.core.sync import Sync
from tidemill.crawlers.folder import FolderCrawler
from tidemill.crawlers.port import Crawler
from tidemill.crawlers.upload import UploadCrawler
from tidemill.flows.chunk_vectors import ChunkVectors, VectorParts
from tidemill.flows.reading import DocumentReading
from tidemill.flows.sync import SyncFlow
from tidemill.flows.sync_run import SyncParts
from tidemill.jobs.direct import DirectJobs
from tidemill.llm.scripted_embeddings import ScriptedEmbedder
from tidemill.readers.documents import DocumentReader
from tidemill.settings import Settings
from tidemill.settings.knowledge import ChunkSettings, KnowledgeSettings
from tidemill.store.blobs import BlobStore
from tidemill.store.database import Pool
from tidemill.store.documents import DocumentRepository
from tidemill.store.sources import SourceRepository
from tidemill.store.syncs import SyncRepository
from tidemill.telemetry.spans import Traces

EVERYTHING = Reader(Level.SECRET, all_departments=True)


class CountingReader:
    """The real reader, which notes what it read."""

    def __init__(self, settings: Settings) -> None:
        self._inner = DocumentReader(settings.knowledge.reading)
        self.read_paths: list[str] = []

    async def read(self, document: RawDocument) -> CleanDocument:
        """As the port says."""
        self.read_paths.append(document.path)
        return await self._inner.read(document)

    async def close(self) -> None:
        """Ends the process that reads."""
        await self._inner.close()


@dataclass
class Syncing:
    """A warehouse in a folder, with a clock that stands still until it is set."""

    pool: Pool
    folder: Path
    now: datetime = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    model: str = "scripted"
    installed: set[str] = field(default_factory=lambda: {"scripted", "other"})
    jobs: DirectJobs = field(default_factory=DirectJobs)
    embedder: Any = field(default_factory=ScriptedEmbedder)
    crawlers: dict[SourceKind, Crawler] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    may_have: Callable[[str, Level], bool] = lambda model, level: True

    def __post_init__(self) -> None:
        self.settings = Settings(
            data_dir=self.folder / "data", knowledge=KnowledgeSettings(chunks=ChunkSettings(size=32, overlap=0))
        )
        self.blobs = BlobStore(self.settings.blobs_dir)
        self.sources = SourceRepository(self.pool, self.blobs)
        self.syncs = SyncRepository(self.pool)
        self.documents = DocumentRepository(self.pool, self.blobs)
        self.reader = CountingReader(self.settings)
        self.files = self.folder / "files"
        self.files.mkdir()
        self.settings.data_dir.mkdir()
        self.crawlers = {
            SourceKind.FOLDER: FolderCrawler(1_000_000, [self.settings.data_dir]),
            SourceKind.UPLOAD: UploadCrawler(self.sources, self.blobs),
            **self.crawlers,
        }
        self.flow = self.start()

    def start(self) -> SyncFlow:
        """A flow as a process has that has just begun; what is recorded of steps stays with `jobs`."""
        parts = VectorParts(
            self.pool, self.embedder, self.deployment, self.model, lambda: self.now, lambda *of: self.may_have(*of)
        )
        self.vectors = ChunkVectors(parts)
        self.flow = SyncFlow(
            self.jobs,
            SyncParts(
                sources=self.sources,
                syncs=self.syncs,
                documents=self.documents,
                crawlers=self.crawlers,
                reading=DocumentReading(self.reader, self.settings.knowledge.chunks, self.settings.knowledge.reading),
                vectors=self.vectors,
                clock=lambda: self.now,
                observe=self.ended.append,
                traces=Traces(10),
            ),
        )
        return self.flow

    def deployment(self, name: str) -> Deployment:
        """The deployment of an embedding model."""
        if name not in self.installed:
            raise ModelNotFound(f"The embedding model {name} is not here. Fetch it with `tidemill models pull {name}`.")
        return Deployment(Task.EMBED, name, "1")

    def write(self, path: str, text: str | bytes) -> Path:
        """A file of the folder."""
        file = self.files / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        return file

    async def source(self, name: str = "handbook", kind: SourceKind = SourceKind.FOLDER, **values: Any) -> Source:
        """A source; of the folder where nothing else is said."""
        location = str(self.files.resolve()) if kind is SourceKind.FOLDER else ""
        given: dict[str, Any] = {"location": location, "owner_id": uuid4(), "created_at": self.now, **values}
        source = Source(id=new_id(), name=name, kind=kind, **given)
        async with self.pool.connection() as connection, connection.transaction():
            assert await self.sources.add(connection, source)
        return source

    async def sync(self, source: Source) -> Sync:
        """A sync to its end."""
        started = await self.flow.start(source.id, None)
        found = await self.flow.find(started.id)
        assert found is not None
        return found

    async def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        """What a query gives."""
        async with self.pool.connection() as connection:
            return await (await connection.execute(query.encode(), values)).fetchall()

    async def texts(self, source_id: UUID | None = None) -> Sequence[str]:
        """The chunks that are there."""
        query = (
            "SELECT chunks.text FROM chunks JOIN documents ON documents.id = document_id "
            "WHERE %s::uuid IS NULL OR source_id = %s ORDER BY path, ordinal"
        )
        return [row["text"] for row in await self.rows(query, source_id, source_id)]

    @property
    def embedded(self) -> list[str]:
        """The texts for which the model was asked."""
        return [text for request in self.embedder.requests for text in request.texts if text != "Tidemill"]
