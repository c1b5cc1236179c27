"""Uploaded files, as OpenAI's API has them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from tidemill.core.classification import Level


class Purpose(StrEnum):
    """What a file is uploaded for."""

    ASSISTANTS = "assistants"
    BATCH = "batch"
    BATCH_OUTPUT = "batch_output"
    """What the hub writes at a batch's end; nobody uploads it."""
    FINE_TUNE = "fine-tune"
    VISION = "vision"
    USER_DATA = "user_data"
    EVALS = "evals"


@dataclass(frozen=True, slots=True)
class File:
    """One uploaded file. `digest` names its blob, which files with the same content share.

    Attributes:
        filename: a name to show; never a path.
        expires_at: from when on it is no longer there; `None` for never.
        level: how sensitive its text is, where it is one of at most 1 MB; the default level for anything else.
    """

    id: UUID
    owner_id: UUID
    filename: str
    purpose: Purpose
    bytes: int
    digest: str
    created_at: datetime
    expires_at: datetime | None = None
    level: Level = Level.INTERNAL
