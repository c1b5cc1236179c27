"""The rows of budgets: what each may cost, what was spent of it, and what is reserved by requests under way."""

# ruff: noqa: S608 - the statements are put together from parts of this module alone

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, LiteralString
from uuid import UUID

from tidemill.core.limits import Budget, BudgetState, LimitScope, Period
from tidemill.store.database import Connection, Pool

COLUMNS: LiteralString = "b.id, b.scope, b.subject, b.period, b.limit_usd, b.created_at"
APPLIES: LiteralString = (
    "b.scope = 'all' OR b.scope = 'task' AND b.subject = %(task)s "
    "OR b.scope = 'user' AND b.subject = %(user)s::uuid::text "
    "OR b.scope = 'key' AND b.subject = "
    "coalesce((SELECT coalesce(origin_id, id) FROM api_keys WHERE id = %(key)s::uuid), %(key)s::uuid)::text "
    "OR b.scope = 'team' AND b.subject IN (SELECT team_id::text FROM team_members WHERE user_id = %(user)s::uuid)"
)
"""A budget counts for a key whatever it is rotated into, and for whoever is in a team now."""

PERIODS: LiteralString = "unnest(%(budgets)s::uuid[], %(starts)s::date[]) AS p (budget_id, period_start)"
STATE: LiteralString = (
    f"SELECT {COLUMNS}, p.period_start, "
    "coalesce((SELECT spent_usd FROM budget_spending AS s "
    "WHERE s.budget_id = b.id AND s.period_start = p.period_start), 0) AS spent_usd, "
    "coalesce((SELECT sum(amount_usd) FROM budget_reservations AS r "
    "WHERE r.budget_id = b.id AND r.period_start = p.period_start), 0) AS reserved_usd "
    f"FROM budgets AS b JOIN {PERIODS} ON p.budget_id = b.id"
)
LOCK: LiteralString = "SELECT id FROM budgets WHERE id = ANY(%(budgets)s) ORDER BY id FOR NO KEY UPDATE"
RESERVE: LiteralString = (
    f"WITH state AS ({STATE}), held AS ("
    "INSERT INTO budget_reservations (id, budget_id, period_start, amount_usd, expires_at) "
    "SELECT %(id)s, id, period_start, %(amount)s::numeric, %(expires_at)s FROM state "
    "WHERE NOT EXISTS (SELECT FROM state WHERE spent_usd + reserved_usd + %(amount)s::numeric > limit_usd)) "
    "SELECT state.*, spent_usd + reserved_usd + %(amount)s::numeric <= limit_usd AS fits FROM state ORDER BY id"
)
SPEND: LiteralString = (
    "ON CONFLICT (budget_id, period_start) DO UPDATE SET spent_usd = s.spent_usd + excluded.spent_usd"
)
# A budget that is removed meanwhile is left out: its row is locked, so that none goes between here and the insert.
SETTLE: LiteralString = (
    "WITH freed AS (DELETE FROM budget_reservations WHERE id = %(id)s RETURNING budget_id) "
    "INSERT INTO budget_spending AS s (budget_id, period_start, spent_usd) "
    "SELECT p.budget_id, p.period_start, %(cost)s::numeric - CASE WHEN p.budget_id IN (SELECT budget_id FROM freed) "
    f"THEN 0 ELSE %(amount)s::numeric END FROM {PERIODS} JOIN budgets AS b ON b.id = p.budget_id "
    f"ORDER BY p.budget_id FOR KEY SHARE OF b {SPEND}"
)
EXPIRE: LiteralString = (
    "WITH expired AS (DELETE FROM budget_reservations WHERE expires_at <= %(now)s "
    "RETURNING budget_id, period_start, amount_usd) "
    "INSERT INTO budget_spending AS s (budget_id, period_start, spent_usd) "
    "SELECT budget_id, period_start, sum(amount_usd) FROM expired GROUP BY budget_id, period_start "
    f"ORDER BY budget_id, period_start {SPEND}"
)


@dataclass(frozen=True, slots=True)
class Reservation:
    """What one request may cost at most, held back from each budget in the period in which it was asked."""

    id: UUID
    periods: Mapping[UUID, date]
    amount_usd: float
    expires_at: datetime


