"""What may be spent, and how fast may be asked: budgets, rate limits, and what is left of them."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from uuid import UUID

FOREVER = date(1970, 1, 1)
"""When the one period of a budget that is never renewed began."""


class LimitScope(StrEnum):
    """Whose requests count towards a limit. A rate limit has no team and no task."""

    ALL = "all"
    KEY = "key"
    USER = "user"
    TEAM = "team"
    TASK = "task"


class Period(StrEnum):
    """For how long a budget is; days and months are those of UTC."""

    DAY = "day"
    MONTH = "month"
    TOTAL = "total"

    def start(self, now: datetime) -> date:
        """The first day of the period that holds this moment."""
        today = now.astimezone(UTC).date()
        return {Period.DAY: today, Period.MONTH: today.replace(day=1), Period.TOTAL: FOREVER}[self]

    def renews_at(self, now: datetime) -> datetime | None:
        """When the next one begins; `None` for never."""
        start = self.start(now)
        if self is Period.TOTAL:
            return None
        length = timedelta(days=1 if self is Period.DAY else 32)
        return datetime.combine(self.start(_midnight(start) + length), datetime.min.time(), UTC)


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be spent in each period.

    Attributes:
        subject: whose it is: the id of a key (of the first one, where it was rotated), a person or a team, or a task's
            name; empty where everyone's requests count.
        limit_usd: US dollars.
    """

    id: UUID
    scope: LimitScope
    subject: str
    period: Period
    limit_usd: float
    created_at: datetime


@dataclass(frozen=True, slots=True)
class BudgetState:
    """How much of a budget is used in the period that began on `period_start`, in US dollars.

    `reserved_usd` is what requests that are under way may cost at most.
    """

    budget: Budget
    period_start: date
    spent_usd: float = 0.0
    reserved_usd: float = 0.0

    @property
    def left_usd(self) -> float:
        """What a new request may cost."""
        return max(0.0, self.budget.limit_usd - self.spent_usd - self.reserved_usd)


@dataclass(frozen=True, slots=True)
class RateLimit:
    """How fast may be asked; at least one of the first two numbers is given.

    Attributes:
        subject: as a budget's.
        requests_per_minute: how many requests come back in a minute; any number where `None`.
        tokens_per_minute: how many tokens, of prompts and of answers.
        burst: how many requests may come at once; a minute's where `None`.
    """

    id: UUID
    scope: LimitScope
    subject: str
    requests_per_minute: int | None
    tokens_per_minute: int | None
    burst: int | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left of one kind of a rate limit after a request: of how many, and in how many seconds it is full."""

    limit: int
    remaining: int
    reset_seconds: float


@dataclass(frozen=True, slots=True)
class RateStanding:
    """How an asker stands; of several limits, the one of which the least is left. `None` where there is none."""

    requests: Allowance | None = None
    tokens: Allowance | None = None


def _midnight(day: date) -> datetime:
    return datetime.combine(day, datetime.min.time(), UTC)
