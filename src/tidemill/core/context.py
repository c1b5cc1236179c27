"""Who asks a model, and for what."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum
from uuid import UUID

from tidemill.core.classification import Level
from tidemill.core.deployment import Deployment


class Priority(IntEnum):
    """Who goes first where requests wait: the least."""

    INTERACTIVE = 0
    REVIEW = 1
    BATCH = 2


class CacheUse(StrEnum):
    """What a request allows the cache: `Cache-Control` as a client sends it."""

    ALLOWED = "allowed"
    REFRESH = "no-cache"
    """The answer is made anew, and kept."""
    NONE = "no-store"
    """It is made anew, and not kept."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A retrieved text that an answer may rest on, and what to call its source."""

    text: str
    reference: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a target, as recovery wants it made.

    Attributes:
        endpoint: which of the provider's addresses, counted round.
        timeout: seconds that it may take; the provider's own where `None`.
    """

    endpoint: int = 0
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class InferenceContext:
    """Who asks, for which task, through which deployment. Travels with a `ChatRequest`.

    Attributes:
        inference_id: the id of the row that this inference will leave.
        deployment: the exact versions that serve it.
        trace_id: 32 hexadecimal digits that join it to the caller's trace.
        key_id: the API key that asked, `None` for a session and for the hub's own work.
        owner_id: to whom the inference belongs (see `Caller.owner_id`), `None` for the hub's own work.
        user_id: the person who asked, `None` where no person stands behind it.
        subject: what it was for, such as a review's id.
        reuse: whether an answer that was committed for the same input may be given again.
        reuse_own: as `reuse`, but only one that was committed for the same `subject`.
        request_id: the HTTP request's, which logs have, too; `None` for the hub's own work.
        level: the highest level of text that the asker may see; answers are shared with nobody of another.
        priority: who goes first where requests wait.
        cache: what the request allows the cache.
        deadline: when an answer is of no use any more, by `time.monotonic()`; `None` for the setting's.
        passages: what was retrieved for it, for the fallback that shows just that.
        attempt: how the adapter is to make this try.
        language: of the texts that the hub itself writes, such as a fallback's: `en` or `vi`.
        max_cost_usd: what all of it may cost at most, in US dollars; `None` for the setting's.
    """

    inference_id: UUID
    deployment: Deployment
    trace_id: str
    key_id: UUID | None = None
    owner_id: UUID | None = None
    subject: str | None = None
    reuse: bool = False
    user_id: UUID | None = None
    request_id: str | None = None
    level: Level = Level.INTERNAL
    priority: Priority = Priority.INTERACTIVE
    cache: CacheUse = CacheUse.ALLOWED
    deadline: float | None = None
    passages: Sequence[Passage] = ()
    language: str = "en"
    attempt: Attempt = Attempt()
    reuse_own: bool = False
    max_cost_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, and under which conditions, before it is clear of what: see `InferenceContext`.

    `job` names the durable work that asks, such as `job:…`. An answer that was committed for it is given again, so
    that a job which was killed does not ask twice.
    """

    trace_id: str
    key_id: UUID | None = None
    owner_id: UUID | None = None
    user_id: UUID | None = None
    request_id: str | None = None
    level: Level = Level.INTERNAL
    priority: Priority = Priority.INTERACTIVE
    cache: CacheUse = CacheUse.ALLOWED
    deadline: float | None = None
    language: str = "en"
    job: str | None = None
    max_cost_usd: float | None = None

    def part(self, number: int) -> "Asker":
        """The same, for one of several inferences that one request makes."""
        return self if self.job is None else replace(self, job=f"{self.job}:{number}")

    def context(self, inference_id: UUID, deployment: Deployment, subject: str | None = None) -> InferenceContext:
        """The context of one inference."""
        return InferenceContext(
            inference_id=inference_id,
            deployment=deployment,
            trace_id=self.trace_id,
            key_id=self.key_id,
            owner_id=self.owner_id,
            subject=subject or self.job,
            user_id=self.user_id,
            request_id=self.request_id,
            level=self.level,
            priority=self.priority,
            cache=self.cache,
            deadline=self.deadline,
            language=self.language,
            reuse_own=self.job is not None,
            max_cost_usd=self.max_cost_usd,
        )
