"""Alerts: what is watched, what fired, and whether those who are told can be told."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from tidemill.api.rights import needs
from tidemill.api.services import services_of
from tidemill.core.accounts import Right
from tidemill.core.alert import Alert, AlertSeverity, AlertState

router = APIRouter(tags=["alerts"])
READ = [needs(Right.METRICS_READ)]


class AlertShown(BaseModel):
    """One time that a rule was broken. `deliveries` says when each channel was told."""

    object: str = "alert"
    id: UUID
    rule: str
    severity: AlertSeverity
    state: AlertState
    value: float
    threshold: float
    summary: str
    began_at: datetime
    fired_at: datetime | None
    resolved_at: datetime | None
    deliveries: dict[str, datetime]


class AlertList(BaseModel):
    """Alerts, newest first."""

    object: str = "list"
    data: list[AlertShown]


class RuleShown(BaseModel):
    """A rule, and what its metric is now; `value` is null where there is nothing to measure."""

    object: str = "alert_rule"
    name: str
    metric: str
    side: Literal["above", "below"]
    threshold: float
    window: float
    hold: float
    severity: AlertSeverity
    task: str | None
    summary: str
    value: float | None
    broken: bool
    state: AlertState | None = Field(description="Of its open alert; null where there is none.")


class RuleList(BaseModel):
    """Every rule, and the names of the channels that are told."""

    object: str = "list"
    data: list[RuleShown]
    channels: list[str]


class ChannelTest(BaseModel):
    """Which channel is to be told of an alert that is none."""

    model_config = ConfigDict(extra="forbid")

    channel: str = Field(min_length=1, max_length=100)


@router.get("/alerts", summary="Alerts", dependencies=READ)
async def list_alerts(
    request: Request, state: AlertState | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> AlertList:
    """The newest first, of one state where it is given."""
    found = await services_of(request).alerts.recent(state, limit)
    return AlertList(data=[_shown(alert) for alert in found])


@router.get("/alerts/rules", summary="What is watched", dependencies=READ)
async def list_alert_rules(request: Request) -> RuleList:
    """Every rule, measured now."""
    alerts = services_of(request).alerts
    return RuleList(
        data=[
            RuleShown(
                name=one.rule.name,
                metric=one.rule.metric,
                side="below" if one.rule.below else "above",
                threshold=one.rule.threshold,
                window=one.rule.window,
                hold=one.rule.hold,
                severity=one.rule.severity,
                task=one.rule.task,
                summary=one.rule.summary,
                value=one.value,
                broken=one.value is not None and one.rule.broken_by(one.value),
                state=one.alert.state if one.alert else None,
            )
            for one in await alerts.watched()
        ],
        channels=alerts.channels,
    )


@router.post(
    "/alerts/test", status_code=204, summary="Tell a channel of a test", dependencies=[needs(Right.DATA_MANAGE)]
)
async def tell_channel(request: Request, body: ChannelTest) -> Response:
    """Answers when the channel has been told; an error says why it could not be."""
    await services_of(request).alerts.test(body.channel)
    return Response(status_code=204)


def _shown(alert: Alert) -> AlertShown:
    return AlertShown(
        id=alert.id,
        rule=alert.rule,
        severity=alert.severity,
        state=alert.state,
        value=alert.value,
        threshold=alert.threshold,
        summary=alert.summary,
        began_at=alert.began_at,
        fired_at=alert.fired_at,
        resolved_at=alert.resolved_at,
        deliveries={name: datetime.fromisoformat(at) for name, at in alert.deliveries.items()},
    )
