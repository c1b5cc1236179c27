"""`tidemill mcp`."""

import asyncio
from contextlib import AsyncExitStack
from importlib import import_module
from typing import Any

import httpx

from tidemill.api.mcp_tools import HTTPHub
from tidemill.cli.hub import HubAddress, find_hub
from tidemill.settings import Settings, load_settings

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 600.0


def mcp() -> None:
    """Offer search, ask, review and list_sources to a client of the Model Context Protocol, over stdio.

    A client starts this as a process. It acts through a running hub, with the key in TIDEMILL_API_KEY, or the local
    admin's where there is none.
    """
    settings = load_settings()
    find_hub(settings)
    asyncio.run(_serve(settings))


class FoundHub:
    """The hub as it is found at each call: an editor keeps this process for days, and the hub may have begun anew at
    another address and with another key."""

    def __init__(self, settings: Settings, stack: AsyncExitStack) -> None:
        self._settings = settings
        self._stack = stack
        self._hubs: dict[HubAddress, HTTPHub] = {}

    async def request(self, method: str, path: str, body: object | None = None) -> Any:
        """As `Hub` says; a hub that runs no more is an error of the call."""
        address = find_hub(self._settings)
        if address not in self._hubs:
            client = httpx.AsyncClient(
                base_url=address.url,
                headers={"authorization": f"Bearer {address.key}"},
                timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
                trust_env=False,
            )
            self._hubs[address] = HTTPHub(await self._stack.enter_async_context(client), f"The hub at {address.url}")
        return await self._hubs[address].request(method, path, body)


async def _serve(settings: Settings) -> None:
    protocol = import_module("tidemill.api.mcp_protocol")  # takes a second, which `tidemill --help` does not have
    async with AsyncExitStack() as stack:
        await protocol.serve_stdio(FoundHub(settings, stack))
