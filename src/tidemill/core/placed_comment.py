"""What Tidemill has written on a pull request: `Diff → Hunk → Finding → PlacedComment`."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from tidemill.core.finding import Finding


class PlacedState(StrEnum):
    """How a comment stands that Tidemill has written."""

    OPEN = "open"
    FIXED = "fixed"
    """What it says holds no more; its thread is resolved."""
    RESOLVED = "resolved"
    """A person resolved its thread."""
    DISMISSED = "dismissed"
    """A person deleted it."""
    IGNORED = "ignored"
    """A person asked with `/tidemill ignore` not to be told of it."""


@dataclass(frozen=True, slots=True)
class PlacedComment:
    """An inline comment of Tidemill's.

    Attributes:
        id: its row.
        pull_request_id: the row of the pull request.
        review_id: the review that found what it says.
        head: the commit that it was written on, or the one that has since given its file another name.
        finding: what it says.
        inference_id: the inference that made it, where a model did.
        comment: the forge's id of the comment.
        thread: the forge's id of its thread.
        state: how it stands.
        placed_at: when it was written.
    """

    id: UUID
    pull_request_id: UUID
    review_id: UUID | None
    head: str
    finding: Finding
    inference_id: UUID | None
    comment: str
    thread: str | None
    state: PlacedState
    placed_at: datetime
