"""`tidemill batches`: many requests to a running hub, from a file."""

import time
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tidemill.cli.hub import HubClient, hub
from tidemill.cli.output import Json, print_json, print_table
from tidemill.core.errors import InvalidInput
from tidemill.settings import load_settings

LOOK_SECONDS = 0.5
ENDED = {"completed", "failed", "expired", "cancelled"}
Named = Annotated[str, typer.Argument(help="The batch's id.", metavar="BATCH")]
Target = Annotated[Path | None, typer.Option("--output", help="Where the answers are written at the end.")]
app = typer.Typer(help="Ask many things from a file.", no_args_is_help=True, add_completion=False)


@app.command()
def create(
    file: Annotated[Path, typer.Argument(help="Lines of JSON, each with custom_id, method, url and body.")],
    endpoint: Annotated[str, typer.Option(help="Where all of them go.")] = "/v1/chat/completions",
    wait: Annotated[bool, typer.Option("--wait", help="Wait for its end.")] = False,
    output: Target = None,
    as_json: Json = False,
) -> None:
    """Upload a file and begin a batch over it."""
    if not file.is_file():
        raise InvalidInput(f"There is no file {file}.")
    with hub(load_settings()) as client:
        uploaded = client.upload(file, "batch")
        asked = {"input_file_id": uploaded["id"], "endpoint": endpoint, "completion_window": "24h"}
        batch = client.post("/v1/batches", asked)
        if wait or output is not None:
            batch = _waited(client, batch["id"], quiet=as_json)
            _save(client, batch, output)
    _tell(batch, as_json=as_json)


@app.command("list")
def list_batches(
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many, newest first.")] = 20, as_json: Json = False
) -> None:
    """List the batches of this key's owner."""
    with hub(load_settings()) as client:
        batches = client.get(f"/v1/batches?limit={limit}")["data"]
    if as_json:
        print_json(batches)
        return
    rows = [(one["id"], one["status"], one["endpoint"], *one["request_counts"].values()) for one in batches]
    print_table(["batch", "status", "endpoint", "requests", "answered", "failed"], rows, empty="There are no batches.")


@app.command()
def show(batch: Named, as_json: Json = False) -> None:
    """Print how far a batch is."""
    with hub(load_settings()) as client:
        _tell(_get(client, batch), as_json=as_json)


@app.command()
def cancel(batch: Named, as_json: Json = False) -> None:
    """Ask no further line of a batch; what was answered is kept."""
    with hub(load_settings()) as client:
        _tell(client.post(f"/v1/batches/{quote(batch, safe='')}/cancel", {}), as_json=as_json)


@app.command()
def wait(batch: Named, output: Target = None, as_json: Json = False) -> None:
    """Follow a batch to its end."""
    with hub(load_settings()) as client:
        ended = _waited(client, batch, quiet=as_json)
        _save(client, ended, output)
    _tell(ended, as_json=as_json)


def _get(client: HubClient, batch: str) -> Any:
    return client.get(f"/v1/batches/{quote(batch, safe='')}")


def _waited(client: HubClient, batch: str, *, quiet: bool) -> Any:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as bar:
        task = bar.add_task("", total=None)
        while True:
            found = _get(client, batch)
            counts = found["request_counts"]
            done = counts["completed"] + counts["failed"]
            bar.update(task, description=found["status"], total=counts["total"] or None, completed=done)
            if found["status"] in ENDED:
                return found
            time.sleep(LOOK_SECONDS)


def _save(client: HubClient, batch: Any, target: Path | None) -> None:
    if target is not None and batch["output_file_id"] is not None:
        with target.open("wb") as file:
            client.download(f"/v1/files/{batch['output_file_id']}/content", file)


def _tell(batch: Any, *, as_json: bool) -> None:
    if as_json:
        print_json(batch)
        return
    counts = batch["request_counts"]
    typer.echo(f"{batch['id']}: {batch['status']}, {counts['completed']} of {counts['total']} answered")
    if counts["failed"]:
        typer.echo(f"{counts['failed']} failed")
    for fault in (batch["errors"] or {}).get("data", ()):
        where = f"line {fault['line']}: " if fault["line"] is not None else ""
        typer.echo(f"{where}{fault['message']}")
    for name in ("output_file_id", "error_file_id"):
        if batch[name] is not None:
            typer.echo(f"{name.split('_', maxsplit=1)[0]}: {batch[name]}")
