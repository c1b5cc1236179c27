"""Whether an answer repeats stored texts of a higher level than the asker may see."""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

from tidemill.analysis.fingerprints import MOST, WINDOW, Fingerprint, fingerprints, longest_shared
from tidemill.core.classification import Level
from tidemill.core.clock import Clock
from tidemill.store.guardrails import GuardrailRepository

FRESH = 5.0
"""Seconds for which it is believed that there are no such texts."""
LARGE = 20_000
"""Characters from which on texts are read in a thread: reading so many takes 12 ms."""


class Memory:
    """The fingerprints of stored texts above internal.

    Args:
        rows: where they are.
        clock: says which are still kept.
        min_words: the words in a row from which on an answer repeats a text.
    """

    def __init__(
        self, rows: GuardrailRepository, *, clock: Clock, min_words: int, timer: Callable[[], float] = time.monotonic
    ) -> None:
        self._rows = rows
        self._clock = clock
        self.min_words = min_words
        self._timer = timer
        self._known: dict[Level, tuple[float, bool]] = {}

    async def holds_above(self, level: Level) -> bool:
        """Whether there is any text of a higher level; known for some seconds."""
        known = self._known.get(level)
        if known is None or self._timer() - known[0] > FRESH:
            levels = _above(level)
            known = (self._timer(), bool(levels) and await self._rows.any_of(levels, self._clock()))
            self._known[level] = known
        return known[1]

    async def repeats(self, text: str, said: Sequence[str], level: Level, owner_id: UUID | None) -> bool:
        """Whether a text has as many words in a row of a stored text above the level, which is not the owner's own.

        What was said in the request does not count.
        """
        (prints,) = await _prints([text])
        if not prints:
            return False
        seen = await self._rows.seen({one.hash for one in prints}, _above(level), owner_id, self._clock())
        if not seen:
            return False
        own = {one.hash for some in await _prints(said) for one in some}
        return longest_shared(prints, seen, own) >= self.min_words - 2 * (WINDOW - 1)

    async def remember(
        self, inference_id: UUID, owner_id: UUID | None, level: Level, texts: Sequence[str], expires_at: datetime
    ) -> None:
        """Keeps the fingerprints of what is stored of an inference, where its level is above internal."""
        if level.rank <= Level.INTERNAL.rank:
            return
        hashes = {one.hash for some in await _prints(texts) for one in some}
        if hashes:
            await self._rows.remember(inference_id, owner_id, level, sorted(hashes)[:MOST], expires_at)


async def _prints(texts: Sequence[str]) -> list[list[Fingerprint]]:
    if sum(map(len, texts)) <= LARGE:
        return list(map(fingerprints, texts))
    return await asyncio.to_thread(lambda: list(map(fingerprints, texts)))


def _above(level: Level) -> list[Level]:
    return [one for one in Level if one.rank > level.rank]
