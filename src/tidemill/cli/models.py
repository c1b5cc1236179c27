"""`tidemill models`."""

import asyncio
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from tidemill.cli.hub import hub
from tidemill.cli.output import human_bytes, print_json, print_table
from tidemill.llm.catalog import find_artifact, list_models
from tidemill.llm.download import pull as download
from tidemill.settings import Settings, load_settings

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
app = typer.Typer(help="List, fetch, load and unload models.", no_args_is_help=True, add_completion=False)


@app.command("list")
def list_all(as_json: Json = False) -> None:
    """List the catalog, your own GGUF files and the endpoints, and which can be asked now."""
    entries = list_models(load_settings())
    if as_json:
        print_json(
            [
                {
                    "name": entry.name,
                    "kind": str(entry.kind),
                    "installed": entry.installed,
                    "default": entry.default,
                    "size_bytes": entry.size,
                    "licence": entry.licence,
                    "path": str(entry.path) if entry.path else None,
                }
                for entry in entries
            ]
        )
        return
    rows = [
        (
            f"{entry.name} (default)" if entry.default else entry.name,
            entry.kind,
            "yes" if entry.installed else f"tidemill models pull {entry.name}",
            human_bytes(entry.size),
            entry.licence,
        )
        for entry in entries
    ]
    print_table(["name", "kind", "there", "size", "licence"], rows, empty="There are no models.")


@app.command()
def pull(
    name: Annotated[str | None, typer.Argument(help="A name from the catalog; the default model when absent.")] = None,
    as_json: Json = False,
) -> None:
    """Fetch a model from the catalog. A broken download goes on where it stopped; the digest decides."""
    settings = load_settings()
    path = pull_with_progress(settings, name, quiet=as_json)
    if as_json:
        print_json({"path": path})
    else:
        typer.echo(f"{path} is there, and its digest is right.")


@app.command()
def load(model: Annotated[str, typer.Argument()] = "default", as_json: Json = False) -> None:
    """Load a local model into the running hub."""
    _post("load", model, as_json=as_json)


@app.command()
def unload(model: Annotated[str, typer.Argument()] = "default", as_json: Json = False) -> None:
    """Unload a local model from the running hub, which frees its memory."""
    _post("unload", model, as_json=as_json)


@app.command()
def status(as_json: Json = False) -> None:
    """Show the local models' processes."""
    with hub(load_settings()) as client:
        _show(client.get("/v1/models/status")["data"], as_json=as_json)


def pull_with_progress(settings: Settings, name: str | None, *, quiet: bool = False) -> str:
    """Fetches a model under a progress bar, unless it is there, and returns its path."""
    artifact = find_artifact(settings, name)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, disable=quiet) as bar:
        task = bar.add_task(artifact.name, total=artifact.size)

        def progress(done: int, total: int, source: str) -> None:
            bar.update(task, completed=done, total=total, description=f"{artifact.name} from {source}")

        return str(asyncio.run(download(settings, artifact.name, progress)))


def _post(verb: str, model: str, *, as_json: bool) -> None:
    with hub(load_settings()) as client:
        _show(client.post(f"/v1/models/{verb}", {"model": model})["data"], as_json=as_json)


def _show(statuses: list[dict[str, object]], *, as_json: bool) -> None:
    if as_json:
        print_json(statuses)
        return
    rows = [
        (one["model"], one["state"], one["pid"], human_bytes(one["memory_bytes"]), one["restarts"])  # type: ignore[arg-type]
        for one in statuses
    ]
    print_table(["model", "state", "pid", "memory", "restarts"], rows, empty="No local model is loaded.")
