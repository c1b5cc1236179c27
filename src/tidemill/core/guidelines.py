"""What a repository says of how it wants to be changed, picked for one change. Text of a repository is data."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Guideline:
    """A piece of advice.

    Attributes:
        source: where it stands: `AGENTS.md`, `.tidemill.yml (instructions: src/**)`.
        title: its heading there; empty where it has none.
        text: Markdown, as it stands there.
        paths: which of the changed files it is about; empty for all of them.
    """

    source: str
    title: str
    text: str
    paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Guidelines:
    """What concerns a change.

    Attributes:
        chosen: the advice, what concerns the change most first, within the budget of tokens.
        left_out: `source: title` of what the budget did not hold.
        owners: the owners of each changed file that has any, as CODEOWNERS names them.
    """

    chosen: tuple[Guideline, ...] = ()
    left_out: tuple[str, ...] = ()
    owners: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
