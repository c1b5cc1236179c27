"""What was used, by whom and of what."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

from tidemill.core.clock import Clock
from tidemill.core.errors import InvalidInput
from tidemill.core.usage import UsageGroup, UsageSum

USUAL = timedelta(days=30)
EARLIEST = datetime.min.replace(tzinfo=UTC)
MOST_ROWS = 10_000


class UsageRows(Protocol):
    """Sums rows up."""

    async def sums(
        self, groups: Sequence[UsageGroup], *, since: datetime, until: datetime, owner_id: UUID | None, limit: int
    ) -> list[UsageSum]:
        """See `UsageRepository`."""
        ...


@dataclass(frozen=True, slots=True)
class UsageReport:
    """Sums over the inferences from `since` on and before `until`, by group and in all."""

    since: datetime
    until: datetime
    groups: Sequence[UsageGroup]
    sums: Sequence[UsageSum]
    total: UsageSum


class Usage:
    """The service for what was used.

    Args:
        rows: the inferences.
        clock: gives the time.
    """

    def __init__(self, rows: UsageRows, *, clock: Clock) -> None:
        self._rows = rows
        self._clock = clock

    async def report(
        self,
        groups: Sequence[UsageGroup],
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        owner_id: UUID | None = None,
    ) -> UsageReport:
        """What one owner used, or everybody where `owner_id` is `None`; the last 30 days where nothing else is said.

        Raises:
            InvalidInput: the times or the groups can't be used, or there are too many rows.
        """
        groups = list(dict.fromkeys(groups))
        end = until or self._clock()
        start = since or end - min(USUAL, end - EARLIEST)
        if start >= end:
            raise InvalidInput(f"The report would end at {end.isoformat()}, before it begins.", param="from")
        found = await self._rows.sums(groups, since=start, until=end, owner_id=owner_id, limit=MOST_ROWS + 1)
        if len(found) > MOST_ROWS:
            raise InvalidInput(
                f"These are more than {MOST_ROWS:,} rows. Ask for a shorter time or for fewer groups.", param="group_by"
            )
        return UsageReport(start, end, groups, found, _total(found))


def _total(sums: Sequence[UsageSum]) -> UsageSum:
    return UsageSum(
        requests=sum(one.requests for one in sums),
        errors=sum(one.errors for one in sums),
        prompt_tokens=sum(one.prompt_tokens for one in sums),
        cached_tokens=sum(one.cached_tokens for one in sums),
        completion_tokens=sum(one.completion_tokens for one in sums),
        cost_usd=sum(one.cost_usd for one in sums),
        unknown_costs=sum(one.unknown_costs for one in sums),
        cache_hits=sum(one.cache_hits for one in sums),
    )
