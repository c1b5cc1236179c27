"""What servers do to a connection that is none of HTTP's beaten way, and what becomes of the next request."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import httpx2
import pytest

from tidemill.core.errors import ModelFailed
from tidemill.outbound import Outbound
from tidemill.outbound.exchange import LONGEST_HEAD, MOST_UNREAD

CLIENTS = ["httpx", "sdk"]
OUTBOUND = Outbound(["127.0.0.1"])
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Served:
    """Answers each connection as the next of `answers` says; the last is used for all that follow."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.connections = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer = self.answers[min(self.connections, len(self.answers) - 1)]
        self.connections += 1
        try:
            await answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def asking(kind: str, *answers: Answer, **options: Any) -> AsyncIterator[tuple[Any, Served]]:
    """A client of that kind, and the server that it may ask."""
    served = Served(*answers)
    listening = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    served.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
    made: Callable[..., Any] = OUTBOUND.client if kind == "httpx" else OUTBOUND.sdk_client
    async with made(timeout=options.pop("timeout", 5.0), **options) as client:
        yield client, served
    listening.close()


def errors_of(kind: str) -> Any:
    return httpx if kind == "httpx" else httpx2


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """A request's head and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return head, await reader.readexactly(int(line.partition(b":")[2]))
    return head, b""


def answering(*answers: bytes) -> Answer:
    """Each request of a connection gets the next of these; after the last the connection is closed."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for one in answers:
            await read_request(reader)
            writer.write(one)
            await writer.drain()

    return answer


