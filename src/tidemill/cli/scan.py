"""`tidemill scan`."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tidemill.cli.review import Format
from tidemill.core.finding import Severity
from tidemill.forges.local_folder import read_folder
from tidemill.review.offline import tree_engines
from tidemill.review.reports import RENDERERS, fails_at
from tidemill.review.scan import scan as scan_files
from tidemill.settings import load_settings

SECONDS = 3600.0
"""After which an engine is stopped: a tree may be large."""


def scan(
    path: Annotated[Path, typer.Argument(help="A folder or a file.")] = Path(),
    output: Annotated[Format, typer.Option("--format", help="How to print what was found.")] = Format.TEXT,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    fail_on: Annotated[
        Severity | None, typer.Option(help="Exit with 1 when a finding is as severe as this, or more.")
    ] = None,
    rules: Annotated[
        list[str] | None,
        typer.Option(help="Only these: a rule, an engine, `engine:rule` or a category. Can be given again."),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(help="Leave out what this pattern means, as in .gitignore. Can be given again.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, max=64, help="Processes that an engine may use.")] = 2,
) -> None:
    """Find defects in a whole tree: no server, no model, no network. What .gitignore leaves out is left out."""
    settings = load_settings()
    console = Console(stderr=True)
    with console.status(f"Reading {path} …") as status:
        tree = read_folder(path, exclude=exclude or (), max_file_bytes=settings.review.max_file_bytes)
        engines = tree_engines(jobs=jobs, seconds=SECONDS)
        waiting = [engine.name for engine in engines]

        def ended(engine: str) -> None:
            waiting.remove(engine)
            status.update(f"{len(tree.files)} files: waiting for {', '.join(waiting)} …")

        status.update(f"{len(tree.files)} files: waiting for {', '.join(waiting)} …")
        title = str(path) if str(path) != "." else Path.cwd().name
        result = asyncio.run(scan_files(title, tree.files, engines, rules=rules or (), notes=tree.notes, ended=ended))
    sys.stdout.write(RENDERERS[Format.JSON if as_json else output](result))
    if fail_on is not None and fails_at(result, fail_on):
        raise typer.Exit(1)
