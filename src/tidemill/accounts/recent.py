"""What was found out a moment ago, so that it is not asked of the database at every request."""

from collections.abc import Hashable
from typing import Generic, TypeVar

SECONDS = 5.0
"""How long it is believed; what another process ends works for so long at most."""
REMEMBERED = 10_000

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Values of the last few seconds, by key. Times are monotonic, in seconds."""

    def __init__(self) -> None:
        self._known: dict[K, tuple[float, V]] = {}

    def get(self, key: K, now: float) -> V | None:
        """The value, unless it is unknown or too old."""
        known = self._known.get(key)
        return known[1] if known is not None and now < known[0] else None

    def put(self, key: K, value: V, now: float, *, seconds: float = SECONDS) -> None:
        """Remembers a value for a while; everything is forgotten first where there would be too much."""
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[key] = (now + seconds, value)

    def clear(self) -> None:
        """Forgets everything."""
        self._known.clear()
