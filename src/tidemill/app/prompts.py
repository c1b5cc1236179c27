"""The prompts, those that the team has set among them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tidemill.accounts.accounts import Accounts
from tidemill.app.accounts import accounts_of
from tidemill.app.database import Database
from tidemill.core.clock import system_clock
from tidemill.registry.prompts import PromptLibrary
from tidemill.settings import Settings
from tidemill.store.database import Pool, make_pool
from tidemill.store.prompts import PromptRepository


@asynccontextmanager
async def open_prompts(settings: Settings, database: Database) -> AsyncIterator[PromptLibrary]:
    """The prompts alone, for the commands that need no more."""
    async with make_pool(database.url, size=2) as pool:
        yield prompts_of(pool, accounts_of(database, pool))


def prompts_of(pool: Pool, accounts: Accounts) -> PromptLibrary:
    """The prompts, those that the team has set among them."""
    return PromptLibrary(PromptRepository(pool), audit=accounts.audit, clock=system_clock)
