"""`tidemill teams`: works on the database itself, whether or not a hub is running."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from typing import Annotated, TypeVar
from uuid import UUID

import typer

from tidemill.accounts.accounts import Accounts
from tidemill.cli.accounts import with_accounts
from tidemill.cli.output import Json, print_json, print_table
from tidemill.core.accounts import Department, Team, User
from tidemill.core.audit import COMMAND

T = TypeVar("T", User, Team, Department)
PAGE = 500

Named = Annotated[str, typer.Argument(help="The team's name.", metavar="TEAM")]
Email = Annotated[str, typer.Argument(help="The person's email address.", metavar="EMAIL")]
app = typer.Typer(
    help="Make teams and departments, and say who is in them.", no_args_is_help=True, add_completion=False
)


@app.command()
def add(
    name: Named,
    department: Annotated[str | None, typer.Option(help="The name of the team's department.")] = None,
    as_json: Json = False,
) -> None:
    """Make a team."""

    async def work(accounts: Accounts) -> Team:
        department_id = None if department is None else (await accounts.teams.department_by_name(department)).id
        return await accounts.teams.add(name, COMMAND, department_id=department_id)

    team = with_accounts(work)
    _tell(asdict(team), as_json=as_json, sentence=f"Made the team {team.name}.")


@app.command("list")
def list_teams(as_json: Json = False) -> None:
    """List the teams, each with its people."""

    async def work(accounts: Accounts) -> tuple[list[Team], dict[UUID, list[str | None]]]:
        users: list[User] = await _all(lambda after: accounts.people.page(limit=PAGE, after=after))
        teams: list[Team] = await _all(lambda after: accounts.teams.page(limit=PAGE, after=after))
        people: dict[UUID, list[str | None]] = {team.id: [] for team in teams}
        by_user = await accounts.teams.teams_of([user.id for user in users])
        for user in users:
            for team in by_user[user.id]:
                people[team.id].append(user.email)
        return teams, people

    teams, people = with_accounts(work)
    if as_json:
        print_json([{**asdict(team), "people": people[team.id]} for team in teams])
        return
    rows = [(team.id, team.name, ", ".join(email or "" for email in people[team.id])) for team in teams]
    print_table(["id", "name", "people"], rows, empty="There are no teams. `tidemill teams add TEAM` makes one.")


@app.command()
def remove(name: Named, as_json: Json = False) -> None:
    """Delete a team; its people stay."""

    async def work(accounts: Accounts) -> Team:
        team = await accounts.teams.get_by_name(name)
        await accounts.teams.remove(team.id, COMMAND)
        return team

    team = with_accounts(work)
    _tell(asdict(team), as_json=as_json, sentence=f"Deleted the team {team.name}.")


@app.command()
def join(name: Named, email: Email, as_json: Json = False) -> None:
    """Put a person into a team, whose people see one another's reviews."""

    async def work(accounts: Accounts) -> Team:
        team, user = await accounts.teams.get_by_name(name), await accounts.people.get_by_email(email)
        await accounts.teams.add_member(team.id, user.id, COMMAND)
        return team

    team = with_accounts(work)
    _tell(asdict(team), as_json=as_json, sentence=f"{email} is in the team {team.name}.")


@app.command()
def leave(name: Named, email: Email, as_json: Json = False) -> None:
    """Take a person out of a team."""

    async def work(accounts: Accounts) -> Team:
        team, user = await accounts.teams.get_by_name(name), await accounts.people.get_by_email(email)
        await accounts.teams.remove_member(team.id, user.id, COMMAND)
        return team

    team = with_accounts(work)
    _tell(asdict(team), as_json=as_json, sentence=f"{email} is no longer in the team {team.name}.")


@app.command()
def departments(as_json: Json = False) -> None:
    """List the departments."""
    found: list[Department] = with_accounts(
        lambda accounts: _all(lambda after: accounts.teams.departments(limit=PAGE, after=after))
    )
    if as_json:
        print_json([asdict(one) for one in found])
        return
    print_table(
        ["id", "name"],
        [(one.id, one.name) for one in found],
        empty="There are no departments. `tidemill teams add-department NAME` makes one.",
    )


@app.command("add-department")
def add_department(name: Annotated[str, typer.Argument(help="The department's name.")], as_json: Json = False) -> None:
    """Make a department."""
    made = with_accounts(lambda accounts: accounts.teams.add_department(name, COMMAND))
    _tell(asdict(made), as_json=as_json, sentence=f"Made the department {made.name}.")


async def _all(page: Callable[[UUID | None], Awaitable[Sequence[T]]]) -> list[T]:
    found: list[T] = []
    while more := await page(found[-1].id if found else None):
        found.extend(more)
    return found


def _tell(shown: dict[str, object], *, as_json: bool, sentence: str) -> None:
    if as_json:
        print_json(shown)
    else:
        typer.echo(sentence)
