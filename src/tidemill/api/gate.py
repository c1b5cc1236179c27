"""What every request passes: who asks, the size limit, and the count.

Who asks is known by an API key or a token in `Authorization`, or by the cookie of a session.

A plain ASGI middleware, since it is on the path of every request.
"""

import logging
import re
import time
from collections.abc import MutableMapping, Sequence
from typing import Any, Protocol

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tidemill.api.errors import told, unexpected_response
from tidemill.api.origin import SAFE, SESSION, RequestOrigin
from tidemill.core.accounts import Caller
from tidemill.core.errors import NotAuthenticated, NotPermitted, TidemillError, TooLarge
from tidemill.forges.webhooks import LARGEST_DELIVERY
from tidemill.telemetry.metrics import Metrics
from tidemill.telemetry.request import on_behalf_of, request_id_of
from tidemill.telemetry.spans import NO_SPAN, NoSpan, Span, Traces, parse_traceparent

log = logging.getLogger(__name__)

PREFIXES = ("/v1", "/api/v1")
SIGN_IN = ("/auth/sign-in", "/auth/oidc/start", "/auth/oidc/callback")
OPEN = frozenset({"/health", "/ready", *(prefix + path for prefix in PREFIXES for path in SIGN_IN)})
"""The routes that everyone may call; each other one needs a caller."""
WEBHOOKS = re.compile(r"/webhooks/[^/]+|/webhook/pull-request")
"""Open, too: the signature of a delivery says who sent it."""
UNTRACED = frozenset({"/health", "/ready", "/metrics"})
"""What machines ask every few seconds."""
TOKEN = "eyJ"  # noqa: S105 - how every JWT begins: the start of a JSON object, in base64
CSRF = b"x-csrf-token"
UNMATCHED = "unmatched"
"""Stands for the route of a request that none takes."""
GONE = 499
"""Stands for the status of a request whose client went before it had said all; nobody reads an answer."""
Headers = Sequence[tuple[bytes, bytes]]
MISSING = (
    "This needs an API key: send it as `Authorization: Bearer KEY`. `tidemill keys create NAME` makes one. "
    "People sign in with POST /v1/auth/sign-in."
)
INVALID = (
    "This API key, token or session is not valid here: it is wrong, or it has ended. Sign in again, or make a key with "
    "`tidemill keys create NAME` and send it as `Authorization: Bearer KEY`."
)
NO_CSRF = (
    "A request that changes something needs the session's `csrf_token` in the header `X-CSRF-Token`. "
    "GET /v1/auth/session says it."
)

UPLOADS = re.compile(rf"(?:{'|'.join(PREFIXES)})/(?:files|sources/[0-9a-f-]{{36}}/documents)")
FORM_BYTES = 65_536
"""What a form has beside the file in it."""
STRANGERS_BYTES = 65_536
"""The largest body of a route that everyone may call: many of them at once must not fill the memory."""


class Check(Protocol):
    """Says whose a key, a token or a session is."""

    async def check(self, secret: str, now: float) -> Caller:
        """The caller, or `NotAuthenticated`. `now` is a monotonic time in seconds."""
        ...


class SessionCheck(Check, Protocol):
    """Says whose a session is, and whether a request was made by its own pages."""

    def matches(self, token: str, csrf_token: str) -> bool:
        """Whether this is the session's token against cross-site requests; in constant time."""
        ...


