"""The first tier: answers in this process's memory, least recently used ones out first."""

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

OVERHEAD = 400
"""Bytes that an entry takes beside its value, about."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One answer as bytes, whose request it was the answer to first, and when it ends."""

    value: bytes
    owner_id: UUID | None
    expires_at: datetime


class MemoryTier:
    """Answers in memory, bounded by their bytes. An answer of over an eighth of the bound is not taken.

    Args:
        most: bytes of all together.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.bytes = 0
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes, now: datetime) -> Entry | None:
        """The entry, where its time is not over."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.expires_at <= now:
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return entry

    def put(self, key: bytes, entry: Entry) -> None:
        """Takes an entry, in the place of one of its key, and lets go of what was not used for longest."""
        self._drop(key)
        size = _size(entry)
        if size > self.most // 8:
            return
        self._entries[key] = entry
        self.bytes += size
        while self.bytes > self.most:
            self._drop(next(iter(self._entries)))

    def forget(self, now: datetime) -> None:
        """Lets go of what has ended."""
        for key in [key for key, entry in self._entries.items() if entry.expires_at <= now]:
            self._drop(key)

    def erase(self, owners: Collection[UUID]) -> int:
        """Lets go of what these owners asked first; returns how many there were."""
        theirs = [key for key, entry in self._entries.items() if entry.owner_id in owners]
        for key in theirs:
            self._drop(key)
        return len(theirs)

    def clear(self) -> None:
        """Lets go of everything."""
        self._entries.clear()
        self.bytes = 0

    def _drop(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.bytes -= _size(entry)


def _size(entry: Entry) -> int:
    return len(entry.value) + OVERHEAD
