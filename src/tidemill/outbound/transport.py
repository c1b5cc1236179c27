"""The transport of both HTTP libraries, over checked connections, for answers of limited size.

Asks for answers without compression and refuses others: a small answer could unpack to one that fills the memory.
"""

from collections.abc import AsyncIterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from tidemill.core.errors import ModelFailed

PLAIN = frozenset({"", "identity"})


class CheckedTransport:
    """What `httpx.AsyncBaseTransport` and `httpx2.AsyncBaseTransport` both ask of a transport.

    The libraries have the same shape under other names, so that one class serves both.

    Args:
        http: `httpx` or `httpx2`.
        core: `httpcore` or `httpcore2`, whichever the first builds on.
        pool: a connection pool of the second.
        stream: a class of answers' bodies that is also the first one's `AsyncByteStream`.
        max_bytes: a longer answer is broken off.
    """

    def __init__(self, http: ModuleType, core: ModuleType, pool: Any, stream: type["Body"], *, max_bytes: int) -> None:
        self._http = http
        self._core = core
        self._pool = pool
        self._stream = stream
        self._max_bytes = max_bytes

    async def handle_async_request(self, request: Any) -> Any:
        """Sends a request and returns the answer with its body unread.

        Raises:
            Refused: the host may not be asked.
            Unavailable: no address of the host can be found.
            ModelFailed: the answer is longer than `max_bytes` says it to be, or compressed.
        """
        request.headers["accept-encoding"] = "identity"
        with in_words_of(self._http, self._core):
            answer = await self._pool.handle_async_request(self._translated(request))
        body = self._stream(self._http, self._core, answer.stream, request.url.host, self._max_bytes)
        response = self._http.Response(answer.status, headers=answer.headers, stream=body, extensions=answer.extensions)
        try:
            body.check(response.headers)
        except ModelFailed:
            await body.aclose()
            raise
        return response

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._pool.aclose()

    def _translated(self, request: Any) -> Any:
        url = request.url
        return self._core.Request(
            method=request.method,
            url=self._core.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )


class Body:
    """An answer's body, which ends in an error where it grows too long."""

    def __init__(self, http: ModuleType, core: ModuleType, stream: Any, host: str, max_bytes: int) -> None:
        self._http = http
        self._core = core
        self._inner = stream
        self._host = host
        self._max_bytes = max_bytes

    def check(self, headers: Any) -> None:
        """Goes on only where the answer's head says nothing that rules its body out."""
        if headers.get("content-encoding", "").strip().lower() not in PLAIN:
            raise ModelFailed(f"The server {self._host} answered compressed, although it was asked not to.")
        length = headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length[:20]) > self._max_bytes:
            raise self._too_long()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The body's bytes."""
        count = 0
        with in_words_of(self._http, self._core):
            async for part in self._inner:
                count += len(part)
                if count > self._max_bytes:
                    raise self._too_long()
                yield part

    async def aclose(self) -> None:
        """Gives the connection back, or ends it where the body was not read to its end."""
        await self._inner.aclose()

    def _too_long(self) -> ModelFailed:
        return ModelFailed(f"The server {self._host} answered with more than {self._max_bytes:,} bytes.")


@contextmanager
def in_words_of(http: ModuleType, core: ModuleType) -> Any:
    """Within, the second library's errors become the first one's, which have the same names."""
    errors = (core.TimeoutException, core.NetworkError, core.ProtocolError, core.ProxyError, core.UnsupportedProtocol)
    try:
        yield
    except errors as error:
        raise getattr(http, type(error).__name__)(str(error)) from error
