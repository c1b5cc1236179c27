"""What becomes of requests that nobody waits for."""

import logging

import pytest
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from tidemill.api.gate import Gate
from tidemill.api.origin import RequestOrigin
from tidemill.core.accounts import Caller
from tidemill.core.errors import NotAuthenticated
from tidemill.settings import AuthSettings
from tidemill.telemetry.metrics import Metrics
from tidemill.telemetry.spans import Traces


class Nobody:
    """Knows no key, no token and no session."""

    async def check(self, secret: str, now: float) -> Caller:
        raise NotAuthenticated("Nobody is known here.")

    def matches(self, token: str, csrf_token: str) -> bool:
        return False


async def reads_its_body(scope: Scope, receive: Receive, send: Send) -> None:
    await Request(scope, receive).body()


async def test_a_client_that_goes_while_it_sends_its_body_is_no_failure_of_the_hub(
    caplog: pytest.LogCaptureFixture,
) -> None:
    metrics = Metrics(known=lambda name: False)
    gate = Gate(
        reads_its_body,
        keys=Nobody(),
        tokens=Nobody(),
        sessions=Nobody(),
        origin=RequestOrigin(AuthSettings()),
        metrics=metrics,
        traces=Traces(1),
        max_bytes=1000,
        max_upload_bytes=1000,
    )
    said: list[Message] = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
    sent: list[Message] = []

    async def receive() -> Message:
        return said.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/health", "headers": []}
    with caplog.at_level(logging.ERROR):
        await gate(scope, receive, send)
    assert (sent, caplog.records) == ([], [])
    requests = next(one for one in metrics.registry.collect() if one.name == "tidemill_http_requests")
    assert [one.labels["status"] for one in requests.samples if one.name.endswith("_total")] == ["499"]
