"""The service for secrets."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tidemill.accounts.audit import Audit
from tidemill.app.accounts import accounts_of
from tidemill.app.database import Database
from tidemill.core.clock import system_clock
from tidemill.protection.secrets import Secrets
from tidemill.settings import Settings
from tidemill.store.database import Pool, make_pool
from tidemill.store.key_ring import open_key_file
from tidemill.store.secrets import SecretRepository


@asynccontextmanager
async def open_secrets(settings: Settings, database: Database) -> AsyncIterator[Secrets]:
    """The service for secrets alone, for the commands that need no more."""
    async with make_pool(database.url, size=2) as pool:
        yield secrets_of(settings, pool, accounts_of(database, pool).audit)


def secrets_of(settings: Settings, pool: Pool, audit: Audit) -> Secrets:
    """The service for secrets."""
    return Secrets(SecretRepository(pool), open_key_file(settings), audit=audit, clock=system_clock)
