"""`tidemill forges`: what is set, whether it works, and a scripted forge for demonstrations."""

import asyncio
import json
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from tidemill.app.forges import identity_of
from tidemill.app.providers import outbound_of
from tidemill.app.secrets import open_secrets
from tidemill.cli.database import on_database
from tidemill.cli.output import Json, print_json, print_table
from tidemill.core.errors import InvalidInput, NotFound, TidemillError
from tidemill.core.pull_request import ForgeKind
from tidemill.protection.secrets import Secrets
from tidemill.settings import Settings, load_settings
from tidemill.settings.forges import ForgeSettings

PLAYED_SECRET = "scripted-secret"  # noqa: S105 - of a forge that is none
PLAYED_TOKEN = "scripted-token"  # noqa: S105 - of a forge that is none

app = typer.Typer(help="Show and test the forges.", no_args_is_help=True, add_completion=False)


@app.command("list")
def list_forges(as_json: Json = False) -> None:
    """List the forges of the settings, and which of their secrets are not stored yet."""
    settings = load_settings()
    stored = on_database(open_secrets, lambda secrets: secrets.names()) if settings.forges else []
    names = {one.name for one in stored}
    found = [_shown(name, one, names) for name, one in settings.forges.items()]
    if as_json:
        print_json(found)
        return
    columns = ["name", "kind", "site", "as", "webhooks", "projects", "not_stored"]
    rows = [[", ".join(one[c]) if isinstance(one[c], list) else one[c] for c in columns] for one in found]
    print_table(columns, rows, empty="The settings name no forge. docs/forges.md says how to set one up.")


@app.command("test")
def try_forges(
    name: Annotated[str | None, typer.Argument(help="The forge's name; all of them when absent.")] = None,
    project: Annotated[str | None, typer.Option(help="A project on which rights are tried, such as acme/shop.")] = None,
    as_json: Json = False,
) -> None:
    """Ask each forge who the key is, and which rights it lacks. Ends with 1 where something is wrong."""
    settings = load_settings()
    if name is not None and name not in settings.forges:
        raise NotFound(f"The settings name no forge {name!r}. `tidemill forges list` shows them.")
    wanted = {one: settings.forges[one] for one in settings.forges if name in {None, one}}
    if not wanted:
        raise NotFound("The settings name no forge. docs/forges.md says how to set one up.")

    async def ask(secrets: Secrets) -> list[dict[str, Any]]:
        return [await _tested(one, wanted[one], settings, secrets, project) for one in wanted]

    found = on_database(open_secrets, ask)
    if as_json:
        print_json(found)
    else:
        print_table(
            ["name", "account", "missing", "unknown", "error"],
            [
                (one["name"], one["account"], ", ".join(one["missing"]) or None, one["unknown"], one["error"])
                for one in found
            ],
            empty="",
        )
    if any(one["error"] or one["missing"] for one in found):
        raise typer.Exit(1)


@app.command("scripted")
def scripted(
    project: Annotated[str, typer.Option(help="The project that it has.")] = "acme/shop",
    source: Annotated[Path | None, typer.Option("--from", help="A repository or a bundle with its branches.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where it listens; 0 takes a free port.")] = 9300,
    kind: Annotated[str, typer.Option(help="As which forge it sends webhooks: github, gitlab or gitea.")] = "github",
    webhook: Annotated[str | None, typer.Option(help="Where deliveries go, such as a hub's /webhooks/NAME.")] = None,
    secret: Annotated[str, typer.Option(help="The webhook's secret: a made-up one.")] = PLAYED_SECRET,
    token: Annotated[str, typer.Option(help="The token that the API takes: a made-up one.")] = PLAYED_TOKEN,
) -> None:
    """Serve a forge of pretence over real git, to see what Tidemill does, until Ctrl-C. Nothing of it is kept."""
    import uvicorn  # noqa: PLC0415 - no other command here serves anything

    from tidemill.forges.scripted_server import ScriptedServer, Webhook  # noqa: PLC0415
    from tidemill.forges.scripted_site import ScriptedSite  # noqa: PLC0415

    if kind not in {"github", "gitlab", "gitea"}:
        raise InvalidInput(f"{kind!r} is no kind of forge that it plays: github, gitlab and gitea are.", param="kind")
    if source is not None and not source.exists():
        raise NotFound(f"There is no repository or bundle at {source}.", param="from")

    async def serve(folder: Path) -> None:
        site = ScriptedSite(folder)
        if source is not None:
            await site.add_project(project, source)
        target = None if webhook is None else Webhook(webhook, ForgeKind(kind), secret)
        server = ScriptedServer(site, {token: "tidemill"}, webhook=target)
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
            address = f"http://127.0.0.1:{listener.getsockname()[1]}"
            typer.echo(how_to_play(address, project, token, secret, webhook, server.actions, empty=source is None))
            config = uvicorn.Config(server.app, log_level="warning", access_log=False)
            await uvicorn.Server(config).serve(sockets=[listener])

    with tempfile.TemporaryDirectory(prefix="tidemill-forge-") as folder:
        asyncio.run(serve(Path(folder)))


def how_to_play(
    address: str, project: str, token: str, secret: str, webhook: str | None, actions: Sequence[str], *, empty: bool
) -> str:
    """What whoever started the scripted forge needs next: everything of it is made up, so nothing is hidden."""
    lines = [
        f"A scripted forge listens on {address}",
        f"  token           {token}",
        f"  webhook secret  {secret}",
        f"  webhooks go to  {webhook or 'nowhere: give --webhook'}",
        f"  people act by   POST {address}/_control/ACTION, as JSON; ACTION is one of {', '.join(actions)}",
    ]
    opened = {"project": project, "source": "BRANCH", "title": "A change"}
    if empty:
        added = {"project": project, "source": "/path/to/repository"}
        lines += ["Add a project:", f"  curl -d '{json.dumps(added)}' {address}/_control/project"]
    lines += ["Open a pull request from a branch:", f"  curl -d '{json.dumps(opened)}' {address}/_control/open"]
    return "\n".join(lines)


async def _tested(
    name: str, forge: ForgeSettings, settings: Settings, secrets: Secrets, project: str | None
) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": name, "account": None, "missing": [], "unknown": None, "error": None}
    try:
        identity = await identity_of(name, forge, outbound_of(settings), secrets, project)
        if forge.webhook_secret is not None:
            await secrets.reveal(forge.webhook_secret)
    except TidemillError as error:
        return shown | {"error": error.message}
    return shown | {"account": identity.login, "missing": list(identity.missing), "unknown": identity.unknown}


def _shown(name: str, forge: ForgeSettings, stored: set[str]) -> dict[str, Any]:
    needed = [forge.token_secret, forge.app_key_secret, forge.webhook_secret]
    return {
        "name": name,
        "kind": forge.kind,
        "site": forge.site,
        "as": "token" if forge.app_id is None else f"App {forge.app_id}",
        "webhooks": "taken" if forge.webhook_secret else "refused: no webhook_secret",
        "projects": forge.projects or ["*"],
        "not_stored": [one for one in needed if one is not None and one not in stored],
    }
