"""`GET /v1/usage`: what was used, summed up."""

from datetime import UTC, date, datetime, time
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import AwareDatetime, BaseModel

from tidemill.api.gate import caller_of
from tidemill.api.rights import needs
from tidemill.api.services import services_of
from tidemill.core.accounts import Right
from tidemill.core.usage import UsageGroup, UsageSum

Moment = date | AwareDatetime
router = APIRouter(tags=["usage"])


class UsageShown(BaseModel):
    """Sums over some inferences; fields by which nothing was grouped are null.

    `prompt_tokens` has the `cached_tokens` among them. `cost_usd` is of the requests whose cost is known;
    `unknown_costs` says how many others there are.
    """

    day: date | None
    model: str | None
    provider: str | None
    task: str | None
    key_id: UUID | None
    key_name: str | None
    user_id: UUID | None
    user_name: str | None
    requests: int
    errors: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    cost_usd: float
    unknown_costs: int
    cache_hits: int


class UsageList(BaseModel):
    """What was used from `since` on and before `until`, by group and in all."""

    object: Literal["usage"] = "usage"
    since: datetime
    until: datetime
    group_by: list[UsageGroup]
    data: list[UsageShown]
    total: UsageShown


@router.get("/usage", summary="What was used", dependencies=[needs(Right.ACCOUNT)])
async def get_usage(
    request: Request,
    group_by: Annotated[list[UsageGroup] | None, Query(description="By what; by day when absent.")] = None,
    from_: Annotated[
        Moment | None, Query(alias="from", description="From when on; 30 days before the end when absent.")
    ] = None,
    to: Annotated[Moment | None, Query(description="Before when; now when absent.")] = None,
    whose: Annotated[
        Literal["own", "all"], Query(description="Your own, or everyone's, which needs the right `usage.read_all`.")
    ] = "own",
) -> UsageList:
    """Requests, tokens, cost and answers from the cache, summed up. A date is its first moment, in UTC."""
    caller = caller_of(request.scope)
    if whose == "all":
        caller.require(Right.USAGE_READ_ALL)
    report = await services_of(request).limits.usage.report(
        [UsageGroup.DAY] if group_by is None else group_by,
        since=_moment(from_),
        until=_moment(to),
        owner_id=None if whose == "all" else caller.owner_id,
    )
    return UsageList(
        since=report.since,
        until=report.until,
        group_by=list(report.groups),
        data=[_shown(one) for one in report.sums],
        total=_shown(report.total),
    )


def _moment(given: Moment | None) -> datetime | None:
    if given is None or isinstance(given, datetime):
        return given
    return datetime.combine(given, time.min, UTC)


def _shown(one: UsageSum) -> UsageShown:
    return UsageShown.model_validate(one, from_attributes=True)
