"""A client that waits for a model that is being loaded sees that it does; one that goes ends the work."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from starlette.requests import Request

from tidemill.api import streaming
from tidemill.api.answering import chunks_of
from tidemill.api.streaming import ClientGone, begin
from tidemill.core.chat import ChatChunk
from tidemill.core.errors import ModelFailed, Unavailable

PIECE = ChatChunk([{"index": 0, "delta": {"content": "x"}}])


class Model:
    """Streams a piece when it is let, or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self.go = asyncio.Event()
        self.ended = False
        self._error = error

    async def stream(self) -> AsyncGenerator[ChatChunk, None]:
        try:
            await self.go.wait()
            if self._error is not None:
                raise self._error
            yield PIECE
        finally:
            self.ended = True


def request(*, gone: bool = False) -> Request:
    async def receive() -> Any:
        if not gone:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    return Request({"type": "http"}, receive)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "PATIENCE_SECONDS", 0.01)
    monkeypatch.setattr(streaming, "COMMENT_SECONDS", 0.01)


async def test_a_stream_that_waits_for_its_model_says_so_and_then_goes_on() -> None:
    model = Model()
    chunks = model.stream()
    first = await begin(request(), chunks, may_wait=lambda: True)
    assert not first.done()
    pieces = chunks_of(first, chunks, "tiny")
    assert [await anext(pieces) for _ in range(3)] == [b": the model tiny is loading\n\n"] * 3
    model.go.set()
    assert [piece async for piece in pieces if not isinstance(piece, bytes)] == [PIECE]


async def test_an_error_after_the_wait_comes_out_of_the_stream() -> None:
    model = Model(ModelFailed("It crashed."))
    chunks = model.stream()
    pieces = chunks_of(await begin(request(), chunks, may_wait=lambda: True), chunks, "tiny")
    assert await anext(pieces)
    model.go.set()
    with pytest.raises(ModelFailed):
        [piece async for piece in pieces]


async def test_a_client_that_goes_while_it_waits_ends_the_work() -> None:
    model = Model()
    chunks = model.stream()
    pieces = chunks_of(await begin(request(), chunks, may_wait=lambda: True), chunks, "tiny")
    await anext(pieces)
    await pieces.aclose()
    assert model.ended


async def test_a_model_that_is_only_slow_keeps_the_status_open() -> None:
    model = Model(Unavailable("Full."))
    beginning = asyncio.create_task(begin(request(), model.stream(), may_wait=lambda: False))
    await asyncio.sleep(0.05)
    assert not beginning.done()
    model.go.set()
    with pytest.raises(Unavailable):
        await beginning


async def test_a_client_that_goes_before_the_first_piece_is_gone() -> None:
    model = Model()
    with pytest.raises(ClientGone):
        await begin(request(gone=True), model.stream(), may_wait=lambda: False)
    assert model.ended


async def test_a_stream_without_pieces_is_empty() -> None:
    async def nothing() -> AsyncGenerator[ChatChunk, None]:
        return
        yield PIECE

    chunks = nothing()
    first = await begin(request(), chunks, may_wait=lambda: True)
    assert [piece async for piece in chunks_of(first, chunks, "tiny")] == []
