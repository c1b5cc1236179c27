"""The rows of budgets: what each may cost, what was spent of it, and what is reserved by requests under way."""

# ruff: noqa: S608 - the statements are put together from parts of this module alone

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, LiteralString
from uuid import UUID

import psycopg

from tidemill.core.errors import TidemillError
from tidemill.core.limits import Budget, BudgetState, LimitScope, Period
from tidemill.store.database import Connection, Pool
from tidemill.store.deferred import Deferred
from tidemill.store.groups import Grouped

log = logging.getLogger(__name__)

MOST_UNSETTLED = 1000
"""Requests whose cost waits to be settled; who ends after that waits for the writer."""
COLUMNS: LiteralString = "b.id, b.scope, b.subject, b.period, b.limit_usd, b.created_at"
APPLIES: LiteralString = (
    "b.scope = 'all' OR b.scope = 'task' AND b.subject = %(task)s "
    "OR b.scope = 'user' AND b.subject = %(user)s::uuid::text "
    "OR b.scope = 'key' AND b.subject = "
    "coalesce((SELECT coalesce(origin_id, id) FROM api_keys WHERE id = %(key)s::uuid), %(key)s::uuid)::text "
    "OR b.scope = 'team' AND b.subject IN (SELECT team_id::text FROM team_members WHERE user_id = %(user)s::uuid)"
)
"""A budget counts for a key whatever it is rotated into, and for whoever is in a team now."""

