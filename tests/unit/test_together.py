"""Work that is done at once, and stopped at once."""

import asyncio

import pytest

from tidemill.review.engines.together import together


async def test_what_is_being_stopped_is_let_tidy_up() -> None:
    tidied = []

    async def at_once() -> None:
        await asyncio.sleep(60)

    async def slowly() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)
            tidied.append(True)

    work = asyncio.ensure_future(together([at_once(), slowly(), together([at_once(), slowly()])]))
    await asyncio.sleep(0.01)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert tidied == [True, True]


async def test_what_one_raises_stops_the_others() -> None:
    stopped = []

    async def fail() -> None:
        raise ValueError("odd")

    async def wait() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            stopped.append(True)

    with pytest.raises(ValueError, match="odd"):
        await together([wait(), fail()])
    assert stopped == [True]
