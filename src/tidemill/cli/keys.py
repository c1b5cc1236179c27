"""`tidemill keys`: works on the database itself, whether or not a hub is running."""

from dataclasses import asdict
from typing import Annotated

import typer

from tidemill.accounts.accounts import Accounts
from tidemill.accounts.api_keys import NewApiKey, Wanted
from tidemill.cli.accounts import duration, with_accounts
from tidemill.cli.output import Json, print_json, print_table
from tidemill.core.accounts import ApiKey, Right, Role
from tidemill.core.audit import COMMAND
from tidemill.core.clock import system_clock

Named = Annotated[
    str, typer.Argument(help="The key's id, or its name or first characters if only one has them.", metavar="KEY")
]
app = typer.Typer(help="Make, list, rotate and revoke API keys.", no_args_is_help=True, add_completion=False)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    role: Annotated[
        Role | None, typer.Option(help="The most that it may do. Default: member, or its owner's role if that is less.")
    ] = None,
    owner: Annotated[str | None, typer.Option(help="The email address of the person to whom it belongs.")] = None,
    scope: Annotated[
        list[Right] | None, typer.Option(help="A right to which it is narrowed; give it once for each.")
    ] = None,
    expires: Annotated[str | None, typer.Option(help="After how long it ends, as 90d, 12h or 30m.")] = None,
    as_json: Json = False,
) -> None:
    """Make a key and show it, this once."""
    ends = None if expires is None else system_clock() + duration(expires, "--expires")

    async def work(accounts: Accounts) -> NewApiKey:
        owner_id = None if owner is None else (await accounts.people.get_by_email(owner)).id
        wanted = Wanted(name, role, owner_id, frozenset(scope) if scope else None, ends)
        return await accounts.keys.create(wanted, COMMAND)

    _show_new(with_accounts(work), as_json=as_json)


@app.command("list")
def list_keys(as_json: Json = False) -> None:
    """List the keys, without their secrets."""
    keys = with_accounts(lambda accounts: accounts.keys.list())
    if as_json:
        print_json([_shown(key) for key in keys])
        return
    rows = [
        (
            key.id,
            key.name,
            key.role,
            None if key.scopes is None else " ".join(sorted(key.scopes)),
            key.owner_id,
            f"{key.prefix}…",
            key.created_at.date(),
            key.last_used_at,
            key.expires_at,
            key.revoked_at,
        )
        for key in keys
    ]
    columns = ["id", "name", "role", "scopes", "owner", "key", "made", "last used", "expires", "revoked"]
    print_table(columns, rows, empty="There are no keys.")


@app.command()
def rotate(
    key: Named,
    grace: Annotated[str, typer.Option(help="How long the old key goes on, as 24h; 0m ends it at once.")] = "24h",
    as_json: Json = False,
) -> None:
    """Make a key like this one and show it, this once; the old one ends after the grace."""
    overlap = duration(grace, "--grace")

    async def work(accounts: Accounts) -> NewApiKey:
        meant = await accounts.keys.meant(key)
        return await accounts.keys.rotate(meant.id, grace=overlap, actor=COMMAND)

    _show_new(with_accounts(work), as_json=as_json)


@app.command()
def revoke(key: Named, as_json: Json = False) -> None:
    """Revoke a key. A running hub refuses it within five seconds."""
    revoked = with_accounts(lambda accounts: accounts.keys.revoke(key, COMMAND))
    if as_json:
        print_json(_shown(revoked))
    else:
        typer.echo(f"Revoked {revoked.name} ({revoked.prefix}…).")


def _show_new(made: NewApiKey, *, as_json: bool) -> None:
    if as_json:
        print_json({**_shown(made.key), "key": made.secret})
    else:
        typer.echo(f"{made.secret}\n\nThis key is shown once. Send it as `Authorization: Bearer KEY`.")


def _shown(key: ApiKey) -> dict[str, object]:
    return {**asdict(key), "scopes": None if key.scopes is None else sorted(key.scopes)}
