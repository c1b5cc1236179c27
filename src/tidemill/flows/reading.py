"""A raw document made ready for the warehouse: read, described, classified and cut."""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from uuid import UUID

from tidemill.analysis.chunking import chunk
from tidemill.analysis.classification import classify
from tidemill.analysis.derived import derived
from tidemill.analysis.languages import language_of
from tidemill.analysis.near_duplicates import signature
from tidemill.analysis.token_count import about_tokens
from tidemill.core.classification import Level
from tidemill.core.document import Chunk, ChunkStrategy, CleanDocument, RawDocument, Source
from tidemill.core.embedding import floats_of
from tidemill.core.errors import NotPermitted
from tidemill.core.text import storable
from tidemill.readers.port import Reader, Unreadable
from tidemill.settings.knowledge import ChunkSettings, ReadingSettings
from tidemill.store.documents import DocumentRow

VERSION = 1
"""Raise by one when documents are read or cut otherwise than before: the next sync then does it anew."""
CONTACTS = frozenset({"email-address", "phone-number"})
LONGEST_TITLE = 500
LONGEST_NAME = 200

Vectors = Callable[[Sequence[str], Level], Awaitable[Sequence[bytes]]]
"""The vectors of a document's sentences; its level says which models may have them."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReadDocument:
    """A document as it is to be written, with its chunks."""

    row: DocumentRow
    chunks: Sequence[Chunk]


class DocumentReading:
    """Makes rows and chunks of raw documents.

    Args:
        reader: gives their clean text.
        settings: the size of chunks.
        limits: the bounds of the reader; only `attempt` needs them.
        count_tokens: counts as the embedding model does, or near enough.
    """

    def __init__(
        self,
        reader: Reader,
        settings: ChunkSettings,
        limits: ReadingSettings | None = None,
        count_tokens: Callable[[str], int] = about_tokens,
    ) -> None:
        self._reader = reader
        self._settings = settings
        shown = limits.model_dump_json() if limits is not None else ""
        self._limits = hashlib.sha256(shown.encode()).hexdigest()[:16]
        self._count_tokens = count_tokens

    def recipe(self, strategy: ChunkStrategy) -> str:
        """How documents are read and cut now; one that was cut otherwise is cut anew."""
        return f"{strategy}/{self._settings.size}/{self._settings.overlap}/{VERSION}"

    def attempt(self, source: Source) -> str:
        """How it is tried to read documents of a source; one that could not be read is tried again in another way."""
        return f"{self.recipe(source.strategy)}/{source.level}/{self._limits}"

    async def read(
        self, raw: RawDocument, source: Source, document_id: UUID, digest: str, vectors: Vectors
    ) -> ReadDocument:
        """The row and the chunks of a document.

        Raises:
            Unreadable: it has no text to be had, whatever the reason.
            Unavailable: nothing can be read at the moment.
            TidemillError: it is cut by meaning, and the embedding model does not answer.
        """
        clean = await self._reader.read(raw)
        loop = asyncio.get_running_loop()

        def compared(texts: Sequence[str], level: Level) -> Sequence[Sequence[float]]:
            asked = asyncio.run_coroutine_threadsafe(_awaited(vectors(texts, level)), loop)
            return [floats_of(vector) for vector in asked.result()]

        try:
            return await asyncio.to_thread(self._made, raw, clean, source, document_id, digest, compared)
        except (RecursionError, ValueError, LookupError) as error:  # what a parser stumbles over in one text
            log.exception("The document %s of the source %s could not be cut.", raw.path, source.name)
            raise Unreadable(
                f"{raw.path} was read, and Tidemill failed at cutting it. The hub's log says why.", "internal"
            ) from error
        except NotPermitted as error:
            raise Unreadable(
                f"{raw.path} can't be cut by its meaning, since the embedding model may not have its text. Take "
                f"another strategy for the source. {error.message}",
                "not_permitted",
            ) from error

    def _made(
        self,
        raw: RawDocument,
        clean: CleanDocument,
        source: Source,
        document_id: UUID,
        digest: str,
        vectors: Callable[[Sequence[str], Level], Sequence[Sequence[float]]],
    ) -> ReadDocument:
        text = storable(clean.text)
        own_level = text_level(text)
        level = max(own_level, source.level, key=lambda one: one.rank)
        clean = replace(clean, text=text)
        language = None if clean.markup == "code" else language_of(text)
        chunks = chunk(
            clean,
            raw.path,
            source.strategy,
            size=self._settings.size,
            overlap=self._settings.overlap,
            count_tokens=self._count_tokens,
            vectors=lambda texts: vectors(texts, level),
        )
        row = DocumentRow(
            id=document_id,
            source_id=source.id,
            path=raw.path,
            raw_digest=digest,
            raw_bytes=len(raw.data),
            text_digest=hashlib.sha256(text.encode()).hexdigest(),
            text=text,
            text_level=own_level,
            media_type=_short(raw.media_type),
            title=title_of(raw, clean),
            url=raw.url,
            kind=raw.kind or clean.kind,
            platform=_short(raw.platform),
            author=_short(clean.author or raw.author),
            language=language,
            licence=_short(clean.licence or raw.licence),
            etag=raw.etag,
            published_at=clean.published_at or raw.published_at,
            modified_at=raw.modified_at,
            metadata=derived(clean, language),
            signature=signature(text),
            chunked_by=self.recipe(source.strategy),
        )
        return ReadDocument(row, chunks)


def text_level(text: str) -> Level:
    """The level that the text itself has: `public` where no rule finds more, so that its source's level counts.

    An email address or a telephone number alone makes no document confidential: a desk's stands in most of them.
    """
    found = classify(text, Level.PUBLIC)
    return Level.PUBLIC if set(found.rules) <= CONTACTS else found.level


def title_of(raw: RawDocument, clean: CleanDocument) -> str:
    """What the document calls itself, else its origin, else the name of its file."""
    title = clean.title or raw.title or PurePosixPath(raw.path).name or raw.path
    return storable(" ".join(title.split()))[:LONGEST_TITLE] or raw.path[:LONGEST_TITLE]


def _short(text: str | None) -> str | None:
    """A value that a list shows, without what a table can't hold; `None` where nothing is left."""
    if text is None:
        return None
    return storable(" ".join(text.split()))[:LONGEST_NAME] or None


async def _awaited(work: Awaitable[Sequence[bytes]]) -> Sequence[bytes]:
    return await work
