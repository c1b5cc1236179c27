"""`tidemill sources`: what a running hub collects documents from."""

import json
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote
from uuid import UUID

import typer
from rich.console import Console

from tidemill.cli.accounts import duration
from tidemill.cli.hub import HubClient, hub
from tidemill.cli.output import Json, human_bytes, print_json, print_table
from tidemill.core.classification import Level
from tidemill.core.document import ChunkStrategy, SourceKind
from tidemill.core.errors import InvalidInput, NotFound, TidemillError
from tidemill.settings import load_settings

PAGE = 500
app = typer.Typer(
    help="Collect documents: folders, repositories, uploads and more.", no_args_is_help=True, add_completion=False
)
Named = Annotated[str, typer.Argument(help="The source's name or id.", metavar="SOURCE")]


@app.command()
def add(
    location: Annotated[str, typer.Argument(help="A folder, a repository's path or address, a site's address.")] = "",
    name: Annotated[str | None, typer.Option(help="What people call it; the location's last part if absent.")] = None,
    kind: Annotated[SourceKind | None, typer.Option(help="What it is; guessed from the location if absent.")] = None,
    level: Annotated[Level, typer.Option(help="How sensitive its documents are at least.")] = Level.INTERNAL,
    department: Annotated[list[UUID] | None, typer.Option(help="Who may see them: a department's id.")] = None,
    strategy: Annotated[ChunkStrategy, typer.Option(help="How documents are cut.")] = ChunkStrategy.AUTO,
    option: Annotated[
        list[str] | None, typer.Option(help="An option of its kind, NAME=VALUE; a list's values, one by one.")
    ] = None,
    every: Annotated[str | None, typer.Option(help="Sync it again after so long: 12h, 7d.")] = None,
    sync: Annotated[bool, typer.Option("--sync/--no-sync", help="Collect its documents now.")] = True,
    as_json: Json = False,
) -> None:
    """Add a source, and collect its documents."""
    chosen = kind or _guessed(location)
    if chosen in {SourceKind.FOLDER, SourceKind.GIT, SourceKind.LINKEDIN} and "://" not in location:
        location = str(Path(location).expanduser().resolve())
    body = {
        "name": name or location.rstrip("/").rpartition("/")[2].removesuffix(".git") or str(chosen),
        "kind": chosen,
        "location": location,
        "level": level,
        "departments": [str(one) for one in department or []],
        "strategy": strategy,
        "options": _options(option or []),
        "sync_every": None if every is None else int(duration(every, "--every").total_seconds()),
    }
    with hub(load_settings()) as client:
        source = client.post("/v1/sources", body)
        if sync and chosen is not SourceKind.UPLOAD:
            _follow(client, source, as_json=as_json)
        elif as_json:
            print_json(source)
        else:
            typer.echo(f"Added the source {source['name']}.")


@app.command("list")
def list_sources(as_json: Json = False) -> None:
    """List the sources that you may see."""
    with hub(load_settings()) as client:
        found = _all(client, "/v1/sources", "name")
    if as_json:
        print_json(found)
        return
    rows = [
        (one["name"], one["kind"], one["location"], one["level"], one["documents"], one["failures"], one["synced_at"])
        for one in found
    ]
    columns = ["name", "kind", "location", "level", "documents", "failures", "synced"]
    print_table(columns, rows, empty="There are no sources yet. Add one with `tidemill sources add`.")


@app.command()
def show(
    source: Named,
    documents: Annotated[bool, typer.Option("--documents", help="List its documents.")] = False,
    as_json: Json = False,
) -> None:
    """Show a source, its last syncs, and its documents."""
    with hub(load_settings()) as client:
        found = _find(client, source)
        path = f"/v1/sources/{found['id']}"
        syncs = client.get(f"{path}/syncs?limit=5")["data"]
        listed = _all(client, f"{path}/documents", "path") if documents else []
    if as_json:
        print_json({**found, "syncs": syncs, **({"data": listed} if documents else {})})
        return
    for name in ("name", "id", "kind", "location", "level", "strategy", "documents", "failures", "synced_at"):
        typer.echo(f"{name}: {found[name]}")
    for sync in syncs:
        typer.echo(f"sync {sync['created_at']}: {sync['state']}; {_said(sync['counts'])}{_because(sync)}")
    if documents:
        columns = ["document", "title", "kind", "level", "size", "chunks", "language"]
        rows = [
            (d["path"], d["title"], d["kind"], d["level"], human_bytes(d["bytes"]), d["chunks"], d["language"])
            for d in listed
        ]
        print_table(columns, rows, empty="It has no documents.")


@app.command()
def sync(
    source: Named,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow it to its end.")] = True,
    as_json: Json = False,
) -> None:
    """Collect what changed, and embed it."""
    with hub(load_settings()) as client:
        found = _find(client, source)
        if wait:
            _follow(client, found, as_json=as_json)
            return
        started = client.post(f"/v1/sources/{found['id']}/sync", {})
    print_json(started) if as_json else typer.echo(f"The sync {started['id']} is {started['state']}.")


@app.command()
def cancel(source: Named) -> None:
    """End the sync that is under way; what it wrote stays."""
    with hub(load_settings()) as client:
        path = f"/v1/sources/{_find(client, source)['id']}/syncs"
        [latest, *_] = client.get(f"{path}?limit=1")["data"] or [None]
        if latest is None or latest["finished_at"] is not None:
            raise NotFound("No sync of this source is under way.")
        client.post(f"{path}/{latest['id']}/cancel", {})
    typer.echo("Cancelled.")


