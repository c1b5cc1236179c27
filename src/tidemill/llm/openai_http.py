"""The model port over HTTP: any server that speaks OpenAI's API, be it our own child process, vLLM or another hub."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

import httpx

from tidemill.core.chat import ChatChunk, ChatCompletion, ModelRequest, TextRequest
from tidemill.core.context import Priority
from tidemill.core.errors import Configuration, TidemillError
from tidemill.core.json import Json
from tidemill.llm.openai_wire import (
    decode_chunk,
    decode_completion,
    decode_error,
    encode_request,
    events,
    too_few_choices,
    wanted_choices,
)
from tidemill.llm.providers.failures import broken_off, transport_error_of, unusable
from tidemill.llm.text_wire import CHAT_PATH, TEXT_PATH
from tidemill.telemetry.request import outgoing_headers

log = logging.getLogger(__name__)

OK = 200
MAX_BODY_BYTES = 32_000_000
NO_ANSWER = (httpx.NetworkError, httpx.RemoteProtocolError)
"""The connection failed. Never a time-out: the server may still be at work on what it was asked."""
PAUSE_SECONDS = 0.2
"""Before the second try: a process that died has closed its connections a moment before its parent knows."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a model is served.

    Attributes:
        base_url: up to and including `/v1`.
        api_key: what the server asks of us, where it asks for one.
        model: the model's name there.
        options: fields that go into every request, such as which adapter to apply.
        local: whether it is a llama-server child of ours, which fills in before a suffix at `/infill`.
    """

    base_url: str
    api_key: str | None = field(repr=False)
    model: str
    options: Mapping[str, Json] = field(default_factory=dict)
    local: bool = False


class Serve(Protocol):
    """Names where a model is served."""

    def __call__(self, name: str, priority: Priority = Priority.INTERACTIVE, /) -> AbstractAsyncContextManager[Target]:
        """The target of a model's name, for as long as the block runs.

        A local model is started, and not ended within; who waits for one of its slots is let in by priority.
        """
        ...


class OpenAIHTTP:
    """Asks the server that `serve` names, through a client that the composition opens and closes.

    Where the connection fails before anything of the answer was passed on, it asks once more, after `serve` has named
    the server anew: an idle connection may be closed just as it is used, and a local model's process may have died,
    in which case `serve` waits for the next one.
    """

    def __init__(self, client: httpx.AsyncClient, serve: Serve) -> None:
        self._client = client
        self._serve = serve

    async def complete(self, request: ModelRequest) -> ChatCompletion:
        """The whole answer. See `ChatModel.complete` for the errors; also `Configuration` for a refused key."""
        try:
            try:
                status, body, headers = await self._whole(request)
            except NO_ANSWER as error:
                await _before_asking_again(request, error)
                status, body, headers = await self._whole(request)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise transport_error(error, request.model) from error
        if status != OK:
            raise decode_error(body, status, request.model, headers)
        return decode_completion(body, request)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ChatChunk, None]:
        """The answer as it is decoded. Closing the iterator closes the connection, which stops the decoding.

        An answer that ends without a finish reason was broken off, and raises `ModelFailed`.
        """
        finished: set[object] = set()
        begun = False
        try:
            try:
                async with aclosing(self._chunks(request, finished)) as chunks:
                    async for chunk in chunks:
                        begun = True
                        yield chunk
            except NO_ANSWER as error:
                if begun:
                    raise
                await _before_asking_again(request, error)
                async with aclosing(self._chunks(request, finished)) as chunks:
                    async for chunk in chunks:
                        yield chunk
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise transport_error(error, request.model) from error
        if not finished:
            raise broken_off(request.model)
        if len(finished) < wanted_choices(request):
            raise too_few_choices(request, len(finished))

    async def _whole(self, request: ModelRequest) -> tuple[int, bytes, httpx.Headers]:
        async with self._asked(request, stream=False) as answer:
            return answer.status_code, await whole_body(answer, request.model), answer.headers

    async def _chunks(self, request: ModelRequest, finished: set[object]) -> AsyncGenerator[ChatChunk, None]:
        """The chunks of one try; notes which choices came to their end."""
        async with self._asked(request, stream=True) as answer:
            if answer.status_code != OK:
                body = await whole_body(answer, request.model)
                raise decode_error(body, answer.status_code, request.model, answer.headers)
            async with aclosing(events(answer.aiter_bytes(), request.model)) as found:
                async for event in found:
                    chunk = decode_chunk(event, request)
                    finished |= {one.get("index", 0) for one in chunk.choices if one.get("finish_reason")}
                    yield chunk

    @asynccontextmanager
    async def _asked(self, request: ModelRequest, *, stream: bool) -> AsyncIterator[httpx.Response]:
        priority = request.context.priority if request.context is not None else Priority.INTERACTIVE
        async with self._serve(request.model, priority) as target:
            answer = await self._client.send(self._post(target, request, stream=stream), stream=True)
            try:
                yield answer
            finally:
                await answer.aclose()

    def _post(self, target: Target, request: ModelRequest, *, stream: bool) -> httpx.Request:
        headers = {"content-type": "application/json", **outgoing_headers()}
        if target.api_key is not None:
            headers["authorization"] = f"Bearer {target.api_key}"
        infill = target.local and isinstance(request, TextRequest) and request.suffix is not None
        return self._client.build_request(
            "POST",
            _url(target, request, infill=infill),
            content=encode_request(request, target.model, target.options, stream=stream, infill=infill),
            headers=headers,
        )


def _url(target: Target, request: ModelRequest, *, infill: bool) -> str:
    base = target.base_url.rstrip("/")
    if infill:
        return f"{base.removesuffix('/v1')}/infill"
    return f"{base}/{TEXT_PATH if isinstance(request, TextRequest) else CHAT_PATH}"


async def whole_body(answer: httpx.Response, name: str) -> bytes:
    """An answer's body.

    Raises:
        ModelFailed: it is longer than any model's answer.
    """
    parts: list[bytes] = []
    size = 0
    async for part in answer.aiter_bytes():
        parts.append(part)
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise unusable(name, f"answered with more than {MAX_BODY_BYTES:,} bytes")
    return b"".join(parts)


async def _before_asking_again(request: ModelRequest, error: Exception) -> None:
    log.info("The model %s did not answer (%s); it is asked once more.", request.model, type(error).__name__)
    await asyncio.sleep(PAUSE_SECONDS)


def transport_error(error: Exception, name: str) -> TidemillError:
    """What a failure below HTTP means."""
    if isinstance(error, (httpx.InvalidURL, httpx.UnsupportedProtocol)):
        return Configuration(f"The URL of the model {name} can't be used. Mend its `url` in the settings.")
    if (found := transport_error_of(error, name)) is not None:
        return found
    return unusable(name, f"answered with something unusable ({type(error).__name__})")
