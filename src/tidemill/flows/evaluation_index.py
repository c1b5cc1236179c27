"""The documents of an evaluation: read, cut, written and embedded as a sync does it, in a database of their own."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tidemill.core.classification import Level
from tidemill.core.clock import Clock
from tidemill.core.context import Asker
from tidemill.core.document import CleanDocument, DocumentKind, RawDocument, Source, SourceKind
from tidemill.core.errors import InvalidInput
from tidemill.core.ids import new_id
from tidemill.core.search import Filters, Hit, Reader, SearchMode, SearchRequest, SelfQuerying
from tidemill.core.sync import Sync, SyncCounts, SyncState
from tidemill.evaluation.data import Passage, QuestionSet
from tidemill.evaluation.readers import files_of
from tidemill.evaluation.retrieval import Told
from tidemill.flows.chunk_vectors import ChunkVectors
from tidemill.flows.reading import DocumentReading
from tidemill.knowledge.search import MOST_HITS, Search
from tidemill.readers.draft import clean
from tidemill.readers.port import Reader as DocumentReader
from tidemill.readers.port import Unreadable
from tidemill.settings.knowledge import ChunkSettings
from tidemill.store.blobs import BlobStore
from tidemill.store.database import Pool
from tidemill.store.documents import DocumentRepository
from tidemill.store.sources import SourceRepository
from tidemill.store.syncs import SyncRepository

EACH = 3
"""Passages that are searched for each document that is asked for: a document may be found by several."""
LEVEL = Level.SECRET
"""Everything of the set is seen; nothing else is in its database."""


@dataclass(frozen=True, slots=True)
class Filled:
    """What became of a set's documents: how many chunks they have, and how many documents could not be read."""

    chunks: int
    unread: int


class GivenText:
    """Takes a document's bytes as its text, cleaned as every document's is."""

    async def read(self, document: RawDocument) -> CleanDocument:
        """As the port says."""
        text = clean(document.data.decode())
        if not text.strip():
            raise Unreadable(f"{document.path} is empty.", "empty")
        return CleanDocument(text, DocumentKind.DOCUMENT)


class EvaluationIndex:
    """A set's documents in a database that holds nothing else.

    Args:
        pool: that database.
        blobs: takes the documents' bytes.
        reader: of files; sets of texts need none.
        vectors: embeds the chunks.
    """

    def __init__(
        self,
        pool: Pool,
        blobs: BlobStore,
        reader: DocumentReader,
        chunks: ChunkSettings,
        vectors: ChunkVectors,
        clock: Clock,
    ) -> None:
        self._pool = pool
        self._sources = SourceRepository(pool, blobs)
        self._syncs = SyncRepository(pool)
        self._documents = DocumentRepository(pool, blobs)
        self._reader = reader
        self._chunks = chunks
        self._vectors = vectors
        self._clock = clock

    async def fill(self, data: QuestionSet, told: Told, *, embed: bool = True) -> Filled:
        """Writes every document of the set, and embeds it where that is wanted.

        Raises:
            InvalidInput: none of them could be read.
            ModelNotFound: the embedding model is not there.
        """
        source = Source(new_id(), "evaluation", SourceKind.UPLOAD, "", None, self._clock(), Level.PUBLIC)
        async with self._pool.connection() as connection, connection.transaction():
            await self._sources.add(connection, source)
        sync = Sync(new_id(), source.id, SyncState.QUEUED, None, SyncCounts(), None, False, self._clock(), None, None)
        await self._syncs.add(sync)
        await self._syncs.begin(sync.id, self._clock())
        asker = Asker(trace_id=new_id().hex, level=LEVEL)
        reading = DocumentReading(self._reader if data.folder else GivenText(), self._chunks)
        total = len(data.passages) if data.folder is None else sum(1 for _ in files_of(data.folder))
        chunks = unread = 0
        for place, raw in enumerate(_raw(data)):
            told("documents", place, total)
            digest = hashlib.sha256(raw.data).hexdigest()
            try:
                read = await reading.read(
                    raw,
                    source,
                    new_id(),
                    digest,
                    lambda texts, level: self._vectors.vectors_of(texts, level, asker),
                )
            except Unreadable:
                unread += 1
                continue  # as in a sync: it can't be found, and what asks for it counts as missed
            await self._documents.put(sync.id, read.row, raw.data, read.chunks, self._clock())
            chunks += len(read.chunks)
        told("documents", total, total)
        if not chunks:
            raise InvalidInput("No document of the set has any text, so nothing can be found in it.", param="data")
        if embed:
            await self._embed(asker, chunks, told)
        await self._syncs.end(sync.id, SyncState.DONE, self._clock())
        return Filled(chunks, unread)

    async def _embed(self, asker: Asker, chunks: int, told: Told) -> None:
        done = 0

        async def count(embedded: int, cut: int) -> None:
            nonlocal done
            del cut
            done += embedded
            told("vectors", min(done, chunks), chunks)

        told("vectors", 0, chunks)
        await self._vectors.fill(asker, count)
        told("vectors", chunks, chunks)


class EvaluatedSearch:
    """The search, as an evaluation asks it.

    Args:
        mode: which legs.
        self_query: whether filters are read from questions, as they are for people.
    """

    def __init__(self, search: Search, mode: SearchMode, *, self_query: bool) -> None:
        self._search = search
        self._mode = mode
        self._self_query = self_query

    async def documents(self, question: str, limit: int) -> Sequence[str]:
        """As `evaluation.retrieval.DocumentSearch` says."""
        hits = await self.passages(question, min(MOST_HITS, EACH * limit))
        return list(dict.fromkeys(hit.path for hit in hits))[:limit]

    async def passages(self, question: str, limit: int) -> Sequence[Hit]:
        """The best passages."""
        reading = SelfQuerying.RULES if self._self_query else SelfQuerying.NONE
        request = SearchRequest(question, Reader(LEVEL), Filters(), mode=self._mode, limit=limit, self_query=reading)
        return (await self._search.search(request)).hits


def _raw(data: QuestionSet) -> Iterator[RawDocument]:
    if data.folder is None:
        yield from (RawDocument(one.id, _text(one).encode(), title=one.title or None) for one in data.passages)
    else:
        yield from (RawDocument(name, path.read_bytes()) for name, path in files_of(data.folder))


def _text(passage: Passage) -> str:
    return f"{passage.title}\n{passage.text}" if passage.title else passage.text
