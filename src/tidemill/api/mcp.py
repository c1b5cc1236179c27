"""`POST /mcp`: the tools for clients of the Model Context Protocol, over its streamable HTTP.

Who calls is who the gate says. What a tool asks goes through the hub's own routes with the same credentials. No
session is kept, so there is none that another could take over.
"""

import asyncio
from importlib import import_module
from typing import Any

import httpx
from fastapi import APIRouter, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from tidemill.api.auth import origin_of
from tidemill.api.mcp_tools import HTTPHub
from tidemill.api.rights import needs
from tidemill.api.services import services_of
from tidemill.core.accounts import Right
from tidemill.telemetry.request import outgoing_headers

router = APIRouter(tags=["knowledge"])

OF_THE_MESSAGE = frozenset(
    {"content-length", "content-type", "transfer-encoding", "connection", "accept", "accept-encoding", "last-event-id"}
    | {"x-request-id", "traceparent"}  # a tool's request is a part of this one
)
"""Headers of a request that say nothing of who asks, or how."""

WITHIN = httpx.Timeout(None)
"""No bound of its own: each route has the bounds that it has for everyone."""


@router.post(
    "/mcp",
    summary="Tools for clients of the Model Context Protocol",
    dependencies=[needs(Right.KNOWLEDGE_READ)],
    response_class=Response,
    include_in_schema=False,
)
async def call_mcp(request: Request) -> Response:
    """One message of the protocol, which describes its tools itself; each needs the rights of the routes it asks.

    Pages of other sites are refused, whatever they know, as the protocol demands.
    """
    origin_of(request).refuse_foreign(request.scope, must_say=False)
    body = await request.body()  # here, where the gate sees that it is too large
    protocol = await asyncio.to_thread(import_module, "tidemill.api.mcp_protocol")
    return _Answer(protocol, request, body, services_of(request).settings.max_request_bytes)


class _Answer(Response):
    """Lets the protocol's library answer."""

    def __init__(self, protocol: Any, request: Request, body: bytes, max_bytes: int) -> None:
        super().__init__()
        self._protocol = protocol
        self._request = request
        self._given: Message | None = {"type": "http.request", "body": body, "more_body": False}
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers with a client for the tools that asks this very application."""
        request = self._request
        headers = [
            (name, value)
            for name, value in request.headers.items()
            if name not in OF_THE_MESSAGE and not name.startswith("mcp-")
        ]
        headers += outgoing_headers().items()
        client = (request.client.host, request.client.port) if request.client else ("", 0)
        transport = httpx.ASGITransport(request.app, raise_app_exceptions=False, client=client)
        here = f"{request.scope['scheme']}://hub"  # whatever the caller calls us: that may be no address at all

        async def again() -> Message:
            message, self._given = self._given, None
            return message if message is not None else await receive()

        async with httpx.AsyncClient(
            transport=transport, base_url=here, headers=headers, timeout=WITHIN, trust_env=False
        ) as asking:
            hub = HTTPHub(asking, "The hub")
            await self._protocol.serve_http(hub, scope, again, send, max_bytes=self._max_bytes)
