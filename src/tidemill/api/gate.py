"""What every request passes: the key, the size limit, and the count.

A plain ASGI middleware, since it is on the path of every request.
"""

import logging
import time
from collections.abc import MutableMapping
from typing import Any, Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tidemill.api.errors import error_response, unexpected_response
from tidemill.core.accounts import Caller
from tidemill.core.errors import NotAuthenticated, TidemillError, TooLarge
from tidemill.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

OPEN = frozenset({"/health", "/ready"})
PREFIXES = ("/v1", "/api/v1")


class KeyCheck(Protocol):
    """Says whose a key is."""

    async def check(self, secret: str, now: float) -> Caller:
        """The key's owner, or `NotAuthenticated`."""
        ...


class Gate:
    """Lets in who has a key, and counts what passes.

    Args:
        app: the application behind it.
        keys: checks keys.
        metrics: counts requests by route, never by path, so that no one can fill it with names.
        max_bytes: the largest request body.
    """

    def __init__(self, app: ASGIApp, *, keys: KeyCheck, metrics: Metrics, max_bytes: int) -> None:
        self._app = app
        self._keys = keys
        self._metrics = metrics
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status, started_response = 500, False

        async def counted(message: Message) -> None:
            nonlocal status, started_response
            if message["type"] == "http.response.start":
                status, started_response = message["status"], True
            await send(message)

        try:
            headers = dict(scope["headers"])
            if scope["path"] not in OPEN:
                scope.setdefault("state", {})["caller"] = await self._keys.check(_secret(headers), started)
            self._refuse_large(headers)
            await self._app(scope, self._limited(receive), counted)
        except TidemillError as error:
            await error_response(error)(scope, receive, counted)
        except Exception:
            log.exception("%s %s failed.", scope["method"], scope["path"])
            if started_response:
                raise
            await unexpected_response()(scope, receive, counted)
        finally:
            route = _route(scope)
            self._metrics.observe_request(
                method=scope["method"] if route != "unmatched" else "any",
                route=route,
                status=status,
                seconds=time.perf_counter() - started,
            )

    def _refuse_large(self, headers: MutableMapping[bytes, bytes]) -> None:
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._max_bytes:
            raise self._too_large(int(length))

    def _limited(self, receive: Receive) -> Receive:
        seen = 0

        async def limited() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._max_bytes:
                raise self._too_large(seen)
            return message

        return limited

    def _too_large(self, size: int) -> TooLarge:
        return TooLarge(
            f"The request body has {size:,} bytes or more, and the hub takes {self._max_bytes:,} at most "
            "(setting `max_request_bytes`)."
        )


def _route(scope: Scope) -> str:
    """The template of the route that took the request, with its router's prefix."""
    template: str | None = getattr(scope.get("route"), "path", None)
    if template is None:
        return "unmatched"
    prefix = next((one for one in PREFIXES if scope["path"].startswith(f"{one}/")), "")
    return template if template.startswith(prefix) else prefix + template


def _secret(headers: MutableMapping[bytes, bytes]) -> str:
    scheme, _, secret = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise NotAuthenticated(
            "This needs an API key: send it as `Authorization: Bearer KEY`. `tidemill keys create NAME` makes one."
        )
    return secret.strip()


def caller_of(scope: MutableMapping[str, Any]) -> Caller:
    """Who made the request, as the gate found out."""
    caller = scope["state"]["caller"]
    assert isinstance(caller, Caller)  # noqa: S101 - the gate has set it, or the request did not come this far
    return caller
