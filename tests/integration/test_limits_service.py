"""Budgets and rate limits as people set them, and what was used."""

from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest

from tests.conftest import NOON
from tests.support.people import MovedClock, actions, make_accounts, person
from tests.support.priced import spent
from tidemill.accounts.accounts import Accounts
from tidemill.accounts.api_keys import Wanted
from tidemill.core.accounts import RIGHTS, Caller, Role
from tidemill.core.audit import COMMAND
from tidemill.core.chat import Usage as Tokens
from tidemill.core.context import InferenceContext
from tidemill.core.deployment import Deployment, Task
from tidemill.core.errors import InvalidInput, NotFound
from tidemill.core.ids import new_id
from tidemill.core.inference import Inference, InferenceStatus
from tidemill.core.limits import LimitScope, Period
from tidemill.core.served import Served
from tidemill.core.usage import UsageGroup, UsageSum
from tidemill.limits.budgets import Budgets
from tidemill.limits.rate_limits import RateLimits
from tidemill.limits.services import Limits
from tidemill.limits.subjects import Subjects
from tidemill.limits.usage import Usage
from tidemill.store.api_keys import ApiKeyRepository
from tidemill.store.budgets import BudgetRepository, Reservation
from tidemill.store.database import Pool
from tidemill.store.inferences import InferenceRepository
from tidemill.store.people import PeopleRepository
from tidemill.store.personal_data import TEXTS, PersonalData
from tidemill.store.rate_limits import RateLimitRepository
from tidemill.store.teams import TeamRepository
from tidemill.store.usage import UsageRepository


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
def accounts(pool: Pool, clock: MovedClock) -> Accounts:
    return make_accounts(pool, clock)


@pytest.fixture
def limits(pool: Pool, clock: MovedClock, accounts: Accounts) -> Limits:
    subjects = Subjects(ApiKeyRepository(pool), PeopleRepository(pool), TeamRepository(pool))
    return Limits(
        Budgets(BudgetRepository(pool, pool), subjects, audit=accounts.audit, clock=clock),
        RateLimits(RateLimitRepository(pool, pool), subjects, audit=accounts.audit, clock=clock),
        Usage(UsageRepository(pool), clock=clock),
        clock,
    )


@pytest.mark.parametrize("amount", [0.0, -1.0, 0.0000001, float("nan"), float("inf"), 1e12])
async def test_a_budget_of_nothing_less_or_no_number_is_refused(limits: Limits, amount: float) -> None:
    with pytest.raises(InvalidInput, match=r"amount of US dollars from 0\.000001 to 10,000,000"):
        await limits.budgets.put(LimitScope.ALL, None, Period.DAY, amount, COMMAND)
    assert await limits.budgets.states() == []


@pytest.mark.parametrize(
    ("scope", "subject", "error", "why"),
    [
        (LimitScope.KEY, str(UUID(int=1)), NotFound, "There is no key"),
        (LimitScope.USER, str(UUID(int=1)), NotFound, "There is no person"),
        (LimitScope.TEAM, str(UUID(int=1)), NotFound, "There is no team"),
        (LimitScope.TASK, "chatter", NotFound, "There is no task 'chatter'. The tasks are chat"),
        (LimitScope.USER, "an@example.org", InvalidInput, "is its id, not 'an@example.org'"),
        (LimitScope.TEAM, None, InvalidInput, "needs a subject"),
        (LimitScope.ALL, "everyone", InvalidInput, "has no subject"),
    ],
)
async def test_a_limit_is_for_something_that_is_there(
    limits: Limits, scope: LimitScope, subject: str | None, error: type[Exception], why: str
) -> None:
    with pytest.raises(error, match=why):
        await limits.budgets.put(scope, subject, Period.DAY, 1.0, COMMAND)


async def test_a_budget_that_is_set_again_keeps_what_was_spent_and_changes_are_audited(
    limits: Limits, accounts: Accounts, pool: Pool
) -> None:
    first = await limits.budgets.put(LimitScope.TASK, "chat", Period.MONTH, 10.0, COMMAND)
    rows = BudgetRepository(pool, pool)
    held = Reservation(new_id(), {first.budget.id: date(2026, 3, 1)}, 2.0, NOON + timedelta(hours=1))
    await rows.reserve(held)
    await rows.settle(held, 1.5)
    again = await limits.budgets.put(LimitScope.TASK, "chat", Period.MONTH, 4.0, COMMAND)
    assert (again.budget.id, again.spent_usd, again.left_usd) == (first.budget.id, 1.5, 2.5)
    await limits.budgets.put(LimitScope.TASK, "chat", Period.DAY, 1.0, COMMAND)
    assert [one.budget.period for one in await limits.budgets.states()] == [Period.DAY, Period.MONTH]
    found = await limits.budgets.find(LimitScope.TASK, "chat", Period.MONTH)
    await limits.budgets.remove(found.id, COMMAND)
    with pytest.raises(NotFound):
        await limits.budgets.remove(found.id, COMMAND)
    with pytest.raises(NotFound, match="no budget for the task chat and a month"):
        await limits.budgets.find(LimitScope.TASK, "chat", Period.MONTH)
    assert await actions(accounts) == ["budget.set", "budget.set", "budget.set", "budget.removed"]
    assert await spent(pool) == []


