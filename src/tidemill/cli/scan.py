"""`tidemill scan`."""

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from tidemill.cli.review import Format
from tidemill.core.finding import Severity
from tidemill.core.review import ReviewResult
from tidemill.forges.local_folder import Folder, read_folder
from tidemill.review.engines.process import remove_leftovers
from tidemill.review.offline import tree_engines
from tidemill.review.reports import RENDERERS, fails_at
from tidemill.review.rule_names import engines_for
from tidemill.review.scan import scan as scan_files
from tidemill.settings import load_settings

SECONDS = 3600.0
"""After which an engine is stopped: a tree may be large."""
BETWEEN = 5.0
"""Seconds between two lines of progress where there is no terminal."""


def scan(
    paths: Annotated[list[Path] | None, typer.Argument(help="Folders or files; this folder when absent.")] = None,
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
    info: Annotated[bool, typer.Option("--info", help="List findings of the severity info, too.")] = False,
) -> None:
    """Find defects in whole trees: no server, no model, no network. What .gitignore leaves out is left out."""
    settings = load_settings()
    engines = tree_engines(jobs=jobs, seconds=SECONDS)
    engines_for(rules or (), [engine.name for engine in engines])
    remove_leftovers()
    given = paths or [Path()]
    progress = _Progress(Console(stderr=True))
    with progress.status:
        tree = _read(given, exclude or (), settings.review.max_file_bytes)
        title = ", ".join(str(path) if str(path) != "." else Path.cwd().name for path in given)
        work = scan_files(title, tree.files, engines, rules=rules or (), notes=tree.notes, progress=progress.told)
        result = asyncio.run(_until_terminated(work, progress))
    form = Format.JSON if as_json else output
    shown = result if info or form not in (Format.TEXT, Format.MARKDOWN) else _without_info(result)
    sys.stdout.write(RENDERERS[form](shown))
    if fail_on is not None and fails_at(result, fail_on):
        raise typer.Exit(1)


class _Progress:
    """How many files each engine has read: in the terminal's line, or as a line every few seconds without one."""

    def __init__(self, console: Console) -> None:
        self.status = console.status("Reading …")
        self._console = console
        self._counts: dict[str, tuple[int, int]] = {}

    def told(self, engine: str, done: int, of: int) -> None:
        self._counts[engine] = (done, of)
        self.status.update(self._text())

    async def repeat(self) -> None:
        """Writes the line, until it is cancelled; nothing on a terminal."""
        while not self._console.is_terminal:
            await asyncio.sleep(BETWEEN)
            sys.stderr.write(f"{self._text()}\n")
            sys.stderr.flush()

    def _text(self) -> str:
        waiting = [f"{name} {done} of {of} files" for name, (done, of) in self._counts.items() if done < of]
        return f"Read so far: {', '.join(waiting)}." if waiting else "Putting the findings together …"


async def _until_terminated(work: Coroutine[Any, Any, ReviewResult], progress: _Progress) -> ReviewResult:
    """What the work gives. SIGTERM cancels it, so that its copies are removed and its programs ended."""
    task, lines = asyncio.ensure_future(work), asyncio.ensure_future(progress.repeat())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        raise typer.Exit(128 + signal.SIGTERM) from None
    finally:
        lines.cancel()


def _read(paths: Sequence[Path], exclude: Sequence[str], most: int) -> Folder:
    """The files below all of these: of one as it names them, of several from the folder that they have in common."""
    folders = [read_folder(path, exclude=exclude, max_file_bytes=most) for path in paths]
    if len(folders) == 1:
        return folders[0]
    bases = [path.absolute() if path.is_dir() else path.absolute().parent for path in paths]
    common = os.path.commonpath(bases)
    files = {
        Path(os.path.relpath(base / name, common)).as_posix(): text
        for base, folder in zip(bases, folders, strict=True)
        for name, text in folder.files.items()
    }
    return Folder(files, tuple(note for folder in folders for note in folder.notes))


def _without_info(result: ReviewResult) -> ReviewResult:
    listed = tuple(one for one in result.findings if one.severity is not Severity.INFO)
    left = len(result.findings) - len(listed)
    if not left:
        return result
    note = f"{left} more of the severity info; --info lists them."
    return replace(result, findings=listed, notes=(note, *result.notes))
