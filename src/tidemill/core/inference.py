"""The record that every inference leaves."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from tidemill.core.chat import Usage
from tidemill.core.classification import Level
from tidemill.core.context import InferenceContext
from tidemill.core.served import Served


class InferenceStatus(StrEnum):
    """How an inference ended."""

    OK = "ok"
    PARTIAL = "partial"
    """No model answered; a fallback did, with a text of the hub's own or with what was retrieved."""
    ERROR = "error"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Inference:
    """One row: what was asked of which exact versions, and what it cost. Latencies in milliseconds.

    `cost_usd` is `None` where a price is not known. `served` says who answered; `None` where nobody did.
    """

    context: InferenceContext
    request_hash: str
    status: InferenceStatus
    usage: Usage
    latency_ms: float
    first_token_ms: float | None
    streamed: bool
    finish_reason: str | None
    error_code: str | None
    cost_usd: float | None
    cache_tier: str | None
    created_at: datetime
    served: Served | None = None


@dataclass(frozen=True, slots=True)
class InferenceText:
    """What was said, kept apart from the row because it is kept for a shorter time. JSON texts.

    `level` is the highest of both; it says what the texts may be used for.
    """

    request: str
    response: str
    level: Level = Level.INTERNAL
