"""What recovery needs of a hub: the breaker over the database, and what is known of providers and models."""

from tidemill.core.clock import system_clock
from tidemill.core.errors import ModelNotFound
from tidemill.llm.catalog import DEFAULT
from tidemill.llm.recovery.breaker import Breaker
from tidemill.llm.recovery.means import Means
from tidemill.registry.providers import Providers
from tidemill.settings import Settings
from tidemill.store.database import Pool
from tidemill.store.provider_states import ProviderStateRepository


def means_of(settings: Settings, pool: Pool, providers: Providers) -> Means:
    """What all requests of a hub share on their way along the recovery tree."""

    def local_model() -> str | None:
        try:
            facts = providers.facts(DEFAULT)
        except ModelNotFound:
            return None
        return facts.name if facts.local else None

    return Means(
        facts=providers.facts,
        book=providers,
        breaker=Breaker(ProviderStateRepository(pool), settings.recovery, system_clock),
        settings=settings.recovery,
        request_timeout=settings.models.request_timeout,
        local_model=local_model,
    )
