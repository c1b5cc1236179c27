"""A stream that falls silent is ended, and nothing else is."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from tidemill.llm.providers.silence import Silence


async def pieces(*waits: float) -> AsyncGenerator[int, None]:
    for number, seconds in enumerate(waits):
        await asyncio.sleep(seconds)
        yield number


async def read(stream: AsyncGenerator[int, None], silence: Silence, pause: float = 0.0) -> list[int]:
    found = []
    while (piece := await silence.next_of(stream)) is not None:
        found.append(piece)
        await asyncio.sleep(pause)
    return found


async def test_a_stream_that_goes_on_is_read_to_its_end_however_long_it_takes() -> None:
    silence = Silence(0.2)
    assert await read(pieces(*[0.03] * 12), silence) == list(range(12))
    silence.end()


async def test_the_time_that_the_reader_takes_does_not_count() -> None:
    silence = Silence(0.2)
    assert await read(pieces(0, 0, 0), silence, pause=0.3) == [0, 1, 2]
    silence.end()


@pytest.mark.parametrize("pause", [0.0, 0.08])
async def test_a_stream_that_falls_silent_ends_in_a_timeout_and_its_reader_goes_on(pause: float) -> None:
    silence = Silence(0.05)
    stream = pieces(0, 0, 60)
    with pytest.raises(TimeoutError):
        await read(stream, silence, pause=pause)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    assert await anext(stream, None) is None  # the stream was told, and has ended
    silence.end()


async def test_who_gives_up_on_a_stream_is_not_told_that_it_was_late() -> None:
    silence = Silence(60)
    reading = asyncio.create_task(read(pieces(60), silence))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    silence.end()


async def test_an_error_of_the_stream_passes_and_the_timer_does_not_outlive_it() -> None:
    async def breaks() -> AsyncGenerator[int, None]:
        yield 1
        raise ValueError("broken")

    silence = Silence(0.05)
    with pytest.raises(ValueError, match="broken"):
        await read(breaks(), silence)
    silence.end()
    await asyncio.sleep(0.1)  # a timer left behind would cancel this
