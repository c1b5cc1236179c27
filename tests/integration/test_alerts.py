"""Alerts over real rows: each is told once, by one process, and told again when it is over."""

import asyncio
import json
import smtplib
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.conftest import NOON, reachable
from tests.support.hubs import Hub, running_hub, scripted_settings, tidemill
from tidemill.alerts.channels import Email, Slack, Webhook, signature
from tidemill.alerts.service import Alerts
from tidemill.core.alert import Alert, AlertRule, AlertSeverity, AlertState
from tidemill.core.errors import Configuration, NotFound, Unavailable
from tidemill.outbound import Outbound
from tidemill.settings.alerts import AlertEmailSettings, AlertSlackSettings, AlertWebhookSettings
from tidemill.store.alert_metrics import METRICS, AlertMetricRepository
from tidemill.store.alerts import AlertRepository
from tidemill.store.database import Pool

RULE = AlertRule(
    "failures", "complete_failures", 0, window=300, hold=0, severity=AlertSeverity.CRITICAL, summary="Nobody answers."
)


class Told:
    """A channel that keeps what it is told, and fails as often as it is to."""

    def __init__(self, failures: int = 0) -> None:
        self.alerts: list[Alert] = []
        self.failures = failures

    async def tell(self, alert: Alert) -> None:
        if self.failures:
            self.failures -= 1
            raise Unavailable("away")
        self.alerts.append(alert)

    @property
    def states(self) -> list[str]:
        return [alert.state.value for alert in self.alerts]


class Watch:
    """A service for alerts whose time is set by hand."""

    def __init__(self, pool: Pool, channel: Told, *rules: AlertRule) -> None:
        self.pool = pool
        self.now = NOON
        rows = AlertRepository(pool)
        self.alerts = Alerts(rules, AlertMetricRepository(pool), rows, {"told": channel}, lambda: self.now)

    async def look(self, seconds: float = 15) -> None:
        await self.alerts.run()
        self.now += timedelta(seconds=seconds)

    async def inference(self, **fields: Any) -> None:
        row = {"id": uuid4(), "created_at": self.now, "status": "ok", "latency_ms": 100.0, "cost_usd": 0.5, **fields}
        names = ", ".join(row)
        async with self.pool.connection() as connection:
            await connection.execute(
                f"INSERT INTO inferences (task, variant, model, model_version, config_hash, request_hash, trace_id, "
                f"streamed, prompt_tokens, completion_tokens, cached_tokens, {names}) VALUES ('chat', 'v', 'm', '1', "
                f"'c', 'r', 't', false, 1, 1, 0, {', '.join(['%s'] * len(row))})",
                tuple(row.values()),
            )


async def test_an_alert_is_told_once_and_told_again_when_it_is_over(pool: Pool) -> None:
    told = Told()
    watch = Watch(pool, told, RULE)
    await watch.look()
    await watch.inference(status="error", error_code="all_providers_failed")
    watch.now += timedelta(seconds=1)
    for _ in range(3):
        await watch.look()
    assert told.states == ["firing"]
    await watch.look(seconds=400)
    await watch.look()
    await watch.look()
    assert told.states == ["firing", "resolved"]
    [kept] = await watch.alerts.recent(None, 10)
    assert kept.state is AlertState.RESOLVED
    assert set(kept.deliveries) == {"fired:told", "resolved:told"}


async def test_who_could_not_be_told_is_told_later_and_then_no_more(pool: Pool) -> None:
    told = Told(failures=2)
    watch = Watch(pool, told, RULE)
    await watch.inference(status="error", error_code="all_providers_failed")
    watch.now += timedelta(seconds=1)
    for _ in range(5):
        await watch.look()
    assert told.states == ["firing"]


async def test_two_processes_that_look_at_once_tell_once(pool: Pool) -> None:
    told = Told()
    one, other = Watch(pool, told, RULE), Watch(pool, told, RULE)
    await one.inference(status="error", error_code="all_providers_failed")
    one.now = other.now = NOON + timedelta(seconds=1)
    await asyncio.gather(one.alerts.run(), other.alerts.run(), one.alerts.run())
    await other.alerts.run()
    assert told.states == ["firing"]


async def test_an_alert_whose_rule_is_gone_is_resolved(pool: Pool) -> None:
    told = Told()
    watch = Watch(pool, told, RULE)
    await watch.inference(status="error", error_code="all_providers_failed")
    watch.now += timedelta(seconds=1)
    await watch.look()
    after = Watch(pool, told)
    after.now = watch.now
    await after.look()
    assert told.states == ["firing", "resolved"]


