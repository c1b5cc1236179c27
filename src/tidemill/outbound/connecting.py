"""Looking a host up once, and connecting to what was found and checked.

The check stands where the connection is made, so nothing that happens before it can lead around it: no unusual way of
writing an address, no name that resolves differently the second time, no redirect. TLS is still verified against the
name, while the connection is made to the address.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address
from types import ModuleType
from typing import NamedTuple

from tidemill.analysis.addresses import Address, is_metadata_name, literal_address
from tidemill.core.errors import Configuration, Unavailable
from tidemill.core.failure import Failure
from tidemill.outbound.exchange import Exchange
from tidemill.outbound.policy import Policy

Resolve = Callable[[str], Awaitable[Sequence[str]]]
"""A host's addresses, best first. Raises `OSError` where it has none."""
MOST_ADDRESSES = 4
"""How many of a host's addresses are tried."""


class Origin(NamedTuple):
    """What a connection leads to: a host by its name or its address, its port, and whether it speaks TLS."""

    host: str
    port: int
    tls: bool


class Refused(Configuration):
    """A host may not be asked. The message says what it is, and how to allow it where that can be done.

    Of a provider it is the failure of a name that leads nowhere: its next address, or another provider, may do.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message, failure=Failure.NETWORK_DNS)


async def system_resolve(host: str) -> Sequence[str]:
    """A host's addresses, as the system finds them."""
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


async def checked_addresses(host: str, policy: Policy, resolve: Resolve) -> list[Address]:
    """The addresses of a host that may be asked; at least one.

    Raises:
        Refused: it has only others.
        Unavailable: it has none.
    """
    literal = literal_address(host)
    if literal is None and is_metadata_name(host):
        raise Refused(f"The host {host} is a cloud's metadata service, which Tidemill never asks.")
    try:
        found = [literal] if literal else [ip_address(text) for text in await resolve(host)]
    except (OSError, UnicodeError) as error:
        raise unknown_host(host) from error
    refusals = [policy.refusal(host, address) for address in found]
    allowed = [address for address, refusal in zip(found, refusals, strict=True) if refusal is None]
    if allowed:
        return allowed
    if not refusals:
        raise unknown_host(host)
    raise Refused(_said(host, refusals[0] or ""))


def unknown_host(host: str) -> Unavailable:
    """The error for a host of which no address can be found."""
    return Unavailable(
        f"The address of the host {host} can't be found. Check the name, and this machine's DNS.",
        failure=Failure.NETWORK_DNS,
    )


class Connector:
    """Makes connections, with the check before each.

    Args:
        policy: which addresses may be asked.
        resolve: looks hosts up.
        verify: what TLS certificates are held to.
    """

    def __init__(self, policy: Policy, resolve: Resolve, verify: ssl.SSLContext) -> None:
        self._policy = policy
        self._resolve = resolve
        self._verify = verify

    async def connect(self, http: ModuleType, origin: Origin, seconds: float | None) -> Exchange:
        """A connection to the first of the host's addresses that takes one.

        Args:
            http: `httpx` or `httpx2`, whose errors are raised for connections that can't be made.
            origin: what is asked.
            seconds: for looking the host up, and again for connecting.

        Raises:
            Refused: the host may not be asked.
            Unavailable: no address of the host can be found.
        """
        try:
            async with asyncio.timeout(seconds):
                addresses = await checked_addresses(origin.host, self._policy, self._resolve)
        except TimeoutError as error:
            raise unknown_host(origin.host) from error
        addresses = addresses[:MOST_ADDRESSES]
        share = None if seconds is None else seconds / len(addresses)
        last: Exception | None = None
        for address in addresses:
            try:
                async with asyncio.timeout(share):
                    return await self._connected(http, origin, address)
            except TimeoutError as error:
                last = http.ConnectTimeout(str(error))
                last.__cause__ = error
            except OSError as error:
                last = http.ConnectError(str(error))
                last.__cause__ = error
        assert last is not None  # noqa: S101 - there was an address, and it failed
        raise last

    async def _connected(self, http: ModuleType, origin: Origin, address: Address) -> Exchange:
        _, exchange = await asyncio.get_running_loop().create_connection(
            lambda: Exchange(http),
            str(address),
            origin.port,
            ssl=self._verify if origin.tls else None,
            server_hostname=origin.host if origin.tls else None,
        )
        return exchange


def _said(host: str, what: str) -> str:
    if "metadata" in what:
        return f"The host {host} is {what}, which Tidemill never asks."
    return (
        f"The host {host} has {what}, which Tidemill does not ask, so that nobody can reach into its network through "
        f"it. Give a public address. A host of your own is allowed in the settings, under `outbound.allow`; a provider "
        "of your own may also have `allow_private`."
    )
