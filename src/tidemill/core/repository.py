"""What a repository holds, as one of its commits has it."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class TreeFile:
    """A file of a commit. `blob` names its content."""

    path: str
    blob: str
    bytes: int


@dataclass(frozen=True, slots=True)
class LastChange:
    """Who changed a file last, and when."""

    author: str
    at: datetime
