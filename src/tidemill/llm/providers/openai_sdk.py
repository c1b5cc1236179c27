"""Providers with OpenAI's API, through the official client: OpenAI, Grok, OpenRouter, Ollama, vLLM, TGI and others."""

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tidemill.core.chat import ChatChunk, ChatCompletion, ModelRequest, TextRequest
from tidemill.core.embedding import EmbeddingRequest, Embeddings
from tidemill.core.json import JsonObject
from tidemill.core.provider import Provider, ProviderKind
from tidemill.llm.embeddings_http import decode_embeddings, shares
from tidemill.llm.openai_wire import (
    chunk_of,
    classify_error,
    completion_of,
    decode_error,
    encode_request,
    events,
    read_object,
)
from tidemill.llm.providers.answers import Source, model_there, unfiltered, with_ends
from tidemill.llm.providers.sdk_http import asked, seconds_of
from tidemill.llm.text_wire import CHAT_PATH, TEXT_PATH

if TYPE_CHECKING:
    import httpx2

MOST_TEXTS = 256
"""Texts in one request for embeddings, so that its answer stays far below the longest that is read."""
STRICT = (ProviderKind.OPENAI, ProviderKind.GROK)


class OpenAIModel:
    """One provider's models, with the port's shape.

    Args:
        provider: whose models they are.
        base_url: the one of its addresses that is asked, with its `/v1`.
        key: what it asks of us, where it asks for one.
        http: the client that reaches it.
        timeout: seconds that a request may take where nothing else is said.
    """

    def __init__(
        self, provider: Provider, base_url: str, key: str | None, http: "httpx2.AsyncClient", timeout: float
    ) -> None:
        import httpx2  # noqa: PLC0415 - what the client is built on
        import openai  # noqa: PLC0415 - heavy, and needed only where a provider of this kind is asked

        self.errors: tuple[type[Exception], ...] = (openai.OpenAIError, httpx2.HTTPError, httpx2.InvalidURL)
        self._sdk = openai
        self._client = openai.AsyncOpenAI(
            api_key=key or "none",
            base_url=base_url,
            max_retries=0,  # one place decides what follows a failure
            http_client=http,
        )
        if provider.kind is not ProviderKind.OPENAI:
            # taken from the environment, and OpenAI's own
            self._client.organization = self._client.project = None
        self._client._custom_headers = {}  # the environment's, which may hold another server's key
        self._base = base_url.rstrip("/")
        self._headers = {} if key else {"Authorization": openai.Omit()}
        self._provider = provider
        self._timeout = timeout

    async def complete(self, request: ModelRequest) -> ChatCompletion:
        """As the port says."""
        source = Source(self._provider, request)
        body = encode_request(self._plain(request), source.model, stream=False)
        async with self._asked(_path(request), body, request) as answer:
            data = await answer.aread()
        said = read_object(data, request.model)
        completion = unfiltered(completion_of(said, request), request.model)
        _check_errors(completion.choices, request.model)
        source.says(said.get("model"))
        return replace(completion, served=source.served)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ChatChunk, None]:
        """As the port says."""
        source = Source(self._provider, request)
        async with aclosing(with_ends(self._chunks(request, source), request, source)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        """The texts' vectors. The provider counts the tokens of many at once, which are shared out by length."""
        vectors: list[bytes] = []
        tokens: list[int] = []
        for start in range(0, len(request.texts), MOST_TEXTS):
            texts = request.texts[start : start + MOST_TEXTS]
            found, count = await self._embedded(request, texts)
            vectors += found
            tokens += shares(count, [len(text.encode("utf-8", "replace")) for text in texts])
        return Embeddings(vectors, tokens)

    async def _embedded(self, request: EmbeddingRequest, texts: Sequence[str]) -> tuple[list[bytes], int]:
        body: dict[str, Any] = {"model": model_there(self._provider, request.model), "input": list(texts)}
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        content = json.dumps({**body, "encoding_format": "base64"}, ensure_ascii=False).encode("utf-8", "replace")
        async with self._asked("/embeddings", content, request) as answer:
            data = await answer.aread()
        return decode_embeddings(data, len(texts), request.model)

    async def _chunks(self, request: ModelRequest, source: Source) -> AsyncGenerator[ChatChunk, None]:
        body = encode_request(self._plain(request), source.model, stream=True)
        async with (
            self._asked(_path(request), body, request) as answer,
            aclosing(events(answer.aiter_raw(), request.model)) as found,
        ):
            async for event in found:
                said = read_object(event, request.model)
                chunk = chunk_of(said, request)
                _check_errors(chunk.choices, request.model)
                source.says(said.get("model"))
                yield chunk

    def _plain(self, request: ModelRequest) -> ModelRequest:
        """The request without what another API wants back with a tool call, which this one would refuse."""
        if self._provider.kind not in STRICT or isinstance(request, TextRequest):
            return request
        return replace(request, messages=[_without_extra(message) for message in request.messages])

    def _asked(self, path: str, content: bytes, request: ModelRequest | EmbeddingRequest) -> Any:
        seconds = seconds_of(request, self._provider, self._timeout)
        return asked(
            self._sdk,
            self._client,
            f"{self._base}{path}",
            content,
            request=request,
            seconds=seconds,
            judge=decode_error,
            headers=self._headers,
        )


def _without_extra(message: JsonObject) -> JsonObject:
    calls = message.get("tool_calls")
    if not isinstance(calls, list) or not any(isinstance(call, dict) and "extra_content" in call for call in calls):
        return message
    plain: list[Any] = [{name: value for name, value in call.items() if name != "extra_content"} for call in calls]
    return {**message, "tool_calls": plain}


def _path(request: ModelRequest) -> str:
    return f"/{TEXT_PATH if isinstance(request, TextRequest) else CHAT_PATH}"


def _check_errors(choices: Any, name: str) -> None:
    """OpenRouter reports what failed behind it within a choice."""
    for choice in choices:
        if isinstance(choice.get("error"), Mapping):
            raise classify_error(choice, 500, name)