async def test_every_metric_can_be_measured_with_and_without_rows(pool: Pool) -> None:
    watch = Watch(pool, Told())
    measure = AlertMetricRepository(pool).measure

    async def all_of_them(task: str | None) -> dict[str, float | None]:
        since = NOON - timedelta(minutes=5)
        return {name: await measure(name, since=since, now=NOON, task=task) for name in METRICS}

    nothing = await all_of_them(None)
    assert nothing["error_rate"] is None
    assert nothing["requests"] == 0
    for place in range(20):
        await watch.inference(latency_ms=1000.0 * place, status="error" if place < 2 else "ok")
    await watch.inference(status="cancelled")
    await watch.inference(created_at=NOON - timedelta(hours=1))
    found = await all_of_them("chat")
    assert (found["requests"], found["errors"], found["error_rate"]) == (21, 2, 0.1)
    assert found["cost_usd"] == pytest.approx(10.5)
    assert found["latency_p95_seconds"] == pytest.approx(18.15, abs=0.5)
    assert (await all_of_them("embed"))["requests"] == 0


class Posted(ThreadingHTTPServer):
    """Keeps what is posted to it."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.status = 204
        self.length = 0
        super().__init__(("127.0.0.1", 0), _Keeps)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"


class _Keeps(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Posted)
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.requests.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(self.server.status)
        self.send_header("content-length", str(self.server.length))
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@pytest.fixture
def posted() -> Iterator[Posted]:
    server = Posted()
    with serving(server):
        yield server


ALERT = Alert(
    uuid4(), "failures", AlertSeverity.CRITICAL, AlertState.FIRING, 3.0, 0.0, "Nobody answers.", NOON, fired_at=NOON
)


async def reveal(name: str) -> str:
    return {"hook": "a secret", "password": "p4ss"}[name]


def client(*, allowed: bool) -> httpx.AsyncClient:
    return Outbound(["127.0.0.1"] if allowed else []).client(timeout=5)


async def test_a_webhook_gets_json_with_a_signature_that_holds(posted: Posted) -> None:
    settings = AlertWebhookSettings(url=posted.url, signing_secret="hook")
    async with client(allowed=True) as http:
        await Webhook(settings, http, reveal, lambda: NOON).tell(ALERT)
    [(headers, body)] = posted.requests
    assert json.loads(body)["rule"] == "failures"
    assert headers["x-tidemill-signature"] == signature("a secret", body, int(NOON.timestamp()))
    assert headers["x-tidemill-delivery"] == f"{ALERT.id}:firing"


async def test_slack_gets_a_line_at_the_address_that_the_secret_holds(posted: Posted) -> None:
    async def address(name: str) -> str:
        return posted.url

    async with client(allowed=True) as http:
        await Slack(AlertSlackSettings(url_secret="slack"), http, address).tell(ALERT)
    [(_, body)] = posted.requests
    assert json.loads(body)["text"].startswith("[critical] failures fires: Nobody answers.")


async def test_a_webhook_to_a_private_address_is_refused_where_it_is_not_allowed(posted: Posted) -> None:
    async with client(allowed=False) as http:
        with pytest.raises(Configuration, match=r"outbound\.allow"):
            await Webhook(AlertWebhookSettings(url=posted.url), http, reveal, lambda: NOON).tell(ALERT)
    assert posted.requests == []


async def test_a_webhook_whose_answer_never_ends_was_told(posted: Posted) -> None:
    posted.status, posted.length = 200, 1000
    async with client(allowed=True) as http:
        await Webhook(AlertWebhookSettings(url=posted.url), http, reveal, lambda: NOON).tell(ALERT)
    assert len(posted.requests) == 1


async def test_a_webhook_that_fails_is_no_telling(posted: Posted) -> None:
    posted.status = 500
    async with client(allowed=True) as http:
        with pytest.raises(Unavailable, match="500"):
            await Webhook(AlertWebhookSettings(url=posted.url), http, reveal, lambda: NOON).tell(ALERT)
        nowhere = AlertWebhookSettings(url="http://127.0.0.1:9/")
        with pytest.raises(Unavailable, match="can't be reached"):
            await Webhook(nowhere, http, reveal, lambda: NOON).tell(ALERT)


class MailServer(socketserver.ThreadingTCPServer):
    """Takes mail as RFC 5321 has it, without encryption."""

    allow_reuse_address = True

    def __init__(self) -> None:
        self.mails: list[str] = []
        super().__init__(("127.0.0.1", 0), _TakesMail)


class _TakesMail(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, MailServer)
        self.wfile.write(b"220 mail\r\n")
        while line := self.rfile.readline().strip().upper():
            if line.startswith(b"DATA"):
                self.wfile.write(b"354 go on\r\n")
                lines = []
                while (text := self.rfile.readline()) != b".\r\n":
                    lines.append(text)
                self.server.mails.append(b"".join(lines).decode())
            elif line.startswith(b"QUIT"):
                self.wfile.write(b"221 bye\r\n")
                return
            self.wfile.write(b"250 fine\r\n")


async def test_people_get_a_mail() -> None:
    server = MailServer()
    with serving(server):
        settings = AlertEmailSettings(
            host="127.0.0.1", port=server.server_address[1], security="none", sender="hub@example.org",
            to=["mai@example.org", "an@example.org"],
        )  # fmt: skip
        await Email(settings, reveal).tell(ALERT)
    [mail] = server.mails
    assert "Subject: [Tidemill] critical: failures fires" in mail
    assert "To: mai@example.org, an@example.org" in mail
    assert "Nobody answers." in mail


async def test_a_mail_server_that_is_away_or_does_not_encrypt_is_no_telling() -> None:
    nobody = AlertEmailSettings(host="127.0.0.1", port=9, security="none", sender="hub@example.org", to=["a@b.c"])
    with pytest.raises(Unavailable, match="mail server"):
        await Email(nobody, reveal).tell(ALERT)
    server = MailServer()
    with serving(server):
        plain = AlertEmailSettings(
            host="127.0.0.1", port=server.server_address[1], user="hub", password_secret="password",
            sender="hub@example.org", to=["a@b.c"],
        )  # fmt: skip
        with pytest.raises(Unavailable, match=smtplib.SMTPNotSupportedError.__name__):
            await Email(plain, reveal).tell(ALERT)
    assert server.mails == []


async def test_a_channel_that_is_not_set_can_not_be_tested(pool: Pool) -> None:
    watch = Watch(pool, Told())
    await watch.alerts.test("told")
    with pytest.raises(NotFound, match="told"):
        await watch.alerts.test("pigeon")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hub, Posted]]:
    server = Posted()
    settings = scripted_settings(
        "http://127.0.0.1:9/v1",
        outbound={"allow": ["127.0.0.1"]},
        alerts={
            "every": 1,
            "webhook": {"url": server.url},
            "rules": {"asked": {"metric": "errors", "above": 0, "window": 3600, "summary": "It was asked in vain."}},
        },
    )
    folder = reachable(tmp_path_factory.mktemp("alerts"))
    with serving(server), running_hub(folder / "data", settings) as running:
        yield running, server


def test_a_hub_tells_of_what_its_requests_come_to(hub: tuple[Hub, Posted]) -> None:
    running, server = hub
    with running.client() as http:
        question = {"model": "scripted", "messages": [{"role": "user", "content": "Hi"}]}
        assert http.post("/v1/chat/completions", json=question).status_code == 503
        for _ in range(200):
            found = http.get("/v1/alerts?state=firing").json()["data"]
            if found and found[0]["deliveries"]:
                break
            threading.Event().wait(0.1)
        [alert] = [one for one in found if one["rule"] == "asked"]
        assert datetime.fromisoformat(alert["deliveries"]["fired:webhook"])
        rules = http.get("/v1/alerts/rules").json()
        assert rules["channels"] == ["webhook"]
        assert {one["name"]: one["broken"] for one in rules["data"]}["asked"] is True
        assert http.post("/v1/alerts/test", json={"channel": "webhook"}).status_code == 204
        assert http.post("/v1/alerts/test", json={"channel": "slack"}).status_code == 404
    assert {json.loads(body)["rule"] for _, body in server.requests} == {"asked", "test"}
    for arguments, wanted in (
        (["alerts", "list"], "asked"),
        (["alerts", "list", "--firing", "--json"], "It was asked in vain."),
        (["alerts", "rules"], "Told: webhook."),
        (["alerts", "test", "webhook"], "was told"),
    ):
        done = tidemill(arguments, running.environment)
        assert wanted in done.stdout, done.stderr