def waiting(*answers: bytes) -> Answer:
    """As `answering`, but the connection stays open."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answering(*answers)(reader, writer)
        await reader.read()

    return answer


def chunks(*parts: bytes) -> bytes:
    """An answer in chunks."""
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (*parts, b""))


@pytest.mark.parametrize("kind", CLIENTS)
async def test_answers_of_all_lengths_are_read_and_the_connection_used_again_where_it_can_be(kind: str) -> None:
    long = bytes(range(256)) * 4096
    answers = (
        (OK, b"hi", True),
        (chunks(b"a", long, b"c"), b"a" + long + b"c", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK, b"hi", True),
        (chunks(b"with", b"trailers").replace(b"0\r\n\r\n", b"0\r\nx-late: 1\r\n\r\n"), b"withtrailers", True),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end", False),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi", b"hi", False),
        (OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"), b"hi", False),
    )
    for answer, body, again in answers:
        first = waiting(answer, OK) if again else answering(answer)
        async with asking(kind, first, waiting(OK)) as (client, served):
            said = await client.post(served.url, content=b"ask")
            assert said.content == body
            assert "link" not in said.headers
            assert (await client.post(served.url, content=b"ask")).content == b"hi"
            assert served.connections == (1 if again else 2)


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize(
    "half",
    [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
        chunks(b"half")[:-5],
        chunks(b"half")[:-9],
    ],
)
async def test_an_answer_that_breaks_off_is_never_taken_for_a_whole_one(kind: str, half: bytes) -> None:
    async with asking(kind, answering(half), waiting(OK)) as (client, served):
        with pytest.raises(errors_of(kind).RemoteProtocolError, match="closed the connection"):
            await client.post(served.url, content=b"ask")
        assert (await client.post(served.url, content=b"ask")).text == "hi"


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize(
    "odd",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nhi!",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx-folded: a\r\n b\r\ncontent-length: 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nx-long: " + b"x" * 2 * (LONGEST_HEAD + MOST_UNREAD),
        b"HTTP/1.1 100 Continue\r\n\r\n" * 40_000,
        b"HTTP/1.1 200 OK\r\ncontent-length:\r\n 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\ncontent-length : 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nx-bare: a\ncontent-length: 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nx-control: a\x01b\r\ncontent-length: 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2 \r\nhi\r\n0\r\n\r\n",
        chunks(b"hi").replace(b"2\r\n", b"2;" + b"x" * 2 * (LONGEST_HEAD + MOST_UNREAD)),
        chunks(b"hi").replace(b"0\r\n\r\n", b"0\r\nx-late: " + b"x" * 2 * (LONGEST_HEAD + MOST_UNREAD)),
    ],
)
async def test_an_answer_whose_length_could_be_read_in_two_ways_is_refused(kind: str, odd: bytes) -> None:
    async with asking(kind, waiting(odd), waiting(OK)) as (client, served):
        with pytest.raises(errors_of(kind).RemoteProtocolError):
            await client.post(served.url, content=b"ask")
        assert (await client.post(served.url, content=b"ask")).text == "hi"


@pytest.mark.parametrize("kind", CLIENTS)
async def test_an_answer_that_nobody_asked_for_is_not_given_to_the_next_who_asks(kind: str) -> None:
    forged = OK.replace(b"hi", b"no")
    async with asking(kind, waiting(OK + forged), waiting(OK)) as (client, served):
        for _ in range(2):
            assert (await client.post(served.url, content=b"ask")).text == "hi"
        assert served.connections == 2
    came = asyncio.Event()

    async def later(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answering(OK)(reader, writer)
        writer.write(forged)
        await writer.drain()
        came.set()
        await reader.read()

    async with asking(kind, later, waiting(OK)) as (client, served):
        assert (await client.post(served.url, content=b"ask")).text == "hi"
        await came.wait()
        assert (await client.post(served.url, content=b"ask")).text == "hi"
        assert served.connections == 2


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("start", [b"H", b"HTTP/1.1 200 OK\r\nx-a: ", b"HTTP/1.1 100 Continue\r\n\r\n", b"x"])
async def test_the_mere_start_of_an_answer_that_nobody_asked_for_ends_the_connection(kind: str, start: bytes) -> None:
    head_is_read = asyncio.Event()

    async def says_more(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK.removesuffix(b"hi"))
        await head_is_read.wait()
        writer.write(b"hi" + start)
        await reader.read()

    async with asking(kind, says_more, waiting(OK)) as (client, served):
        async with client.stream("POST", served.url, content=b"ask") as answer:
            head_is_read.set()
            assert await answer.aread() == b"hi"
        assert (await client.post(served.url, content=b"ask")).text == "hi"
        assert served.connections == 2


@pytest.mark.parametrize("kind", CLIENTS)
async def test_an_answer_without_a_length_is_whole_only_where_the_server_ended_it(kind: str) -> None:
    head_is_read = asyncio.Event()

    async def resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        await head_is_read.wait()
        at_once = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        writer.transport.abort()

    async with asking(kind, resets) as (client, served), client.stream("POST", served.url, content=b"x") as answer:
        head_is_read.set()
        with pytest.raises(errors_of(kind).ReadError):
            await answer.aread()


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_kept_connection_that_the_server_closed_is_not_used(kind: str) -> None:
    closed = asyncio.Event()

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answering(OK)(reader, writer)
        writer.close()
        await writer.wait_closed()
        closed.set()

    async with asking(kind, once, waiting(OK)) as (client, served):
        assert (await client.post(served.url, content=b"ask")).text == "hi"
        await closed.wait()
        assert (await client.post(served.url, content=b"ask")).text == "hi"


@pytest.mark.parametrize("kind", CLIENTS)
async def test_requests_at_once_have_a_connection_each_and_get_their_own_answers(kind: str) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            _, body = await read_request(reader)
            await asyncio.sleep(0)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))

    async with asking(kind, echo) as (client, served):

        async def ask(number: int) -> None:
            for turn in range(3):
                said = await client.post(served.url, content=f"{number} {turn}".encode())
                assert said.text == f"{number} {turn}"

        await asyncio.gather(*map(ask, range(20)))
        assert served.connections == 20


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_large_request_arrives_whole_and_one_that_is_refused_early_is_told_why(kind: str) -> None:
    large = bytes(range(256)) * 40_000
    sizes = []

    async def reads(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, body = await read_request(reader)
        sizes.append(body == large)
        writer.write(OK)
        await reader.read()

    async def refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 4\r\n\r\nlong")
        await writer.drain()
        await asyncio.sleep(5)

    async with asking(kind, reads) as (client, served):
        assert (await client.post(served.url, content=large)).text == "hi"
        assert sizes == [True]
    async with asking(kind, refuses) as (client, served):
        said = await client.post(served.url, content=large)
        assert (said.status_code, said.text) == (413, "long")


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_server_that_reads_or_sends_nothing_more_runs_into_the_time_that_it_has(kind: str) -> None:
    async def deaf(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await asyncio.sleep(5)

    errors = errors_of(kind)
    async with asking(kind, deaf, timeout=0.1) as (client, served):
        with pytest.raises(errors.WriteTimeout):
            await client.post(served.url, content=b"x" * 50_000_000)
        with pytest.raises(errors.ReadTimeout):
            await client.post(served.url, content=b"x")
    async with asking(kind, waiting(chunks(b"half")[:-5]), timeout=0.1) as (client, served):
        with pytest.raises(errors.ReadTimeout):
            await client.post(served.url, content=b"x")


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_server_that_sends_faster_than_is_read_has_to_wait(kind: str) -> None:
    sent = 0
    stuck = asyncio.Event()

    async def floods(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await read_request(reader)
        writer.transport.set_write_buffer_limits(high=0)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 40000000\r\n\r\n")
        for _ in range(400):
            writer.write(b"x" * 100_000)
            sent += 100_000
            try:
                async with asyncio.timeout(0.2):
                    await writer.drain()
            except TimeoutError:
                stuck.set()
                await writer.drain()

    async with asking(kind, floods) as (client, served), client.stream("POST", served.url, content=b"x") as answer:
        parts = answer.aiter_bytes()
        count = len(await anext(parts))
        await stuck.wait()
        assert sent < 30_000_000
        async for part in parts:
            count += len(part)
        assert count == 40_000_000


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_request_that_is_given_up_ends_its_connection(kind: str) -> None:
    gone = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await reader.read()
        gone.set()

    async with asking(kind, silent, waiting(OK)) as (client, served):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.post(served.url, content=b"x")
        await gone.wait()
        assert (await client.post(served.url, content=b"ask")).text == "hi"


@pytest.mark.parametrize("kind", CLIENTS)
async def test_closing_a_client_ends_what_is_under_way(kind: str) -> None:
    async with asking(kind, waiting(chunks(b"first")[:-5])) as (client, served):
        request = client.build_request("POST", served.url, content=b"x")
        answer = await client.send(request, stream=True)
        parts = answer.aiter_bytes()
        assert await anext(parts) == b"first"
        await client.aclose()
        with pytest.raises(errors_of(kind).RemoteProtocolError):
            await anext(parts)


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_header_that_could_end_its_line_is_not_sent(kind: str) -> None:
    async with asking(kind, waiting(OK)) as (client, served):
        for headers in ({"x-a": "b\r\nx-c: d"}, {"x-a\r\nx-c": "d"}, {"x a": "b"}, {"x-a": "b\x00"}, {"": "b"}):
            with pytest.raises(errors_of(kind).LocalProtocolError):
                await client.post(served.url, content=b"x", headers=headers)
        assert served.connections == 0


@pytest.mark.parametrize("kind", CLIENTS)
async def test_the_length_that_is_sent_is_the_length_of_what_is_sent(kind: str) -> None:
    seen = []

    async def notes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            seen.append(await read_request(reader))
            writer.write(OK)

    async def streamed() -> AsyncIterator[bytes]:
        yield b"in "
        yield b"parts"

    async with asking(kind, notes) as (client, served):
        await client.post(served.url, content=b"four", headers={"Content-Length": "400"})
        await client.post(served.url, content=streamed())
        await client.get(served.url)
        await client.post(served.url)
    assert [body for _, body in seen] == [b"four", b"in parts", b"", b""]
    assert all(b"transfer-encoding" not in head.lower() for head, _ in seen)
    assert b"content-length" not in seen[2][0]
    assert b"content-length: 0" in seen[3][0]


async def test_an_answer_to_a_head_request_has_no_body() -> None:
    async with asking("httpx", waiting(OK.removesuffix(b"hi")), waiting(OK)) as (client, served):
        assert (await client.head(served.url)).headers["content-length"] == "2"
        assert (await client.get(served.url)).text == "hi"


async def test_what_a_provider_wants_kept_is_in_nobody_elses_request() -> None:
    seen = []

    async def notes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            seen.append((await read_request(reader))[0].lower())
            writer.write(OK.replace(b"\r\n\r\n", b"\r\nset-cookie: who=ada; path=/\r\n\r\n"))

    async with asking("sdk", notes) as (client, served):
        for _ in range(2):
            await client.send(client.build_request("POST", served.url, content=b"x", timeout=5.0))
    assert len(seen) == 2
    assert not any(b"cookie" in head for head in seen)


async def test_more_than_a_hundred_megabytes_end_where_the_bound_is() -> None:
    async def floods(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(1000):
            writer.write(b"186a0\r\n" + b"x" * 100_000 + b"\r\n")
            await writer.drain()

    async with asking("sdk", floods, max_bytes=1_000_000) as (client, served):
        with pytest.raises(ModelFailed, match="more than 1,000,000 bytes"):
            await client.post(served.url, content=b"x")
