"""What was found in texts that come again, as the earlier messages of a conversation do."""

from collections import OrderedDict
from hashlib import blake2b
from typing import Generic, TypeVar

T = TypeVar("T")


class Seen(Generic[T]):
    """The findings of the texts that were read last, by digest. No text is kept.

    Args:
        size: how many texts.
    """

    def __init__(self, size: int = 4096) -> None:
        self._size = size
        self._found: OrderedDict[bytes, T] = OrderedDict()

    def key(self, text: str, kind: str) -> bytes:
        """By what a text is known."""
        return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16, key=kind.encode()[:64]).digest()

    def known(self, key: bytes) -> T | None:
        """What was found before."""
        found = self._found.get(key)
        if found is not None:
            self._found.move_to_end(key)
        return found

    def keep(self, key: bytes, found: T) -> None:
        """Remembers what was found."""
        self._found[key] = found
        while len(self._found) > self._size:
            self._found.popitem(last=False)
