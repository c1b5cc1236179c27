"""Whether an answer repeats stored texts of a higher level than the asker may see."""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from uuid import UUID

from tidemill.analysis.classification import texts_in
from tidemill.analysis.fingerprints import MOST, WINDOW, Fingerprint, fingerprints, longest_shared
from tidemill.core.classification import Level
from tidemill.core.clock import Clock
from tidemill.core.errors import TidemillError
from tidemill.store.guardrails import GuardrailRepository, StoredText

FRESH = 5.0
"""Seconds for which it is believed that there are no such texts."""
LARGE = 20_000
"""Characters from which on texts are read in a thread: reading so many takes 12 ms."""
LONGER = timedelta(days=1)
"""Fingerprints outlive their text by so much, so that a conversation that says the text again needs no new ones."""
LOOK_SECONDS = 60.0
"""Between two looks for texts that a process which is gone has stored."""

log = logging.getLogger(__name__)


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
        self._stored = asyncio.Event()

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

    def remember(self) -> None:
        """Has the texts read that were stored just now; nobody waits for that."""
        self._stored.set()

    async def work(self) -> None:
        """Reads stored texts as they come: a task for as long as the process lives.

        Each row says whether its text was read, so that what a killed process has left is read by another one.
        """
        while True:
            try:
                await self.read_stored()
            except TidemillError as error:
                log.warning("Stored texts above internal are not known again yet: %s", error.message)
            except Exception:
                log.exception("Stored texts above internal are not known again yet; it is tried again.")
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._stored.wait()
            except TimeoutError:
                continue

    async def read_stored(self) -> None:
        """Keeps the fingerprints of all stored texts above internal that have none."""
        self._stored.clear()
        while (text := await self._rows.unread(self._clock())) is not None:
            await self._read(text)

    async def _read(self, stored: StoredText) -> None:
        texts = [*texts_in(json.loads(stored.request)), *texts_in(json.loads(stored.response))]
        new: set[int] = set()
        for prints in await _prints(texts):
            hashes = {one.hash for one in prints}
            if hashes and not await self._rows.keeps(hashes, stored.level, stored.owner_id, stored.expires_at):
                new |= hashes
        await self._rows.remember(stored, sorted(new)[:MOST], stored.expires_at + LONGER)


async def _prints(texts: Sequence[str]) -> list[list[Fingerprint]]:
    if sum(map(len, texts)) <= LARGE:
        return list(map(fingerprints, texts))
    return await asyncio.to_thread(lambda: list(map(fingerprints, texts)))


def _above(level: Level) -> list[Level]:
    return [one for one in Level if one.rank > level.rank]
