"""Plain requests without what only other requests need; a mixin for the clients of both HTTP libraries."""

from collections.abc import Mapping
from functools import lru_cache
from types import ModuleType
from typing import Any

from tidemill.outbound.transport import CheckedTransport

KNOWN_URLS = 64


class PlainRequests:
    """What a client does for a plain request, before `httpx.AsyncClient` or `httpx2.AsyncClient`.

    Plain is what models' servers are sent: a body in memory, no redirects to follow, no authentication but a header.
    No cookies are kept of it, which would go from the answer to one asker into the request of another. All other
    requests are the library's own.

    Args:
        http: the library.
        transport: over checked connections.
        options: of the library's client.
    """

    def __init__(self, http: ModuleType, transport: CheckedTransport, **options: Any) -> None:
        super().__init__(transport=transport, trust_env=False, **options)  # type: ignore[call-arg] # the client's
        self._http = http
        self._checked = transport
        self._url = lru_cache(KNOWN_URLS)(http.URL)

    def build_request(self, method: str, url: Any, **given: Any) -> Any:
        """As the library does."""
        http, found = self._http, self._url(url)
        content, headers = given.get("content"), given.get("headers")
        others = (value for name, value in given.items() if name not in ("content", "headers", "timeout"))
        if not found.host or not isinstance(content, bytes) or any(value is not None for value in others):
            return super().build_request(method, url, **given)  # type: ignore[misc]
        sent = list(headers.items()) if isinstance(headers, Mapping) else list(headers or ())
        names = {name.lower() for name, _ in sent}
        sent += [(name, value) for name, value in self.headers.multi_items() if name not in names]  # type: ignore[attr-defined]
        if "host" not in names:
            sent.insert(0, ("Host", found.netloc.decode("ascii")))
        if "content-length" not in names:
            sent.append(("Content-Length", str(len(content))))
        timeout = given.get("timeout", http.USE_CLIENT_DEFAULT)
        limits = self.timeout if timeout is http.USE_CLIENT_DEFAULT else http.Timeout(timeout)  # type: ignore[attr-defined]
        extensions = {"timeout": limits.as_dict()}
        return http.Request(method, found, headers=sent, stream=http.ByteStream(content), extensions=extensions)

    async def send(self, request: Any, *, stream: bool = False, **given: Any) -> Any:
        """As the library does."""
        http = self._http
        chosen = any(value is not http.USE_CLIENT_DEFAULT for value in given.values())
        if chosen or self.is_closed or "timeout" not in request.extensions or request.url.userinfo:  # type: ignore[attr-defined]
            return await super().send(request, stream=stream, **given)  # type: ignore[misc]
        try:
            answer = await self._checked.handle_async_request(request)
        except http.RequestError as error:
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
