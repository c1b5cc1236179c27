"""The rules that ship, and those of the settings."""

from tidemill.core.alert import AlertRule, AlertSeverity
from tidemill.core.errors import Configuration
from tidemill.settings.alerts import AlertRuleSettings, AlertSettings
from tidemill.store.alert_metrics import METRICS

SHIPPED = (
    AlertRule(
        "complete-failure",
        "complete_failures",
        threshold=0,
        window=300,
        hold=0,
        severity=AlertSeverity.CRITICAL,
        summary="Requests were answered by no provider and no fallback.",
    ),
    AlertRule(
        "provider-disabled",
        "providers_disabled",
        threshold=0,
        window=60,
        hold=0,
        severity=AlertSeverity.CRITICAL,
        summary="A provider is out of the pool until its key or its bill is mended (`tidemill providers list`).",
    ),
    AlertRule(
        "error-rate",
        "error_rate",
        threshold=0.05,
        window=300,
        hold=300,
        severity=AlertSeverity.WARNING,
        summary="More than one inference in twenty fails.",
    ),
    AlertRule(
        "slow-answers",
        "latency_p95_seconds",
        threshold=120,
        window=600,
        hold=300,
        severity=AlertSeverity.WARNING,
        summary="One answer in twenty takes more than two minutes.",
    ),
    AlertRule(
        "budget-nearly-used",
        "budget_used",
        threshold=0.9,
        window=60,
        hold=0,
        severity=AlertSeverity.WARNING,
        summary="Nine tenths of a budget are spent (`tidemill budgets list`).",
    ),
    AlertRule(
        "jobs-waiting",
        "jobs_waiting_seconds",
        threshold=3600,
        window=60,
        hold=0,
        severity=AlertSeverity.WARNING,
        summary="A job has waited for more than an hour.",
    ),
)


def rules_of(settings: AlertSettings) -> list[AlertRule]:
    """Every rule that is looked at.

    Raises:
        Configuration: a rule watches what can't be measured.
    """
    rules = {rule.name: rule for rule in SHIPPED}
    for name, chosen in settings.rules.items():
        if chosen.metric not in METRICS:
            raise Configuration(
                f"The alert rule {name} watches {chosen.metric!r}, which is not measured. Mend `alerts.rules.{name}."
                f"metric`: it is one of {', '.join(METRICS)}."
            )
        rules.pop(name, None)
        if chosen.enabled:
            rules[name] = _rule(name, chosen)
    return list(rules.values())


def _rule(name: str, chosen: AlertRuleSettings) -> AlertRule:
    below = chosen.below is not None
    threshold = chosen.below if chosen.below is not None else chosen.above
    assert threshold is not None  # noqa: S101 - the settings see to it that there is one
    side = "below" if below else "above"
    return AlertRule(
        name,
        chosen.metric,
        threshold=threshold,
        window=chosen.window,
        hold=chosen.hold,
        severity=AlertSeverity(chosen.severity),
        summary=chosen.summary or f"{chosen.metric} is {side} {threshold:g}.",
        below=below,
        task=chosen.task,
    )
