"""Clients for addresses that others chose: providers' base URLs, callbacks, webhooks."""

import asyncio
import ssl
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx

from tidemill.core.errors import InvalidInput, Unavailable
from tidemill.outbound.connecting import Connector, Refused, Resolve, checked_addresses, system_resolve
from tidemill.outbound.plain import PlainRequests
from tidemill.outbound.policy import Policy
from tidemill.outbound.pool import Pool
from tidemill.outbound.transport import Body, CheckedTransport

if TYPE_CHECKING:
    import httpx2

MAX_BYTES = 64_000_000
CONNECT_SECONDS = 10.0


class Outbound:
    """Makes clients that ask checked addresses alone, follow no redirect, and use no proxy.

    Args:
        allow: hosts, addresses and networks that may be asked although they are not public (`outbound.allow`).
        resolve: looks hosts up.
        verify: what TLS certificates are held to; the usual authorities, or those that `SSL_CERT_FILE` or
            `SSL_CERT_DIR` names, where absent.
    """

    def __init__(
        self, allow: Sequence[str] = (), *, resolve: Resolve = system_resolve, verify: ssl.SSLContext | None = None
    ) -> None:
        self._allow = tuple(allow)
        self._resolve = resolve
        self._verify = verify

    async def check(self, url: str, *, param: str, allow_private: bool = False) -> None:
        """Goes on where the address may be asked, as far as that can be known now.

        A name that can't be found within seconds is let pass: each connection is checked again.

        Raises:
            InvalidInput: it is no address over HTTP, holds a user or a password, or may not be asked.
        """
        try:
            parts = urlsplit(url)
            host, usable = parts.hostname, parts.scheme in {"http", "https"} and (parts.port or 1) > 0
        except ValueError:
            host, usable = None, False
        if not host or not usable or any(letter in " \\" or not letter.isprintable() for letter in url):
            raise InvalidInput(
                "An address begins with http:// or https:// and a host's name. This one does not.", param=param
            )
        if "@" in parts.netloc:
            raise InvalidInput("An address holds no user and no password. Take them out.", param=param)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await checked_addresses(host, self._policy(allow_private=allow_private), self._resolve)
        except Refused as error:
            raise InvalidInput(error.message, param=param) from error
        except (Unavailable, TimeoutError):
            return

    async def addresses(self, host: str, *, allow_private: bool = False) -> Sequence[str]:
        """The addresses of a host that may be asked, for a program that connects by itself and is told to which.

        Args:
            host: a name or an address.
            allow_private: whether loopback, private and shared addresses may be asked.

        Raises:
            Refused: it has only others.
            Unavailable: it has none.
        """
        found = await checked_addresses(host, self._policy(allow_private=allow_private), self._resolve)
        return [str(address) for address in found]

    def client(self, *, timeout: float, allow_private: bool = False, max_bytes: int = MAX_BYTES) -> httpx.AsyncClient:
        """A client for callbacks, webhooks and the like; whoever asks for it closes it.

        Beside httpx's own errors its requests raise those of `CheckedTransport`.

        Args:
            timeout: seconds without anything happening after which a request fails.
            allow_private: whether loopback, private and shared addresses may be asked.
            max_bytes: a longer answer is broken off.
        """
        pool = self._pool(httpx, allow_private=allow_private)
        transport = _Transport(httpx, pool, _Body, max_bytes=max_bytes)
        return _Client(httpx, transport, timeout=httpx.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS)))

    def sdk_client(
        self, *, timeout: float, allow_private: bool = False, max_bytes: int = MAX_BYTES
    ) -> "httpx2.AsyncClient":
        """A client for the official SDKs, all three of which build on httpx2; see `client`."""
        import httpx2  # noqa: PLC0415 - a second HTTP library, which a hub without providers need not load

        from tidemill.outbound.sdk import SdkBody, SdkClient, SdkTransport  # noqa: PLC0415

        pool = self._pool(httpx2, allow_private=allow_private)
        transport = SdkTransport(httpx2, pool, SdkBody, max_bytes=max_bytes)
        limits = httpx2.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS))
        return SdkClient(httpx2, transport, timeout=limits)

    def _policy(self, *, allow_private: bool) -> Policy:
        return Policy.of(self._allow, allow_private=allow_private)

    def _pool(self, http: ModuleType, *, allow_private: bool) -> Pool:
        if self._verify is None:
            self._verify = httpx.create_ssl_context()
            self._verify.set_alpn_protocols(["http/1.1"])
        return Pool(http, Connector(self._policy(allow_private=allow_private), self._resolve, self._verify))


class _Transport(CheckedTransport, httpx.AsyncBaseTransport):
    """The transport as httpx wants it."""


class _Body(Body, httpx.AsyncByteStream):
    """An answer's body as httpx wants it."""


class _Client(PlainRequests, httpx.AsyncClient):
    """The client as httpx has it."""
