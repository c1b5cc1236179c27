"""What alert rules can watch, each one number out of rows that all processes share."""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import LiteralString

from tidemill.store.database import Pool

_RECENT: LiteralString = (
    "FROM inferences WHERE created_at > %(since)s AND created_at <= %(now)s "
    "AND (%(task)s::text IS NULL OR task = %(task)s)"
)
METRICS: Mapping[str, LiteralString] = MappingProxyType(
    {
        "requests": f"SELECT count(*) AS value {_RECENT}",
        "errors": f"SELECT count(*) AS value {_RECENT} AND status = 'error'",
        "error_rate": "SELECT avg((status = 'error')::int) AS value " + _RECENT + " AND status <> 'cancelled'",
        "complete_failures": f"SELECT count(*) AS value {_RECENT} AND error_code = 'all_providers_failed'",
        "fallback_rate": "SELECT avg((fallback IS NOT NULL)::int) AS value " + _RECENT + " AND status = 'ok'",
        "recovery_rate": "SELECT avg((attempts > 1)::int) AS value " + _RECENT + " AND status = 'ok'",
        "latency_p95_seconds": (
            "SELECT percentile_cont(0.95) WITHIN GROUP (ORDER BY latency_ms) / 1000 AS value "
            + _RECENT
            + " AND status = 'ok'"
        ),
        "first_token_p95_seconds": (
            "SELECT percentile_cont(0.95) WITHIN GROUP (ORDER BY first_token_ms) / 1000 AS value "
            + _RECENT
            + " AND status = 'ok' AND streamed AND first_token_ms IS NOT NULL"
        ),
        "cost_usd": f"SELECT coalesce(sum(cost_usd), 0) AS value {_RECENT}",
        "cache_hit_rate": "SELECT avg((cache_tier IS NOT NULL)::int) AS value " + _RECENT + " AND status = 'ok'",
        "providers_disabled": "SELECT count(*) AS value FROM provider_states WHERE disabled_at IS NOT NULL",
        "providers_resting": "SELECT count(*) AS value FROM provider_states WHERE rests_until > %(now)s",
        "guardrail_refusals": (
            "SELECT count(*) AS value FROM guardrail_events WHERE action = 'refuse' "
            "AND created_at > %(since)s AND created_at <= %(now)s AND (%(task)s::text IS NULL OR task = %(task)s)"
        ),
        "budget_used": (
            "SELECT max(spent_usd / limit_usd) AS value FROM budget_spending JOIN budgets ON id = budget_id "
            "WHERE period_start = CASE period WHEN 'day' THEN (%(now)s AT TIME ZONE 'UTC')::date "
            "WHEN 'month' THEN date_trunc('month', %(now)s AT TIME ZONE 'UTC')::date ELSE period_start END"
        ),
        "jobs_failed": (
            "SELECT count(*) AS value FROM generation_jobs WHERE state = 'failed' "
            "AND ended_at > %(since)s AND ended_at <= %(now)s"
        ),
        "jobs_waiting_seconds": (
            "SELECT extract(epoch FROM %(now)s - min(created_at)) AS value FROM generation_jobs "
            "WHERE state = 'queued' AND tries = 0"
        ),
        "reviews_failed": (
            "SELECT count(*) AS value FROM reviews WHERE state = 'failed' "
            "AND finished_at > %(since)s AND finished_at <= %(now)s"
        ),
    }
)
"""Each a statement of one value; rates are between 0 and 1, and `NULL` where nothing was there to take one of."""


class AlertMetricRepository:
    """Measures what rules watch."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def measure(self, metric: str, *, since: datetime, now: datetime, task: str | None) -> float | None:
        """The value of one of `METRICS` between two times; `None` where there is none."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(METRICS[metric], {"since": since, "now": now, "task": task})
            row = await cursor.fetchone()
        value = row["value"] if row else None
        return None if value is None else float(str(value))
