"""Who is told of an alert: a webhook, Slack, or people by e-mail. Each raises where the telling fails."""

import asyncio
import hashlib
import hmac
import json
import smtplib
import ssl
from collections.abc import Awaitable, Callable
from email.message import EmailMessage
from typing import Protocol

import httpx

from tidemill.core.alert import Alert, AlertState
from tidemill.core.clock import Clock
from tidemill.core.errors import Configuration, TidemillError, Unavailable
from tidemill.core.ids import new_id
from tidemill.settings.alerts import AlertEmailSettings, AlertSlackSettings, AlertWebhookSettings

SECONDS = 15.0
Reveal = Callable[[str], Awaitable[str]]
"""The value of a secret, by its name."""


class Channel(Protocol):
    """One way to tell somebody."""

    async def tell(self, alert: Alert) -> None:
        """Tells of an alert that fires, or is resolved.

        Raises:
            Unavailable: it can't be told now.
            Configuration: it can't be told at all as it is set.
        """
        ...


class Webhook:
    """Posts JSON, signed where there is a secret, through a client that asks checked addresses alone."""

    def __init__(self, settings: AlertWebhookSettings, client: httpx.AsyncClient, reveal: Reveal, clock: Clock) -> None:
        self._settings = settings
        self._client = client
        self._reveal = reveal
        self._clock = clock

    async def tell(self, alert: Alert) -> None:
        """As the port says."""
        body = json.dumps(alert_json(alert), ensure_ascii=False).encode()
        headers = {"content-type": "application/json", "x-tidemill-delivery": f"{alert.id}:{alert.state}"}
        if self._settings.signing_secret is not None:
            secret = await self._reveal(self._settings.signing_secret)
            headers["x-tidemill-signature"] = signature(secret, body, int(self._clock().timestamp()))
        await _post(self._client, self._settings.url, body, headers, "The alert webhook")


class Slack:
    """Posts a line of text to an incoming webhook, whose address is itself a secret."""

    def __init__(self, settings: AlertSlackSettings, client: httpx.AsyncClient, reveal: Reveal) -> None:
        self._settings = settings
        self._client = client
        self._reveal = reveal

    async def tell(self, alert: Alert) -> None:
        """As the port says."""
        url = await self._reveal(self._settings.url_secret)
        body = json.dumps({"text": sentence(alert)}, ensure_ascii=False).encode()
        await _post(self._client, url.strip(), body, {"content-type": "application/json"}, "Slack")


class Email:
    """Sends a mail through the team's own server."""

    def __init__(self, settings: AlertEmailSettings, reveal: Reveal) -> None:
        self._settings = settings
        self._reveal = reveal

    async def tell(self, alert: Alert) -> None:
        """As the port says."""
        name = self._settings.password_secret
        password = await self._reveal(name) if name is not None else None
        try:
            await asyncio.to_thread(self._send, alert, password)
        except smtplib.SMTPAuthenticationError as error:
            raise Configuration(
                f"The mail server {self._settings.host} refuses the password. Mend `alerts.email`."
            ) from error
        except (smtplib.SMTPException, OSError) as error:
            why = type(error).__name__
            raise Unavailable(f"The mail server {self._settings.host} can't be used ({why}).") from error

    def _send(self, alert: Alert, password: str | None) -> None:
        chosen = self._settings
        mail = EmailMessage()
        mail["Subject"] = f"[Tidemill] {alert.severity}: {alert.rule} {_word(alert)}"
        mail["From"], mail["To"] = chosen.sender, ", ".join(chosen.to)
        mail["Message-ID"] = f"<{new_id()}@tidemill>"
        mail.set_content(f"{sentence(alert)}\n\n{json.dumps(alert_json(alert), indent=2, ensure_ascii=False)}\n")
        context = ssl.create_default_context()
        if chosen.security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(chosen.host, chosen.port, timeout=SECONDS, context=context)
        else:
            server = smtplib.SMTP(chosen.host, chosen.port, timeout=SECONDS)
        with server:
            if chosen.security == "starttls":
                server.starttls(context=context)
            if chosen.user is not None and password is not None:
                server.login(chosen.user, password)
            server.send_message(mail)


def alert_json(alert: Alert) -> dict[str, object]:
    """An alert as it is posted and shown."""
    times = {"began_at": alert.began_at, "fired_at": alert.fired_at, "resolved_at": alert.resolved_at}
    return {
        "object": "alert",
        "id": str(alert.id),
        "rule": alert.rule,
        "severity": alert.severity,
        "state": alert.state,
        "summary": alert.summary,
        "value": alert.value,
        "threshold": alert.threshold,
        **{name: at.isoformat() if at else None for name, at in times.items()},
    }


def sentence(alert: Alert) -> str:
    """An alert in a line."""
    return (
        f"[{alert.severity}] {alert.rule} {_word(alert)}: {alert.summary} "
        f"(measured {alert.value:g}, threshold {alert.threshold:g})"
    )


def signature(secret: str, body: bytes, timestamp: int) -> str:
    """`t=SECONDS,v1=HEX`: HMAC-SHA256 under the secret over the seconds, a dot and the body."""
    signed = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={signed}"


def _word(alert: Alert) -> str:
    return "is resolved" if alert.state is AlertState.RESOLVED else "fires"


async def _post(client: httpx.AsyncClient, url: str, body: bytes, headers: dict[str, str], who: str) -> None:
    try:
        async with asyncio.timeout(2 * SECONDS), client.stream("POST", url, content=body, headers=headers) as answer:
            status = answer.status_code  # the rest is not read: whoever answers so far was told
    except TimeoutError as error:
        raise Unavailable(f"{who} did not answer in time.") from error
    except httpx.InvalidURL as error:
        raise Configuration(f"{who} has an address that can't be used.") from error
    except httpx.HTTPError as error:
        raise Unavailable(f"{who} can't be reached ({type(error).__name__}).") from error
    except TidemillError as error:
        raise Configuration(f"{who} can't be asked: {error.message}") from error
    if status >= 300:
        raise Unavailable(f"{who} answered {status}.")
