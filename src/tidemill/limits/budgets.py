"""Budgets as people set them."""

import math
from collections.abc import Sequence
from uuid import UUID

from tidemill.core.accounts import Caller, Right
from tidemill.core.audit import Actor
from tidemill.core.clock import Clock
from tidemill.core.errors import InvalidInput, NotFound
from tidemill.core.ids import new_id
from tidemill.core.limits import Budget, BudgetState, LimitScope, Period
from tidemill.limits.subjects import Subjects
from tidemill.store.audited import Audited
from tidemill.store.budgets import BudgetRepository

SMALLEST_USD = 0.000001
LARGEST_USD = 10_000_000.0


class Budgets:
    """The service for budgets.

    Args:
        rows: where they are stored.
        subjects: whom they can be for.
        audit: makes each change known.
        clock: gives times.
    """

    def __init__(self, rows: BudgetRepository, subjects: Subjects, *, audit: Audited, clock: Clock) -> None:
        self._rows = rows
        self._subjects = subjects
        self._audit = audit
        self._clock = clock

    async def put(
        self, scope: LimitScope, subject: str | None, period: Period, limit_usd: float, actor: Actor
    ) -> BudgetState:
        """Sets a budget. One for the same subject and period gets the new limit, and what was spent of it stays.

        Raises:
            InvalidInput: the amount or the subject can't be used.
            NotFound: there is no such subject.
        """
        if not math.isfinite(limit_usd) or not SMALLEST_USD <= limit_usd <= LARGEST_USD:
            raise InvalidInput(
                f"A budget is an amount of US dollars from {SMALLEST_USD:f} to {LARGEST_USD:,.0f}, not {limit_usd:g}. "
                "To forbid models that cost something, set the smallest; to lift a budget, remove it.",
                param="limit_usd",
            )
        now = self._clock()
        named = await self._subjects.named(scope, subject)
        wanted = Budget(new_id(), scope, named, period, round(limit_usd, 6), now)
        async with self._audit.change(actor) as change:
            budget = await self._rows.put(change.connection, wanted)
            change.note(
                "budget.set", "budget", budget.id, scope=scope, subject=named, period=period, limit_usd=budget.limit_usd
            )
        [state] = await self._rows.states([budget], now)
        return state

    async def states(self) -> Sequence[BudgetState]:
        """Every budget, with how much of it is used in its present period."""
        now = self._clock()
        return await self._rows.states(await self._rows.list(), now)

    async def states_for(self, caller: Caller) -> Sequence[BudgetState]:
        """The budgets that a caller's requests count towards; all of them with the right `usage.read_all`."""
        found = await self.states()
        if caller.may(Right.USAGE_READ_ALL):
            return found
        own = await self._subjects.of(caller)
        return [
            one for one in found if one.budget.scope is LimitScope.TASK or (one.budget.scope, one.budget.subject) in own
        ]

    async def remove(self, budget_id: UUID, actor: Actor) -> Budget:
        """Deletes a budget, and what was spent of it; requests under way are not held to it any more.

        Raises:
            NotFound: there is none.
        """
        async with self._audit.change(actor) as change:
            budget = await self._rows.remove(change.connection, budget_id)
            if budget is None:
                raise NotFound(f"There is no budget {budget_id}.")
            change.note(
                "budget.removed", "budget", budget.id, scope=budget.scope, subject=budget.subject, period=budget.period
            )
        return budget

    async def find(self, scope: LimitScope, subject: str | None, period: Period) -> Budget:
        """The budget for this subject and period, or `NotFound`."""
        named = await self._subjects.named(scope, subject)
        for budget in await self._rows.list():
            if (budget.scope, budget.subject, budget.period) == (scope, named, period):
                return budget
        raise NotFound(f"There is no budget for {f'the {scope} {named}' if named else 'all'} and a {period}.")

    async def expire(self) -> int:
        """Counts as spent what was reserved for requests that nobody can be waiting for any more."""
        return await self._rows.expire(self._clock())
