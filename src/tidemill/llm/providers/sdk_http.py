"""Asking through the clients of OpenAI and Anthropic, which have one build, and reading their answers as they came.

The clients know the address, the key and the headers; the answer's bytes go to our own decoders, so that fields that a
client does not know pass through, and no event is turned into an object twice.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tidemill.core.chat import ModelRequest
from tidemill.core.embedding import EmbeddingRequest
from tidemill.core.errors import TidemillError
from tidemill.core.provider import Provider
from tidemill.telemetry.request import outgoing_headers

if TYPE_CHECKING:
    import httpx2

CONNECT_SECONDS = 10.0
Judge = Callable[[bytes, int, str, Mapping[str, str]], TidemillError]
"""What an answer with an error status means: its body, the status, the model's name, and the headers."""


@asynccontextmanager
async def asked(
    sdk: ModuleType,
    client: Any,
    url: str,
    content: bytes,
    *,
    request: ModelRequest | EmbeddingRequest,
    seconds: float,
    judge: Judge,
    headers: Mapping[str, Any] | None = None,
) -> AsyncIterator["httpx2.Response"]:
    """An answer with status 200, its body unread; closing it stops the server.

    Args:
        sdk: `openai` or `anthropic`.
        client: its asynchronous one.
        url: the whole of it, since the client joins the parts of one dearly.
        content: the request's JSON.
        request: what is asked, for its name and its context.
        seconds: without anything happening after which it fails.
        judge: makes the error of an answer that is none.
        headers: besides the client's own.
    """
    import httpx2  # noqa: PLC0415 - loaded with the client, and not before

    try:
        answer: httpx2.Response = await client.post(
            url,
            cast_to=httpx2.Response,
            content=content,
            options={
                "headers": {"content-type": "application/json", **traced(request), **(headers or {})},
                "max_retries": 0,  # one place decides what follows a failure
                "timeout": httpx2.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS)),
            },
            stream=True,
            stream_cls=sdk.AsyncStream,
        )
    except sdk.APIStatusError as error:
        refusal: httpx2.Response = error.response
        raise judge(refusal.content, refusal.status_code, request.model, refusal.headers) from error
    try:
        yield answer
    finally:
        await answer.aclose()


def traced(request: ModelRequest | EmbeddingRequest) -> dict[str, str]:
    """The headers by which the provider's log and spans can be joined to ours."""
    name = request.context.request_id if request.context is not None else None
    return outgoing_headers() | ({} if name is None else {"x-request-id": name})


def seconds_of(request: ModelRequest | EmbeddingRequest, provider: Provider, usual: float) -> float:
    """Seconds that a try may take: what recovery says, else what the provider's row does, else what is usual."""
    attempt = request.context.attempt.timeout if request.context is not None else None
    return attempt or provider.timeout or usual
