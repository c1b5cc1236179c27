"""The request on whose behalf something is done: its id, and what other servers are told of it."""

import re
from contextlib import AbstractContextManager
from contextvars import ContextVar

from tidemill.core.ids import new_id
from tidemill.telemetry.spans import current_span

USABLE = re.compile(r"[A-Za-z0-9._-]{1,128}")
"""What a client may call its request: nothing that could end a line of a log or a header."""

_current: ContextVar[str | None] = ContextVar("tidemill_request_id", default=None)


def request_id_of(sent: str | None) -> str:
    """The id that a client gave its request, where it can be used, or a new one."""
    return sent if sent is not None and USABLE.fullmatch(sent) else new_id().hex


def current_request_id() -> str | None:
    """The id of the request that this task works for; `None` for the hub's own work."""
    return _current.get()


class _OnBehalf:
    """The block of `on_behalf_of`; a class, since every request has one and a generator takes three times as long."""

    __slots__ = ("_request_id", "_token")

    def __init__(self, request_id: str | None) -> None:
        self._request_id = request_id

    def __enter__(self) -> None:
        self._token = _current.set(self._request_id)

    def __exit__(self, *raised: object) -> None:
        _current.reset(self._token)


def on_behalf_of(request_id: str | None) -> AbstractContextManager[None]:
    """What is done in the block, and in tasks that it starts, is done for this request."""
    return _OnBehalf(request_id)


def outgoing_headers() -> dict[str, str]:
    """The headers by which a server that is asked next can join its logs and spans to ours."""
    headers = {}
    if (request_id := _current.get()) is not None:
        headers["x-request-id"] = request_id
    if (span := current_span()) is not None:
        headers["traceparent"] = span.traceparent
    return headers