SPARE: LiteralString = "16"
"""A budget that holds fewer requests like this one is nearly used up: what it really cost is settled at once."""
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
    "SELECT wanted.place, held.* FROM unnest(%(ids)s::uuid[], %(amounts)s::numeric[], %(ends)s::timestamptz[]) "
    "WITH ORDINALITY AS wanted (id, amount, expires_at, place), LATERAL reserve_budgets("
    "wanted.id, %(budgets)s::uuid[], %(starts)s::date[], wanted.amount, wanted.expires_at, "
    f"{SPARE}) AS held"
)
"""Locks the budgets, looks for each in turn and holds its amount back; gives budgets that are short or nearly so."""
SPEND: LiteralString = (
    "ON CONFLICT (budget_id, period_start) DO UPDATE SET spent_usd = s.spent_usd + excluded.spent_usd"
)
# A budget that is removed meanwhile is left out: its row is locked, so that none goes between here and the insert.
SETTLE: LiteralString = (
    "WITH settled AS (SELECT * FROM unnest(%(ids)s::uuid[], %(budgets)s::uuid[], %(starts)s::date[], "
    "%(costs)s::numeric[], %(amounts)s::numeric[]) AS p (id, budget_id, period_start, cost, amount)), "
    "there AS (SELECT id FROM budgets WHERE id = ANY(%(budgets)s) ORDER BY id FOR KEY SHARE), "
    "freed AS (DELETE FROM budget_reservations AS r USING settled WHERE r.id = settled.id "
    "AND r.budget_id = settled.budget_id RETURNING r.id, r.budget_id) "
    "INSERT INTO budget_spending AS s (budget_id, period_start, spent_usd) "
    "SELECT settled.budget_id, period_start, sum(cost - CASE WHEN freed.id IS NULL THEN amount ELSE 0 END) "
    "FROM settled JOIN there ON there.id = settled.budget_id "
    "LEFT JOIN freed ON freed.id = settled.id AND freed.budget_id = settled.budget_id "
    f"GROUP BY settled.budget_id, period_start ORDER BY settled.budget_id, period_start {SPEND}"
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
    """What one request may cost at most, held back from each budget in the period in which it was asked.

    Attributes:
        settled_at_once: whether the next request may need what is left over.
    """

    id: UUID
    periods: Mapping[UUID, date]
    amount_usd: float
    expires_at: datetime
    settled_at_once: bool = True


@dataclass(frozen=True, slots=True)
class Reserved:
    """What came of a reservation.

    Attributes:
        short: the budgets that do not hold it, as they stand; none where it is reserved.
        nearly_used_up: whether one of them holds but few more of its size.
    """

    short: Sequence[BudgetState]
    nearly_used_up: bool


class BudgetRepository:
    """Budgets. A write by a person takes the connection of the transaction that the audit log hears of.

    Reserving locks the budgets' rows in the order of their ids, so that two processes never both take what is left.

    Args:
        pool: for everything but what follows.
        fast: for reserving, whose commits wait for the disk all the same, and for settling, whose don't: what is lost
            of that with the whole machine leaves the reservation, which counts as spent.
    """

    def __init__(self, pool: Pool, fast: Pool) -> None:
        self._pool = pool
        self._fast = fast
        self._reserving = Grouped(self._reserve_all)
        self._settling = Grouped(self._settle_all)
        self._settling_later = Deferred(self._settle_later, most=MOST_UNSETTLED)

    async def applicable(self, *, key_id: UUID | None, user_id: UUID | None, task: str) -> list[Budget]:
        """The budgets that a request of this key, this person and for this task counts towards."""
        query: LiteralString = f"SELECT {COLUMNS} FROM budgets AS b WHERE {APPLIES} ORDER BY id"
        async with self._pool.connection() as connection:
            cursor = await connection.execute(query, {"key": key_id, "user": user_id, "task": task})
            return [budget_of(row) for row in await cursor.fetchall()]

    async def reserve(self, wanted: Reservation) -> Reserved:
        """Holds the amount back from all of the budgets, or from none. Budgets that are gone are left out."""
        return await self._reserving.add(wanted)

    async def settle(self, reserved: Reservation, cost_usd: float) -> None:
        """Puts what was really spent in the place of a reservation, also of one that has expired meanwhile."""
        await self._settling.add((reserved, cost_usd))

    async def settle_later(self, reserved: Reservation, cost_usd: float) -> None:
        """The same a moment later, together with others'. It is certain to be tried when this has begun."""
        await self._settling_later.add((reserved, cost_usd))

    async def settled(self) -> bool:
        """Settles at once what was left for later; whether there was anything."""
        return await self._settling_later.written()

    async def _reserve_all(self, wanted: Sequence[Reservation]) -> list[Reserved]:
        """In turn; each sees what those before it have reserved. Those of the same budgets are one statement."""
        parts: dict[tuple[tuple[UUID, date], ...], list[Reservation]] = {}
        for one in wanted:
            parts.setdefault(tuple(one.periods.items()), []).append(one)
        async with self._fast.connection() as connection:
            if len(parts) == 1:
                cursors = [await connection.execute(RESERVE, _reservations(wanted))]
            else:
                budgets = sorted({budget_id for one in wanted for budget_id in one.periods})
                async with connection.pipeline(), connection.transaction():
                    await connection.execute(LOCK, {"budgets": budgets})
                    cursors = [await connection.execute(RESERVE, _reservations(part)) for part in parts.values()]
            found: dict[UUID, list[dict[str, Any]]] = {one.id: [] for one in wanted}
            for part, cursor in zip(parts.values(), cursors, strict=True):
                for row in await cursor.fetchall():
                    found[part[int(str(row["place"])) - 1].id].append(row)
        return [Reserved([_state(row) for row in rows if not row["fits"]], bool(rows)) for rows in found.values()]

    async def _settle_later(self, settled: Sequence[tuple[Reservation, float]]) -> None:
        ended = await asyncio.gather(*(self.settle(*one) for one in settled), return_exceptions=True)
        failures = [one for one in ended if isinstance(one, BaseException)]
        for failure in failures:
            if not isinstance(failure, TidemillError | psycopg.Error):
                raise failure
        if failures:
            log.warning(
                "What %d requests really cost is not in their budgets, which count what was reserved: %s",
                len(failures),
                failures[0],
            )

    async def _settle_all(self, settled: Sequence[tuple[Reservation, float]]) -> list[None]:
        parts = [(one, cost, *period) for one, cost in settled for period in one.periods.items()]
        parameters = {
            "ids": [one.id for one, _, _, _ in parts],
            "budgets": [budget_id for _, _, budget_id, _ in parts],
            "starts": [start for _, _, _, start in parts],
            "costs": [_dollars(cost) for _, cost, _, _ in parts],
            "amounts": [_dollars(one.amount_usd) for one, _, _, _ in parts],
        }
        async with self._fast.connection() as connection:
            await connection.execute(SETTLE, parameters)
        return [None] * len(settled)

    async def expire(self, now: datetime) -> int:
        """Counts as spent what is still reserved though nobody can be waiting for it any more.

        Returns of how many budgets and periods there was such a thing.
        """
        async with self._pool.connection() as connection:
            cursor = await connection.execute(EXPIRE, {"now": now})
            return cursor.rowcount

    async def states(self, budgets: Sequence[Budget], now: datetime) -> list[BudgetState]:
        """How much of each is used in the period of this moment."""
        await self.settled()
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


def _dollars(amount: float) -> str:
    return f"{amount:.9f}"


def _reservations(wanted: Sequence[Reservation]) -> dict[str, Any]:
    """Those of the same budgets and periods."""
    return {
        **_periods(wanted[0].periods),
        "ids": [one.id for one in wanted],
        "amounts": [_dollars(one.amount_usd) for one in wanted],
        "ends": [one.expires_at for one in wanted],
    }


def _periods(periods: Mapping[UUID, date]) -> dict[str, Any]:
    return {"budgets": list(periods), "starts": list(periods.values())}