async def test_a_key_that_was_rotated_is_named_by_the_first_of_its_line(limits: Limits, accounts: Accounts) -> None:
    first = (await accounts.keys.create(Wanted("ci"), COMMAND)).key
    second = (await accounts.keys.rotate(first.id, grace=timedelta(0), actor=COMMAND)).key
    state = await limits.budgets.put(LimitScope.KEY, str(second.id), Period.DAY, 1.0, COMMAND)
    assert state.budget.subject == str(first.id)


async def test_one_sees_the_limits_that_hold_for_oneself_and_who_may_see_all_sees_all(
    limits: Limits, accounts: Accounts
) -> None:
    an, binh = await person(accounts, "An"), await person(accounts, "Binh")
    team = await accounts.teams.add("Platform", COMMAND)
    await accounts.teams.add_member(team.id, an.id, COMMAND)
    subjects = {LimitScope.ALL: None, LimitScope.USER: str(an.id), LimitScope.TEAM: str(team.id)}
    for scope, subject in subjects.items():
        await limits.budgets.put(scope, subject, Period.DAY, 1.0, COMMAND)
    await limits.budgets.put(LimitScope.TASK, "chat", Period.DAY, 1.0, COMMAND)
    await limits.rates.put(LimitScope.USER, str(an.id), COMMAND, requests_per_minute=5)

    def caller(user: UUID, role: Role = Role.MEMBER) -> Caller:
        return Caller(user, role, RIGHTS[role], user_id=user)

    async def seen(by: Caller) -> tuple[list[LimitScope], int]:
        budgets = await limits.budgets.states_for(by)
        return [one.budget.scope for one in budgets], len(await limits.rates.list_for(by))

    everything = [LimitScope.ALL, LimitScope.TASK, LimitScope.TEAM, LimitScope.USER]
    assert await seen(caller(an.id)) == (everything, 1)
    assert await seen(caller(binh.id)) == ([LimitScope.ALL, LimitScope.TASK], 0)
    assert await seen(caller(binh.id, Role.MAINTAINER)) == (everything, 1)


@pytest.mark.parametrize(
    ("scope", "numbers", "why"),
    [
        (LimitScope.ALL, {}, "needs requests or tokens"),
        (LimitScope.ALL, {"requests_per_minute": 0}, "`requests_per_minute` is a number from 1"),
        (LimitScope.ALL, {"tokens_per_minute": 2**31}, "`tokens_per_minute` is a number from 1"),
        (LimitScope.ALL, {"tokens_per_minute": 5, "burst": 2}, "`burst` is the burst of `requests_per_minute`"),
        (LimitScope.TEAM, {"requests_per_minute": 5}, "for all, key or user, not for a team"),
    ],
)
async def test_a_rate_limit_that_makes_no_sense_is_refused(
    limits: Limits, scope: LimitScope, numbers: dict[str, int], why: str
) -> None:
    with pytest.raises(InvalidInput, match=why):
        await limits.rates.put(scope, None, COMMAND, **numbers)


async def test_a_rate_limit_is_set_changed_and_removed(limits: Limits, accounts: Accounts) -> None:
    first = await limits.rates.put(LimitScope.ALL, None, COMMAND, requests_per_minute=5, burst=2)
    again = await limits.rates.put(LimitScope.ALL, None, COMMAND, tokens_per_minute=100)
    assert (again.id, again.requests_per_minute, again.tokens_per_minute) == (first.id, None, 100)
    assert (await limits.rates.find(LimitScope.ALL, None)).id == first.id
    await limits.rates.remove(first.id, COMMAND)
    with pytest.raises(NotFound, match="no rate limit for all"):
        await limits.rates.find(LimitScope.ALL, None)
    assert await actions(accounts) == ["rate_limit.set", "rate_limit.set", "rate_limit.removed"]


async def test_who_is_erased_leaves_no_limit_behind(limits: Limits, accounts: Accounts, pool: Pool) -> None:
    an = await person(accounts, "An")
    key = (await accounts.keys.create(Wanted("ci", owner_id=an.id), COMMAND)).key
    await limits.budgets.put(LimitScope.USER, str(an.id), Period.DAY, 1.0, COMMAND)
    await limits.budgets.put(LimitScope.KEY, str(key.id), Period.DAY, 1.0, COMMAND)
    await limits.rates.put(LimitScope.USER, str(an.id), COMMAND, requests_per_minute=5)
    data = PersonalData(pool)
    them = await data.person(an.id)
    assert [len(page) async for page in data.rows(them, "budgets")] == [2]
    async with pool.connection() as connection:
        counts = await data.erase(connection, them, TEXTS, NOON)
    assert (counts["budgets"], counts["rate_limits"]) == (2, 1)
    assert await limits.budgets.states() == []


