"""Budgets, rate limits and usage: the services for people, and what the model port's wrappers hold to."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tidemill.accounts.accounts import Accounts
from tidemill.accounts.audit import Audit
from tidemill.app.accounts import accounts_of
from tidemill.app.database import Database
from tidemill.core.clock import system_clock
from tidemill.core.provider import FREE, LOCAL, ModelFacts, Price
from tidemill.limits.budgets import Budgets
from tidemill.limits.rate_limits import RateLimits
from tidemill.limits.services import Limits
from tidemill.limits.subjects import Subjects
from tidemill.limits.usage import Usage
from tidemill.llm.budgets import Facts, Spending
from tidemill.llm.rate_limits import Pace
from tidemill.settings import Settings
from tidemill.store.api_keys import ApiKeyRepository
from tidemill.store.budgets import BudgetRepository
from tidemill.store.database import Pool, make_pool
from tidemill.store.people import PeopleRepository
from tidemill.store.rate_limits import RateLimitRepository
from tidemill.store.teams import TeamRepository
from tidemill.store.usage import UsageRepository


@dataclass(frozen=True, slots=True)
class Limiting:
    """What wrappers of the ports hold to."""

    pace: Pace
    budgets: BudgetRepository
    spending: Spending
    embedding_spending: Spending

    async def aclose(self) -> None:
        """Settles what was left for later, and gives back what was taken in advance."""
        await self.budgets.settled()
        await self.pace.aclose()


def limiting_of(settings: Settings, pool: Pool, fast: Pool, facts: Facts) -> Limiting:
    """What wrappers hold to. Commits through `fast` need not wait for the disk."""
    budgets = BudgetRepository(pool, fast)
    return Limiting(
        Pace(RateLimitRepository(pool, fast), settings.limits, clock=system_clock),
        budgets,
        Spending(budgets, facts, clock=system_clock),
        Spending(budgets, embedding_facts(settings, facts), clock=system_clock),
    )


def embedding_facts(settings: Settings, facts: Facts) -> Facts:
    """The facts of embedding models: an endpoint's price is that of what it reads, and local models cost nothing."""

    def found(name: str) -> ModelFacts:
        endpoint = settings.embeddings.endpoints.get(name)
        if endpoint is not None:
            price = None if endpoint.price_input is None else Price(endpoint.price_input, 0.0)
            return ModelFacts(name, name, endpoint.model or name, name, price)
        if "/" in name:
            return facts(name)
        return ModelFacts(name, LOCAL, name, name, FREE, local=True)

    return found


def limits_of(pool: Pool, fast: Pool, audit: Audit, budgets: BudgetRepository | None = None) -> Limits:
    """The services for people, which see what this process has left to settle where they are given its `budgets`."""
    subjects = Subjects(ApiKeyRepository(pool), PeopleRepository(pool), TeamRepository(pool))
    return Limits(
        budgets=Budgets(budgets or BudgetRepository(pool, fast), subjects, audit=audit, clock=system_clock),
        rates=RateLimits(RateLimitRepository(pool, fast), subjects, audit=audit, clock=system_clock),
        usage=Usage(UsageRepository(pool), clock=system_clock),
        clock=system_clock,
    )


@asynccontextmanager
async def open_limits(settings: Settings, database: Database) -> AsyncIterator[tuple[Accounts, Limits]]:
    """The services for limits alone, and those that know whom they are for, for the commands that need no more."""
    async with make_pool(database.url, size=2) as pool:
        accounts = accounts_of(database, pool)
        yield accounts, limits_of(pool, pool, accounts.audit)
