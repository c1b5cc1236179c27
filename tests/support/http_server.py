"""A small HTTP server on loopback, in the test's own loop, which answers as it is told and keeps what it was asked."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Seen:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Answer = Callable[[Seen], tuple[int, Any]]
"""The status and the body of the answer: JSON, or bytes as they are."""


@dataclass
class HttpServer:
    """What it was asked, and where it listens."""

    answer: Answer
    port: int = 0
    seen: list[Seen] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Its address, without a path."""
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            method, path, _ = head[0].split(" ")
            headers = {name.lower(): value for line in head[1:] if line for name, _, value in [line.partition(": ")]}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            self.seen.append(Seen(method, path, headers, body))
            status, said = self.answer(self.seen[-1])
            content = said if isinstance(said, bytes) else json.dumps(said).encode()
            writer.write(f"HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {len(content)}\r\n\r\n".encode())
            writer.write(content)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def http_server(answer: Answer) -> AsyncIterator[HttpServer]:
    """Runs it for the block."""
    server = HttpServer(answer)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
