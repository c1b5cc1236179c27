"""`tidemill budgets` and `tidemill limits`: work on the database itself, whether or not a hub is running."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, TypeVar
from uuid import UUID

import typer

from tidemill.accounts.accounts import Accounts
from tidemill.app.limits import open_limits
from tidemill.cli.database import on_database
from tidemill.cli.output import Json, print_json, print_table
from tidemill.core.audit import COMMAND
from tidemill.core.errors import NotFound
from tidemill.core.limits import BudgetState, LimitScope, Period, RateLimit
from tidemill.limits.services import Limits

T = TypeVar("T")

Scope = Annotated[LimitScope, typer.Argument(help="Whose requests count: all, a key's, a user's, a team's, a task's.")]
Whose = Annotated[LimitScope, typer.Argument(help="Whose requests count: all, a key's or a user's.")]
Subject = Annotated[
    str | None,
    typer.Argument(
        help="The key's name or id, the person's email address, the team's name, or the task.", metavar="[SUBJECT]"
    ),
]
Per = Annotated[Period, typer.Option("--per", help="For how long it is.")]
budgets = typer.Typer(help="Set what may be spent.", no_args_is_help=True, add_completion=False)
limits = typer.Typer(help="Set how fast may be asked.", no_args_is_help=True, add_completion=False)


@budgets.command("set")
def set_budget(
    scope: Scope,
    usd: Annotated[float, typer.Option("--usd", help="US dollars.")],
    subject: Subject = None,
    per: Per = Period.MONTH,
    as_json: Json = False,
) -> None:
    """Set a budget. A running hub holds to it within a second."""

    async def work(accounts: Accounts, services: Limits) -> BudgetState:
        return await services.budgets.put(scope, await _named(accounts, scope, subject), per, usd, COMMAND)

    state = _with_limits(work)
    if as_json:
        print_json(_budget(state, {}))
        return
    typer.echo(f"{_for(scope, subject)} may cost ${state.budget.limit_usd:,.2f} {_per(per)}.")


@budgets.command("list")
def list_budgets(as_json: Json = False) -> None:
    """List the budgets, with what is used of each."""

    async def work(accounts: Accounts, services: Limits) -> tuple[Sequence[BudgetState], Mapping[str, str]]:
        found = await services.budgets.states()
        return found, await _names(accounts, [(one.budget.scope, one.budget.subject) for one in found])

    found, names = _with_limits(work)
    if as_json:
        print_json([_budget(one, names) for one in found])
        return
    rows = [
        (
            one.budget.scope,
            names.get(one.budget.subject, one.budget.subject),
            one.budget.period,
            f"{one.budget.limit_usd:,.6g}",
            f"{one.spent_usd:,.6f}",
            f"{one.reserved_usd:,.6f}",
            f"{one.left_usd:,.6f}",
        )
        for one in found
    ]
    columns = ["for", "which", "per", "US dollars", "spent", "reserved", "left"]
    print_table(columns, rows, empty="There are no budgets. `tidemill budgets set all --usd 100` sets one.")


@budgets.command("remove")
def remove_budget(scope: Scope, subject: Subject = None, per: Per = Period.MONTH, as_json: Json = False) -> None:
    """Remove a budget, and what was spent of it."""

    async def work(accounts: Accounts, services: Limits) -> UUID:
        found = await services.budgets.find(scope, await _named(accounts, scope, subject), per)
        return (await services.budgets.remove(found.id, COMMAND)).id

    removed = _with_limits(work)
    if as_json:
        print_json({"id": str(removed)})
    else:
        typer.echo(f"Removed the budget of {_for(scope, subject)} {_per(per)}.")


@limits.command("set")
def set_limit(
    scope: Whose,
    subject: Subject = None,
    requests: Annotated[int | None, typer.Option("--requests", help="Requests in a minute.")] = None,
    tokens: Annotated[int | None, typer.Option("--tokens", help="Tokens in a minute.")] = None,
    burst: Annotated[int | None, typer.Option("--burst", help="Requests that may come at once.")] = None,
    as_json: Json = False,
) -> None:
    """Set a rate limit. A running hub holds to it within a second."""

    async def work(accounts: Accounts, services: Limits) -> RateLimit:
        named = await _named(accounts, scope, subject)
        return await services.rates.put(
            scope, named, COMMAND, requests_per_minute=requests, tokens_per_minute=tokens, burst=burst
        )

    limit = _with_limits(work)
    if as_json:
        print_json(_rate(limit, {}))
        return
    kinds = [(limit.requests_per_minute, "requests"), (limit.tokens_per_minute, "tokens")]
    numbers = " and ".join(f"{number:,} {kind}" for number, kind in kinds if number is not None)
    typer.echo(f"{_for(scope, subject)} may use {numbers} a minute.")


@limits.command("list")
def list_limits(as_json: Json = False) -> None:
    """List the rate limits that were set; those of the settings hold for everyone else."""

    async def work(accounts: Accounts, services: Limits) -> tuple[Sequence[RateLimit], Mapping[str, str]]:
        found = await services.rates.list()
        return found, await _names(accounts, [(one.scope, one.subject) for one in found])

    found, names = _with_limits(work)
    if as_json:
        print_json([_rate(one, names) for one in found])
        return
    rows = [
        (one.scope, names.get(one.subject, one.subject), one.requests_per_minute, one.tokens_per_minute, one.burst)
        for one in found
    ]
    columns = ["for", "which", "requests a minute", "tokens a minute", "burst"]
    print_table(columns, rows, empty="No rate limit was set. `tidemill limits set key NAME --requests 60` sets one.")


@limits.command("remove")
def remove_limit(scope: Whose, subject: Subject = None, as_json: Json = False) -> None:
    """Remove a rate limit; that of the settings is in force again."""

    async def work(accounts: Accounts, services: Limits) -> UUID:
        found = await services.rates.find(scope, await _named(accounts, scope, subject))
        return (await services.rates.remove(found.id, COMMAND)).id

    removed = _with_limits(work)
    if as_json:
        print_json({"id": str(removed)})
    else:
        typer.echo(f"Removed the rate limit of {_for(scope, subject)}.")


def _with_limits(work: Callable[[Accounts, Limits], Awaitable[T]]) -> T:
    return on_database(open_limits, lambda both: work(*both))


async def _named(accounts: Accounts, scope: LimitScope, subject: str | None) -> str | None:
    """The id of what a person calls by its name; an id stays as it is."""
    if subject is None or scope in {LimitScope.ALL, LimitScope.TASK} or _is_id(subject):
        return subject
    if scope is LimitScope.KEY:
        return str((await accounts.keys.meant(subject)).id)
    if scope is LimitScope.USER:
        return str((await accounts.people.get_by_email(subject)).id)
    return str((await accounts.teams.get_by_name(subject)).id)


async def _names(accounts: Accounts, subjects: Sequence[tuple[LimitScope, str]]) -> Mapping[str, str]:
    """What people call the subjects that are still there."""
    keys = {str(key.id): key.name for key in await accounts.keys.list()}
    found = {}
    for scope, subject in subjects:
        try:
            if scope is LimitScope.KEY and subject in keys:
                found[subject] = keys[subject]
            elif scope is LimitScope.USER:
                found[subject] = (await accounts.people.get(UUID(subject))).email or subject
            elif scope is LimitScope.TEAM:
                found[subject] = (await accounts.teams.get(UUID(subject))).name
        except NotFound:
            found[subject] = subject
    return found


def _is_id(subject: str) -> bool:
    try:
        UUID(subject)
    except ValueError:
        return False
    return True


def _for(scope: LimitScope, subject: str | None) -> str:
    return "everyone together" if scope is LimitScope.ALL else f"the {scope} {subject}"


def _per(period: Period) -> str:
    return "in all" if period is Period.TOTAL else f"a {period}"


def _budget(state: BudgetState, names: Mapping[str, str]) -> dict[str, object]:
    budget = state.budget
    return {
        "id": str(budget.id),
        "scope": budget.scope,
        "subject": budget.subject or None,
        "name": names.get(budget.subject),
        "period": budget.period,
        "limit_usd": budget.limit_usd,
        "spent_usd": state.spent_usd,
        "reserved_usd": state.reserved_usd,
        "left_usd": state.left_usd,
    }


def _rate(limit: RateLimit, names: Mapping[str, str]) -> dict[str, object]:
    return {
        "id": str(limit.id),
        "scope": limit.scope,
        "subject": limit.subject or None,
        "name": names.get(limit.subject),
        "requests_per_minute": limit.requests_per_minute,
        "tokens_per_minute": limit.tokens_per_minute,
        "burst": limit.burst,
    }
