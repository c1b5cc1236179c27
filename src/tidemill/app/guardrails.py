"""The guardrails, as the settings have them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from tidemill.core.clock import system_clock
from tidemill.core.guardrail import Guardrail, GuardrailEvent
from tidemill.llm.embeddings import Embedder
from tidemill.llm.guardrails.embedder import GuardedEmbedder
from tidemill.llm.guardrails.guards import Guards
from tidemill.llm.guardrails.injection import InjectionGuard
from tidemill.llm.guardrails.memorised import Memory
from tidemill.llm.guardrails.model import GuardedModel
from tidemill.llm.guardrails.policy import Policy
from tidemill.llm.guardrails.presidio import Presidio
from tidemill.llm.guardrails.toxicity import ToxicityGuard, installed
from tidemill.llm.port import ChatModel
from tidemill.outbound import Outbound
from tidemill.settings.guardrails import GuardrailSettings
from tidemill.store.database import Pool
from tidemill.store.guardrails import GuardrailRepository

PRESIDIO_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Guarding:
    """The guardrails' wrappers of the two ports, and what keeps the fingerprints of stored texts."""

    wrap: Callable[[ChatModel], ChatModel]
    wrap_embedder: Callable[[Embedder], Embedder]
    memory: Memory


@asynccontextmanager
async def open_guarding(
    settings: GuardrailSettings, pool: Pool, outbound: Outbound, observe: Callable[[GuardrailEvent], None]
) -> AsyncIterator[Guarding]:
    """The guardrails of a process.

    Raises:
        Configuration: a guardrail is switched on that is not installed.
    """
    rows = GuardrailRepository(pool)
    memory = Memory(rows, clock=system_clock, min_words=settings.memorised.min_words)
    async with AsyncExitStack() as stack:
        reading = asyncio.create_task(memory.work())
        stack.push_async_callback(_stopped, reading)
        presidio = None
        if settings.privacy.presidio_url is not None:
            client = outbound.client(timeout=PRESIDIO_SECONDS, allow_private=True)
            presidio = Presidio(
                await stack.enter_async_context(client),
                settings.privacy.presidio_url,
                language=settings.privacy.presidio_language,
                min_score=settings.privacy.presidio_min_score,
            )
        guards = guards_of(settings, memory=memory, presidio=presidio)
        stack.callback(guards.close)
        yield Guarding(
            lambda inner: GuardedModel(inner, guards, rows, clock=system_clock, observe=observe),
            lambda inner: GuardedEmbedder(inner, guards, rows, clock=system_clock, observe=observe),
            memory,
        )


async def _stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def guards_of(settings: GuardrailSettings, memory: Memory | None = None, presidio: Presidio | None = None) -> Guards:
    """All that need no database and no other server."""
    toxicity = None
    if Policy(settings).asks(Guardrail.TOXICITY):
        installed()
        toxicity = ToxicityGuard(settings.toxicity.min_score)
    injection = InjectionGuard(settings.injection.min_score if settings.injection.classifier else None)
    return Guards(settings, injection=injection, memory=memory, toxicity=toxicity, presidio=presidio)
