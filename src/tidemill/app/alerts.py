"""Alerts: which rules there are, and who is told."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from tidemill.alerts.channels import SECONDS, Channel, Email, Slack, Webhook
from tidemill.alerts.rules import rules_of
from tidemill.alerts.service import Alerts
from tidemill.core.clock import system_clock
from tidemill.outbound import Outbound
from tidemill.protection.secrets import Secrets
from tidemill.settings import Settings
from tidemill.store.alert_metrics import AlertMetricRepository
from tidemill.store.alerts import AlertRepository
from tidemill.store.database import Pool

ANSWER_BYTES = 100_000
"""Of an answer to an alert nothing is read but the status."""


@asynccontextmanager
async def open_alerts(settings: Settings, pool: Pool, secrets: Secrets, outbound: Outbound) -> AsyncIterator[Alerts]:
    """The service for alerts, and the client through which webhooks are told."""
    async with outbound.client(timeout=SECONDS, max_bytes=ANSWER_BYTES) as client:
        yield Alerts(
            rules_of(settings.alerts),
            AlertMetricRepository(pool),
            AlertRepository(pool),
            channels_of(settings, client, secrets),
            system_clock,
        )


def channels_of(settings: Settings, client: httpx.AsyncClient, secrets: Secrets) -> dict[str, Channel]:
    """Who is told, by name."""
    chosen = settings.alerts
    channels: dict[str, Channel] = {}
    if chosen.webhook is not None:
        channels["webhook"] = Webhook(chosen.webhook, client, secrets.reveal, system_clock)
    if chosen.slack is not None:
        channels["slack"] = Slack(chosen.slack, client, secrets.reveal)
    if chosen.email is not None:
        channels["email"] = Email(chosen.email, secrets.reveal)
    return channels
