"""Budgets and rate limits: listed for whom they hold, set and removed by who may."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from tidemill.api.gate import caller_of
from tidemill.api.rights import needs
from tidemill.api.services import services_of
from tidemill.core.accounts import Right
from tidemill.core.audit import Actor
from tidemill.core.limits import BudgetState, LimitScope, Period, RateLimit
from tidemill.limits.rate_limits import MOST

SUBJECT = Field(None, max_length=200, description="The key's, person's or team's id, or the task; none for `all`.")

router = APIRouter(tags=["limits"])


class BudgetShown(BaseModel):
    """A budget, and how much of it is used in its present period, in US dollars.

    `reserved_usd` is what requests that are under way may cost at most. `renews_at` is null for one that never is.
    """

    id: UUID
    object: Literal["budget"] = "budget"
    scope: LimitScope
    subject: str | None
    period: Period
    limit_usd: float
    spent_usd: float
    reserved_usd: float
    left_usd: float
    renews_at: datetime | None
    created_at: datetime


class BudgetList(BaseModel):
    """Budgets."""

    object: Literal["list"] = "list"
    data: list[BudgetShown]


class BudgetRequest(BaseModel):
    """A budget to set."""

    model_config = ConfigDict(extra="forbid")

    scope: LimitScope
    subject: str | None = SUBJECT
    period: Period
    limit_usd: float = Field(description="US dollars, more than none.")


class RateLimitShown(BaseModel):
    """A rate limit. What is null is not limited; a `burst` that is null is a minute's requests."""

    id: UUID
    object: Literal["rate_limit"] = "rate_limit"
    scope: LimitScope
    subject: str | None
    requests_per_minute: int | None
    tokens_per_minute: int | None
    burst: int | None
    created_at: datetime


class RateLimitList(BaseModel):
    """Rate limits."""

    object: Literal["list"] = "list"
    data: list[RateLimitShown]


class RateLimitRequest(BaseModel):
    """A rate limit to set: of requests, tokens or both. A burst is one of requests."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"scope": "all", "requests_per_minute": 600, "burst": 50},
                {"scope": "all", "tokens_per_minute": 1_000_000},
            ],
        },
    )

    scope: Literal[LimitScope.ALL, LimitScope.KEY, LimitScope.USER]
    subject: str | None = Field(None, max_length=200, description="The key's or person's id; none for `all`.")
    requests_per_minute: int | None = Field(None, ge=1, le=MOST)
    tokens_per_minute: int | None = Field(None, ge=1, le=MOST)
    burst: int | None = Field(None, ge=1, le=MOST, description="Requests that may come at once.")


@router.get("/budgets", summary="List budgets", dependencies=[needs(Right.ACCOUNT)])
async def list_budgets(request: Request) -> BudgetList:
    """The budgets that your requests count towards; all of them with the right `usage.read_all`."""
    services = services_of(request)
    found = await services.limits.budgets.states_for(caller_of(request.scope))
    return BudgetList(data=[_budget(one, services.limits.clock()) for one in found])


@router.put("/budgets", summary="Set a budget", dependencies=[needs(Right.LIMITS_MANAGE)])
async def put_budget(request: Request, body: BudgetRequest) -> BudgetShown:
    """Sets a budget, in the place of one for the same subject and period, of which what was spent stays."""
    services = services_of(request)
    actor = Actor.of(caller_of(request.scope))
    state = await services.limits.budgets.put(body.scope, body.subject, body.period, body.limit_usd, actor)
    return _budget(state, services.limits.clock())


@router.delete(
    "/budgets/{budget_id}", status_code=204, summary="Remove a budget", dependencies=[needs(Right.LIMITS_MANAGE)]
)
async def delete_budget(request: Request, budget_id: UUID) -> Response:
    """Removes a budget, and what was spent of it."""
    await services_of(request).limits.budgets.remove(budget_id, Actor.of(caller_of(request.scope)))
    return Response(status_code=204)


@router.get("/rate-limits", summary="List rate limits", dependencies=[needs(Right.ACCOUNT)])
async def list_rate_limits(request: Request) -> RateLimitList:
    """The limits that were set for you; all of them with the right `usage.read_all`. Settings may add to them."""
    found = await services_of(request).limits.rates.list_for(caller_of(request.scope))
    return RateLimitList(data=[_rate_limit(one) for one in found])


@router.put("/rate-limits", summary="Set a rate limit", dependencies=[needs(Right.LIMITS_MANAGE)])
async def put_rate_limit(request: Request, body: RateLimitRequest) -> RateLimitShown:
    """Sets a rate limit, in the place of one for the same subject. Every hub holds to it within a second."""
    limit = await services_of(request).limits.rates.put(
        body.scope,
        body.subject,
        Actor.of(caller_of(request.scope)),
        requests_per_minute=body.requests_per_minute,
        tokens_per_minute=body.tokens_per_minute,
        burst=body.burst,
    )
    return _rate_limit(limit)


@router.delete(
    "/rate-limits/{limit_id}", status_code=204, summary="Remove a rate limit", dependencies=[needs(Right.LIMITS_MANAGE)]
)
async def delete_rate_limit(request: Request, limit_id: UUID) -> Response:
    """Removes a rate limit."""
    await services_of(request).limits.rates.remove(limit_id, Actor.of(caller_of(request.scope)))
    return Response(status_code=204)


def _budget(state: BudgetState, now: datetime) -> BudgetShown:
    budget = state.budget
    return BudgetShown(
        id=budget.id,
        scope=budget.scope,
        subject=budget.subject or None,
        period=budget.period,
        limit_usd=budget.limit_usd,
        spent_usd=state.spent_usd,
        reserved_usd=state.reserved_usd,
        left_usd=state.left_usd,
        renews_at=budget.period.renews_at(now),
        created_at=budget.created_at,
    )


def _rate_limit(limit: RateLimit) -> RateLimitShown:
    return RateLimitShown(
        id=limit.id,
        scope=limit.scope,
        subject=limit.subject or None,
        requests_per_minute=limit.requests_per_minute,
        tokens_per_minute=limit.tokens_per_minute,
        burst=limit.burst,
        created_at=limit.created_at,
    )
