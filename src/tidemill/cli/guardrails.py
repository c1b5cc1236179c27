"""`tidemill guardrails`: what the guardrails find in a text, and what they found in requests and answers."""

import asyncio
import sys
from typing import Annotated

import typer

from tidemill.app.guardrails import guards_of
from tidemill.cli.accounts import moment
from tidemill.cli.hub import hub
from tidemill.cli.output import Json, print_json, print_table
from tidemill.core.deployment import Task
from tidemill.core.errors import InvalidInput
from tidemill.core.guardrail import Direction, Guardrail
from tidemill.llm.guardrails.check import Finding, check_text
from tidemill.settings import load_settings

app = typer.Typer(help="Try the guardrails, and show what they found.", no_args_is_help=True, add_completion=False)


@app.command()
def check(
    task: Annotated[Task, typer.Option(help="The task whose settings hold.")] = Task.CHAT,
    answer: Annotated[bool, typer.Option("--answer", help="Read the text as an answer, not as a request.")] = False,
    as_json: Json = False,
) -> None:
    """Read a text from the standard input, and print what each guardrail finds in it and would do about it.

    It needs no hub and no database, and so does not look for stored texts.
    """
    text = sys.stdin.read()
    if not text.strip():
        raise InvalidInput("There is no text. Pipe one in: `tidemill guardrails check < FILE`.")
    direction = Direction.OUTPUT if answer else Direction.INPUT
    guards = guards_of(load_settings().guardrails)
    try:
        found = asyncio.run(check_text(guards, text, task, direction))
    finally:
        guards.close()
    if as_json:
        print_json([_shown(one) for one in found])
        return
    rows = [(one.guardrail, one.rule, one.action, f"{one.line}:{one.column}", one.length) for one in found]
    print_table(
        ["guardrail", "rule", "action", "line:column", "characters"], rows, empty="No guardrail finds anything."
    )


def _shown(one: Finding) -> dict[str, object]:
    return {
        "guardrail": one.guardrail,
        "rule": one.rule,
        "action": one.action,
        "line": one.line,
        "column": one.column,
        "length": one.length,
    }


@app.command()
def events(
    guardrail: Annotated[Guardrail | None, typer.Option(help="Those of one guardrail.")] = None,
    since: Annotated[str | None, typer.Option(help="From when on: 2026-03-01, a time, or how long ago as 30d.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 50,
    as_json: Json = False,
) -> None:
    """List what the guardrails found, newest first."""
    first = moment(since, "--since")
    query = f"limit={limit}" + (f"&guardrail={guardrail}" if guardrail else "")
    if first is not None:
        query += f"&since={first.isoformat().replace('+', '%2B')}"
    with hub(load_settings()) as client:
        found = client.get(f"/v1/guardrails/events?{query}")["data"]
    if as_json:
        print_json(found)
        return
    rows = [
        (
            one["created_at"],
            one["guardrail"],
            one["direction"],
            one["action"],
            ", ".join(one["rules"]),
            one["count"],
            one["task"],
            one["inference_id"],
        )
        for one in found
    ]
    columns = ["when", "guardrail", "in", "action", "rules", "count", "task", "inference"]
    print_table(columns, rows, empty="The guardrails found nothing.")
