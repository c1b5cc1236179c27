"""`tidemill usage`: reads the database itself, whether or not a hub is running."""

from dataclasses import asdict
from typing import Annotated

import typer

from tidemill.app.limits import open_limits
from tidemill.cli.accounts import moment
from tidemill.cli.database import on_database
from tidemill.cli.output import Json, print_json, print_table
from tidemill.core.usage import UsageGroup, UsageSum


def usage(
    by: Annotated[
        list[UsageGroup] | None, typer.Option("--by", help="By what; give it once for each. By day when absent.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--from", help="From when on: 2026-03-01, a time, or how long ago as 30d.")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", help="Before when; written as --from.")] = None,
    as_json: Json = False,
) -> None:
    """Show what everyone used: requests, tokens, cost, and answers from the cache; of 30 days when nothing is said."""
    groups = by or [UsageGroup.DAY]
    start, end = moment(since, "--from"), moment(until, "--to")
    report = on_database(open_limits, lambda both: both[1].usage.report(groups, since=start, until=end))
    if as_json:
        print_json(
            {
                "since": report.since.isoformat(),
                "until": report.until.isoformat(),
                "group_by": report.groups,
                "data": [asdict(one) for one in report.sums],
                "total": asdict(report.total),
            }
        )
        return
    rows = [(*(_cell(one, group) for group in report.groups), *_numbers(one)) for one in report.sums]
    if rows:
        rows.append((*("all" if place == 0 else "" for place in range(len(report.groups))), *_numbers(report.total)))
    columns = [*report.groups, "requests", "errors", "tokens in", "cached", "tokens out", "US dollars", "cache hits"]
    print_table(columns, rows, empty="Nothing was used in this time.")


def _cell(one: UsageSum, group: UsageGroup) -> object:
    if group is UsageGroup.KEY:
        return one.key_name or one.key_id
    if group is UsageGroup.USER:
        return one.user_name or one.user_id
    return getattr(one, group.value)


def _numbers(one: UsageSum) -> tuple[object, ...]:
    unknown = f" + {one.unknown_costs:,} unknown" if one.unknown_costs else ""
    return (
        f"{one.requests:,}",
        f"{one.errors:,}",
        f"{one.prompt_tokens:,}",
        f"{one.cached_tokens:,}",
        f"{one.completion_tokens:,}",
        f"{one.cost_usd:,.6f}{unknown}",
        f"{one.cache_hits:,}",
    )
