"""`tidemill jobs`: requests to a running hub that are answered without waiting."""

import json
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from tidemill.cli.hub import HubClient, hub
from tidemill.cli.output import Json, print_json, print_table
from tidemill.core.errors import InvalidInput
from tidemill.settings import load_settings

LOOK_SECONDS = 0.5
ENDED = {"done", "failed", "cancelled"}
Named = Annotated[str, typer.Argument(help="The job's id.", metavar="JOB")]
app = typer.Typer(help="Ask without waiting, and see what came of it.", no_args_is_help=True, add_completion=False)


class Lower(StrEnum):
    """What a job's priority may be."""

    INTERACTIVE = "interactive"
    BATCH = "batch"


@app.command()
def submit(
    file: Annotated[Path, typer.Argument(help="The JSON of the endpoint's request; - for the standard input.")],
    endpoint: Annotated[str, typer.Option(help="Where the request would go.")] = "/v1/chat/completions",
    callback: Annotated[str | None, typer.Option(help="An address that is told when the job ended.")] = None,
    priority: Annotated[Lower, typer.Option(help="With batch, everyone who waits goes first.")] = Lower.INTERACTIVE,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the answer.")] = False,
    as_json: Json = False,
) -> None:
    """Ask for an answer, and print the job's id at once."""
    asked = {"endpoint": endpoint, "body": _body(file), "priority": priority, "callback_url": callback}
    with hub(load_settings()) as client:
        job = client.post("/v1/jobs", {name: value for name, value in asked.items() if value is not None})
        while wait and job["status"] not in ENDED:
            time.sleep(LOOK_SECONDS)
            job = _get(client, job["id"])
    if wait:
        _tell(job, as_json=as_json)
    elif as_json:
        print_json(job)
    else:
        typer.echo(job["id"])


@app.command("list")
def list_jobs(
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many, newest first.")] = 20, as_json: Json = False
) -> None:
    """List the jobs of this key's owner."""
    with hub(load_settings()) as client:
        jobs = client.get(f"/v1/jobs?limit={limit}")["data"]
    if as_json:
        print_json(jobs)
        return
    rows = [(one["id"], one["status"], one["endpoint"], one["priority"], _when(one["created_at"])) for one in jobs]
    print_table(["job", "status", "endpoint", "priority", "made"], rows, empty="There are no jobs.")


@app.command()
def show(job: Named, as_json: Json = False) -> None:
    """Print how far a job is, and its answer."""
    with hub(load_settings()) as client:
        _tell(_get(client, job), as_json=as_json)


@app.command()
def cancel(job: Named, as_json: Json = False) -> None:
    """End a job that is queued or running."""
    with hub(load_settings()) as client:
        _tell(client.post(f"/v1/jobs/{quote(job, safe='')}/cancel", {}), as_json=as_json)


def _get(client: HubClient, job: str) -> Any:
    return client.get(f"/v1/jobs/{quote(job, safe='')}")


def _body(file: Path) -> Any:
    try:
        body = json.loads(sys.stdin.read() if str(file) == "-" else file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{file} can't be read as JSON: {error}") from error
    if not isinstance(body, dict):
        raise InvalidInput(f"{file} holds no JSON object. Give what you would send to the endpoint.")
    return body


def _tell(job: Any, *, as_json: bool) -> None:
    if as_json:
        print_json(job)
        return
    typer.echo(f"{job['id']}: {job['status']}")
    if job["error"] is not None:
        typer.echo(job["error"]["message"])
    for choice in (job["result"] or {}).get("choices", ()):
        typer.echo(choice.get("text") or (choice.get("message") or {}).get("content") or "")


def _when(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
