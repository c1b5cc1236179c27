"""Shares of the buckets of rate limits, which a process takes in advance so that most requests ask no database.

A share is taken with a request, out of what is left in the bucket then: a sixteenth of it, and so nothing to speak of
where little is left. It is back, or taken anew, within a second. What is admitted out of it was taken from the bucket
before, so all processes together admit no more than the bucket had. Of a small bucket nobody takes a share.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import Context
from dataclasses import dataclass, field, replace
from datetime import datetime

from tidemill.core.clock import Clock
from tidemill.core.errors import TidemillError
from tidemill.store.rate_limits import SHARED_FROM, SHARES, Draw, RateLimitRepository

log = logging.getLogger(__name__)

SECONDS = 1.0
"""How long a share is kept."""

ROUNDING = 1e-6
"""A part of a request or of a token that is none."""

Bucket = tuple[str, str]
Levels = Mapping[Bucket, float]


@dataclass(slots=True)
class _Share:
    """What this process has of a bucket.

    Attributes:
        draw: the last of the bucket.
        held: what may be used; below nothing, what was used and not taken yet.
        level: what the bucket itself held when it was last looked at, `at` that time.
        users: who is at it.
        asking: held by who takes from the bucket itself; others may find enough here when that is done.
    """

    draw: Draw
    at: datetime
    held: float = 0.0
    level: float = 0.0
    users: int = 0
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def is_small(self) -> bool:
        return self.draw.capacity < SHARED_FROM

    @property
    def size(self) -> float:
        """How much is taken with a request, going by what it left."""
        return 0.0 if self.is_small else max(0.0, self.level) / (SHARES - 1)

    def in_bucket(self, now: datetime) -> float:
        """What the bucket itself holds now, where nobody else takes from it."""
        back = self.draw.rate * max(0.0, (now - self.at).total_seconds())
        return min(self.draw.capacity, self.level + back)

    def usable(self, now: datetime) -> float:
        """What may be taken here. A full bucket holds no share besides, so that it does not count then."""
        return min(self.held, self.draw.capacity - self.in_bucket(now)) if self.held > 0 else self.held

    def has(self, amount: float, now: datetime) -> bool:
        return not self.is_small and self.usable(now) + ROUNDING >= amount


class Shares:
    """The shares of one process.

    Args:
        rows: the buckets.
        clock: gives the time.
    """

    def __init__(self, rows: RateLimitRepository, *, clock: Clock) -> None:
        self._rows = rows
        self._clock = clock
        self._shares: dict[Bucket, _Share] = {}
        self._returning: asyncio.Task[None] | None = None
        self._giving_back = asyncio.Lock()

    async def take(self, draws: Sequence[Draw]) -> tuple[bool, Levels]:
        """Takes from all of the buckets, or from none; whether it did, and what is left in each."""
        now = self._clock()
        pairs = [(draw, self._share(draw, now)) for draw in draws]
        for _, share in pairs:
            share.users += 1
        try:
            async with _asking([share for draw, share in pairs if not share.has(draw.amount, now)]):
                here = [(draw, share) for draw, share in pairs if share.has(draw.amount, now)]
                lacking = [(draw, share) for draw, share in pairs if not share.has(draw.amount, now)]
                for draw, share in here:
                    share.held -= draw.amount
                whole = False
                try:
                    whole = not lacking or await self._ask(lacking, now)
                finally:
                    for draw, share in here if not whole else ():
                        share.held += draw.amount
            if not whole:
                await self._put_back(pairs, now)
                return False, {draw.bucket: share.level for draw, share in pairs}
        finally:
            for _, share in pairs:
                share.users -= 1
        return True, {
            draw.bucket: min(draw.capacity, share.in_bucket(now) + max(0.0, share.held)) for draw, share in pairs
        }

    async def correct(self, draws: Sequence[Draw]) -> None:
        """Takes from each bucket whatever it holds, below nothing where need be.

        It is done here, save where that makes more than two shares, or a debt of as much: then all of it goes there.
        """
        now = self._clock()
        over: list[tuple[Draw, _Share]] = []
        for draw in draws:
            share = self._share(draw, now)
            share.held -= draw.amount
            if abs(share.held) > 2 * share.size:
                over.append((draw, share))
        if over:
            await self._put_back(over, now)

    async def aclose(self) -> None:
        """Gives everything back, after what is on its way already."""
        async with self._giving_back:
            if self._returning is not None:
                self._returning.cancel()
                await asyncio.gather(self._returning, return_exceptions=True)
            await self._return_all()

    def _share(self, draw: Draw, now: datetime) -> _Share:
        share = self._shares.get(draw.bucket)
        if share is None:
            share = self._shares[draw.bucket] = _Share(draw, now)
            if self._returning is None or self._returning.done():
                self._returning = asyncio.create_task(self._return(), context=Context())  # it outlives this request
        share.draw = draw
        return share

    async def _ask(self, lacking: Sequence[tuple[Draw, _Share]], now: datetime) -> bool:
        """Takes from the buckets themselves, with a new share of each; whether all of them held enough.

        Where one did not, what was taken from the others is here.
        """
        here = [share.usable(now) for _, share in lacking]
        for _, share in lacking:
            share.held = 0.0  # of what is here, what a full bucket would not have held is gone
        asked = [replace(draw, amount=draw.amount - used) for (draw, _), used in zip(lacking, here, strict=True)]
        try:
            levels = await self._rows.take(asked, now)
        except BaseException:
            for (_, share), used in zip(lacking, here, strict=True):
                share.held += used
            raise
        self._note(levels, now)
        whole = len(levels) == len(lacking)
        for (draw, share), used in zip(lacking, here, strict=True):
            if draw.bucket in levels:
                share.held += share.size + (0.0 if whole else draw.amount)
            else:
                share.held += used
        return whole

    async def _put_back(self, pairs: Sequence[tuple[Draw, _Share]], now: datetime) -> None:
        """Gives back what is here of these buckets, and looks at them."""
        held = [share.held for _, share in pairs]
        for _, share in pairs:
            share.held = 0.0
        back = [replace(draw, amount=-amount) for (draw, _), amount in zip(pairs, held, strict=True)]
        try:
            self._note(await self._rows.correct(back, now), now)
        except TidemillError:
            for (_, share), amount in zip(pairs, held, strict=True):
                share.held += amount
            raise

    def _note(self, levels: Levels, now: datetime) -> None:
        for bucket, level in levels.items():
            if (share := self._shares.get(bucket)) is not None:
                share.level, share.at = level, now

    async def _return(self) -> None:
        while self._shares:
            await asyncio.sleep(SECONDS)
            async with self._giving_back:
                await self._return_all()

    async def _return_all(self) -> None:
        """Gives back what is here, in one statement, and forgets whom nobody asks for."""
        held = [(share.draw, share) for share in self._shares.values() if share.held]
        for bucket in [bucket for bucket, share in self._shares.items() if not share.users and not share.held]:
            del self._shares[bucket]
        if not held:
            return
        try:
            await self._put_back(held, self._clock())
        except TidemillError as error:
            log.warning("What was taken of rate limits in advance is not back in them: %s", error.message)


@asynccontextmanager
async def _asking(shares: Sequence[_Share]) -> AsyncIterator[None]:
    """The block in which these buckets are asked: of large ones one asks at a time, so that none is taken in vain."""
    async with AsyncExitStack() as stack:
        for share in sorted(shares, key=lambda share: share.draw.bucket):
            if not share.is_small:
                await stack.enter_async_context(share.asking)
        yield
