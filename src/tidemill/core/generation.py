"""Answers that nobody waits for on a connection: jobs, and batches."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from tidemill.core.classification import Level
from tidemill.core.context import CacheUse, Priority
from tidemill.core.json import Json


class JobState(StrEnum):
    """How far a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self in {JobState.DONE, JobState.FAILED, JobState.CANCELLED}


class CallbackState(StrEnum):
    """What became of telling the address that a job named."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Maker:
    """Who asked for a job or a batch, and under which names logs and traces know the request.

    Attributes:
        level: the highest level of text that the maker might see then; what is allowed now counts as well.
        cache: what the request allowed the cache.
        language: of the texts that the hub itself writes.
        max_cost_usd: what one answer may cost at most; `None` for the setting's.
    """

    owner_id: UUID
    key_id: UUID | None
    user_id: UUID | None
    level: Level
    request_id: str | None
    trace_id: str
    cache: CacheUse = CacheUse.ALLOWED
    language: str = "en"
    max_cost_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Callback:
    """Where the end of a job is told. `delivery_id` is the same at each attempt."""

    url: str
    delivery_id: UUID
    state: CallbackState | None = None
    attempts: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True)
class GenerationJob:
    """One request whose answer is kept. `request`, `result` and `error` are JSON texts; a list has the last alone.

    Attributes:
        tries: how often it was put off since nobody could answer it.
        failing_since: when it was put off first.
    """

    id: UUID
    maker: Maker
    endpoint: str
    priority: Priority
    state: JobState
    request: str = field(repr=False)
    created_at: datetime
    expires_at: datetime
    callback: Callback | None = None
    result: str | None = field(default=None, repr=False)
    error: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    tries: int = 0
    failing_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class OpenJob:
    """What brings a job that has not ended to its end: its workflow's subject is another at each try."""

    id: UUID
    priority: Priority
    tries: int

    @property
    def subject(self) -> str:
        """The id, and which try it is."""
        return f"{self.id}:{self.tries}" if self.tries else str(self.id)


class BatchState(StrEnum):
    """How far a batch is, in OpenAI's words."""

    VALIDATING = "validating"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self in {BatchState.COMPLETED, BatchState.FAILED, BatchState.EXPIRED, BatchState.CANCELLED}


@dataclass(frozen=True, slots=True)
class LineFault:
    """What is wrong with a batch's input file, or with one line of it, counted from 1."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Many requests to one endpoint, from an uploaded file.

    Attributes:
        ends_as: the state in which it will end, once that is decided.
        output_file_id: of the answers; there once it ended, where there are any.
        error_file_id: of what went wrong, likewise.
        output_seconds: after which those files end; the setting's where `None`.
        expires_at: when no further line is asked.
    """

    id: UUID
    maker: Maker
    endpoint: str
    state: BatchState
    input_file_id: UUID
    created_at: datetime
    expires_at: datetime
    metadata: Mapping[str, Json] | None = None
    output_seconds: int | None = None
    ends_as: BatchState | None = None
    output_file_id: UUID | None = None
    error_file_id: UUID | None = None
    errors: tuple[LineFault, ...] = ()
    total: int = 0
    completed: int = 0
    failed: int = 0
    started_at: datetime | None = None
    finalizing_at: datetime | None = None
    cancelling_at: datetime | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class BatchLine:
    """One request of a batch; `place` counts from 0, `body` is JSON."""

    place: int
    custom_id: str
    body: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class LineOutcome:
    """What became of a line: either a response or an error, as JSON texts; `good` where it was answered."""

    place: int
    custom_id: str
    good: bool
    response: str | None = field(default=None, repr=False)
    error: str | None = None
