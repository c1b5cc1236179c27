"""The record that every inference leaves."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from tidemill.core.chat import Usage
from tidemill.core.classification import Level
from tidemill.core.deployment import Deployment


class InferenceStatus(StrEnum):
    """How an inference ended."""

    OK = "ok"
    ERROR = "error"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class InferenceContext:
    """Who asks, for which task, through which deployment. Travels with a `ChatRequest`.

    Attributes:
        inference_id: the id of the row that this inference will leave.
        deployment: the exact versions that serve it.
        trace_id: 32 hexadecimal digits that join it to the caller's trace.
        key_id: the API key that asked, `None` for a session and for the hub's own work.
        owner_id: to whom the inference belongs (see `Caller.owner_id`), `None` for the hub's own work.
        subject: what it was for, such as a review's id.
        reuse: whether an answer that was committed for the same input may be given again.
    """

    inference_id: UUID
    deployment: Deployment
    trace_id: str
    key_id: UUID | None = None
    owner_id: UUID | None = None
    subject: str | None = None
    reuse: bool = False


@dataclass(frozen=True, slots=True)
class Inference:
    """One row: what was asked of which exact versions, and what it cost. Latencies in milliseconds."""

    context: InferenceContext
    request_hash: str
    status: InferenceStatus
    usage: Usage
    latency_ms: float
    first_token_ms: float | None
    streamed: bool
    finish_reason: str | None
    error_code: str | None
    cost_usd: float
    cache_tier: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class InferenceText:
    """What was said, kept apart from the row because it is kept for a shorter time. JSON texts.

    `level` is the highest of both; it says what the texts may be used for.
    """

    request: str
    response: str
    level: Level = Level.INTERNAL
