"""Anthropic's models through the official client."""

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tidemill.core.chat import ChatChunk, ChatCompletion, ModelRequest, TextRequest
from tidemill.core.embedding import EmbeddingRequest, Embeddings
from tidemill.core.errors import InvalidInput
from tidemill.core.provider import Provider
from tidemill.llm.openai_wire import events
from tidemill.llm.providers.answers import Source, unfiltered, with_ends
from tidemill.llm.providers.anthropic_wire import MessageEvents, decode_anthropic_error, decode_message, message_body
from tidemill.llm.providers.failures import broken_off, unusable
from tidemill.llm.providers.sdk_http import asked, seconds_of

if TYPE_CHECKING:
    import httpx2

PATH = "/v1/messages"
SAMPLING_VERSION = {"anthropic-version": "2023-06-01"}
"""The API of October 2026 takes no `temperature` and no `top_p`; the one before it does, of models that know them."""


class AnthropicModel:
    """One provider's models, with the port's shape.

    Args:
        provider: whose models they are.
        base_url: the one of its addresses that is asked; a `/v1` at its end is the API's own.
        key: what it asks of us.
        http: the client that reaches it.
        timeout: seconds that a request may take where nothing else is said.
    """

    def __init__(
        self, provider: Provider, base_url: str, key: str | None, http: "httpx2.AsyncClient", timeout: float
    ) -> None:
        import anthropic  # noqa: PLC0415 - heavy, and needed only where a provider of this kind is asked
        import httpx2  # noqa: PLC0415 - what the client is built on

        self.errors: tuple[type[Exception], ...] = (anthropic.AnthropicError, httpx2.HTTPError, httpx2.InvalidURL)
        self._sdk = anthropic
        self._base = base_url.rstrip("/").removesuffix("/v1")
        self._client = anthropic.AsyncAnthropic(
            api_key=key or "",
            base_url=self._base,
            max_retries=0,  # one place decides what follows a failure
            http_client=http,
            open_telemetry=False,  # traces are the hub's own, and hold no texts
        )
        self._client._custom_headers = {}  # the environment's, which may hold another server's key
        self._provider = provider
        self._timeout = timeout

    async def complete(self, request: ModelRequest) -> ChatCompletion:
        """As the port says."""
        source = Source(self._provider, request)
        async with self._asked(self._body(request, source.model), request) as answer:
            data = await answer.aread()
        message = _object(data, request.model)
        completion = unfiltered(decode_message(message, request.model), request.model)
        source.says(message.get("model"))
        return replace(completion, served=source.served)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ChatChunk, None]:
        """As the port says."""
        source = Source(self._provider, request)
        async with aclosing(with_ends(self._chunks(request, source), request, source)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        """Always an error."""
        raise InvalidInput(
            f"The provider {self._provider.name} has no embeddings: Anthropic's API gives none. Name a local model, or "
            "one of another provider.",
            param="model",
        )

    async def _chunks(self, request: ModelRequest, source: Source) -> AsyncGenerator[ChatChunk, None]:
        body = {**self._body(request, source.model), "stream": True}
        message = MessageEvents(request.model)
        async with (
            self._asked(body, request) as answer,
            aclosing(events(answer.aiter_raw(), request.model)) as found,
        ):
            async for event in found:
                chunk = message.chunk(_object(event, request.model))
                source.says(message.model)
                if chunk is not None:
                    yield chunk
                if message.ended:
                    return
        raise broken_off(request.model)

    def _body(self, request: ModelRequest, model: str) -> dict[str, Any]:
        if isinstance(request, TextRequest):
            raise InvalidInput(
                f"The model {request.model} answers chats: Anthropic's API does not continue texts. Send messages, or "
                "name another model.",
                param="model",
            )
        known = self._provider.models.get(model)
        return message_body(request, model, known.max_output_tokens if known is not None else None)

    def _asked(self, body: Mapping[str, Any], request: ModelRequest) -> "AbstractAsyncContextManager[httpx2.Response]":
        return asked(
            self._sdk,
            self._client,
            f"{self._base}{PATH}",
            json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace"),
            request=request,
            seconds=seconds_of(request, self._provider, self._timeout),
            judge=decode_anthropic_error,
            headers=SAMPLING_VERSION if body.keys() & {"temperature", "top_p"} else None,
        )


def _object(data: bytes, name: str) -> Mapping[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise unusable(name, "answered with something that is not JSON") from error
    if not isinstance(found, dict):
        raise unusable(name, "answered with JSON that is no object")
    return found
