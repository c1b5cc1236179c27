"""The innermost model: asks whoever a request names, be it the local runtime, an endpoint, or a provider."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace

from tidemill.core.chat import ChatChunk, ChatCompletion, ModelRequest
from tidemill.core.embedding import EmbeddingRequest, Embeddings
from tidemill.core.errors import ModelFailed, TidemillError
from tidemill.core.failure import Failure
from tidemill.core.served import Served
from tidemill.llm.embeddings import Embedder
from tidemill.llm.port import ChatModel
from tidemill.llm.providers.connections import Connections
from tidemill.llm.providers.failures import transport_error_of, unusable
from tidemill.llm.providers.port import ProviderBook
from tidemill.llm.providers.sdk_http import seconds_of
from tidemill.llm.providers.silence import Silence

OwnServed = Callable[[str], Served]
"""Who answers for the name of a model of one's own: a local one, or an endpoint."""


class Backends:
    """A `ChatModel` over all of them.

    Args:
        book: knows which names are a provider's.
        connections: to the providers.
        own: answers all other names.
        own_served: says who that is.
        timeout: seconds that a provider may take where nothing else is said.
    """

    def __init__(
        self, book: ProviderBook, connections: Connections, own: ChatModel, own_served: OwnServed, timeout: float
    ) -> None:
        self._book = book
        self._connections = connections
        self._own = own
        self._own_served = own_served
        self._timeout = timeout

    async def complete(self, request: ModelRequest) -> ChatCompletion:
        """As the port says."""
        found = self._book.find(request.model)
        if found is None:
            answer = await self._own.complete(request)
            return answer if answer.served else replace(answer, served=self._own_served(request.model))
        provider, _ = found
        async with self._connections.to(provider, _endpoint(request)) as model:
            with in_our_words(request.model, model.errors):
                async with asyncio.timeout(seconds_of(request, provider, self._timeout)):
                    return await model.complete(request)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ChatChunk, None]:
        """As the port says. A provider that sends nothing of an answer for as long as its timeout has failed."""
        found = self._book.find(request.model)
        if found is None:
            served = self._own_served(request.model)
            first = True
            async with aclosing(self._own.stream(request)) as own:
                async for chunk in own:
                    yield replace(chunk, served=served) if first or chunk.usage else chunk
                    first = False
            return
        provider, _ = found
        seconds = seconds_of(request, provider, self._timeout)
        async with self._connections.to(provider, _endpoint(request)) as model:
            with in_our_words(request.model, model.errors):
                async with aclosing(model.stream(request)) as pieces:
                    silence = Silence(seconds)
                    try:
                        while (piece := await silence.next_of(pieces)) is not None:
                            yield piece
                    finally:
                        silence.end()


class ProviderEmbedder:
    """An `Embedder` over the providers, and over those of one's own."""

    def __init__(self, book: ProviderBook, connections: Connections, own: Embedder, timeout: float) -> None:
        self._book = book
        self._connections = connections
        self._own = own
        self._timeout = timeout

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        """As the port says."""
        found = self._book.find(request.model)
        if found is None:
            return await self._own.embed(request)
        provider, there = found
        async with self._connections.to(provider, _endpoint(request)) as model:
            with in_our_words(request.model, model.errors):
                async with asyncio.timeout(seconds_of(request, provider, self._timeout)):
                    answer = await model.embed(request)
        return replace(answer, served=Served(provider.name, request.model, f"{provider.kind}:{there}"))


@contextmanager
def in_our_words(name: str, errors: tuple[type[Exception], ...]) -> Iterator[None]:
    """Within, what fails below HTTP, or in a client, becomes an error of the one tree with the leaf that it is."""
    try:
        yield
    except ModelFailed as error:
        error.failure = error.failure or Failure.UNKNOWN
        raise
    except (TimeoutError, *errors) as error:  # type: ignore[misc] # mypy takes no star here
        if (beneath := _ours(error)) is not None:
            raise beneath from error
        failed = transport_error_of(error, name)
        raise failed or unusable(name, f"gave an answer that can't be read ({type(error).__name__})") from error


def _ours(error: BaseException) -> TidemillError | None:
    """The error of ours that a client has wrapped in one of its own."""
    cause = error.__cause__
    while cause is not None:
        if isinstance(cause, TidemillError):
            return cause
        cause = cause.__cause__
    return None


def _endpoint(request: ModelRequest | EmbeddingRequest) -> int:
    return request.context.attempt.endpoint if request.context is not None else 0
