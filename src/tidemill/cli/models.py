"""`tidemill models`."""

import asyncio
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from tidemill.cli.hub import hub
from tidemill.cli.output import Json, human_bytes, print_json, print_table
from tidemill.llm.artifacts import Artifact
from tidemill.llm.catalog import default_name, list_models
from tidemill.llm.download import pull as download
from tidemill.llm.download import pull_artifact
from tidemill.llm.embedding_catalog import EMBEDDING_ARTIFACTS
from tidemill.settings import Settings, load_settings

app = typer.Typer(help="List, fetch, load and unload models.", no_args_is_help=True, add_completion=False)
adapters = typer.Typer(help="List, add and remove LoRA adapters.", no_args_is_help=True, add_completion=False)
app.add_typer(adapters, name="adapters")


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
    name: Annotated[
        str | None,
        typer.Argument(help="From the catalog, or the Hub's owner/repository:file.gguf; the default when absent."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Fetch a model from the catalog or the Hugging Face Hub. A broken download goes on; the digest decides."""
    settings = load_settings()
    if name is not None and name in EMBEDDING_ARTIFACTS:
        files = EMBEDDING_ARTIFACTS[name]
        path = " + ".join(pull_with_progress(settings, one.name, quiet=as_json, artifact=one) for one in files)
    else:
        path = pull_with_progress(settings, name, quiet=as_json)
    if as_json:
        print_json({"path": path})
    else:
        typer.echo(f"{path} is there, and its digest is right.")


@app.command()
def load(
    model: Annotated[str, typer.Argument()] = "default",
    pin: Annotated[
        bool | None, typer.Option("--pin/--no-pin", help="Never unload it to make room, or no longer so.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Load a local model into the running hub."""
    _post("load", {"model": model} | ({} if pin is None else {"pin": pin}), as_json=as_json)


@app.command()
def unload(model: Annotated[str, typer.Argument()] = "default", as_json: Json = False) -> None:
    """Unload a local model from the running hub, which frees its memory."""
    _post("unload", {"model": model}, as_json=as_json)


@app.command()
def status(as_json: Json = False) -> None:
    """Show the local models' processes, and the memory for them."""
    with hub(load_settings()) as client:
        found = client.get("/v1/models/status")
    _show(found["data"], as_json=as_json)
    if not as_json:
        memory = found["memory"]
        budget = f" of {human_bytes(memory['budget_bytes'])}" if memory["budget_bytes"] else ""
        typer.echo(
            f"They hold {human_bytes(memory['used_bytes'])}{budget}; {human_bytes(memory['free_bytes'])} are free."
        )


@adapters.command("list")
def list_adapters(as_json: Json = False) -> None:
    """List the LoRA adapters that the running hub knows."""
    with hub(load_settings()) as client:
        _show_adapters(client.get("/v1/models/adapters")["data"], as_json=as_json)


@adapters.command("add")
def add_adapter(
    base: Annotated[str, typer.Argument(help="The local model that it changes.")],
    name: Annotated[str, typer.Argument(help="Its name: requests ask for BASE:NAME.")],
    path: Annotated[str, typer.Argument(help="Its GGUF file, in the folder `adapters` of the data folder.")],
    scale: Annotated[float, typer.Option(help="How strongly it acts.")] = 1.0,
    as_json: Json = False,
) -> None:
    """Register a LoRA adapter. A running base takes it up without dropping a request."""
    with hub(load_settings()) as client:
        added = client.post("/v1/models/adapters", {"base": base, "name": name, "path": path, "scale": scale})
    _show_adapters([added], as_json=as_json)


@adapters.command("remove")
def remove_adapter(name: Annotated[str, typer.Argument()], as_json: Json = False) -> None:
    """Forget a registered LoRA adapter; its file stays."""
    with hub(load_settings()) as client:
        _show_adapters(client.delete(f"/v1/models/adapters/{quote(name, safe='')}")["data"], as_json=as_json)


def pull_with_progress(
    settings: Settings, name: str | None, *, quiet: bool = False, artifact: Artifact | None = None
) -> str:
    """Fetches a model, or the given file, under a progress bar, unless it is there, and returns its path."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    shown = name or default_name(settings)
    with Progress(*columns, disable=quiet) as bar:
        task = bar.add_task(shown, total=None)

        def progress(done: int, total: int, source: str) -> None:
            bar.update(task, completed=done, total=total, description=f"{shown} from {source}")

        if artifact is not None:
            return str(asyncio.run(pull_artifact(settings, artifact, progress)))
        return str(asyncio.run(download(settings, name, progress)))


def _post(verb: str, body: dict[str, object], *, as_json: bool) -> None:
    with hub(load_settings()) as client:
        _show(client.post(f"/v1/models/{verb}", body)["data"], as_json=as_json)


def _show_adapters(found: list[dict[str, object]], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    rows = [(one["id"], one["base"], one["scale"]) for one in found]
    print_table(["name", "base", "scale"], rows, empty="There are no adapters.")


def _show(statuses: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json(statuses)
        return
    rows = [
        (
            f"{one['model']} (pinned)" if one["pinned"] else one["model"],
            one["state"],
            one["pid"],
            human_bytes(one["memory_bytes"]),
            f"{one['slots']['busy']}/{one['slots']['total']}",
            one["queue_length"],
            _pace(one["tokens_per_second"]["decode"]),
            one["restarts"],
        )
        for one in statuses
    ]
    names = ["model", "state", "pid", "memory", "slots", "queue", "tokens/s", "restarts"]
    print_table(names, rows, empty="No local model is loaded.")


def _pace(tokens_per_second: float | None) -> str | None:
    return None if tokens_per_second is None else f"{tokens_per_second:.1f}"
