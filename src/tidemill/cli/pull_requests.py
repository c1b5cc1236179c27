"""`tidemill pull-requests`: what was done for those of the forges, and what became of the comments on them."""

import json
import re
import sys
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote, urlencode
from uuid import UUID

import typer

from tidemill.cli.hub import hub
from tidemill.cli.output import Json, print_json, print_table
from tidemill.core.errors import InvalidInput
from tidemill.settings import load_settings

NAME = re.compile(r"(?P<forge>[\w.-]+):(?P<project>[^\s#!]+/[^\s#!]+)[#!](?P<number>\d+)")
Named = Annotated[str, typer.Argument(metavar="PULL", help="Forge, project and number: 'github:acme/shop#7'.")]
app = typer.Typer(help="Show reviews of pull requests.", no_args_is_help=True, add_completion=False)


@app.command("list")
def list_pull_requests(
    forge: Annotated[str | None, typer.Option(help="Of this forge alone.")] = None,
    project: Annotated[str | None, typer.Option(help="Of this project alone, such as acme/shop.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many, the latest first.")] = 20,
    as_json: Json = False,
) -> None:
    """List the pull requests that something happened to last."""
    wanted = {"limit": limit, "forge": forge, "project": project}
    query = urlencode({name: value for name, value in wanted.items() if value is not None})
    with hub(load_settings()) as client:
        found = client.get(f"/v1/pull-requests?{query}")["data"]
    if as_json:
        print_json(found)
        return
    rows = [(_name(one), one["state"], one["head"][:10], one["author"], one["title"]) for one in found]
    print_table(["pull", "state", "head", "author", "title"], rows, empty="No pull request is known.")


@app.command()
def show(pull: Named, as_json: Json = False) -> None:
    """Print what was done for a pull request, and what stands on it."""
    with hub(load_settings()) as client:
        found = client.get(_path(pull))
    if as_json:
        print_json(found)
        return
    sys.stdout.write(f"{_name(found)}  {found['state']}  {found['title']}\n{found['url']}\n\n")
    runs = [
        (one["id"], one["kind"], one["state"], one["head"][:10], _counts(one), one["reason"]) for one in found["runs"]
    ]
    print_table(["run", "kind", "state", "head", "counts", "reason"], runs, empty="Nothing was done for it.")
    sys.stdout.write("\n")
    comments = [
        (f"{one['path']}:{one['line']}", one["state"], one["severity"], f"{one['engine']} {one['rule']}")
        for one in found["comments"]
    ]
    print_table(["comment", "state", "severity", "rule"], comments, empty="No comment stands on it.")


@app.command()
def review(pull: Named, as_json: Json = False) -> None:
    """Have the newest commit of a pull request reviewed now."""
    with hub(load_settings()) as client:
        run = client.post(f"{_path(pull)}/review", {})
    if as_json:
        print_json(run)
        return
    sys.stdout.write(f"Queued as {run['id']}. `tidemill pull-requests show '{pull}'` says how far it is.\n")


@app.command()
def feedback(
    review_id: Annotated[UUID | None, typer.Option("--review", help="Of one review, logins included.")] = None,
    since: Annotated[datetime | None, typer.Option(help="From this time on (UTC).")] = None,
) -> None:
    """Print what became of comments, a JSON object in each line."""
    if review_id is not None and since is not None:
        raise InvalidInput("`--since` is for the feedback of all reviews. Leave it or `--review` out.")
    with hub(load_settings()) as client:
        if review_id is not None:
            for row in client.get(f"/v1/reviews/{review_id}/feedback")["data"]:
                sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
            return
        query = "" if since is None else "?" + urlencode({"since": since.replace(tzinfo=UTC).isoformat()})
        client.download(f"/v1/feedback{query}", sys.stdout.buffer)


def _path(pull: str) -> str:
    found = NAME.fullmatch(pull)
    if found is None:
        raise InvalidInput(f"{pull!r} names no pull request. Write forge, project and number: 'github:acme/shop#7'.")
    return f"/v1/pull-requests/{quote(found['forge'])}/{quote(found['project'])}/{found['number']}"


def _name(one: dict[str, Any]) -> str:
    return f"{one['forge']}:{one['project']}#{one['number']}"


def _counts(run: dict[str, Any]) -> str:
    return ", ".join(name if value is True else f"{value} {name}" for name, value in run["counts"].items() if value)
