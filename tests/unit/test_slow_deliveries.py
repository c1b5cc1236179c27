"""Large deliveries, of which nobody knows the sender before they have come."""

import asyncio
import io
from collections.abc import Coroutine, Sequence

import pytest
from starlette.requests import Request
from starlette.types import Message

from tidemill.api import webhooks
from tidemill.core.errors import InvalidInput, TooManyRequests

PART = b"x" * 300_000


def sent(parts: Sequence[bytes], *, hangs: bool) -> Request:
    """A request whose body comes in parts, and then ends or hangs."""
    waiting = list(parts)

    async def receive() -> Message:
        if not waiting and hangs:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": waiting.pop(0) if waiting else b"", "more_body": bool(waiting) or hangs}

    return Request({"type": "http", "method": "POST", "headers": []}, receive)


async def test_slow_strangers_are_let_go_and_shut_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "GRACE_SECONDS", 0.2)
    monkeypatch.setattr(webhooks, "PACE", 100_000_000)
    arriving = asyncio.Semaphore(5)
    async with asyncio.TaskGroup() as group:
        slow = [
            group.create_task(_outcome(webhooks._receive(sent([PART] * 4, hangs=True), io.BytesIO(), arriving)))
            for _ in range(4)
        ]
        await asyncio.sleep(0)
        body = io.BytesIO()
        assert await webhooks._receive(sent([PART] * 8, hangs=False), body, arriving) == len(PART) * 8
    assert body.getvalue() == PART * 8
    assert {type(task.result()) for task in slow} == {InvalidInput}
    assert not arriving.locked()


async def test_no_more_than_so_many_large_ones_come_in_at_once() -> None:
    full = asyncio.Semaphore(0)
    with pytest.raises(TooManyRequests):
        await webhooks._receive(sent([PART] * 4, hangs=False), io.BytesIO(), full)
    assert await webhooks._receive(sent([PART] * 3, hangs=False), io.BytesIO(), full) == len(PART) * 3


async def _outcome(work: Coroutine[object, object, int]) -> object:
    try:
        return await work
    except (InvalidInput, TooManyRequests) as error:
        return error
