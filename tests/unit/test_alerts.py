"""What becomes of an alert from look to look, and which rules there are."""

from datetime import timedelta
from uuid import uuid4

import pytest
from pydantic import ValidationError

from tests.conftest import NOON
from tidemill.alerts.channels import sentence, signature
from tidemill.alerts.course import next_alert
from tidemill.alerts.rules import SHIPPED, rules_of
from tidemill.core.alert import Alert, AlertRule, AlertSeverity, AlertState
from tidemill.core.errors import Configuration
from tidemill.settings.alerts import AlertEmailSettings, AlertRuleSettings, AlertSettings
from tidemill.store.alert_metrics import METRICS

RULE = AlertRule("errors", "error_rate", 0.05, window=300, hold=60, severity=AlertSeverity.WARNING, summary="Errors.")


def course(*values: float | None, rule: AlertRule = RULE, step: float = 30) -> list[Alert | None]:
    """The alert after each of these values, so many seconds apart."""
    seen: list[Alert | None] = []
    alert: Alert | None = None
    for place, value in enumerate(values):
        alert = next_alert(rule, alert, value, NOON + timedelta(seconds=place * step), uuid4)
        seen.append(alert)
        if alert is not None and alert.state is AlertState.RESOLVED:
            alert = None
    return seen


def states(*values: float | None, rule: AlertRule = RULE) -> list[str | None]:
    return [alert.state.value if alert else None for alert in course(*values, rule=rule)]


def test_an_alert_fires_once_it_has_held_and_is_resolved_when_it_is_over() -> None:
    assert states(0.01, 0.2, 0.3, 0.2, 0.4, 0.01, 0.01) == [
        None, "pending", "pending", "firing", "firing", "resolved", None,
    ]  # fmt: skip
    alerts = course(0.2, 0.3, 0.4, 0.01)
    assert len({alert.id for alert in alerts if alert}) == 1
    assert alerts[3] is not None
    assert (alerts[3].value, alerts[3].resolved_at) == (0.4, NOON + timedelta(seconds=90))


def test_what_does_not_hold_tells_nobody() -> None:
    assert states(0.2, 0.01, 0.2, 0.2) == ["pending", None, "pending", "pending"]


def test_a_rule_without_a_hold_fires_at_once_and_the_threshold_itself_is_not_too_much() -> None:
    at_once = AlertRule("f", "complete_failures", 0, window=60, hold=0, severity=AlertSeverity.CRITICAL, summary="F.")
    assert states(0, 1, rule=at_once) == [None, "firing"]


def test_where_there_is_nothing_to_measure_nothing_is_wrong() -> None:
    assert states(None, 0.2, None, 0.2, 0.2, 0.2, None) == [
        None, "pending", None, "pending", "pending", "firing", "resolved",
    ]  # fmt: skip


def test_a_rule_can_watch_for_too_little() -> None:
    low = AlertRule(
        "hits", "cache_hit_rate", 0.5, window=60, hold=0, severity=AlertSeverity.INFO, summary="Few.", below=True
    )
    assert states(0.5, 0.4, rule=low) == [None, "firing"]


def test_a_rule_of_ones_own_takes_the_place_of_the_one_that_ships_or_turns_it_off() -> None:
    own = {
        "error-rate": AlertRuleSettings(metric="error_rate", above=0.5, severity="critical"),
        "slow-answers": AlertRuleSettings(metric="latency_p95_seconds", above=1, enabled=False),
        "spending": AlertRuleSettings(metric="cost_usd", above=10, window=3600, task="chat"),
    }
    rules = {rule.name: rule for rule in rules_of(AlertSettings(rules=own))}
    assert rules["error-rate"].threshold == 0.5
    assert "slow-answers" not in rules
    assert (rules["spending"].task, rules["spending"].summary) == ("chat", "cost_usd is above 10.")
    assert {rule.metric for rule in SHIPPED} <= set(METRICS)


def test_a_rule_over_what_is_not_measured_is_refused_with_what_is() -> None:
    rules = AlertSettings(rules={"x": AlertRuleSettings(metric="mood", below=1)})
    with pytest.raises(Configuration, match=r"alerts\.rules\.x\.metric.*error_rate"):
        rules_of(rules)


@pytest.mark.parametrize("sides", [{}, {"above": 1, "below": 1}])
def test_a_rule_has_one_threshold(sides: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="`above` or `below`"):
        AlertRuleSettings.model_validate({"metric": "errors", **sides})


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"user": "hub"}, "together"),
        ({"user": "hub", "password_secret": "mail", "security": "none"}, "not encrypted"),
        ({"to": ["a@example.org\nBcc: b@example.org"]}, "one line"),
        ({"to": []}, "at least 1"),
    ],
)
def test_a_mail_server_that_could_not_be_used_is_refused(change: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        AlertEmailSettings.model_validate({"host": "mail", "sender": "hub@example.org", "to": ["a@b.c"], **change})


def test_a_webhook_is_signed_over_its_time_and_body() -> None:
    one = signature("s", b"{}", 1)
    assert one.startswith("t=1,v1=")
    assert len({one, signature("t", b"{}", 1), signature("s", b"{ }", 1), signature("s", b"{}", 2)}) == 4


def test_a_line_says_what_is_wrong_and_by_how_much() -> None:
    [alert] = [one for one in course(0.2, 0.2, 0.25) if one and one.state is AlertState.FIRING]
    assert sentence(alert) == "[warning] errors fires: Errors. (measured 0.25, threshold 0.05)"
