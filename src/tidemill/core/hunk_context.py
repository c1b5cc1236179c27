"""What is read beside a hunk: `Excerpt`s of the code around it, of what it calls, and of who calls it."""

from dataclasses import dataclass
from enum import StrEnum


class ExcerptRole(StrEnum):
    """Why an excerpt is read."""

    ENCLOSING = "enclosing"
    """The definition that the hunk stands in."""
    CALLED = "called"
    """A definition that the hunk's changed lines call."""
    CALLER = "caller"
    """Code that calls a definition which the hunk changes."""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Lines of a file, read beside a hunk.

    Attributes:
        role: why it is read.
        path: the file.
        name: the definition that it shows, qualified; of a caller, the definition that calls.
        start: its first line, from 1; of a file of the change on the new side.
        end: its last line.
        text: the lines; `…` stands for lines that were left out.
        score: what it promises for each token, for the order; of one hunk's excerpts only.
    """

    role: ExcerptRole
    path: str
    name: str
    start: int
    end: int
    text: str
    score: float = 0.0


@dataclass(frozen=True, slots=True)
class HunkContext:
    """What is read beside one hunk.

    Attributes:
        excerpts: best first, within the budget of tokens.
        tokens: what they take, by the count of `analysis.token_count`.
        left_out: excerpts that there were besides.
    """

    excerpts: tuple[Excerpt, ...] = ()
    tokens: int = 0
    left_out: int = 0
