"""What budgets and rate limits are tried against: priced models over a script, and askers."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from tests.conftest import NOON
from tidemill.core.chat import ChatRequest
from tidemill.core.context import InferenceContext
from tidemill.core.deployment import Deployment, Task
from tidemill.core.errors import ModelNotFound
from tidemill.core.ids import new_id
from tidemill.core.limits import Budget, LimitScope, Period
from tidemill.core.provider import FREE, ModelFacts, Price
from tidemill.llm.budgets import Facts
from tidemill.store.budgets import BudgetRepository
from tidemill.store.database import Pool

PRICE = Price(input=10.0, output=1000.0)
"""Dear, so that few requests make up a budget: a tenth of a cent for a token of an answer."""


def facts_of(**models: ModelFacts) -> Facts:
    """Facts of these models alone."""

    def facts(name: str) -> ModelFacts:
        if name not in models:
            raise ModelNotFound(f"There is no model {name!r}.")
        return models[name]

    return facts


def model_facts(name: str, price: Price | None = PRICE, **more: Any) -> ModelFacts:
    return ModelFacts(name, provider="acme", model=name, version="v1", price=price, **more)


FACTS = facts_of(
    dear=model_facts("dear"),
    cheap=model_facts("cheap", Price(1.0, 10.0)),
    unpriced=model_facts("unpriced", None),
    own=ModelFacts("own", "local", "own", "v1", price=FREE, local=True),
)


def asked(
    model: str = "dear",
    text: str = "Hello there",
    *,
    key_id: UUID | None = None,
    user_id: UUID | None = None,
    task: Task = Task.CHAT,
    **options: Any,
) -> ChatRequest:
    context = InferenceContext(
        new_id(), Deployment(task, model, "v1"), "0" * 32, key_id=key_id, owner_id=user_id or key_id, user_id=user_id
    )
    return ChatRequest(model, [{"role": "user", "content": text}], options, context)


async def put_budget(
    pool: Pool,
    limit_usd: float,
    scope: LimitScope = LimitScope.ALL,
    subject: object = "",
    period: Period = Period.DAY,
) -> Budget:
    async with pool.connection() as connection:
        budget = Budget(new_id(), scope, str(subject), period, limit_usd, NOON)
        return await BudgetRepository(pool, pool).put(connection, budget)


async def spent(pool: Pool) -> Sequence[float]:
    """What was spent of each budget in each period."""
    return await _numbers(pool, "SELECT spent_usd AS usd FROM budget_spending ORDER BY budget_id, period_start")


async def reserved(pool: Pool) -> Sequence[float]:
    return await _numbers(pool, "SELECT amount_usd AS usd FROM budget_reservations ORDER BY budget_id, period_start")


async def _numbers(pool: Pool, query: Any) -> Sequence[float]:
    async with pool.connection() as connection:
        return [float(str(row["usd"])) for row in await (await connection.execute(query)).fetchall()]
