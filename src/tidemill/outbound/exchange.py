"""One connection, and the exchanges over it: a request at a time in HTTP/1.1 (RFC 9112).

The request goes out in one write and llhttp reads the answer; decision 011 says what that saves. What goes wrong
is told in the words of the caller's HTTP library, `httpx` or `httpx2`.
"""

import asyncio
import re
import select
from collections.abc import Sequence
from types import ModuleType
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

LONGEST_HEAD = 100 * 1024
"""Bytes of an answer that come without any of its body in them, as its head does."""
MOST_UNREAD = 256 * 1024
"""Bytes of a body that wait for whoever reads it before the server has to wait."""
ONE_WRITE = 64 * 1024
"""A longer body is not copied to stand behind its head."""
NO_NAME = re.compile(rb"[^-!#$%&'*+.^_`|~0-9A-Za-z]")
NO_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
NO_TARGET = re.compile(rb"[^\x21-\x7e]")
OWN = frozenset({b"content-length", b"transfer-encoding", b"accept-encoding"})
"""Headers that follow from the body and from what is read here, whatever a caller has set."""

Headers = Sequence[tuple[bytes, bytes]]


class Exchange(asyncio.Protocol):
    """A connection.

    Args:
        http: `httpx` or `httpx2`, whose errors are raised.
    """

    def __init__(self, http: ModuleType) -> None:
        self._http = http
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser: HttpResponseParser | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._lost: bool = False
        self._cause: Exception | None = None
        self._full = False
        self._begin(b"")

    def _begin(self, method: bytes) -> None:
        self._method = method
        self._parts: list[bytes] = []
        self._unread = 0
        self._idle_bytes = 0
        self._fault: str | None = None
        self._ends_with_connection = False
        self._keeps = False
        self._has_head = False
        self._complete = False
        self.status = 0
        self.reason = b""
        self.headers: list[tuple[bytes, bytes]] = []

    @property
    def usable(self) -> bool:
        """Whether another request may go over a connection that waits for one: nothing has come, not even its end."""
        if self._lost or self._transport is None or self._transport.is_closing():
            return False
        socket = self._transport.get_extra_info("socket")
        poll = select.poll()
        poll.register(socket.fileno(), select.POLLIN)
        return not poll.poll(0)

    @property
    def version(self) -> bytes:
        """Of HTTP, as the server has it."""
        return b"HTTP/1.1" if self._parser is None else b"HTTP/" + self._parser.get_http_version().encode()

    async def ask(self, head: bytes, body: bytes, *, method: bytes, write: float | None, read: float | None) -> None:
        """Sends a request and waits for the head of its answer: `status`, `reason` and `headers`.

        Args:
            head: up to and including the empty line.
            body: the whole of it.
            method: of the request.
            write: seconds without any of the request being taken after which it fails.
            read: seconds without anything coming after which it fails.
        """
        self._begin(method)
        self._parser = HttpResponseParser(self)
        transport = cast(asyncio.Transport, self._transport)
        if len(body) <= ONE_WRITE:
            transport.write(head + body)
        else:
            transport.writelines((head, body))
        while self._full and not self._has_head and not self._over:
            await self._changed(write, "WriteTimeout")
        while not self._has_head:
            self._check()
            await self._changed(read, "ReadTimeout")

    def take(self) -> bytes:
        """What of the body has come and was not taken yet; nothing where that is nothing."""
        parts = self._parts
        if not parts:
            return b""
        found = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        if self._unread > MOST_UNREAD and not self._lost:
            cast(asyncio.Transport, self._transport).resume_reading()
        self._unread = 0
        return found

    async def more(self, read: float | None) -> bool:
        """Waits until there is more to take; false where the body is at its end."""
        while not self._parts:
            if self._complete:
                return False
            self._check()
            await self._changed(read, "ReadTimeout")
        return True

    def finish(self) -> bool:
        """Ends the exchange; whether the connection can take another request. It is closed where it can't."""
        self._parser = None
        sent = not self._lost and cast(asyncio.Transport, self._transport).get_write_buffer_size() == 0
        if self._complete and self._keeps and self._fault is None and not self._parts and sent:
            return True
        self.close()
        return False

    def close(self) -> None:
        """Closes the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Bytes came. Such as nobody has asked for end the connection: they could pass for the next answer."""
        if self._parser is None:
            self.close()
            return
        self._idle_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._fault = self._fault or f"The server's answer is no HTTP/1.1 ({error})."
        if self._idle_bytes > LONGEST_HEAD + len(data):
            self._fault = self._fault or "The head of the server's answer is too long."
        if self._fault is not None:
            self.close()
        self._wake()

    def eof_received(self) -> None:
        """The server sends nothing more, and asyncio closes the connection."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is no more."""
        self._lost, self._cause = True, exc
        if self._ends_with_connection and exc is None and self._fault is None:
            self._complete = True
        self._wake()

    def pause_writing(self) -> None:
        """The server takes no more for now."""
        self._full = True

    def resume_writing(self) -> None:
        """The server takes more."""
        self._full = False
        self._wake()

    def on_message_begin(self) -> None:
        """The first byte of an answer, of which the rest may come only after the next request."""
        if self._has_head:
            self._fault = self._fault or "The server answered a second time."

    def on_status(self, status: bytes) -> None:
        """A piece of the reason phrase."""
        self.reason += status

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer, which nobody reads."""
        if not self._has_head:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is there; one that only announces another is forgotten."""
        parser = cast(HttpResponseParser, self._parser)
        if self._has_head:
            self._fault = self._fault or "The server answered a second time."
            return
        status = parser.get_status_code()
        if status < 200:
            self._fault = self._fault or (None if status != 101 else "The server wants to speak another protocol.")
            self.reason, self.headers = b"", []
            return
        coding = [value for name, value in self.headers if name.lower() == b"transfer-encoding"]
        if coding and [value.lower() for value in coding] != [b"chunked"]:
            self._fault = self._fault or "The server's answer is coded in an unknown way."
            return
        has_length = any(name.lower() == b"content-length" for name, _ in self.headers)
        self.status = status
        self._keeps = parser.should_keep_alive()
        self._ends_with_connection = not coding and not has_length
        self._has_head = True
        if self._method == b"HEAD":
            self._complete, self._keeps = True, False

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if self._complete or self._fault is not None:
            return
        self._idle_bytes = 0
        self._parts.append(body)
        before, self._unread = self._unread, self._unread + len(body)
        if before <= MOST_UNREAD < self._unread:
            cast(asyncio.Transport, self._transport).pause_reading()

    def on_message_complete(self) -> None:
        """The answer is at its end."""
        if self._has_head:
            self._complete = True

    @property
    def _over(self) -> bool:
        return self._lost or self._fault is not None

    def _check(self) -> None:
        """Goes on only where more may come."""
        if self._fault is not None:
            raise self._http.RemoteProtocolError(self._fault)
        if self._lost and self._cause is not None:
            raise self._http.ReadError(str(self._cause)) from self._cause
        if self._lost:
            what = "in the middle of its answer" if self._has_head else "without an answer"
            raise self._http.RemoteProtocolError(f"The server closed the connection {what}.")

    async def _changed(self, seconds: float | None, late: str) -> None:
        """Waits until something happens.

        Args:
            seconds: after which it fails.
            late: the name of the error for that.
        """
        waiter = self._waiter = self._loop.create_future()
        timer = None if seconds is None else self._loop.call_later(seconds, self._wake, late)
        try:
            await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def _wake(self, late: str | None = None) -> None:
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        if late is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(getattr(self._http, late)("The server let the time pass."))


def head_of(http: ModuleType, method: bytes, target: bytes, headers: Headers, body: bytes) -> bytes:
    """A request's head.

    Raises:
        LocalProtocolError: of `http`: something in it could end a line.
    """
    kept = [(name, value) for name, value in headers if name.lower() not in OWN]
    names, values = zip(*kept, strict=True) if kept else ((), ())
    bad = NO_NAME.search(b"".join((method, *names))) or NO_VALUE.search(b"".join(values)) or NO_TARGET.search(target)
    if bad or b"" in names or not method or not target:
        raise http.LocalProtocolError("A header, the method or the path of a request has a letter that may not be.")
    lines = [b"%b: %b\r\n" % pair for pair in kept]
    length = b"content-length: %d\r\n" % len(body) if body or method in (b"POST", b"PUT", b"PATCH") else b""
    return b"".join((method, b" ", target, b" HTTP/1.1\r\n", *lines, b"accept-encoding: identity\r\n", length, b"\r\n"))
