"""What recovery needs of a hub: the breaker over the database, and what is known of providers and models."""

import logging

from tidemill.core.clock import system_clock
from tidemill.core.deployment import Fallback
from tidemill.core.errors import ModelNotFound
from tidemill.llm.catalog import DEFAULT, machine_default
from tidemill.llm.prompts.shipped import Prompts
from tidemill.llm.recovery.breaker import Breaker
from tidemill.llm.recovery.means import Means
from tidemill.registry.providers import Providers
from tidemill.settings import Settings
from tidemill.store.database import Pool
from tidemill.store.provider_states import ProviderStateRepository

log = logging.getLogger(__name__)


def means_of(settings: Settings, pool: Pool, providers: Providers, prompts: Prompts) -> Means:
    """What all requests of a hub share on their way along the recovery tree."""

    def local_model() -> str | None:
        return local_default(providers)

    falling_back = [name for name, route in settings.routes.items() if Fallback.LOCAL in route.fallbacks]
    if falling_back and local_model() is None:
        log.warning(
            "The fallback `local` of the routes %s is passed over until there is a local model: `tidemill models pull "
            "%s` fetches the one for this machine.",
            ", ".join(falling_back),
            machine_default(),
        )
    return Means(
        facts=providers.facts,
        book=providers,
        breaker=Breaker(ProviderStateRepository(pool), settings.recovery, system_clock),
        settings=settings.recovery,
        request_timeout=settings.models.request_timeout,
        local_model=local_model,
        prompts=prompts,
    )


def local_default(providers: Providers) -> str | None:
    """The default model where it is a local one, else the one for this machine; `None` where neither is there."""
    for name in (DEFAULT, machine_default()):
        try:
            facts = providers.facts(name)
        except ModelNotFound:
            continue
        if facts.local:
            return facts.name
    return None
