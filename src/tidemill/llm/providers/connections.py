"""The clients of the providers: made when one is first asked, kept, made anew when the provider or its key changes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from tidemill.core.embedding import EmbeddingRequest, Embeddings
from tidemill.core.errors import Configuration
from tidemill.core.failure import Failure
from tidemill.core.provider import Provider, ProviderKind
from tidemill.llm.port import ChatModel
from tidemill.llm.providers.anthropic_sdk import AnthropicModel
from tidemill.llm.providers.gemini_sdk import GeminiModel
from tidemill.llm.providers.openai_sdk import OpenAIModel
from tidemill.llm.providers.port import OpenClient, ProviderBook

if TYPE_CHECKING:
    import httpx2

MOST_KEYS = 8
"""Clients of one provider, one for each address and key, before the first of them are let go."""
WITH_KEY = frozenset(
    {ProviderKind.OPENAI, ProviderKind.ANTHROPIC, ProviderKind.GEMINI, ProviderKind.GROK, ProviderKind.OPENROUTER}
)
"""Kinds that answer nobody without a key."""


class ProviderModel(ChatModel, Protocol):
    """What an adapter can do: the port, and embeddings.

    Attributes:
        errors: what its client raises beside our own errors.
    """

    errors: tuple[type[Exception], ...]

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        """The texts' vectors.

        Raises:
            InvalidInput: the provider has no embeddings.
        """
        ...


Make = Callable[[Provider, str, str | None, "httpx2.AsyncClient", float], ProviderModel]
"""An adapter: the provider, one of its addresses, its key, the client that reaches it, and the usual timeout."""
SDKS: dict[ProviderKind, tuple[str, Make]] = {
    ProviderKind.ANTHROPIC: ("anthropic", AnthropicModel),
    ProviderKind.GEMINI: ("google.genai", GeminiModel),
}
"""The module of each kind's official client, and its adapter; all others have OpenAI's API."""
OPENAI_LIKE: tuple[str, Make] = ("openai", OpenAIModel)


@dataclass(slots=True)
class _Line:
    """The way to one provider, and the adapters that use it."""

    provider: Provider
    http: "httpx2.AsyncClient"
    users: int = 0
    models: dict[tuple[str, str | None], ProviderModel] = field(default_factory=dict)


class Connections:
    """Adapters by provider.

    Args:
        book: has the keys.
        open_client: a way out to a provider.
        timeout: seconds that a request may take where nothing else is said.
    """

    def __init__(self, book: ProviderBook, open_client: OpenClient, timeout: float) -> None:
        self._book = book
        self._open_client = open_client
        self._timeout = timeout
        self._lines: dict[str, _Line] = {}
        self._retired: list[_Line] = []
        self._imported: set[str] = set()
        self._importing = asyncio.Lock()

    @asynccontextmanager
    async def to(self, provider: Provider, endpoint: int) -> AsyncIterator[ProviderModel]:
        """The adapter for one of the provider's addresses, counted round, for as long as the block runs.

        Raises:
            Configuration: the provider has no key and needs one, or no address.
        """
        key = await self._key(provider)
        if not provider.base_urls:
            raise Configuration(f"The provider {provider.name} has no address. Give it a base URL.")
        await self._import(SDKS.get(provider.kind, OPENAI_LIKE)[0])
        line = self._line(provider)
        line.users += 1
        try:
            await self._close_unused()
            yield await self._model(line, provider.base_urls[endpoint % len(provider.base_urls)], key)
        finally:
            line.users -= 1
            await self._close_unused()

    async def aclose(self) -> None:
        """Closes all connections."""
        lines = [*self._lines.values(), *self._retired]
        self._lines.clear()
        for line in lines:
            await line.http.aclose()

    async def _close_unused(self) -> None:
        """Closes what led to providers as they were, once nobody uses it."""
        unused = [line for line in self._retired if not line.users]
        self._retired = [line for line in self._retired if line.users]
        for line in unused:
            await line.http.aclose()

    async def _key(self, provider: Provider) -> str | None:
        try:
            key = await self._book.key(provider)
        except Configuration as error:
            error.failure = error.failure or Failure.AUTH_INVALID
            raise
        if not key and provider.kind in WITH_KEY:
            raise Configuration(
                f"The provider {provider.name} has no key. Name an environment variable, a file or a secret that holds "
                "it.",
                failure=Failure.AUTH_INVALID,
            )
        return key

    async def _import(self, module: str) -> None:
        """Loads a client beside the event loop: it takes seconds, in which other requests go on."""
        if module in self._imported:
            return
        async with self._importing:
            await asyncio.to_thread(import_module, module)
            self._imported.add(module)

    def _line(self, provider: Provider) -> _Line:
        line = self._lines.get(provider.name)
        if line is not None and (line.provider is provider or line.provider == provider):
            return line
        if line is not None:
            self._retired.append(line)
        line = self._lines[provider.name] = _Line(provider, self._open_client(provider))
        return line

    async def _model(self, line: _Line, base_url: str, key: str | None) -> ProviderModel:
        model = line.models.get((base_url, key))
        if model is None:
            if len(line.models) >= MOST_KEYS:
                line.models.clear()
            _, make = SDKS.get(line.provider.kind, OPENAI_LIKE)
            model = await asyncio.to_thread(make, line.provider, base_url, key, line.http, self._timeout)
            line.models[base_url, key] = model
        return model
