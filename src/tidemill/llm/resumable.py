"""Fetches one file over HTTP, and goes on where a broken download stopped."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import httpx

from tidemill.core.errors import Unavailable
from tidemill.llm.disk import require_space

MAX_BREAKS = 5
"""Breaks in a row without a byte of progress, or anything the server says no to, end the download."""
BACKOFF_SECONDS = 0.25
MAX_BACKOFF_SECONDS = 5.0
SILENCE_SECONDS = 60.0
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)

Advance = Callable[[int], None]
"""Is told how many bytes of the file are there."""


def download_client() -> httpx.AsyncClient:
    """A client that follows redirects and takes proxies and certificates from the environment."""
    return httpx.AsyncClient(follow_redirects=True, timeout=httpx.Timeout(SILENCE_SECONDS, connect=20.0))


async def fetch(client: httpx.AsyncClient, url: str, path: Path, advance: Advance, *, limit: int) -> None:
    """Fetches `url` into `path`, from the byte at which an earlier try stopped if the server lets it.

    Args:
        client: from `download_client`.
        url: what to fetch.
        path: where to; bytes that are there already are taken for the file's first ones.
        advance: called as bytes come.
        limit: bytes that the file may have at most.

    Raises:
        Unavailable: the server can't be reached, says no, sends too much, or breaks off again and again.
        Configuration: the disk has no room.
        OSError: the file can't be written.
    """
    breaks = 0
    while True:
        before = _size(path)
        try:
            await _once(client, url, path, advance, limit)
        except (httpx.HTTPError, httpx.InvalidURL, _Broken) as error:
            after = _size(path)
            breaks = 0 if after > before else breaks + 1
            hopeless = after == 0 and not isinstance(error, _Broken | httpx.ReadError | httpx.RemoteProtocolError)
            if hopeless or breaks >= MAX_BREAKS:
                raise Unavailable(f"{host_of(url)}: {reason(error)}") from error
            await asyncio.sleep(min(BACKOFF_SECONDS * 2**breaks, MAX_BACKOFF_SECONDS))
        else:
            return


def host_of(url: str) -> str:
    """The part of a URL that a person needs to know whom it is about; never its user or password."""
    return httpx.URL(url).host


class _Broken(Exception):
    """The answer ended before its end, or the server had a bad moment; going on may work."""


async def _once(client: httpx.AsyncClient, url: str, path: Path, advance: Advance, limit: int) -> None:
    offset = _size(path)
    headers = {"accept-encoding": "identity"}
    if offset:
        headers["range"] = f"bytes={offset}-"
    async with client.stream("GET", url, headers=headers) as answer:
        if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and offset:
            if _total(answer) == offset:
                return
            _discard(path)
            raise _Broken("the file there is another one")
        if answer.status_code in TRANSIENT:
            raise _Broken(f"answered {answer.status_code}")
        if answer.status_code not in {httpx.codes.OK, httpx.codes.PARTIAL_CONTENT}:
            raise Unavailable(f"{host_of(url)}: answered {answer.status_code} for {httpx.URL(url).path}")
        start = _start(answer)
        if start not in {0, offset}:
            _discard(path)
            raise _Broken("answered with another range than asked for")
        length = answer.headers.get("content-length", "")
        expected = start + int(length) if length.isdigit() else None
        if expected is not None:
            if expected > limit:
                raise Unavailable(f"{host_of(url)}: {expected} bytes are too many for this file")
            require_space(path.parent, expected - start)
        await _write(answer, path, start, advance, limit)
    if expected is not None and _size(path) != expected:
        raise _Broken("the answer ended too early")


async def _write(answer: httpx.Response, path: Path, start: int, advance: Advance, limit: int) -> None:
    mode = "r+b" if start else "wb"
    with path.open(mode) as file:
        file.seek(start)
        file.truncate()
        done = start
        async for data in answer.aiter_raw():
            done += len(data)
            if done > limit:
                raise Unavailable(f"{answer.url.host}: sends more than this file's {limit} bytes")
            file.write(data)
            advance(done)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _discard(path: Path) -> None:
    path.unlink(missing_ok=True)


def _start(answer: httpx.Response) -> int:
    """The offset of the answer's first byte; a server that ignores ranges answers 200 from the beginning."""
    if answer.status_code != httpx.codes.PARTIAL_CONTENT:
        return 0
    found = re.match(r"bytes (\d+)-", answer.headers.get("content-range", ""))
    return int(found[1]) if found else -1


def _total(answer: httpx.Response) -> int | None:
    found = re.search(r"/(\d+)$", answer.headers.get("content-range", ""))
    return int(found[1]) if found else None


def reason(error: Exception) -> str:
    """Why an address gave nothing, in a few words."""
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    if isinstance(error, httpx.ConnectError):
        return f"can't be reached ({str(error) or 'no connection'})"
    return str(error) or "the connection broke"
