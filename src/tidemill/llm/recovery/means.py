"""What all requests share on their way along the recovery tree."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from tidemill.core.clock import Clock, system_clock
from tidemill.core.errors import Configuration
from tidemill.core.failure import Failure
from tidemill.core.provider import ModelFacts, Provider
from tidemill.llm.prompts.shipped import Prompts
from tidemill.llm.providers.port import ProviderBook
from tidemill.llm.recovery.breaker import Breaker, Spot, spot_of
from tidemill.llm.recovery.strategies import Strategies
from tidemill.llm.recovery.tree import Recovery, tree_of
from tidemill.settings.recovery import RecoverySettings

Facts = Callable[[str], ModelFacts]
"""What is known of a name that can be asked; raises `ModelNotFound`."""


class Means:
    """The tree, the breaker, the strategies, and who waits for whom just now.

    Args:
        facts: what is known of a model.
        book: knows the providers.
        breaker: knows whom to leave alone.
        settings: the times.
        request_timeout: seconds that a provider without a timeout of its own has for an answer.
        local_model: the default local model, where there is one.
        prompts: the note after a filter, and what the hub itself says.
        clock: the present moment.
        timer: monotonic seconds, as deadlines have them.
        sleep: waits for so many seconds.
    """

    def __init__(
        self,
        *,
        facts: Facts,
        book: ProviderBook,
        breaker: Breaker,
        settings: RecoverySettings,
        request_timeout: float,
        local_model: Callable[[], str | None],
        prompts: Prompts,
        clock: Clock = system_clock,
        timer: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.facts = facts
        self.breaker = breaker
        self.settings = settings
        self.local_model = local_model
        self.prompts = prompts
        self.clock = clock
        self.timer = timer
        self.sleep = sleep
        self.tree: Mapping[Failure, Recovery] = tree_of(settings)
        self.strategies = Strategies(breaker)
        self._book = book
        self._request_timeout = request_timeout
        self._cooling: dict[Spot, float] = {}

    def provider(self, model: str) -> Provider | None:
        """The provider of a model that is not one's own."""
        found = self._book.find(model)
        return found[0] if found is not None else None

    def listed(self, facts: ModelFacts) -> bool:
        """Whether a name stands in the settings or in a provider's row, and is not one that any asker could make up."""
        provider = self.provider(facts.name)
        return provider is None or facts.model in provider.models

    def timeout(self, model: str) -> float | None:
        """Seconds that a provider's answer may take; `None` for a model of one's own, which has bounds of its own."""
        provider = self.provider(model)
        return None if provider is None else provider.timeout or self._request_timeout

    async def has_key(self, model: str) -> bool:
        """Whether there is a key with which a provider's model could be asked."""
        provider = self.provider(model)
        try:
            return provider is not None and bool(await self._book.key(provider))
        except Configuration:
            return False

    def cool(self, facts: ModelFacts, seconds: float) -> None:
        """Notes that a request waits so long before it asks this model again."""
        spot = spot_of(facts)
        self._cooling[spot] = max(self._cooling.get(spot, 0.0), self.timer() + seconds)

    def cooling(self, facts: ModelFacts) -> bool:
        """Whether a request of this process waits for this model just now, so that others had better ask elsewhere."""
        until = self._cooling.get(spot_of(facts))
        if until is None:
            return False
        if until <= self.timer():
            self._cooling.pop(spot_of(facts), None)
            return False
        return True
