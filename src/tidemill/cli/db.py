"""`tidemill db`."""

from pathlib import Path
from typing import Annotated

import typer

from tidemill.app.database import open_database
from tidemill.cli.output import Json, human_bytes, print_json
from tidemill.settings import Settings, load_settings
from tidemill.store.backup import backup as make_backup
from tidemill.store.backup import restore as restore_backup
from tidemill.store.embedded import EmbeddedPostgres, inspect
from tidemill.store.schema import schema_revision
from tidemill.store.secret_key import load_secret_key

app = typer.Typer(
    help="Look after the database: status, upgrade, backup, restore.", no_args_is_help=True, add_completion=False
)


@app.command()
def status(as_json: Json = False) -> None:
    """Show where the database is, whether it runs, and its schema's revision. Starts nothing."""
    settings = load_settings()
    found = _external(settings) if settings.database_url is not None else _embedded(settings)
    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        shown = human_bytes(value) if name == "size_bytes" and isinstance(value, int) else value
        typer.echo(f"{name.replace('_', ' '):<16} {'–' if shown is None else shown}")


@app.command()
def upgrade(as_json: Json = False) -> None:
    """Bring the schema to this version's. `tidemill up` does the same at its start."""
    with open_database(load_settings()) as database:
        current, newest = schema_revision(database.url)
    if as_json:
        print_json({"revision": current, "newest": newest})
    else:
        typer.echo(f"The schema is at revision {current}, the newest that this version knows.")


@app.command()
def backup(destination: Annotated[Path, typer.Argument(help="The archive to write.")], as_json: Json = False) -> None:
    """Write the database, the blobs and the key file into one archive. The hub may be running."""
    settings = load_settings()
    with open_database(settings) as database:
        report = make_backup(settings, database.url, database.key, destination)
    if as_json:
        print_json({"path": report.path, "size_bytes": report.size_bytes})
    else:
        typer.echo(
            f"{report.path} ({human_bytes(report.size_bytes)}) holds the database, the blobs and the key file. "
            "Whoever has it has everything: keep it safe."
        )


@app.command()
def restore(
    archive: Annotated[Path, typer.Argument(help="An archive that `backup` wrote.")], as_json: Json = False
) -> None:
    """Restore an archive into this data folder, which must be empty or missing."""
    settings = load_settings()
    restore_backup(settings, archive)
    if as_json:
        print_json({"data_dir": settings.data_dir})
    else:
        typer.echo(f"Restored into {settings.data_dir}. Start it with `tidemill up`.")


def _embedded(settings: Settings) -> dict[str, object]:
    key = load_secret_key(settings) if settings.key_file.exists() else None
    if key is None:
        return {"kind": "embedded", "running": False, "folder": str(settings.data_dir), "version": None}
    found = inspect(settings, key)
    status: dict[str, object] = {
        "kind": "embedded",
        "running": found.running,
        "version": found.version,
        "folder": str(found.folder),
        "size_bytes": found.size_bytes,
        "uptime_seconds": None if found.uptime_seconds is None else round(found.uptime_seconds),
    }
    if found.running:
        with EmbeddedPostgres.acquire(settings, key) as server:
            status |= _schema(server.url)
    return status


def _external(settings: Settings) -> dict[str, object]:
    assert settings.database_url is not None  # noqa: S101 - the caller has looked
    return {"kind": "external", "running": True, **_schema(settings.database_url.get_secret_value())}


def _schema(url: str) -> dict[str, object]:
    current, newest = schema_revision(url)
    return {"revision": current, "newest": newest}
