"""Who answers in the end: the local runtime, an endpoint, or a provider through its official client."""

from typing import TYPE_CHECKING

from tidemill.core.provider import Provider, ProviderKind
from tidemill.core.served import Served
from tidemill.llm.embeddings import Embedder
from tidemill.llm.port import ChatModel
from tidemill.llm.providers.connections import Connections
from tidemill.llm.providers.dispatch import Backends, ProviderEmbedder
from tidemill.outbound import Outbound
from tidemill.registry.providers import Providers
from tidemill.settings import Settings

if TYPE_CHECKING:
    import httpx2

ANSWER_BYTES = 32_000_000
"""The longest answer that is read of a provider: what a model can write in one is a hundredth of it."""
ONE_ANSWER = frozenset({ProviderKind.ANTHROPIC, ProviderKind.GEMINI})
"""Kinds whose models give one answer to a request; OpenAI's `n` asks them several times."""


def connections_of(settings: Settings, providers: Providers, outbound: Outbound) -> Connections:
    """The clients of the providers; whoever asks for them closes them."""
    timeout = settings.models.request_timeout

    def open_client(provider: Provider) -> "httpx2.AsyncClient":
        return outbound.sdk_client(
            timeout=provider.timeout or timeout, allow_private=provider.allow_private, max_bytes=ANSWER_BYTES
        )

    return Connections(providers, open_client, timeout)


def backends_of(settings: Settings, providers: Providers, connections: Connections, own: ChatModel) -> Backends:
    """Whoever a request's model names; `own` answers for local models and endpoints."""

    def own_served(name: str) -> Served:
        facts = providers.facts(name)
        return Served(facts.provider, name, facts.version)

    return Backends(providers, connections, own, own_served, settings.models.request_timeout)


def embedders_of(settings: Settings, providers: Providers, connections: Connections, own: Embedder) -> Embedder:
    """The same for embeddings."""
    return ProviderEmbedder(providers, connections, own, settings.models.request_timeout)


def gives_one_answer(providers: Providers, name: str) -> bool:
    """Whether a provider's model has to be asked several times for several answers."""
    found = providers.find(name)
    return found is not None and found[0].kind in ONE_ANSWER
