"""The transport of both HTTP libraries, over checked connections, for answers of limited size.

Asks for answers without compression and refuses others: a small answer could unpack to one that fills the memory.
"""

from collections.abc import AsyncIterator
from types import ModuleType
from typing import Any

from tidemill.core.errors import ModelFailed
from tidemill.outbound.connecting import Origin
from tidemill.outbound.exchange import Exchange, head_of
from tidemill.outbound.pool import Pool

PLAIN = frozenset({b"", b"identity"})
PORTS = {"http": 80, "https": 443}


class CheckedTransport:
    """What `httpx.AsyncBaseTransport` and `httpx2.AsyncBaseTransport` both ask of a transport.

    The libraries have the same shape under other names, so that one class serves both.

    Args:
        http: `httpx` or `httpx2`.
        pool: connections that raise its errors.
        stream: a class of answers' bodies that is also its `AsyncByteStream`.
        max_bytes: a longer answer is broken off.
    """

    def __init__(self, http: ModuleType, pool: Pool, stream: type["Body"], *, max_bytes: int) -> None:
        self._http = http
        self._pool = pool
        self._stream = stream
        self._max_bytes = max_bytes

    async def handle_async_request(self, request: Any) -> Any:
        """Sends a request and returns the answer with its body unread.

        A body that is a stream is read to its end before anything is sent.

        Raises:
            Refused: the host may not be asked.
            Unavailable: no address of the host can be found.
            ModelFailed: the answer is longer than `max_bytes` says it to be, or compressed.
        """
        url, method = request.url, request.method.encode("ascii", "replace")
        if url.scheme not in PORTS:
            raise self._http.UnsupportedProtocol("An address begins with http:// or https://. This one does not.")
        body = await request.aread()
        head = head_of(self._http, method, url.raw_path, request.headers.raw, body)
        origin = Origin(url.raw_host.decode("ascii"), url.port or PORTS[url.scheme], url.scheme == "https")
        limits = request.extensions.get("timeout", {})
        read = limits.get("read")
        exchange = await self._pool.take(origin, limits.get("connect"))
        answer = self._stream(exchange, self._pool, origin, read, self._max_bytes)
        try:
            await exchange.ask(head, body, method=method, write=limits.get("write"), read=read)
            answer.check(exchange.headers)
        except BaseException:
            await answer.aclose()
            raise
        extensions = {"http_version": exchange.version, "reason_phrase": exchange.reason}
        return self._http.Response(exchange.status, headers=exchange.headers, stream=answer, extensions=extensions)

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._pool.aclose()


class Body:
    """An answer's body, which ends in an error where it grows too long."""

    def __init__(self, exchange: Exchange, pool: Pool, origin: Origin, read: float | None, max_bytes: int) -> None:
        self._exchange: Exchange | None = exchange
        self._pool = pool
        self._origin = origin
        self._read = read
        self._max_bytes = max_bytes

    def check(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Goes on only where the answer's head says nothing that rules its body out."""
        for name, value in headers:
            match name.lower():
                case b"content-encoding" if value.strip().lower() not in PLAIN:
                    host = self._origin.host
                    raise ModelFailed(f"The server {host} answered compressed, although it was asked not to.")
                case b"content-length" if int(value) > self._max_bytes:
                    raise self._too_long()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The body's bytes."""
        count = 0
        while (exchange := self._exchange) is not None:
            part = exchange.take()
            count += len(part)
            if count > self._max_bytes:
                raise self._too_long()
            if part:
                yield part
            elif not await exchange.more(self._read):
                return

    async def aclose(self) -> None:
        """Gives the connection back, or ends it where the body was not read to its end."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            self._pool.give_back(self._origin, exchange)

    def _too_long(self) -> ModelFailed:
        return ModelFailed(f"The server {self._origin.host} answered with more than {self._max_bytes:,} bytes.")
