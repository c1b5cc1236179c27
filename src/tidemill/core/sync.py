"""A sync: one run through a source, and what it found."""

from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from tidemill.core.classification import Level
from tidemill.core.document import DocumentKind


class SyncState(StrEnum):
    """How far a sync has come."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more comes."""
        return self in {SyncState.DONE, SyncState.FAILED, SyncState.CANCELLED}


@dataclass(slots=True)
class SyncCounts:
    """What a sync did so far.

    Attributes:
        seen: documents that the source has.
        new, changed, unchanged: what became of those that could be read.
        gone: documents that were removed, since the source no longer has them.
        failed: documents that have a failure.
        chunks_added, chunks_kept, chunks_removed: of the documents that are new or changed.
        embedded: texts for which a model was asked; chunks of one text count once.
        shortened: of those, the ones of which the model read the beginning alone.
    """

    seen: int = 0
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    gone: int = 0
    failed: int = 0
    chunks_added: int = 0
    chunks_kept: int = 0
    chunks_removed: int = 0
    embedded: int = 0
    shortened: int = 0


COUNTS = tuple(field.name for field in fields(SyncCounts))


@dataclass(frozen=True, slots=True)
class Sync:
    """A sync as it is stored. `again` says that another is to follow, since something came while this one ran."""

    id: UUID
    source_id: UUID
    state: SyncState
    requested_by: UUID | None
    counts: SyncCounts
    error: str | None
    again: bool
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class DocumentFailure:
    """A document that could not be had: why, and what to do.

    Attributes:
        digest, etag: say of which version that is known.
        tried_by: how it was tried to read that version; in another way it may be read.
    """

    path: str
    code: str
    reason: str
    digest: str | None
    etag: str | None
    at: datetime
    tried_by: str | None = None


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document as lists show it.

    Attributes:
        level: the source's, or a higher one that its text has.
        duplicate_of: the document that says the same, or nearly, where the asker may see that one.
        similarity: to what degree; 1 for the very same text.
    """

    id: UUID
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
    metadata: object
    duplicate_of: UUID | None
    similarity: float | None
    published_at: datetime | None
    modified_at: datetime | None
    created_at: datetime
    changed_at: datetime
