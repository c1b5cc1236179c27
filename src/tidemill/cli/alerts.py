"""`tidemill alerts`: what a running hub watches, what fired, and whether those who are told can be told."""

from typing import Annotated

import typer

from tidemill.cli.hub import hub
from tidemill.cli.output import Json, print_json, print_table
from tidemill.settings import load_settings

app = typer.Typer(help="Show alerts and their rules, and test who is told.", no_args_is_help=True, add_completion=False)


@app.command("list")
def list_alerts(
    firing: Annotated[bool, typer.Option("--firing", help="Only those that fire now.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 50,
    as_json: Json = False,
) -> None:
    """List alerts, newest first."""
    with hub(load_settings()) as client:
        found = client.get(f"/v1/alerts?limit={limit}{'&state=firing' if firing else ''}")["data"]
    if as_json:
        print_json(found)
        return
    rows = [
        (one["rule"], one["severity"], one["state"], f"{one['value']:g}", one["began_at"], one["resolved_at"])
        for one in found
    ]
    print_table(["rule", "severity", "state", "value", "began", "resolved"], rows, empty="There were no alerts.")


@app.command()
def rules(as_json: Json = False) -> None:
    """List the rules, measured now."""
    with hub(load_settings()) as client:
        found = client.get("/v1/alerts/rules")
    if as_json:
        print_json(found)
        return
    rows = [
        (
            one["name"],
            one["severity"],
            f"{one['metric']} {one['side']} {one['threshold']:g}",
            f"{one['window']:g} s",
            f"{one['hold']:g} s",
            "–" if one["value"] is None else f"{one['value']:g}",
            one["state"] or "",
        )
        for one in found["data"]
    ]
    print_table(["rule", "severity", "broken by", "over", "for", "now", "alert"], rows, empty="There are no rules.")
    typer.echo(f"Told: {', '.join(found['channels']) or 'nobody; set alerts.webhook, alerts.slack or alerts.email'}.")


@app.command()
def test(channel: Annotated[str, typer.Argument(help="webhook, slack or email.")]) -> None:
    """Tell a channel of an alert that is none."""
    with hub(load_settings()) as client:
        client.send("/v1/alerts/test", {"channel": channel})
    typer.echo(f"The channel {channel} was told.")
