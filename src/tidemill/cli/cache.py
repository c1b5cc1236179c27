"""`tidemill cache`."""

from typing import Any

import typer

from tidemill.cli.hub import hub
from tidemill.cli.output import Json, human_bytes, print_json, print_table
from tidemill.settings import load_settings

app = typer.Typer(help="Show and empty the cache of answers.", no_args_is_help=True, add_completion=False)


@app.command()
def status(as_json: Json = False) -> None:
    """Show what each tier holds, and how often the hub's process found an answer there."""
    with hub(load_settings()) as client:
        shown: dict[str, Any] = client.get("/v1/cache")
    if as_json:
        print_json(shown)
        return
    names = {"l1": "l1 (memory)", "l2": "l2 (database)", "l3": "l3 (files)"}
    rows: list[tuple[object, ...]] = [
        (
            label,
            shown[tier]["entries"],
            human_bytes(shown[tier]["bytes"]),
            human_bytes(shown[tier]["max_bytes"]),
            shown["hits"].get(tier, 0),
        )
        for tier, label in names.items()
    ]
    if shown["redis"] is not None:
        rows.append((f"redis ({shown['redis']})", None, None, None, shown["hits"].get("redis", 0)))
    rows += [(tier, None, None, None, shown["hits"].get(tier, 0)) for tier in ("semantic", "flight")]
    print_table(["tier", "answers", "size", "at most", "hits"], rows, empty="")
    rate = "–" if shown["hit_rate"] is None else f"{shown['hit_rate']:.0%}"
    state = "" if shown["enabled"] else " The cache is switched off."
    typer.echo(f"Hit rate: {rate}, {shown['misses']} misses.{state}")


@app.command()
def clear(as_json: Json = False) -> None:
    """Delete every kept answer."""
    with hub(load_settings()) as client:
        cleared: dict[str, Any] = client.delete("/v1/cache")
    if as_json:
        print_json(cleared)
    else:
        typer.echo(f"Deleted {cleared['deleted']} answers.")
