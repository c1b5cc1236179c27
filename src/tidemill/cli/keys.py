"""`tidemill keys`: works on the database itself, whether or not a hub is running."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated, TypeVar

import typer

from tidemill.accounts.api_keys import ApiKeys
from tidemill.app import open_database, open_keys
from tidemill.cli.output import print_json, print_table
from tidemill.core.accounts import ApiKey, Role
from tidemill.settings import load_settings

T = TypeVar("T")
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True, add_completion=False)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    role: Annotated[Role, typer.Option(help="`admin` sees and manages all; `member` uses the hub.")] = Role.MEMBER,
    as_json: Json = False,
) -> None:
    """Make a key and show it, this once."""
    made = _with_keys(lambda keys: keys.create(name, role))
    if as_json:
        print_json({**_shown(made.key), "key": made.secret})
        return
    typer.echo(f"{made.secret}\n\nThis key is shown once. Send it as `Authorization: Bearer KEY`.")


@app.command("list")
def list_keys(as_json: Json = False) -> None:
    """List the keys, without their secrets."""
    keys = _with_keys(lambda keys: keys.list())
    if as_json:
        print_json([_shown(key) for key in keys])
        return
    rows = [
        (key.id, key.name, key.role, f"{key.prefix}…", key.created_at.date(), key.last_used_at, key.revoked_at)
        for key in keys
    ]
    print_table(["id", "name", "role", "key", "made", "last used", "revoked"], rows, empty="There are no keys.")


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(help="The key's id, or its name or first characters if only one has them.")],
    as_json: Json = False,
) -> None:
    """Revoke a key. A running hub refuses it within five seconds."""
    revoked = _with_keys(lambda keys: keys.revoke(key))
    if as_json:
        print_json(_shown(revoked))
    else:
        typer.echo(f"Revoked {revoked.name} ({revoked.prefix}…).")


def _with_keys(work: Callable[[ApiKeys], Awaitable[T]]) -> T:
    async def run() -> T:
        async with open_keys(database) as keys:
            return await work(keys)

    with open_database(load_settings()) as database:
        return asyncio.run(run())


def _shown(key: ApiKey) -> dict[str, object]:
    return asdict(key)