async def used(
    pool: Pool,
    at: datetime,
    *,
    key_id: UUID | None = None,
    user_id: UUID | None = None,
    status: InferenceStatus = InferenceStatus.OK,
    cost_usd: float | None = 0.5,
    provider: str = "acme",
    cache_tier: str | None = None,
    task: Task = Task.CHAT,
) -> None:
    context = InferenceContext(
        new_id(), Deployment(task, "m", "v1"), "0" * 32, key_id=key_id, owner_id=user_id or key_id, user_id=user_id
    )
    row = Inference(
        context=context,
        request_hash="",
        status=status,
        usage=Tokens(10, 5, 4),
        latency_ms=1.0,
        first_token_ms=None,
        streamed=False,
        finish_reason=None,
        error_code=None,
        cost_usd=cost_usd,
        cache_tier=cache_tier,
        created_at=at,
        served=Served(provider, f"{provider}/m", "v1", cost_usd, cache_tier=cache_tier),
    )
    await InferenceRepository(pool).add(row, None, None)


async def test_usage_is_summed_by_day_in_utc_and_says_what_it_does_not_know(limits: Limits, pool: Pool) -> None:
    await used(pool, NOON - timedelta(hours=13))
    await used(pool, NOON)
    await used(pool, NOON, status=InferenceStatus.ERROR, cost_usd=None)
    await used(pool, NOON, cost_usd=0.0, cache_tier="l1")
    await used(pool, NOON - timedelta(days=40))
    report = await limits.usage.report([UsageGroup.DAY], until=NOON + timedelta(seconds=1))
    assert report.since == NOON - timedelta(days=30) + timedelta(seconds=1)
    assert [(one.day, one.requests, one.errors) for one in report.sums] == [
        (date(2026, 2, 28), 1, 0),
        (date(2026, 3, 1), 3, 1),
    ]
    second = report.sums[1]
    assert (second.prompt_tokens, second.cached_tokens, second.completion_tokens) == (30, 12, 15)
    assert (second.cost_usd, second.unknown_costs, second.cache_hits) == (0.5, 1, 1)
    assert (report.total.requests, report.total.cost_usd, report.total.unknown_costs) == (4, 1.0, 1)


async def test_usage_is_grouped_by_keys_people_models_providers_and_tasks(
    limits: Limits, accounts: Accounts, pool: Pool
) -> None:
    an = await person(accounts, "An")
    first = (await accounts.keys.create(Wanted("laptop", owner_id=an.id), COMMAND)).key
    second = (await accounts.keys.rotate(first.id, grace=timedelta(days=1), actor=COMMAND)).key
    ci = (await accounts.keys.create(Wanted("ci"), COMMAND)).key
    await used(pool, NOON, key_id=first.id, user_id=an.id)
    await used(pool, NOON, key_id=second.id, user_id=an.id, provider="other")
    await used(pool, NOON, key_id=ci.id, task=Task.REVIEW_COMMENT)
    end = NOON + timedelta(days=1)

    async def rows(*groups: UsageGroup, owner: UUID | None = None) -> list[UsageSum]:
        return list((await limits.usage.report(groups, until=end, owner_id=owner)).sums)

    by_key = {(one.key_id, one.key_name): one.requests for one in await rows(UsageGroup.KEY)}
    assert by_key == {(first.id, "laptop"): 2, (ci.id, "ci"): 1}
    by_user = {(one.user_id, one.user_name): one.requests for one in await rows(UsageGroup.USER)}
    assert by_user == {(an.id, "An"): 2, (None, None): 1}
    by_both = [(one.provider, one.model, one.task) for one in await rows(UsageGroup.PROVIDER, UsageGroup.MODEL)]
    assert by_both == [("acme", "acme/m", None), ("other", "other/m", None)]
    assert [one.task for one in await rows(UsageGroup.TASK)] == ["chat", "review.comment"]
    everything = await rows(*UsageGroup)
    assert sum(one.requests for one in everything) == len(everything) == 3
    assert [one.requests for one in await rows(owner=an.id)] == [2]
    assert [one.requests for one in await rows(owner=ci.id)] == [1]


async def test_a_report_that_ends_before_it_begins_is_refused(limits: Limits) -> None:
    with pytest.raises(InvalidInput, match="before it begins"):
        await limits.usage.report([], since=datetime(2026, 3, 2, tzinfo=UTC), until=NOON)
