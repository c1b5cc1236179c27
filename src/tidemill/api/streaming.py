"""Server-sent events, and requests whose client has gone."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

T = TypeVar("T")

UNWATCHED_SECONDS = 0.02
"""After which it is watched whether a client is still there: watching costs more than most answers that are quicker."""
PATIENCE_SECONDS = 1.0
"""After which a client is told that its model is being loaded."""
COMMENT_SECONDS = 5.0
"""Between two comments; proxies close a connection on which nothing comes for longer than a minute or so."""


class ClientGone(Exception):
    """The client closed its connection before the answer was ready; nobody reads what is sent now."""


class EventStream(Response):
    """Sends what a generator yields, and closes the generator as soon as the client is gone."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None], headers: dict[str, str] | None = None) -> None:
        self.body = b""
        self.status_code = 200
        self.background = None
        self._events = events
        self.init_headers({"cache-control": "no-store", "x-accel-buffering": "no", **(headers or {})})
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs the response to its end, or to its client's."""
        pump = asyncio.create_task(self._pump(send))
        gone = asyncio.create_task(_disconnected(receive))
        try:
            await asyncio.wait({pump, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            if not pump.done():
                pump.cancel()
            results = await asyncio.gather(pump, gone, return_exceptions=True)
        if isinstance(results[0], Exception) and not isinstance(results[0], OSError):
            raise results[0]

    async def _pump(self, send: Send) -> None:
        async with aclosing(self._events) as events:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async for event in events:
                await send({"type": "http.response.body", "body": event, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def while_connected(request: Request, work: Awaitable[T]) -> T:
    """The result of the work, which is cancelled when the client goes first.

    Raises:
        ClientGone: the client went first.
    """
    task = asyncio.ensure_future(work)
    gone: asyncio.Task[None] | None = None
    try:
        await asyncio.wait({task}, timeout=UNWATCHED_SECONDS)
        if not task.done():
            gone = asyncio.create_task(_disconnected(request.receive))
            await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        if gone is not None:
            gone.cancel()
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def begin(request: Request, items: AsyncIterator[T], *, may_wait: Callable[[], bool]) -> "asyncio.Task[T | None]":
    """The first item, in a task that is done; `None` where there is none. What it raises is raised here.

    Where it takes longer than a second and `may_wait` says so, the task is still at work: whoever gets it tells the
    client that there is something to wait for, and cancels it where the client goes.

    Raises:
        ClientGone: the client went first.
    """
    first = asyncio.ensure_future(_next(items))
    gone = asyncio.create_task(_disconnected(request.receive))
    try:
        while not first.done():
            await asyncio.wait({first, gone}, timeout=PATIENCE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if gone.done() and not first.done():
                raise ClientGone
            if not first.done() and may_wait():
                return first
        first.result()
    except BaseException:
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        raise
    finally:
        gone.cancel()
    return first


async def _next(items: AsyncIterator[T]) -> T | None:
    return await anext(items, None)


async def comments(first: "asyncio.Task[Any]", text: str) -> AsyncGenerator[bytes, None]:
    """A comment in the event stream at once and then every so often, until the first item is there."""
    while not first.done():
        yield f": {text}\n\n".encode()
        await asyncio.wait({first}, timeout=COMMENT_SECONDS)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
