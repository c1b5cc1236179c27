"""What goes to addresses that others chose reaches what was checked, and nothing else."""

import asyncio
import datetime
import gzip
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tidemill.core.errors import InvalidInput, ModelFailed, TidemillError, Unavailable
from tidemill.core.failure import Failure
from tidemill.outbound import Outbound, Refused
from tidemill.outbound.connecting import Resolve

CLIENTS = ["httpx", "sdk"]


@dataclass
class Server:
    """A server on 127.0.0.1 that answers everything with the same bytes, and keeps the heads that it was sent."""

    answer: bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
    port: int = 0
    heads: list[str] = field(default_factory=list)
    connections: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.heads.append(head.decode())
                writer.write(self.answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def running(server: Server, context: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=context)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()


def names(**found: Sequence[str]) -> Resolve:
    """A resolver that knows these names; dots are written as `_`."""

    async def resolve(host: str) -> Sequence[str]:
        if (key := host.replace(".", "_").replace("-", "_")) not in found:
            raise OSError(-2, "Name or service not known")
        return found[key]

    return resolve


def client_of(outbound: Outbound, kind: str, **options: Any) -> Any:
    made: Callable[..., Any] = outbound.client if kind == "httpx" else outbound.sdk_client
    return made(timeout=5.0, **options)


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_private_address_is_refused_before_anything_is_sent(kind: str) -> None:
    outbound = Outbound(resolve=names(evil_example=["127.0.0.1"], both_example=["10.0.0.1", "127.0.0.1"]))
    async with running(Server()) as server, client_of(outbound, kind) as client:
        for host in ("127.0.0.1", "127.1", "0x7f.1", "2130706433", "[::1]", "[::ffff:127.0.0.1]", "evil.example",
                     "both.example"):  # fmt: skip
            with pytest.raises(Refused, match=r"(loopback|private) address"):
                await client.get(f"http://{host}:{server.port}/")
    assert server.connections == 0


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_name_that_changes_its_address_after_the_check_gains_nothing(kind: str) -> None:
    answers = [["127.0.0.1"], ["10.9.9.9"], ["169.254.169.254"]]
    asked = []

    async def resolve(host: str) -> Sequence[str]:
        asked.append(host)
        return answers[len(asked) - 1]

    outbound = Outbound(["127.0.0.1"], resolve=resolve)
    once = Server(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi")
    async with running(once) as server, client_of(outbound, kind) as client:
        url = f"http://rebinding.example:{server.port}/"
        assert (await client.get(url)).text == "hi"
        assert asked == ["rebinding.example"]  # looked up once: what was checked is what was asked
        assert f"host: rebinding.example:{server.port}" in server.heads[0].lower()
        with pytest.raises(Refused, match="private"):
            await client.get(url)
        with pytest.raises(Refused, match="metadata"):
            await client.get(url)
    assert server.connections == 1


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_metadata_service_is_refused_whatever_is_allowed(kind: str) -> None:
    outbound = Outbound(
        ["169.254.0.0/16", "metadata.google.internal", "cloud.example"],
        resolve=names(metadata_google_internal=["8.8.8.8"], cloud_example=["169.254.169.254", "fd00:ec2::254"]),
    )
    async with client_of(outbound, kind, allow_private=True) as client:
        for host in ("169.254.169.254", "[fd00:ec2::254]", "100.100.100.200", "metadata.google.internal",
                     "cloud.example", "2852039166"):  # fmt: skip
            with pytest.raises(Refused, match="metadata service, which Tidemill never asks"):
                await client.get(f"http://{host}/latest/meta-data/")


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_redirect_to_a_private_address_is_handed_back_and_not_followed(kind: str) -> None:
    async with running(Server()) as inner:
        target = f"http://127.0.0.1:{inner.port}/"
        answer = f"HTTP/1.1 302 Found\r\nlocation: {target}\r\ncontent-length: 0\r\n\r\n".encode()
        outbound = Outbound(["outer.example"], resolve=names(outer_example=["127.0.0.1"]))
        async with running(Server(answer)) as outer, client_of(outbound, kind) as client:
            response = await client.get(f"http://outer.example:{outer.port}/")
            assert response.status_code == 302
            with pytest.raises(Refused):
                await client.get(f"http://outer.example:{outer.port}/", follow_redirects=True)
    assert inner.connections == 0


@pytest.mark.parametrize("kind", CLIENTS)
async def test_what_is_allowed_is_asked_and_its_connection_used_again(kind: str) -> None:
    resolve = names(gpu_box=["127.0.0.1"])
    for allow, private in ((["gpu-box"], False), (["127.0.0.0/8"], False), ([], True)):
        outbound = Outbound(allow, resolve=resolve)
        async with running(Server()) as server, client_of(outbound, kind, allow_private=private) as client:
            for _ in range(3):
                assert (await client.get(f"http://gpu-box:{server.port}/")).text == "hi"
        assert server.connections == 1


@pytest.mark.parametrize("kind", CLIENTS)
async def test_an_address_that_takes_no_connection_is_followed_by_the_next(kind: str) -> None:
    outbound = Outbound(["127.0.0.1", "::1"], resolve=names(two_example=["::1", "127.0.0.1"]))
    async with running(Server()) as server, client_of(outbound, kind) as client:
        assert (await client.get(f"http://two.example:{server.port}/")).text == "hi"


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_name_that_can_not_be_found_is_told_apart_from_a_server_that_is_down(kind: str) -> None:
    outbound = Outbound(["127.0.0.1"], resolve=names(empty_example=[]))
    async with running(Server()) as server:
        port = server.port
    errors: Any = httpx if kind == "httpx" else httpx2
    async with client_of(outbound, kind) as client:
        for host in ("nowhere.example", "empty.example"):
            with pytest.raises(Unavailable, match=f"address of the host {host} can't be found") as raised:
                await client.get(f"http://{host}/")
            assert raised.value.failure is Failure.NETWORK_DNS
        with pytest.raises(errors.ConnectError):
            await client.get(f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n" + b"x" * 2000,
        b"HTTP/1.1 200 OK\r\ncontent-length: 1" + b"0" * 4300 + b"\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"400\r\n" + b"x" * 1024 + b"\r\n" + b"400\r\n" * 9,
    ],
)
async def test_an_answer_that_is_too_long_is_broken_off(kind: str, answer: bytes) -> None:
    outbound = Outbound(["127.0.0.1"])
    async with running(Server(answer)) as server, client_of(outbound, kind, max_bytes=1000) as client:
        with pytest.raises((ModelFailed, httpx.RemoteProtocolError, httpx2.RemoteProtocolError)) as raised:
            await client.get(f"http://127.0.0.1:{server.port}/")
        if b"00" * 2000 not in answer:
            assert "more than 1,000 bytes" in str(raised.value)


@pytest.mark.parametrize("kind", CLIENTS)
async def test_an_answer_that_could_unpack_to_more_than_the_memory_is_refused(kind: str) -> None:
    body = gzip.compress(b"0" * 10_000_000)
    head = f"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    async with running(Server(head + body)) as server, client_of(Outbound(["127.0.0.1"]), kind) as client:
        with pytest.raises(ModelFailed, match="compressed"):
            await client.get(f"http://127.0.0.1:{server.port}/", headers={"accept-encoding": "gzip"})
    assert "accept-encoding: identity" in server.heads[0].lower()


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_proxy_of_the_environment_is_not_asked(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(Server()) as server, running(Server(b"")) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        async with client_of(Outbound(["127.0.0.1"]), kind) as client:
            assert (await client.get(f"http://127.0.0.1:{server.port}/")).text == "hi"
    assert proxy.connections == 0


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_stream_that_is_left_early_ends_its_connection(kind: str) -> None:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n"
    async with running(Server(head)) as server, client_of(Outbound(["127.0.0.1"]), kind) as client:
        for _ in range(2):
            async with client.stream("POST", f"http://127.0.0.1:{server.port}/", json={"a": 1}) as response:
                async for part in response.aiter_bytes():
                    assert part == b"first"
                    break
    assert server.connections == 2


@pytest.mark.parametrize("kind", CLIENTS)
async def test_what_goes_wrong_is_told_in_the_librarys_own_errors(kind: str) -> None:
    errors: Any = httpx if kind == "httpx" else httpx2
    half = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\nconnection: close\r\n\r\nhalf"
    async with running(Server(half)) as server, client_of(Outbound(["127.0.0.1"]), kind) as client:
        url = f"http://127.0.0.1:{server.port}/"
        with pytest.raises(errors.ReadTimeout):
            await client.get(url, timeout=0.1)
        server.answer = b"not http at all\r\n\r\n"
        with pytest.raises(errors.RemoteProtocolError):
            await client.get(url)


@pytest.mark.parametrize("kind", CLIENTS)
async def test_the_certificate_is_checked_against_the_name(kind: str, tmp_path: Path) -> None:
    served, trusted = certificate("right.example", tmp_path)
    resolve = names(right_example=["127.0.0.1"], wrong_example=["127.0.0.1"])
    errors: Any = httpx if kind == "httpx" else httpx2
    outbound = Outbound(["127.0.0.1"], resolve=resolve, verify=trusted)
    async with running(Server(), served) as server, client_of(outbound, kind) as client:
        assert (await client.get(f"https://right.example:{server.port}/")).text == "hi"
        with pytest.raises(errors.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await client.get(f"https://wrong.example:{server.port}/")
    async with running(Server(), served) as server, client_of(Outbound(["127.0.0.1"], resolve=resolve), kind) as client:
        with pytest.raises(errors.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await client.get(f"https://right.example:{server.port}/")
    assert not server.heads


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://10.0.0.1/hook", "private address"),
        ("http://0xa000001/hook", "private address"),
        ("http://[::1]/hook", "loopback"),
        ("http://inner.example/hook", "private address"),
        ("http://169.254.169.254/latest", "metadata"),
        ("http://metadata.google.internal/", "metadata"),
        ("ftp://example.com/", "begins with http"),
        ("file:///etc/passwd", "begins with http"),
        ("example.com", "begins with http"),
        ("http://", "begins with http"),
        ("http://exa mple.com", "begins with http"),
        ("http://example.com/\x00hook", "begins with http"),
        ("http://example.com/hook?to=\x7f\x1b", "begins with http"),
        ("http://example.com/\u202ehook", "begins with http"),
        ("http://example.com:99999/", "begins with http"),
        ("http://[::1/", "begins with http"),
        ("http://outer.example\\@10.0.0.1/", "begins with http"),
        ("http://user:secret@outer.example/", "no user and no password"),
    ],
)
async def test_an_address_is_refused_when_it_is_given(url: str, said: str) -> None:
    outbound = Outbound(resolve=names(inner_example=["10.0.0.1"], outer_example=["93.184.216.34"]))
    with pytest.raises(InvalidInput, match=said) as raised:
        await outbound.check(url, param="callback_url")
    assert raised.value.param == "callback_url"
    assert "secret" not in raised.value.message


async def test_an_address_that_is_fine_or_not_known_yet_is_taken() -> None:
    outbound = Outbound(["gpu-box"], resolve=names(outer_example=["93.184.216.34"], gpu_box=["10.0.0.1"]))
    await outbound.check("https://outer.example/hook", param="url")
    await outbound.check("http://gpu-box:8000/v1", param="url")
    await outbound.check("http://10.0.0.1/v1", param="url", allow_private=True)
    await outbound.check("https://nowhere.example/", param="url")


async def test_looking_a_name_up_takes_no_longer_than_connecting_may() -> None:
    async def never(_: str) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    async with Outbound(resolve=never).client(timeout=0.05) as client:
        with pytest.raises(TidemillError, match="can't be found"):
            await client.get("http://slow.example/")


def certificate(name: str, folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's side that is `name` by its own word, and a client's side that believes it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = made.public_bytes(serialization.Encoding.PEM)
    file.write_bytes(private + public)
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(file)
    return served, ssl.create_default_context(cadata=public.decode())
