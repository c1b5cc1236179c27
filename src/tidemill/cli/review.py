"""`tidemill review`."""

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from tidemill.cli.hub import HubClient, hub
from tidemill.core.change import ChangeSet
from tidemill.core.errors import InvalidInput, TidemillError
from tidemill.core.finding import Severity
from tidemill.core.review import ReviewResult
from tidemill.core.review_policy import ReviewPolicy
from tidemill.flows.local_review import local_gates, local_policy
from tidemill.flows.review_briefs import base_files
from tidemill.flows.surroundings import surrounded_locally
from tidemill.forges.local_git import read_change
from tidemill.review.gates.judging import with_failures
from tidemill.review.necessity import FOLDER, NecessityModels
from tidemill.review.offline import default_engines, review_without_model
from tidemill.review.policy_filter import unfolded, with_policy
from tidemill.review.reports import RENDERERS, fails_at, result_from_json
from tidemill.settings import Settings, load_settings


class Format(StrEnum):
    """How a review is printed."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"
    SARIF = "sarif"
    GITLAB = "gitlab"


def review(
    revision: Annotated[
        str | None, typer.Argument(metavar="[REV|RANGE]", help="A commit, or a range `a..b`; HEAD when absent.")
    ] = None,
    repo: Annotated[Path, typer.Option(help="The repository.")] = Path(),
    staged: Annotated[bool, typer.Option("--staged", help="Review what is staged for the next commit.")] = False,
    model: Annotated[
        bool, typer.Option("--model/--no-model", help="Without a model: seconds, no hub and no download.")
    ] = True,
    output: Annotated[Format, typer.Option("--format", help="How to print the review.")] = Format.TEXT,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    fail_on: Annotated[
        Severity | None, typer.Option(help="Exit with 1 when a finding is as severe as this, or more.")
    ] = None,
    gates: Annotated[
        bool, typer.Option("--gates", help="Hold the change against its quality gates; exit with 1 when one fails.")
    ] = False,
    coverage: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="A coverage report, Cobertura's XML or LCOV, for the gates."),
    ] = None,
    advisories: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Advisories in OSV's form (JSON, JSONL or zip), for the gates."),
    ] = None,
    report: Annotated[
        list[str] | None, typer.Option(metavar="FORMAT=FILE", help="Write the review to a file, too; repeatable.")
    ] = None,
) -> None:
    """Review a change: engines on the changed lines first, then the model on the hunks that deserve it most."""
    if staged and revision is not None:
        raise InvalidInput("Give either a revision or --staged, not both.")
    reports = [_report(one) for one in report or ()]
    settings = load_settings()
    change = asyncio.run(read_change(repo, revision, staged=staged, limits=settings.review))
    policy = asyncio.run(local_policy(repo, change))
    change = asyncio.run(surrounded_locally(change, repo))
    if model:
        told = asyncio.run(base_files(repo, change))
        with hub(settings) as client:
            result = review_on_hub(client, change, told, quiet=output is not Format.TEXT or as_json)
        result = result if policy is None else with_policy(result, policy)
    else:
        result = review_here(settings, change, policy)
    if gates or coverage or advisories:
        asked, found = policy or ReviewPolicy(), unfolded(result).findings
        fallback = settings.review.advisories
        work = local_gates(repo, change, found, asked, coverage=coverage, advisories=advisories, fallback=fallback)
        result = replace(result, gates=with_failures(asyncio.run(work), result.failures, asked))
    sys.stdout.write(rendered(result, Format.JSON if as_json else output))
    for form, file in reports:
        _write(file, rendered(result, form))
    if result.failures:
        raise TidemillError(f"The review is not whole, since an engine failed: {' '.join(result.failures.values())}")
    severe = fail_on is not None and fails_at(unfolded(result), fail_on)
    if severe or (result.gates is not None and not result.gates.holds):
        raise typer.Exit(1)


def rendered(result: ReviewResult, form: Format) -> str:
    """The review in a form, ended by a line feed; forms for machines that know no folded list hold every finding."""
    text = RENDERERS[form](unfolded(result) if form in (Format.SARIF, Format.GITLAB) else result)
    return text if text.endswith("\n") else text + "\n"


def _report(said: str) -> tuple[Format, Path]:
    form, _, file = said.partition("=")
    if form not in set(Format) or not file:
        raise InvalidInput(f"--report takes FORMAT=FILE with one of {', '.join(Format)}, not {said!r}.")
    return Format(form), Path(file)


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, "utf-8")
    except OSError as error:
        raise InvalidInput(f"The report can't be written to {str(file)!r}: {error.strerror}.") from None


def review_here(settings: Settings, change: ChangeSet, policy: ReviewPolicy | None = None) -> ReviewResult:
    """The deterministic part, in this process, with no database."""
    necessity = NecessityModels(settings.data_dir / FOLDER).current()
    return asyncio.run(
        review_without_model(change, default_engines(), settings.review, policy=policy, necessity=necessity)
    )


def review_on_hub(
    client: HubClient, change: ChangeSet, guidelines: Mapping[str, str] | None = None, *, quiet: bool
) -> ReviewResult:
    """The whole review, on the hub, followed step by step on the standard error."""
    asked = client.post(
        "/v1/reviews",
        {
            "diff": change.diff,
            "files": dict(change.files),
            "before": dict(change.before),
            "around": dict(change.around),
            "guidelines": dict(guidelines or {}),
            "title": change.title[:1000],
            "base": change.base,
            "head": change.head,
        },
    )
    path = f"/v1/reviews/{asked['id']}"
    console = Console(stderr=True, quiet=quiet)
    with console.status("Queued …") as status:
        for kind, data in client.events(f"{path}/events"):
            status.update(_progress(kind, json.loads(data)))
    found = client.get(path)
    if found["state"] != "done":
        raise TidemillError(f"The review failed: {found['error'] or 'it has not ended; ask for it again.'}")
    return result_from_json(found["result"])


def _progress(kind: str, data: dict[str, Any]) -> str:
    match kind:
        case "started":
            return f"Reading {data['files']} files, {data['hunks']} hunks …"
        case "engine" if "failed" in data:
            return f"{data['engine']} failed …"
        case "engine":
            return f"{data['engine']}: {data['findings']} findings in {data['seconds']:.1f} s …"
        case "planned":
            return f"Asking the model about {data['asked']} hunks …"
        case "comment":
            return f"{data['path']}:{data['line']}: {data['comments']} comments in {data['seconds']:.0f} s …"
        case "doubt":
            return f"{data['path']}:{data['line']}: {data['comments']} stand after a second look …"
        case "refine":
            what = "lines that mend it" if data["suggestion"] or data["proposal"] else "nothing to offer"
            return f"{data['path']}:{data['line']}: {what}, in {data['seconds']:.0f} s …"
        case _:
            return f"{kind} …"
