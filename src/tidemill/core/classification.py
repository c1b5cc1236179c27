"""How sensitive a text is, and what a text of that level may be used for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Level(StrEnum):
    """The four levels, least sensitive first. A person's access level is the highest that they may see."""

    PUBLIC = "public"
    INTERNAL = "internal"
    CONFIDENTIAL = "confidential"
    SECRET = "secret"  # noqa: S105 - the name of a level

    @property
    def rank(self) -> int:
        """0 for the least sensitive; for comparing."""
        return _RANKS[self]


_RANKS: Mapping[str, int] = {level: rank for rank, level in enumerate(Level)}


class Use(StrEnum):
    """What a text may be used for, beyond answering who sent it."""

    LOGGING = "logging"
    """To be stored with its inference."""
    TRAINING = "training"
    """To be part of a dataset."""
    OUTSIDE = "outside"
    """To be sent to a provider outside of the team's own network."""


USES: Mapping[Level, frozenset[Use]] = MappingProxyType(
    {
        Level.PUBLIC: frozenset(Use),
        Level.INTERNAL: frozenset(Use),
        Level.CONFIDENTIAL: frozenset({Use.LOGGING}),
        Level.SECRET: frozenset(),
    }
)
"""What each level may be used for at most; settings can take uses away, and add none."""


@dataclass(frozen=True, slots=True)
class Classified:
    """A text's level, and the names of the rules that found it. It never holds what they found."""

    level: Level
    rules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UseLimits:
    """The highest level of text for each use, as an installation allows it."""

    logging: Level = Level.CONFIDENTIAL
    training: Level = Level.INTERNAL
    outside: Level = Level.INTERNAL

    def allow(self, level: Level, use: Use) -> bool:
        """Whether a text of this level may be used so."""
        most: Level = getattr(self, use)
        return use in USES[level] and level.rank <= most.rank


def highest(use: Use) -> Level:
    """The highest level that may be used so at most."""
    return max((level for level, uses in USES.items() if use in uses), key=lambda level: level.rank)


def together(found: Iterable[Classified]) -> Classified:
    """What texts are when they are one: of the highest level among them, by every rule that found something."""
    parts = list(found)
    if not parts:
        return Classified(Level.INTERNAL)
    rules = dict.fromkeys(rule for part in parts for rule in part.rules)
    return Classified(max((part.level for part in parts), key=lambda level: level.rank), tuple(rules))
