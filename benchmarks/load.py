"""A load generator that costs little itself: raw sockets, one connection for each client, kept alive."""

import asyncio
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Sample:
    """What a run of requests took. Latencies in milliseconds."""

    p50: float
    p95: float
    per_second: float


def chat_request(url: str, key: str, model: str, *, text: str = "Say hello.", **options: object) -> bytes:
    """The bytes of one chat request."""
    return json_request(url, key, {"model": model, "messages": [{"role": "user", "content": text}], **options})


def json_request(url: str, key: str, fields: dict[str, object]) -> bytes:
    """The bytes of one request with a body in JSON."""
    body, address = json.dumps(fields).encode(), urlsplit(url)
    head = (
        f"POST {address.path} HTTP/1.1\r\nhost: {address.netloc}\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def measure(url: str, request: bytes | Callable[[int], bytes], *, clients: int, requests: int) -> Sample:
    """Sends that many requests over that many connections, each client one at a time.

    Where `request` is a function, it gives the bytes of each request by its number.
    """
    address = urlsplit(url)
    latencies: list[float] = []
    left = iter(range(requests))
    connections = [await asyncio.open_connection(address.hostname, address.port) for _ in range(clients)]

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for place in left:
            sent = request if isinstance(request, bytes) else request(place)
            started = time.perf_counter()
            writer.write(sent)
            await _response(reader)
            latencies.append((time.perf_counter() - started) * 1000)

    started = time.perf_counter()
    await asyncio.gather(*(client(*connection) for connection in connections))
    took = time.perf_counter() - started
    for _, writer in connections:
        writer.close()
    latencies.sort()
    return Sample(statistics.median(latencies), latencies[int(len(latencies) * 0.95)], requests / took)


async def _response(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head[9:12])
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), None)
    if length is None:
        message = f"a response without a length, status {status}"
        raise RuntimeError(message)
    body = await reader.readexactly(length)
    if status != 200:
        message = f"status {status}: {body[:300]!r}"
        raise RuntimeError(message)
    return body
