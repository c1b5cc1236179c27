"""What a review is told beside the change: how the repository wants it, what its author says, what was said before."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, cast

from pydantic import TypeAdapter

from tidemill.core.guidelines import Guidelines
from tidemill.core.json import JsonObject
from tidemill.core.review_policy import ReviewPolicy


class EarlierState(StrEnum):
    """What became of an earlier comment."""

    OPEN = "open"
    RESOLVED = "resolved"
    DISMISSED = "dismissed"


@dataclass(frozen=True, slots=True)
class EarlierComment:
    """A comment that stands on the pull request already, Tidemill's or a person's.

    Attributes:
        path: the file that it is on; empty for one on the pull request as a whole.
        text: what it says, without Tidemill's marker.
        quote: the line that it was written about, where that is known.
        state: whether it still waits for an answer, its thread was resolved, or it was dismissed (thumbs down,
            `/tidemill ignore`).
        own: whether Tidemill wrote it.
        fingerprint: of the finding, where Tidemill wrote it. Said again, it keeps this fingerprint while it is open.
    """

    path: str
    text: str
    quote: str = ""
    state: EarlierState = EarlierState.OPEN
    own: bool = True
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Stated:
    """What the author says of the change. Data for a model, never a command.

    Attributes:
        title: of the pull request.
        description: its body.
        issue: title and text of the issue that it closes.
    """

    title: str = ""
    description: str = ""
    issue: str = ""


@dataclass(frozen=True, slots=True)
class ReviewBrief:
    """What a review is told beside the change.

    Attributes:
        policy: how the repository wants to be reviewed, as the side has it that the change is to be merged into.
        stated: what the author says of the change.
        earlier: what stands on the pull request already.
        guidelines: what the repository says of how it wants to be changed, picked for this change.
    """

    policy: ReviewPolicy = field(default_factory=ReviewPolicy)
    stated: Stated = field(default_factory=Stated)
    earlier: tuple[EarlierComment, ...] = ()
    guidelines: Guidelines = field(default_factory=Guidelines)


_BRIEF = TypeAdapter(ReviewBrief)


def brief_json(brief: ReviewBrief) -> JsonObject:
    """A brief as JSON, to be kept with the change; `brief_from_json` reads it."""
    return cast(JsonObject, _BRIEF.dump_python(brief, mode="json"))


def brief_from_json(document: Mapping[str, Any]) -> ReviewBrief:
    """What `brief_json` wrote."""
    return _BRIEF.validate_python(document)
