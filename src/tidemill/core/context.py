"""Who asks a model, and for what."""

from dataclasses import dataclass
from uuid import UUID

from tidemill.core.deployment import Deployment


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
