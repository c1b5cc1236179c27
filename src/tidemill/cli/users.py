"""`tidemill users`: works on the database itself, whether or not a hub is running."""

from dataclasses import asdict
from typing import Annotated
from uuid import UUID

import typer

from tidemill.accounts.accounts import Accounts
from tidemill.accounts.people import NewPerson, PersonChanges
from tidemill.cli.accounts import with_accounts
from tidemill.cli.output import Json, print_json, print_table
from tidemill.cli.passwords import set_password as read_and_set_password
from tidemill.core.accounts import Role, Team, User
from tidemill.core.audit import COMMAND
from tidemill.core.classification import Level

PAGE = 500

Email = Annotated[str, typer.Argument(help="The person's email address.", metavar="EMAIL")]
app = typer.Typer(help="Add, list, change and disable people.", no_args_is_help=True, add_completion=False)


@app.command()
def add(
    email: Email,
    name: Annotated[str | None, typer.Option(help="The person's name. Default: the address up to its @.")] = None,
    role: Annotated[Role, typer.Option(help="What the person may do.")] = Role.MEMBER,
    level: Annotated[Level, typer.Option(help="The highest level of text that the person may see.")] = Level.INTERNAL,
    department: Annotated[str | None, typer.Option(help="The name of the person's department.")] = None,
    as_json: Json = False,
) -> None:
    """Add a person. The first admin is made so."""

    async def work(accounts: Accounts) -> User:
        department_id = None if department is None else (await accounts.teams.department_by_name(department)).id
        new = NewPerson(email, email.partition("@")[0] if name is None else name, role, level, department_id)
        return await accounts.people.add(new, COMMAND)

    user = with_accounts(work)
    _tell(user, as_json=as_json, sentence=f"Added {user.email}, a person with the role {user.role}.")


@app.command("list")
def list_users(as_json: Json = False) -> None:
    """List people, disabled ones among them."""

    async def work(accounts: Accounts) -> list[User]:
        users: list[User] = []
        while page := await accounts.people.page(limit=PAGE, after=users[-1].id if users else None):
            users.extend(page)
        return users

    users = with_accounts(work)
    if as_json:
        print_json([_shown(user) for user in users])
        return
    rows = [
        (user.id, user.email, user.name, user.role, user.access_level, user.created_at.date(), user.disabled_at)
        for user in users
    ]
    columns = ["id", "email", "name", "role", "level", "added", "disabled"]
    print_table(columns, rows, empty="There are no people. `tidemill users add EMAIL --role admin` adds the first.")


@app.command()
def show(email: Email, as_json: Json = False) -> None:
    """Show a person, with teams and the number of keys that work."""

    async def work(accounts: Accounts) -> tuple[User, list[Team], int]:
        user = await accounts.people.get_by_email(email)
        teams = list((await accounts.teams.teams_of([user.id]))[user.id])
        return user, teams, await accounts.keys.count_live(user.id)

    user, teams, keys = with_accounts(work)
    shown = {**_shown(user), "teams": [team.name for team in teams], "keys": keys}
    if as_json:
        print_json(shown)
        return
    for name, value in {**shown, "teams": ", ".join(team.name for team in teams) or None}.items():
        typer.echo(f"{name.replace('_', ' '):<16} {'–' if value is None else value}")


@app.command("set-role")
def set_role(
    email: Email, role: Annotated[Role, typer.Argument(help="What the person may do.")], as_json: Json = False
) -> None:
    """Give a person another role. It acts on a running hub within five seconds."""
    user = _change(email, {"role": role})
    _tell(user, as_json=as_json, sentence=f"{user.email} has the role {user.role} now.")


@app.command("set-level")
def set_level(
    email: Email,
    level: Annotated[Level, typer.Argument(help="The highest level of text that the person may see.")],
    as_json: Json = False,
) -> None:
    """Give a person another access level."""
    user = _change(email, {"access_level": level})
    _tell(user, as_json=as_json, sentence=f"{user.email} sees texts up to the level {user.access_level} now.")


@app.command("set-password")
def set_password(email: Email, as_json: Json = False) -> None:
    """Give a person a password, asked for here or read from standard input. Every session of the person ends."""
    user = read_and_set_password(email)
    _tell(user, as_json=as_json, sentence=f"{user.email} has a new password, and every session has ended.")


@app.command()
def unlink(email: Email, as_json: Json = False) -> None:
    """Forget as whom the issuer knows a person: the next sign-in through it joins them anew, by the address."""

    async def work(accounts: Accounts) -> User:
        return await accounts.people.unlink((await accounts.people.get_by_email(email)).id, COMMAND)

    user = with_accounts(work)
    _tell(user, as_json=as_json, sentence=f"{user.email} is joined to no subject of an issuer now.")


@app.command()
def disable(email: Email, as_json: Json = False) -> None:
    """Disable a person: sessions, keys and tokens are refused within five seconds."""
    user = _change(email, {"disabled": True})
    _tell(user, as_json=as_json, sentence=f"{user.email} is disabled.")


@app.command()
def enable(email: Email, as_json: Json = False) -> None:
    """Let a disabled person in again; keys that were not revoked work again, too."""
    user = _change(email, {"disabled": False})
    _tell(user, as_json=as_json, sentence=f"{user.email} is enabled.")


def _change(email: str, changes: PersonChanges) -> User:
    async def work(accounts: Accounts) -> User:
        user_id: UUID = (await accounts.people.get_by_email(email)).id
        return await accounts.people.change(user_id, changes, COMMAND)

    return with_accounts(work)


def _tell(user: User, *, as_json: bool, sentence: str) -> None:
    if as_json:
        print_json(_shown(user))
    else:
        typer.echo(sentence)


def _shown(user: User) -> dict[str, object]:
    """A person without what a password is checked by."""
    return {name: value for name, value in asdict(user).items() if name != "password_hash"}
