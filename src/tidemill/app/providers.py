"""The providers of models: what is known of them, and what is done to them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tidemill.accounts.audit import Audit
from tidemill.app.accounts import accounts_of
from tidemill.app.database import Database
from tidemill.app.secrets import secrets_of
from tidemill.core.clock import system_clock
from tidemill.outbound import Outbound
from tidemill.protection.secrets import Secrets
from tidemill.registry.provider_registry import ProviderRegistry
from tidemill.registry.providers import Providers
from tidemill.settings import Settings
from tidemill.store.database import Pool, make_pool
from tidemill.store.provider_states import ProviderStateRepository
from tidemill.store.providers import ProviderRepository


@asynccontextmanager
async def open_providers(settings: Settings, database: Database) -> AsyncIterator[ProviderRegistry]:
    """The providers alone, for the commands that need no more."""
    async with make_pool(database.url, size=2) as pool:
        audit = accounts_of(database, pool).audit
        secrets = secrets_of(settings, pool, audit)
        known = providers_of(settings, pool, secrets)
        await known.refresh()
        yield provider_registry_of(settings, pool, known, secrets, audit, outbound_of(settings))


def outbound_of(settings: Settings) -> Outbound:
    """The way out to addresses that others chose."""
    return Outbound(settings.outbound.allow)


def providers_of(settings: Settings, pool: Pool, secrets: Secrets) -> Providers:
    """What is known of providers; nothing of the rows before the first `refresh`."""
    return Providers(settings, ProviderRepository(pool), secrets)


def provider_registry_of(
    settings: Settings, pool: Pool, known: Providers, secrets: Secrets, audit: Audit, outbound: Outbound
) -> ProviderRegistry:
    """The service for what is done to providers."""
    return ProviderRegistry(
        known,
        ProviderRepository(pool),
        ProviderStateRepository(pool),
        secrets,
        outbound,
        routes=settings.routes,
        tasks=settings.tasks,
        audit=audit,
        clock=system_clock,
    )
