"""Google Gemini's models through the official client."""

import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Any

from tidemill.core.chat import ChatChunk, ChatCompletion, ChatRequest, ModelRequest, Usage
from tidemill.core.embedding import EmbeddingRequest, Embeddings, TextKind, unit_vector
from tidemill.core.errors import InvalidInput
from tidemill.core.provider import Provider
from tidemill.llm.embeddings_http import shares
from tidemill.llm.providers.answers import Source, model_there, unfiltered, with_ends
from tidemill.llm.providers.failures import unusable
from tidemill.llm.providers.gemini_wire import Candidate, config_of, contents_of, decode_usage, gemini_error
from tidemill.llm.providers.sdk_http import seconds_of, traced

if TYPE_CHECKING:
    import httpx2

VERSION = "v1beta"
MOST_TEXTS = 100
"""Texts in one `batchEmbedContents`."""
TASKS = {TextKind.QUERY: "RETRIEVAL_QUERY", TextKind.PASSAGE: "RETRIEVAL_DOCUMENT"}
WITHOUT_TASKS = "gemini-embedding-2"
"""Models of this name and its like are told what a text is for in the text."""


class GeminiModel:
    """One provider's models, with the port's shape.

    Args:
        provider: whose models they are.
        base_url: the one of its addresses that is asked; a `/v1beta` at its end is the API's own.
        key: what it asks of us.
        http: the client that reaches it.
        timeout: seconds that a request may take where nothing else is said.
    """

    def __init__(
        self, provider: Provider, base_url: str, key: str | None, http: "httpx2.AsyncClient", timeout: float
    ) -> None:
        import httpx2  # noqa: PLC0415 - what the client is built on
        from google import genai  # noqa: PLC0415 - heavy, and needed only where a provider of this kind is asked
        from google.genai import errors  # noqa: PLC0415

        self.errors: tuple[type[Exception], ...] = (
            httpx2.HTTPError,
            httpx2.InvalidURL,
            errors.UnknownApiResponseError,
            ValueError,  # JSON that ends too early, and pydantic's errors
        )
        self._refusal = errors.APIError
        address = base_url.rstrip("/").removesuffix(f"/{VERSION}")
        options: Any = {"base_url": address, "api_version": VERSION, "httpx_async_client": http}
        self._models: Any = genai.Client(api_key=key, vertexai=False, http_options=options).aio.models
        self._provider = provider
        self._timeout = timeout

    async def complete(self, request: ModelRequest) -> ChatCompletion:
        """As the port says."""
        source, chat = Source(self._provider, request), _chat(request)
        config = {**config_of(chat), **self._http(request), "should_return_http_response": True}
        with self._refusals(request.model):
            found = await self._models.generate_content(
                model=source.model, contents=contents_of(chat, source.model), config=config
            )
        answer = _object(found.sdk_http_response.body, request.model)
        source.says(answer.get("modelVersion"))
        choices = Candidate(request.model).choices(answer, "message")
        completion = ChatCompletion(choices, decode_usage(answer) or Usage(), source.served)
        return unfiltered(completion, request.model)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ChatChunk, None]:
        """As the port says."""
        source = Source(self._provider, request)
        async with aclosing(with_ends(self._chunks(request, source), request, source)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        """The texts' vectors, brought to unit length. Tokens that the API does not count are 0."""
        config: dict[str, Any] = self._http(request)
        model = model_there(self._provider, request.model)
        if request.dimensions is not None:
            config["output_dimensionality"] = request.dimensions
        if not model.startswith(WITHOUT_TASKS):
            config["task_type"] = TASKS[request.kind]
        vectors: list[bytes] = []
        tokens: list[int] = []
        for start in range(0, len(request.texts), MOST_TEXTS):
            texts = request.texts[start : start + MOST_TEXTS]
            contents = [{"parts": [{"text": text}]} for text in texts]
            with self._refusals(request.model):
                found = await self._models.embed_content(model=model, contents=contents, config=config)
            came = [one.values for one in found.embeddings or () if one.values]
            if len(came) != len(texts):
                raise unusable(request.model, f"gave {len(came)} vectors for {len(texts)} texts")
            vectors += [unit_vector(values, request.model) for values in came]
            counted = found.usage_metadata.prompt_token_count if found.usage_metadata else None
            tokens += shares(counted or 0, [len(text.encode("utf-8", "replace")) for text in texts])
        return Embeddings(vectors, tokens)

    async def _chunks(self, request: ModelRequest, source: Source) -> AsyncGenerator[ChatChunk, None]:
        chat, candidate = _chat(request), Candidate(request.model)
        config = {**config_of(chat), **self._http(request)}
        with self._refusals(request.model):
            found = await self._models.generate_content_stream(
                model=source.model, contents=contents_of(chat, source.model), config=config
            )
            async with aclosing(found) as events:
                async for event in events:
                    answer = event.model_dump(mode="json", by_alias=True, exclude_none=True)
                    source.says(answer.get("modelVersion"))
                    yield ChatChunk(candidate.choices(answer, "delta"), decode_usage(answer))

    @contextmanager
    def _refusals(self, name: str) -> Iterator[None]:
        try:
            yield
        except self._refusal as error:
            headers = getattr(error.response, "headers", None)
            raise gemini_error(error.details, error.code or 200, name, headers) from error

    def _http(self, request: ModelRequest | EmbeddingRequest) -> dict[str, Any]:
        """The SDK counts milliseconds."""
        seconds = seconds_of(request, self._provider, self._timeout)
        return {"http_options": {"timeout": max(1, round(seconds * 1000)), "headers": traced(request)}}


def _chat(request: ModelRequest) -> ChatRequest:
    if isinstance(request, ChatRequest):
        return request
    raise InvalidInput(
        f"The model {request.model} answers chats: Gemini's API does not continue texts. Send messages, or name "
        "another model.",
        param="model",
    )


def _object(body: str | None, name: str) -> dict[str, Any]:
    try:
        found = json.loads(body or "")
    except (ValueError, RecursionError) as error:
        raise unusable(name, "answered with something that is not JSON") from error
    if not isinstance(found, dict):
        raise unusable(name, "answered with JSON that is no object")
    return found
