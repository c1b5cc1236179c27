"""The parts of a delivery's payload, which others wrote: read, or refused with their name."""

from collections.abc import Mapping
from typing import Any, TypeVar

from tidemill.core.errors import InvalidInput

T = TypeVar("T")


class Fields:
    """A JSON object of a payload.

    Args:
        values: the object.
        where: its place in the payload, for messages.
    """

    def __init__(self, values: Mapping[str, Any], where: str = "") -> None:
        self._values = values
        self._where = where

    def __contains__(self, name: str) -> bool:
        return self._values.get(name) is not None

    def part(self, name: str) -> "Fields":
        """An object within; an empty one where it is absent or null."""
        return Fields(self.maybe(name, dict) or {}, f"{self._where}{name}.")

    def first(self, name: str) -> "Fields":
        """The first object of a list; an empty one where there is none."""
        found = self.maybe(name, list) or [{}]
        return Fields(found[0] if isinstance(found[0], dict) else {}, f"{self._where}{name}.0.")

    def text(self, name: str) -> str:
        """A text that has to be there."""
        return self._needed(name, str)

    def number(self, name: str) -> int:
        """A number that has to be there."""
        return self._needed(name, int)

    def maybe(self, name: str, kind: type[T]) -> T | None:
        """A value that may be absent or null.

        Raises:
            InvalidInput: it is of another kind.
        """
        value = self._values.get(name)
        if value is None:
            return None
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise InvalidInput(f"The delivery's `{self._where}{name}` is not what this forge sends there.")
        return value

    def flag(self, name: str) -> bool:
        """Whether it is true."""
        return self._values.get(name) is True

    def id(self, name: str) -> str | None:
        """An id as text, whether it is sent as a number or as a text."""
        value = self._values.get(name)
        return str(value) if isinstance(value, int | str) and not isinstance(value, bool) else None

    def _needed(self, name: str, kind: type[T]) -> T:
        value = self.maybe(name, kind)
        if value is None:
            raise InvalidInput(f"The delivery has no `{self._where}{name}`.")
        return value
