"""`tidemill audit`: works on the database itself, whether or not a hub is running."""

import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from tidemill.accounts.accounts import Accounts
from tidemill.accounts.audit import entry_json
from tidemill.cli.accounts import moment, with_accounts
from tidemill.cli.output import Json, print_json

app = typer.Typer(help="Export and check the audit log.", no_args_is_help=True, add_completion=False)


@app.command()
def export(
    since: Annotated[str | None, typer.Option(help="From when on: 2026-03-01, a time, or how long ago as 30d.")] = None,
    until: Annotated[str | None, typer.Option(help="Before when; written as --since.")] = None,
    as_json: Annotated[bool, typer.Option("--json/--jsonl", help="One JSON array, or one entry a line.")] = False,
) -> None:
    """Print the audit log, oldest first."""
    first, end = moment(since, "--since"), moment(until, "--until")

    async def work(accounts: Accounts) -> None:
        written = 0
        async for entry in accounts.audit.entries(since=first, until=end):
            line = json.dumps(entry_json(entry), ensure_ascii=False)
            sys.stdout.write(("[\n" if written == 0 else ",\n") + line if as_json else line + "\n")
            written += 1
        if as_json:
            sys.stdout.write("\n]\n" if written else "[]\n")

    with_accounts(work)


@app.command()
def verify(as_json: Json = False) -> None:
    """Check that no entry was changed, left out or put in. Ends with 1 where one was."""
    found = with_accounts(lambda accounts: accounts.audit.verify())
    if as_json:
        print_json(asdict(found))
    elif found.fault is None:
        typer.echo(f"All {found.entries:,} entries are as they were written. The last one's hash: {found.hash or '–'}")
    else:
        typer.echo(f"{found.fault} {found.entries:,} entries before it are as they were written.")
    if found.fault is not None:
        raise typer.Exit(1)
