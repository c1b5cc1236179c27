"""What became of a comment: each outcome is a fact of its own, and a later one never takes an earlier one's place."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from tidemill.core.classification import Level
from tidemill.core.json import Json


class Outcome(StrEnum):
    """One thing that can become of a comment."""

    APPLIED = "applied"
    """Its suggestion stands in the code now."""
    FIXED = "fixed"
    """What an engine found is found no more, after a later push changed the code."""
    CHANGED = "changed"
    """The code that it is about was changed afterwards, one can't say why."""
    THUMBS_UP = "thumbs_up"
    THUMBS_DOWN = "thumbs_down"
    REPLIED = "replied"
    RESOLVED = "resolved"
    """A person resolved its thread, and the code was merged as it was."""
    DISMISSED = "dismissed"
    """A person deleted it."""
    MUTED = "muted"
    """A person asked not to be told of it."""
    IGNORED = "ignored"
    """Nobody resolved it, and the code was merged as it was."""


@dataclass(frozen=True, slots=True)
class Feedback:
    """One outcome of one comment.

    Attributes:
        id: of the row.
        placed_id: the comment.
        outcome: what became of it.
        source: what tells so: `merge:<commit>`, `push:<commit>`, `comment:<id>`, `reaction:<id>`,
            `reactions:<count>`; nobody's login. The same outcome from the same source is stored once.
        at: when it was seen.
        login: whose doing it was on the forge, where it says so.
        code_before: the lines that the comment is about, as they were; `None` where they may not be kept.
        code_after: the lines that stand there now; empty where they are gone.
        level: how sensitive the code is, by the rules of classification.
        detail: more for machines.
    """

    id: UUID
    placed_id: UUID
    outcome: Outcome
    source: str
    at: datetime
    login: str | None = None
    code_before: str | None = None
    code_after: str | None = None
    level: Level = Level.INTERNAL
    detail: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CommentFeedback:
    """An outcome with what it is about: a line of a dataset.

    Attributes:
        feedback: the outcome.
        forge: the forge's name; with `project` and `number` the pull request.
        review_id: the review.
        inference_id: the inference that made the comment, where a model did.
        engine: what found it; with `rule` for what engines find.
        comment: the forge's id.
    """

    feedback: Feedback
    forge: str
    project: str
    number: int
    head: str
    review_id: UUID | None
    inference_id: UUID | None
    fingerprint: str
    engine: str
    rule: str
    path: str
    line: int
    severity: str
    message: str
    comment: str
