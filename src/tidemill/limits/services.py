"""The services for limits, together."""

from dataclasses import dataclass

from tidemill.core.clock import Clock
from tidemill.limits.budgets import Budgets
from tidemill.limits.rate_limits import RateLimits
from tidemill.limits.usage import Usage


@dataclass(frozen=True, slots=True)
class Limits:
    """What was used, and how much more of it may be."""

    budgets: Budgets
    rates: RateLimits
    usage: Usage
    clock: Clock

    async def tend(self) -> None:
        """What has to be done now and then: settles what nobody lived to settle, and forgets full buckets."""
        await self.budgets.expire()
        await self.rates.forget_buckets()
