"""A response's head and the body that follows it leave in one piece, and nothing is held back or lost."""

import asyncio

from tidemill.api.protocol import TOGETHER, HeadWithBody

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"


class Connection(asyncio.Transport):
    """Notes what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closing = False

    def write(self, data) -> None:
        self.written.append(bytes(data))

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing


async def test_a_head_leaves_with_its_body():
    inner = Connection()
    transport = HeadWithBody(inner)
    transport.write(HEAD)
    transport.write(b"body")
    await asyncio.sleep(0)
    assert inner.written == [HEAD + b"body"]


async def test_a_head_alone_leaves_at_the_next_turn():
    inner = Connection()
    transport = HeadWithBody(inner)
    transport.write(HEAD)
    await asyncio.sleep(0)
    assert inner.written == [HEAD]
    transport.write(b"body")
    assert inner.written == [HEAD, b"body"]


async def test_a_large_body_is_not_copied():
    inner = Connection()
    transport = HeadWithBody(inner)
    transport.write(HEAD)
    transport.write(b"x" * (TOGETHER + 1))
    assert [len(piece) for piece in inner.written] == [len(HEAD), TOGETHER + 1]


async def test_what_is_held_leaves_before_the_connection_closes():
    inner = Connection()
    transport = HeadWithBody(inner)
    transport.write(HEAD)
    transport.close()
    assert (inner.written, inner.closing) == ([HEAD], True)


async def test_nothing_is_written_to_a_connection_that_was_cut():
    inner = Connection()
    transport = HeadWithBody(inner)
    transport.write(HEAD)
    transport.abort()
    await asyncio.sleep(0)
    assert (inner.written, transport.is_closing()) == ([], True)


async def test_answers_to_requests_that_came_together_leave_in_their_order():
    inner = Connection()
    transport = HeadWithBody(inner)
    for body in (b"one!", b"two!"):
        transport.write(HEAD)
        transport.write(body)
    assert inner.written == [HEAD + b"one!", HEAD + b"two!"]
