"""Sums over the rows of inferences."""

# ruff: noqa: S608 - the statements are put together from parts of this module alone

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from tidemill.core.usage import UsageGroup, UsageSum
from tidemill.store.database import Pool

COLUMNS: Mapping[UsageGroup, LiteralString] = {
    UsageGroup.DAY: "(created_at AT TIME ZONE 'UTC')::date AS day",
    UsageGroup.MODEL: "model",
    UsageGroup.PROVIDER: "provider",
    UsageGroup.KEY: "key_id",
    UsageGroup.USER: "user_id",
    UsageGroup.TASK: "task",
}
"""What one pass over the rows groups by; names come to what is left."""
SHOWN: Mapping[UsageGroup, LiteralString] = {
    UsageGroup.DAY: "rows.day",
    UsageGroup.MODEL: "rows.model",
    UsageGroup.PROVIDER: "rows.provider",
    UsageGroup.KEY: "coalesce(k.origin_id, rows.key_id) AS key_id",
    UsageGroup.USER: "rows.user_id",
    UsageGroup.TASK: "rows.task",
}
NAMES: Mapping[UsageGroup, LiteralString] = {
    UsageGroup.KEY: "max(k.name) AS key_name",
    UsageGroup.USER: "max(u.name) AS user_name",
}
JOINS: Mapping[UsageGroup, LiteralString] = {
    UsageGroup.KEY: "LEFT JOIN api_keys AS k ON k.id = rows.key_id",
    UsageGroup.USER: "LEFT JOIN users AS u ON u.id = rows.user_id",
}
SUMS: LiteralString = (
    "count(*) AS requests, count(*) FILTER (WHERE status = 'error') AS errors, "
    "coalesce(sum(prompt_tokens), 0) AS prompt_tokens, coalesce(sum(cached_tokens), 0) AS cached_tokens, "
    "coalesce(sum(completion_tokens), 0) AS completion_tokens, coalesce(sum(cost_usd), 0) AS cost_usd, "
    "count(*) FILTER (WHERE cost_usd IS NULL) AS unknown_costs, "
    "count(*) FILTER (WHERE cache_tier IS NOT NULL) AS cache_hits"
)
NUMBERS: LiteralString = (
    "sum(requests)::bigint AS requests, sum(errors)::bigint AS errors, sum(prompt_tokens)::bigint AS prompt_tokens, "
    "sum(cached_tokens)::bigint AS cached_tokens, sum(completion_tokens)::bigint AS completion_tokens, "
    "sum(cost_usd) AS cost_usd, sum(unknown_costs)::bigint AS unknown_costs, sum(cache_hits)::bigint AS cache_hits"
)
ORDINALS: Sequence[LiteralString] = ("1", "2", "3", "4", "5", "6")


class UsageRepository:
    """What inferences used."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def sums(
        self, groups: Sequence[UsageGroup], *, since: datetime, until: datetime, owner_id: UUID | None, limit: int
    ) -> list[UsageSum]:
        """Sums over the inferences from `since` on and before `until`, of one owner where one is given.

        In the order of the groups, each ascending; `limit` rows at most. Without groups there is one row.
        """
        query = _query(groups, of_owner=owner_id is not None)
        parameters = {"since": since, "until": until, "owner": owner_id, "limit": limit}
        async with self._pool.connection() as connection:
            return [_sum(row) for row in await (await connection.execute(query, parameters)).fetchall()]


def _query(groups: Sequence[UsageGroup], *, of_owner: bool) -> LiteralString:
    owned: LiteralString = "AND owner_id = %(owner)s" if of_owner else ""
    period: LiteralString = f"FROM inferences WHERE created_at >= %(since)s AND created_at < %(until)s {owned}"
    if not groups:
        return f"SELECT {SUMS} {period}"
    columns: LiteralString = ", ".join([COLUMNS[group] for group in groups])
    places: LiteralString = ", ".join(ORDINALS[: len(groups)])
    shown: LiteralString = ", ".join([SHOWN[group] for group in groups])
    names: LiteralString = "".join([", " + NAMES[group] for group in groups if group in NAMES])
    joins: LiteralString = " ".join([JOINS[group] for group in groups if group in JOINS])
    return (
        f"SELECT {shown}, {NUMBERS}{names} FROM (SELECT {columns}, {SUMS} {period} GROUP BY {places}) AS rows {joins} "
        f"GROUP BY {places} ORDER BY {places} LIMIT %(limit)s"
    )


def _sum(row: Mapping[str, Any]) -> UsageSum:
    return UsageSum(**{**row, "cost_usd": float(row["cost_usd"])})
