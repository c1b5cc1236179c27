"""Looking a host up once, and connecting to what was found and checked.

The check stands where the connection is made, so nothing that happens before it can lead around it: no unusual way of
writing an address, no name that resolves differently the second time, no redirect. TLS is still verified against the
name, since the caller's HTTP library does that and is not told of the address.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from ipaddress import ip_address
from typing import Any

from tidemill.analysis.addresses import Address, is_metadata_name, literal_address
from tidemill.core.errors import Configuration, Unavailable
from tidemill.core.failure import Failure
from tidemill.outbound.policy import Policy

Resolve = Callable[[str], Awaitable[Sequence[str]]]
"""A host's addresses, best first. Raises `OSError` where it has none."""
MOST_ADDRESSES = 4
"""How many of a host's addresses are tried."""


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


class CheckedBackend:
    """The part of httpcore and of httpcore2 that makes connections, with the check before it.

    Args:
        inner: the library's own backend, which is given addresses only.
        failed: the library's errors for a connection that can't be made.
        policy: which addresses may be asked.
        resolve: looks hosts up.
    """

    def __init__(self, inner: Any, failed: tuple[type[Exception], ...], policy: Policy, resolve: Resolve) -> None:
        self._inner = inner
        self._failed = failed
        self._policy = policy
        self._resolve = resolve

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the library's own signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> Any:
        """A connection to the first of the host's addresses that takes one."""
        try:
            async with asyncio.timeout(timeout):
                addresses = await checked_addresses(host, self._policy, self._resolve)
        except TimeoutError as error:
            raise unknown_host(host) from error
        addresses = addresses[:MOST_ADDRESSES]
        share = None if timeout is None else timeout / len(addresses)
        last: Exception | None = None
        for address in addresses:
            try:
                return await self._inner.connect_tcp(
                    str(address), port, timeout=share, local_address=local_address, socket_options=socket_options
                )
            except self._failed as error:
                last = error
        assert last is not None  # noqa: S101 - there was an address, and it failed
        raise last

    async def connect_unix_socket(self, path: str, timeout: Any = None, socket_options: Any = None) -> Any:  # noqa: ASYNC109
        """Refused: nobody's address leads to a socket of this machine."""
        raise Refused("An address can't be a socket of this machine.")

    async def sleep(self, seconds: float) -> None:
        """Waits."""
        await asyncio.sleep(seconds)


def _said(host: str, what: str) -> str:
    if "metadata" in what:
        return f"The host {host} is {what}, which Tidemill never asks."
    return (
        f"The host {host} has {what}, which Tidemill does not ask, so that nobody can reach into its network through "
        f"it. Give a public address. A host of your own is allowed in the settings, under `outbound.allow`; a provider "
        "of your own may also have `allow_private`."
    )
