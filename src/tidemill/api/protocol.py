"""uvicorn's HTTP, with one system call for the head of a response and the body that comes right after it.

uvicorn writes both apart, and the event loop sends what is written at once: twice the work here, and a client that is
woken twice.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD = b"HTTP/1.1 "
"""How the head of a response begins."""
TOGETHER = 65_536
"""Bytes of a body up to which a copy of it costs less than a system call."""


class HeadWithBody(asyncio.Transport):
    """Holds a head until the body's first bytes come, or until the event loop's next turn. All else goes on at once."""

    def __init__(self, inner: asyncio.Transport) -> None:
        super().__init__()
        self._inner = inner
        self._head = b""
        self._later: asyncio.Handle | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Sends bytes, those of a head a moment later."""
        if self._head and len(data) <= TOGETHER:
            self._inner.write(self._taken() + data)
        elif self._head:
            self._flush()
            self._inner.write(data)
        elif bytes(data[: len(HEAD)]) == HEAD:
            self._head = bytes(data)
            self._later = asyncio.get_running_loop().call_soon(self._flush)
        else:
            self._inner.write(data)

    def close(self) -> None:
        """Closes the connection when all is sent."""
        self._flush()
        self._inner.close()

    def abort(self) -> None:
        """Closes it at once."""
        self._taken()
        self._inner.abort()

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._inner.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What is known of the connection."""
        return self._inner.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Takes in nothing more for now."""
        self._inner.pause_reading()

    def resume_reading(self) -> None:
        """Takes in what comes."""
        self._inner.resume_reading()

    def _flush(self) -> None:
        head = self._taken()
        if head and not self._inner.is_closing():
            self._inner.write(head)

    def _taken(self) -> bytes:
        head, self._head = self._head, b""
        if self._later is not None:
            self._later.cancel()
            self._later = None
        return head


class Protocol(HttpToolsProtocol):
    """One connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins it."""
        super().connection_made(HeadWithBody(transport))
