"""How long each kind of data is kept, and the job that deletes what is due."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tidemill.core.clock import Clock
from tidemill.core.errors import TidemillError
from tidemill.store.retention import RetentionRepository, Run

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """One kind of data.

    Attributes:
        kind: its name.
        keep: how long it is kept.
        due: how many of it are due at a time, which `before` gives.
        forget: deletes these; returns how many.
        ends_itself: whether each carries its own end, reckoned from `keep` when it was stored.
    """

    kind: str
    keep: timedelta
    due: Callable[[datetime], Awaitable[int]]
    forget: Callable[[datetime], Awaitable[int]]
    ends_itself: bool = False

    def before(self, now: datetime) -> datetime:
        """What was stored, or ends, before this time is due."""
        return now if self.ends_itself else now - self.keep


@dataclass(frozen=True, slots=True)
class KeptState:
    """How a kind stands: how long it is kept, how many are due now, and its last run where there was one."""

    kind: str
    keep: timedelta
    due: int
    last: Run | None


class Retention:
    """Deletes what is due, kind by kind, in one process at a time.

    Args:
        kinds: what is kept.
        rows: says what is due, and remembers the runs.
        clock: gives times.
    """

    def __init__(self, kinds: Sequence[Kept], rows: RetentionRepository, *, clock: Clock) -> None:
        self._kinds = kinds
        self._rows = rows
        self._clock = clock

    async def run(self) -> dict[str, int]:
        """Deletes what is due and returns how many of each kind; nothing where another process is at it.

        Raises:
            TidemillError: some kind could not be deleted; the others are, as far as that goes.
        """
        deleted: dict[str, int] = {}
        failed: list[TidemillError] = []
        async with self._rows.alone() as alone:
            if not alone:
                return deleted
            for kept in self._kinds:
                now = self._clock()
                try:
                    deleted[kept.kind] = await kept.forget(kept.before(now))
                except TidemillError as error:
                    failed.append(error)
                    continue
                await self._rows.record(kept.kind, now, deleted[kept.kind])
        told = ", ".join(f"{count} {kind}" for kind, count in deleted.items() if count)
        if told:
            log.info("Deleted what was due: %s.", told)
        for other in failed[1:]:
            log.warning("Not deleted this time: %s", other.message)
        if failed:
            raise failed[0]
        return deleted

    async def state(self) -> list[KeptState]:
        """How each kind stands. Deletes nothing."""
        runs = await self._rows.runs()
        now = self._clock()
        return [
            KeptState(kept.kind, kept.keep, await kept.due(kept.before(now)), runs.get(kept.kind))
            for kept in self._kinds
        ]
