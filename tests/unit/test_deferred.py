"""What is written a moment later is written in order, and whoever waits for it waits for no more than that."""

import asyncio
from collections.abc import Sequence

import pytest

from tidemill.store.deferred import Deferred
from tidemill.telemetry.request import current_request_id, on_behalf_of

NEVER = 1000.0
"""Seconds that no test waits: a group is written because somebody asks for it."""


class Rows:
    """Writes a group when the test lets it."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.free = asyncio.Semaphore(0)

    async def write(self, group: Sequence[int]) -> None:
        await self.free.acquire()
        self.groups.append([*group])


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_comes_within_a_moment_is_written_together() -> None:
    rows = Rows()
    deferred = Deferred(rows.write, most=10, seconds=0.0)
    for item in range(3):
        await deferred.add(item)
    rows.free.release()
    assert await deferred.written()
    assert rows.groups == [[0, 1, 2]]
    assert not await deferred.written()


async def test_who_waits_does_not_wait_for_what_others_bring_meanwhile() -> None:
    rows = Rows()
    deferred = Deferred(rows.write, most=10, seconds=NEVER)
    await deferred.add(0)
    waiting = asyncio.create_task(deferred.written())
    await turns()
    await deferred.add(1)
    rows.free.release()
    assert await waiting
    assert rows.groups == [[0]]
    rows.free.release()
    assert await deferred.written()
    assert rows.groups == [[0], [1]]


async def test_who_waits_while_a_group_is_written_waits_for_the_next_one_as_well() -> None:
    rows = Rows()
    deferred = Deferred(rows.write, most=10, seconds=NEVER)
    await deferred.add(0)
    first = asyncio.create_task(deferred.written())
    await turns()
    await deferred.add(1)
    second = asyncio.create_task(deferred.written())
    rows.free.release()
    await first
    await turns()
    assert not second.done()
    rows.free.release()
    assert await second
    assert rows.groups == [[0], [1]]


async def test_who_brings_more_than_may_wait_waits_for_the_writer() -> None:
    rows = Rows()
    deferred = Deferred(rows.write, most=1, seconds=NEVER)
    await deferred.add(0)
    over = asyncio.create_task(deferred.add(1))
    await turns()
    assert not over.done()
    rows.free.release()
    await over
    assert rows.groups == [[0, 1]]


async def test_a_group_that_can_not_be_written_takes_none_after_it_along() -> None:
    written: list[int] = []

    async def write(group: Sequence[int]) -> None:
        if 0 in group:
            raise ValueError("nobody writes this")
        written.extend(group)

    deferred = Deferred(write, most=10, seconds=NEVER)
    await deferred.add(0)
    with pytest.raises(ValueError, match="nobody writes this"):
        await deferred.written()
    await deferred.add(1)
    assert await deferred.written()
    assert written == [1]


async def test_a_group_is_written_on_behalf_of_none_of_the_requests_in_it() -> None:
    asked_by: list[str | None] = []

    async def write(group: Sequence[int]) -> None:
        asked_by.append(current_request_id())

    deferred = Deferred(write, most=10, seconds=NEVER)
    with on_behalf_of("the first"):
        await deferred.add(0)
    with on_behalf_of("the second"):
        await deferred.add(1)
        await deferred.written()
    assert asked_by == [None]