@app.command()
def upload(
    source: Named,
    files: Annotated[list[Path], typer.Argument(help="The files.", exists=True, dir_okay=False)],
    as_json: Json = False,
) -> None:
    """Upload documents to a source of the kind `upload`."""
    with hub(load_settings()) as client:
        found = _find(client, source)
        for file in files:
            client.send_file(f"/v1/sources/{found['id']}/documents", file, {"path": file.name})
        _follow(client, found, as_json=as_json)


@app.command("take-back")
def take_back(
    source: Named,
    names: Annotated[list[str], typer.Argument(help="The names of what was uploaded.", metavar="NAME…")],
    as_json: Json = False,
) -> None:
    """Take uploaded documents back, with all that was made of them."""
    with hub(load_settings()) as client:
        found = _find(client, source)
        for name in names:
            client.remove(f"/v1/sources/{found['id']}/documents?path={quote(name, safe='')}")
        _follow(client, found, as_json=as_json)


@app.command()
def failures(source: Named, as_json: Json = False) -> None:
    """List what could not be read, and why."""
    with hub(load_settings()) as client:
        found = _all(client, f"/v1/sources/{_find(client, source)['id']}/failures", "path")
    if as_json:
        print_json(found)
        return
    rows = [(one["path"], one["code"], one["reason"]) for one in found]
    print_table(["document", "code", "reason"], rows, empty="Everything could be read.")


@app.command()
def rm(source: Named) -> None:
    """Remove a source with all that was collected from it."""
    with hub(load_settings()) as client:
        found = _find(client, source)
        client.remove(f"/v1/sources/{found['id']}")
    typer.echo(f"Removed the source {found['name']}, with {found['documents']} documents.")


@app.command()
def reembed(as_json: Json = False) -> None:
    """Embed all documents with the model that the settings name now, and then search with it."""
    with hub(load_settings()) as client:
        found = client.post("/v1/sources/reembed", {})["data"]
    if as_json:
        print_json(found)
        return
    rows = [(one["model"], one["version"], "yes" if one["current"] else "no", one["waiting"]) for one in found]
    print_table(["model", "version", "searched", "chunks that wait"], rows, empty="There are no vectors yet.")


def _follow(client: HubClient, source: dict[str, Any], *, as_json: bool) -> None:
    """Starts a sync and follows it to its end.

    Raises:
        TidemillError: it failed, or was cancelled.
    """
    path = f"/v1/sources/{source['id']}"
    started = client.post(f"{path}/sync", {})
    console = Console(stderr=True, quiet=as_json)
    last = started
    with console.status("Queued …") as status:
        for kind, data in client.events(f"{path}/syncs/{started['id']}/events"):
            last = {**last, **json.loads(data)}
            status.update(f"{source['name']}: {_said(last['counts'])} …" if kind == "progress" else f"{kind} …")
    if last["state"] != "done":
        raise TidemillError(f"The sync of {source['name']} ended early: {last['error'] or 'it was cancelled'}")
    if as_json:
        print_json(last)
        return
    typer.echo(f"{source['name']}: {_said(last['counts'])}.")
    if last["counts"]["failed"]:
        typer.echo(f"`tidemill sources failures {source['name']}` says what could not be read.")


def _said(counts: dict[str, int]) -> str:
    parts = [_counted(counts["seen"], "document")]
    parts += [f"{counts[name]} {name}" for name in ("new", "changed", "gone", "failed") if counts[name]]
    return ", ".join([*parts, f"{_counted(counts['embedded'], 'text')} embedded"])


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _because(sync: dict[str, Any]) -> str:
    return f": {sync['error']}" if sync["error"] else ""


def _all(client: HubClient, path: str, by: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    more = True
    while more:
        after = f"&after={quote(found[-1][by], safe='')}" if found else ""
        page = client.get(f"{path}?limit={PAGE}{after}")
        found += page["data"]
        more = page["has_more"]
    return found


def _find(client: HubClient, named: str) -> dict[str, Any]:
    for source in _all(client, "/v1/sources", "name"):
        if named in (source["name"], source["id"]):
            return source
    raise NotFound(f"There is no source {named!r}. `tidemill sources list` shows them.")


def _guessed(location: str) -> SourceKind:
    """The kind of a source by its location.

    Raises:
        InvalidInput: it can't be told.
    """
    if not location:
        return SourceKind.UPLOAD
    if location.endswith(".git") or location.startswith("file://"):
        return SourceKind.GIT
    if "://" not in location:
        folder = Path(location).expanduser()
        return SourceKind.GIT if (folder / ".git").exists() else SourceKind.FOLDER
    raise InvalidInput("Say with --kind what this is: git, github, gitlab, website or feed.")


def _options(given: list[str]) -> dict[str, Any]:
    """Options as they are written on a command line. One that is given twice, and `include` and `exclude`, are lists.

    Raises:
        InvalidInput: one has no `=`.
    """
    found: dict[str, Any] = {}
    for one in given:
        name, equals, text = one.partition("=")
        if not equals or not name:
            raise InvalidInput(f"{one!r} is no option: write NAME=VALUE.")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        if name in found or name in {"include", "exclude"}:
            found[name] = [*found.get(name, []), value]
        else:
            found[name] = value
    return found