class Gate:
    """Lets in who has a key, a token or a session, and counts what passes.

    It gives each request an id, the client's own where that can be used, and its trace, and says both in the response.

    Args:
        app: the application behind it.
        keys: checks keys.
        tokens: checks tokens.
        sessions: checks sessions.
        origin: says where a request comes from.
        metrics: counts requests by route, never by path, so that no one can fill it with names.
        traces: keeps what was done for a request.
        max_bytes: the largest request body.
        max_upload_bytes: the largest file in the body of an upload, which is read as it comes and never held.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: Check,
        tokens: Check,
        sessions: SessionCheck,
        origin: RequestOrigin,
        metrics: Metrics,
        traces: Traces,
        max_bytes: int,
        max_upload_bytes: int,
    ) -> None:
        self._app = app
        self._keys = keys
        self._tokens = tokens
        self._sessions = sessions
        self._origin = origin
        self._metrics = metrics
        self._traces = traces
        self._max_bytes = max_bytes
        self._max_upload_bytes = max_upload_bytes + FORM_BYTES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        state = scope.setdefault("state", {})
        request_id = state["request_id"] = request_id_of(_text(headers.get(b"x-request-id")))
        named = [(b"x-request-id", request_id.encode())]
        span: Span | NoSpan = NO_SPAN
        if scope["path"] not in UNTRACED:
            span = self._traces.begin(scope["method"], parent=parse_traceparent(_text(headers.get(b"traceparent"))))
            state["trace_id"] = span.trace.trace_id
            named.append((b"x-tidemill-trace-id", state["trace_id"].encode()))
        with on_behalf_of(request_id), span:
            status = await self._pass(scope, receive, send, headers, named)
            route = _route(scope)
            span.rename(f"{scope['method']} {route}")
            span.set(
                {
                    "http.request.method": scope["method"],
                    "http.route": route,
                    "http.response.status_code": status,
                    "tidemill.request_id": request_id,
                }
            )

    async def _pass(
        self, scope: Scope, receive: Receive, send: Send, headers: MutableMapping[bytes, bytes], named: Headers
    ) -> int:
        """Checks one request, lets it through where it may go, counts it, and returns its status.

        `named` are headers that its response gets beside its own.
        """
        started = time.perf_counter()
        status, started_response = 500, False

        async def named_and_counted(message: Message) -> None:
            nonlocal status, started_response
            if message["type"] == "http.response.start":
                status, started_response = message["status"], True
                message = {**message, "headers": [*message.get("headers", ()), *named]}
            await send(message)

        try:
            scope["state"]["caller"] = await self._caller(scope, headers, started)
            limit = self._limit(scope)
            _refuse_large(headers, limit)
            await self._app(scope, _limited(receive, limit), named_and_counted)
        except TidemillError as error:
            if started_response:
                raise
            await told(error, scope["method"], scope["path"])(scope, receive, named_and_counted)
        except ClientDisconnect:
            status = GONE
        except Exception:
            log.exception("%s %s failed.", scope["method"], scope["path"])
            if started_response:
                raise
            await unexpected_response()(scope, receive, named_and_counted)
        finally:
            route = _route(scope)
            self._metrics.observe_request(
                method=scope["method"] if route != UNMATCHED else "any",
                route=route,
                status=status,
                seconds=time.perf_counter() - started,
            )
        return status

    async def _caller(self, scope: Scope, headers: MutableMapping[bytes, bytes], now: float) -> Caller | None:
        """Who asks; `None` for a route that everyone may call."""
        if is_open(scope["path"]):
            if scope["method"] not in SAFE:
                self._origin.refuse_foreign(scope, must_say=False)
            return None
        authorization = headers.get(b"authorization")
        if authorization is None:
            return await self._by_session(scope, headers, now)
        secret = _secret(authorization)
        check = self._tokens.check if secret.startswith(TOKEN) else self._keys.check
        try:
            return await check(secret, now)
        except NotAuthenticated as error:
            raise NotAuthenticated(INVALID) from error

    def _limit(self, scope: Scope) -> int:
        """The largest body that the route takes."""
        if WEBHOOKS.fullmatch(scope["path"]):
            return min(LARGEST_DELIVERY, self._max_bytes)
        if scope["path"] in OPEN:
            return min(STRANGERS_BYTES, self._max_bytes)
        is_upload = scope["method"] == "POST" and UPLOADS.fullmatch(scope["path"]) is not None
        return self._max_upload_bytes if is_upload else self._max_bytes

    async def _by_session(self, scope: Scope, headers: MutableMapping[bytes, bytes], now: float) -> Caller:
        """Who the cookie's session belongs to; what changes something must come from a page of ours (CSRF)."""
        token = self._origin.cookie(scope, SESSION)
        if token is None:
            raise NotAuthenticated(MISSING)
        try:
            caller = await self._sessions.check(token, now)
        except NotAuthenticated as error:
            raise NotAuthenticated(INVALID) from error
        if scope["method"] not in SAFE:
            self._origin.refuse_foreign(scope, must_say=True)
            if not self._sessions.matches(token, headers.get(CSRF, b"").decode("latin-1")):
                raise NotPermitted(NO_CSRF)
        return caller


def is_open(path: str) -> bool:
    """Whether everyone may call the routes of this path."""
    return path in OPEN or WEBHOOKS.fullmatch(path) is not None


def _refuse_large(headers: MutableMapping[bytes, bytes], limit: int) -> None:
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length) > limit:
        raise _too_large(int(length), limit)


def _limited(receive: Receive, limit: int) -> Receive:
    seen = 0

    async def limited() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise _too_large(seen, limit)
        return message

    return limited


def _too_large(size: int, limit: int) -> TooLarge:
    return TooLarge(
        f"The request body has {size:,} bytes or more, and the hub takes {limit:,} at most here (settings "
        f"`max_request_bytes`, and `files.max_bytes` for files; {STRANGERS_BYTES:,} without a key or a session)."
    )


def _route(scope: Scope) -> str:
    """The template of the route that took the request, with its router's prefix."""
    template: str | None = getattr(scope.get("route"), "path", None)
    if template is None:
        return UNMATCHED
    prefix = next((one for one in PREFIXES if scope["path"].startswith(f"{one}/")), "")
    return template if template.startswith(prefix) else prefix + template


def _text(header: bytes | None) -> str | None:
    return None if header is None else header.decode("latin-1")


def _secret(authorization: bytes) -> str:
    scheme, _, secret = authorization.decode("latin-1").partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise NotAuthenticated(MISSING)
    return secret.strip()


def caller_of(scope: MutableMapping[str, Any]) -> Caller:
    """Who made the request, as the gate found out."""
    caller = scope["state"]["caller"]
    assert isinstance(caller, Caller)  # noqa: S101 - the gate has set it, or the request did not come this far
    return caller
