"""The transport and the client as the SDKs that build on httpx2 want them. Imported when the first SDK is."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import httpx2

from tidemill.outbound.transport import Body, CheckedTransport

KNOWN_URLS = 64


class SdkTransport(CheckedTransport, httpx2.AsyncBaseTransport):
    """The transport as httpx2 wants it."""


class SdkBody(Body, httpx2.AsyncByteStream):
    """An answer's body as httpx2 wants it."""


class SdkClient(httpx2.AsyncClient):
    """A client that does for a plain request only what such a request needs.

    Plain is what the SDKs send: a body in memory, no redirects to follow, no authentication but a header. There it
    keeps no cookies, which would go from one asker's answer into another's request. All else is httpx2's own.

    Args:
        transport: over checked connections.
        timeout: of requests that have none of their own.
    """

    def __init__(self, transport: SdkTransport, timeout: httpx2.Timeout) -> None:
        super().__init__(transport=transport, timeout=timeout, trust_env=False)
        self._checked = transport
        self._url = lru_cache(KNOWN_URLS)(httpx2.URL)
        self._usual = self.headers.multi_items()

    def build_request(self, method: str, url: httpx2.URL | str, **given: Any) -> httpx2.Request:
        """As httpx2 does."""
        content, headers, timeout = given.get("content"), given.get("headers"), given.get("timeout")
        others = (value for name, value in given.items() if name not in ("content", "headers", "timeout"))
        found = self._url(url)
        odd = not found.host or not isinstance(timeout, (httpx2.Timeout, float, int))
        if odd or not isinstance(content, bytes) or any(value is not None for value in others):
            return super().build_request(method, url, **given)
        sent = list(headers.items()) if isinstance(headers, Mapping) else list(headers or ())
        names = {name.lower() for name, _ in sent}
        sent += [(name, value) for name, value in self._usual if name not in names]
        if "host" not in names:
            sent.insert(0, ("Host", found.netloc.decode("ascii")))
        if "content-length" not in names:
            sent.append(("Content-Length", str(len(content))))
        limits = {"timeout": httpx2.Timeout(timeout).as_dict()}
        return httpx2.Request(method, found, headers=sent, stream=httpx2.ByteStream(content), extensions=limits)

    async def send(self, request: httpx2.Request, *, stream: bool = False, **given: Any) -> httpx2.Response:
        """As httpx2 does."""
        chosen = any(value is not httpx2.USE_CLIENT_DEFAULT for value in given.values())
        if chosen or self.is_closed or "timeout" not in request.extensions or request.url.userinfo:
            return await super().send(request, stream=stream, **given)
        try:
            answer: httpx2.Response = await self._checked.handle_async_request(request)
        except httpx2.RequestError as error:
            error.request = request
            raise
        answer.request = request
        if not stream:
            try:
                await answer.aread()
            except BaseException:
                await answer.aclose()
                raise
        return answer
