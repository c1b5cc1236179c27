"""`tidemill mcp`."""

import asyncio
from importlib import import_module

import httpx

from tidemill.api.mcp_tools import HTTPHub
from tidemill.cli.hub import HubAddress, find_hub
from tidemill.settings import load_settings

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 600.0


def mcp() -> None:
    """Offer search, ask, review and list_sources to a client of the Model Context Protocol, over stdio.

    A client starts this as a process. It acts through a running hub, with the key in TIDEMILL_API_KEY, or the local
    admin's where there is none.
    """
    asyncio.run(_serve(find_hub(load_settings())))


async def _serve(address: HubAddress) -> None:
    protocol = import_module("tidemill.api.mcp_protocol")  # takes a second, which `tidemill --help` does not have
    async with httpx.AsyncClient(
        base_url=address.url,
        headers={"authorization": f"Bearer {address.key}"},
        timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
        trust_env=False,
    ) as client:
        await protocol.serve_stdio(HTTPHub(client, f"The hub at {address.url}"))
