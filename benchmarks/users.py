"""A hundred people at once for a minute, half of them streaming: errors, and what it does to the hub's memory."""

import asyncio
import itertools
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import psutil

from benchmarks.load import chat_request
from benchmarks.processes import free_port, hub, process

USERS = 100
SECONDS = float(os.environ.get("BENCH_SECONDS", "60"))
SETTLED = 0.25
"""The part of the time after which memory is first read: pools and caches are full by then."""
UPSTREAM_DELAY_MS = 200


@dataclass(slots=True)
class Seen:
    """What the users met. Latencies in seconds, memory in bytes."""

    latencies: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    resident: list[int] = field(default_factory=list)


def run() -> None:
    """Prints errors, requests per second, latencies, and the ratio of memory at the end to memory once settled."""
    port = free_port()
    upstream = f"http://127.0.0.1:{port}"
    settings = f"models:\n  default: scripted\n  endpoints:\n    scripted:\n      url: {upstream}/v1\n"
    command = ("-m", "tidemill.llm.scripted_server", "--port", str(port), "--delay-ms", str(UPSTREAM_DELAY_MS))
    with process(*command, ready=f"{upstream}/health"), hub(settings) as running:
        url = f"{running.url}/v1/chat/completions"
        both = [chat_request(url, running.key, "scripted", stream=stream) for stream in (False, True)]
        seen = asyncio.run(crowd(url, lambda user: itertools.repeat(both[user % 2]), psutil.Process(running.pid)))
    show("users", seen, f" (the upstream's own {UPSTREAM_DELAY_MS} ms in them)")


def show(name: str, seen: Seen, note: str = "") -> None:
    """Prints what the users met."""
    seen.latencies.sort()
    p50, p95 = (seen.latencies[int(len(seen.latencies) * part)] * 1000 for part in (0.5, 0.95))
    count = len(seen.latencies)
    print(f"{USERS} {name}, {SECONDS:.0f} s: {count} answers, {count / SECONDS:.0f}/s, {len(seen.errors)} errors")
    for error in sorted(set(seen.errors))[:5]:
        print(f"  {error}")
    print(f"{USERS} {name}: p50 {p50:.0f} ms, p95 {p95:.0f} ms{note}")
    settled, last = seen.resident[int(len(seen.resident) * SETTLED)] / 1e6, seen.resident[-1] / 1e6
    print(f"{USERS} {name}: {settled:.0f} MB once settled, {last:.0f} MB at the end: {last / settled:.3f}\n")


async def crowd(url: str, requests: Callable[[int], Iterator[bytes]], process: psutil.Process) -> Seen:
    """Everybody at once until the time is over, each one request after the other of those that `requests` gives."""
    seen = Seen()
    end = time.monotonic() + SECONDS
    users = [_user(url, requests(number), end, seen) for number in range(USERS)]
    await asyncio.gather(*users, _watch(process, end, seen))
    return seen


async def _watch(process: psutil.Process, end: float, seen: Seen) -> None:
    while time.monotonic() < end:
        seen.resident.append(process.memory_info().rss)
        await asyncio.sleep(0.5)


async def _user(url: str, requests: Iterator[bytes], end: float, seen: Seen) -> None:
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    while time.monotonic() < end:
        started = time.perf_counter()
        writer.write(next(requests))
        try:
            await _whole(reader)
        except (RuntimeError, OSError, asyncio.IncompleteReadError) as error:
            seen.errors.append(f"{type(error).__name__}: {error}")
            writer.close()
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            continue
        seen.latencies.append(time.perf_counter() - started)
    writer.close()


async def _whole(reader: asyncio.StreamReader) -> None:
    """Reads one response to its end, of a known length or in chunks. A stream that broke off is an error."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    body = b""
    if b"transfer-encoding: chunked" in head:
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
        if not body.endswith(b"data: [DONE]\n\n"):
            message = f"a stream ended with {body[-200:]!r}"
            raise RuntimeError(message)
    else:
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
        body = await reader.readexactly(length)
    if int(head[9:12]) != 200:
        message = f"status {int(head[9:12])}: {body[:200]!r}"
        raise RuntimeError(message)