class BudgetRepository:
    """Budgets. A write by a person takes the connection of the transaction that the audit log hears of.

    Reserving locks the budgets' rows in the order of their ids, so that two processes never both take what is left.

    Args:
        pool: for what has to be on the disk before anything is sent.
        fast: for what is settled. Commits there need not wait for the disk: one that is lost with the whole machine
            leaves the reservation, which counts as spent.
    """

    def __init__(self, pool: Pool, fast: Pool) -> None:
        self._pool = pool
        self._fast = fast

    async def applicable(self, *, key_id: UUID | None, user_id: UUID | None, task: str) -> list[Budget]:
        """The budgets that a request of this key, this person and for this task counts towards."""
        query: LiteralString = f"SELECT {COLUMNS} FROM budgets AS b WHERE {APPLIES} ORDER BY id"
        async with self._pool.connection() as connection:
            cursor = await connection.execute(query, {"key": key_id, "user": user_id, "task": task})
            return [budget_of(row) for row in await cursor.fetchall()]

    async def reserve(self, wanted: Reservation) -> list[BudgetState]:
        """Holds the amount back from all of the budgets, or from none.

        Returns the budgets that do not hold it, as they stand; none where it is reserved. Budgets that are not there
        any more are left out.
        """
        parameters = {
            **_periods(wanted.periods),
            "id": wanted.id,
            "amount": f"{wanted.amount_usd:.9f}",
            "expires_at": wanted.expires_at,
        }
        async with self._pool.connection() as connection, connection.pipeline():
            async with connection.transaction():
                await connection.execute(LOCK, parameters)
                cursor = await connection.execute(RESERVE, parameters)
            rows = await cursor.fetchall()
        return [_state(row) for row in rows if not row["fits"]]

    async def settle(self, reserved: Reservation, cost_usd: float) -> None:
        """Puts what was really spent in the place of a reservation, also of one that has expired meanwhile."""
        parameters = {
            **_periods(reserved.periods),
            "id": reserved.id,
            "cost": f"{cost_usd:.9f}",
            "amount": f"{reserved.amount_usd:.9f}",
        }
        async with self._fast.connection() as connection:
            await connection.execute(SETTLE, parameters)

    async def expire(self, now: datetime) -> int:
        """Counts as spent what is still reserved though nobody can be waiting for it any more.

        Returns of how many budgets and periods there was such a thing.
        """
        async with self._pool.connection() as connection:
            cursor = await connection.execute(EXPIRE, {"now": now})
            return cursor.rowcount

    async def states(self, budgets: Sequence[Budget], now: datetime) -> list[BudgetState]:
        """How much of each is used in the period of this moment."""
        parameters = _periods({budget.id: budget.period.start(now) for budget in budgets})
        query: LiteralString = f"{STATE} ORDER BY b.scope, b.subject, b.period"
        async with self._pool.connection() as connection:
            return [_state(row) for row in await (await connection.execute(query, parameters)).fetchall()]

    async def list(self) -> list[Budget]:
        """Every budget."""
        query: LiteralString = f"SELECT {COLUMNS} FROM budgets AS b ORDER BY b.scope, b.subject, b.period"
        async with self._pool.connection() as connection:
            return [budget_of(row) for row in await (await connection.execute(query)).fetchall()]

    async def put(self, connection: Connection, budget: Budget) -> Budget:
        """Writes a budget. One of the same scope, subject and period keeps its id and what was spent of it."""
        query: LiteralString = (
            "INSERT INTO budgets AS b (id, scope, subject, period, limit_usd, created_at) "
            "VALUES (%s, %s, %s, %s, %s, %s) "
            f"ON CONFLICT (scope, subject, period) DO UPDATE SET limit_usd = excluded.limit_usd RETURNING {COLUMNS}"
        )
        given = (budget.id, budget.scope, budget.subject, budget.period, budget.limit_usd, budget.created_at)
        row = await (await connection.execute(query, given)).fetchone()
        assert row is not None  # noqa: S101 - an upsert always returns its row
        return budget_of(row)

    async def remove(self, connection: Connection, budget_id: UUID) -> Budget | None:
        """Deletes a budget and what was spent of it; `None` where there is none."""
        query: LiteralString = f"DELETE FROM budgets AS b WHERE id = %s RETURNING {COLUMNS}"
        row = await (await connection.execute(query, (budget_id,))).fetchone()
        return budget_of(row) if row else None


def budget_of(row: Mapping[str, Any]) -> Budget:
    """A budget's row as a value."""
    return Budget(
        id=row["id"],
        scope=LimitScope(row["scope"]),
        subject=row["subject"],
        period=Period(row["period"]),
        limit_usd=float(row["limit_usd"]),
        created_at=row["created_at"],
    )


def _state(row: Mapping[str, Any]) -> BudgetState:
    return BudgetState(budget_of(row), row["period_start"], float(row["spent_usd"]), float(row["reserved_usd"]))


def _periods(periods: Mapping[UUID, date]) -> dict[str, Any]:
    return {"budgets": list(periods), "starts": list(periods.values())}
