"""`tidemill traces`: what the hub did for a request, and how long each part took."""

from typing import Annotated

import typer
from pydantic import TypeAdapter

from tidemill.cli.hub import hub
from tidemill.cli.output import Json, print_json, print_table
from tidemill.settings import load_settings
from tidemill.telemetry.trace_tree import TraceShown, tree

app = typer.Typer(help="Show what was done for a request.", no_args_is_help=True, add_completion=False)


@app.command("list")
def list_traces(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20, as_json: Json = False
) -> None:
    """List the last traces of the hub, the newest first."""
    with hub(load_settings()) as client:
        found = client.get(f"/v1/traces?limit={limit}")["data"]
    if as_json:
        print_json(found)
        return
    rows = [(one["trace_id"], one["started_at"], one["name"], one["duration_ms"], one["error"] or "") for one in found]
    print_table(["trace", "began", "request", "ms", "error"], rows, empty="The hub has kept no traces yet.")


@app.command()
def show(
    trace_id: Annotated[str, typer.Argument(help="The trace's id, as in the header X-Tidemill-Trace-Id.")],
    as_json: Json = False,
) -> None:
    """Show every part of one trace, with its start and how long it took, in milliseconds."""
    with hub(load_settings()) as client:
        found = client.get(f"/v1/traces/{trace_id}")
    if as_json:
        print_json(found)
        return
    typer.echo(tree(TypeAdapter(TraceShown).validate_python(found)))
