"""`tidemill policy`."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from tidemill.core.errors import InvalidInput, NotFound
from tidemill.review.policy import MAX_BYTES, POLICY_FILES, read_policy

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def policy() -> None:
    """How a repository wants to be reviewed: its `.tidemill.yml`."""


@app.command()
def check(
    path: Annotated[Path, typer.Argument(help="The file, or the folder that it stands in.")] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Say what is wrong with a `.tidemill.yml`, with the lines; exit with 1 when anything is."""
    file = _file(path)
    if file is None:
        said = f"There is no {' or '.join(POLICY_FILES)} in {str(path)!r}: the defaults hold."
        sys.stdout.write(json.dumps({"file": None, "notes": []}, indent=2) + "\n" if as_json else f"{said}\n")
        return
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise InvalidInput(f"{str(file)!r} can't be read: {error.strerror}.") from None
    notes = read_policy(data).notes
    if as_json:
        sys.stdout.write(json.dumps({"file": str(file), "notes": list(notes)}, ensure_ascii=False, indent=2) + "\n")
    elif notes:
        sys.stdout.write("".join(f"{note}\n" for note in notes))
    else:
        sys.stdout.write(f"{file}: nothing is wrong with it.\n")
    if notes:
        raise typer.Exit(1)


def _file(path: Path) -> Path | None:
    if path.is_dir():
        return next((path / name for name in POLICY_FILES if (path / name).is_file()), None)
    if not path.exists():
        raise NotFound(f"There is no file {str(path)!r}.")
    return path
