"""`tidemill data`: works on the database and the data folder themselves, whether or not a hub is running."""

import asyncio
import os
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from tidemill.app.data import open_data
from tidemill.cli.database import on_database
from tidemill.cli.output import Json, human_bytes, print_json, print_table
from tidemill.core.audit import COMMAND
from tidemill.core.errors import Conflict, InvalidInput
from tidemill.flows.data import DataServices
from tidemill.protection.retention import KeptState
from tidemill.settings import load_settings
from tidemill.store.search import search_files, search_tables

Who = Annotated[str, typer.Argument(help="The person's email address, or id.")]
app = typer.Typer(help="Export, erase and search data, and delete what is due.", no_args_is_help=True,
                  add_completion=False)  # fmt: skip


@app.command()
def export(
    who: Who,
    to: Annotated[Path, typer.Option("--to", help="The zip archive to write.")],
    as_json: Json = False,
) -> None:
    """Write all that is stored of a person into a zip archive, readable by you alone."""

    async def work(services: DataServices) -> None:
        user_id = await _user_id(services, who)
        try:
            descriptor = os.open(to, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise Conflict(f"{to} can't be made: {(error.strerror or str(error)).lower()}. Name a new file.") from error
        with os.fdopen(descriptor, "w+b") as file:
            try:
                await services.exports.export(user_id, file, COMMAND)
            except BaseException:
                to.unlink()
                raise

    on_database(open_data, work)
    if as_json:
        print_json({"path": to, "size_bytes": to.stat().st_size})
    else:
        typer.echo(f"{to} ({human_bytes(to.stat().st_size)}) holds all that is stored of {who}.")


@app.command()
def retention(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is due.")] = False, as_json: Json = False
) -> None:
    """Delete what is due, as the hub does every hour, and say how each kind stands."""

    async def work(services: DataServices) -> list[KeptState]:
        if not dry_run:
            await services.retention.run()
        return await services.retention.state()

    states = on_database(open_data, work)
    if as_json:
        print_json(
            [
                {
                    "kind": state.kind,
                    "keep_hours": state.keep / timedelta(hours=1),
                    "due": state.due,
                    "last_run_at": state.last.at if state.last else None,
                    "last_deleted": state.last.deleted if state.last else None,
                    "deleted_in_all": state.last.total if state.last else 0,
                }
                for state in states
            ]
        )
        return
    rows = [
        (one.kind, one.keep, one.due, one.last.at if one.last else None, one.last.deleted if one.last else None)
        for one in states
    ]
    print_table(["kind", "kept for", "due", "last run", "deleted then"], rows, empty="Nothing is kept.")


@app.command()
def erase(
    who: Who,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; it can't be undone.")] = False,
    as_json: Json = False,
) -> None:
    """Erase all that is stored of a person, and print the receipt."""
    if not yes:
        raise InvalidInput(f"This deletes all that is stored of {who} and can't be undone. Add --yes to do it.")

    async def work(services: DataServices) -> object:
        return await services.erasures.erase(await _user_id(services, who), COMMAND)

    receipt = on_database(open_data, work)
    if not as_json:
        typer.echo("Erased. Old backups still hold it. This is the receipt:")
    print_json(receipt)


@app.command()
def search(
    text: Annotated[str, typer.Argument(help="The string to look for, in any case.")], as_json: Json = False
) -> None:
    """Say in which columns and files a string stands, and how often; never what stands around it."""
    if not text.strip():
        raise InvalidInput("Give a string to look for.")
    settings = load_settings()

    async def work(services: DataServices) -> list[dict[str, object]]:
        tables = await search_tables(services.pool, text)
        files = await asyncio.to_thread(search_files, settings.data_dir, text)
        return [asdict(place) for place in (*tables, *files)]

    found = on_database(open_data, work)
    if as_json:
        print_json(found)
    else:
        print_table(["where", "count"], [(one["where"], one["count"]) for one in found], empty="It stands nowhere.")


async def _user_id(services: DataServices, who: str) -> UUID:
    try:
        return UUID(who)
    except ValueError:
        return (await services.people.get_by_email(who)).id
