"""How sensitive a text is, and what a text of that level may be used for."""

from enum import StrEnum


class Level(StrEnum):
    """The four levels, least sensitive first. A person's access level is the highest that they may see."""

    PUBLIC = "public"
    INTERNAL = "internal"
    CONFIDENTIAL = "confidential"
    SECRET = "secret"  # noqa: S105 - the name of a level

    @property
    def rank(self) -> int:
        """0 for the least sensitive; for comparing."""
        return list(Level).index(self)
