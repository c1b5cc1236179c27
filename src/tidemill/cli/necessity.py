"""`tidemill necessity`."""

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import typer

from tidemill.analysis.necessity import model_json
from tidemill.app.necessity import open_examples
from tidemill.cli.database import on_database
from tidemill.core.clock import system_clock
from tidemill.core.errors import InvalidInput, NotFound
from tidemill.core.json import JsonObject
from tidemill.review.necessity import FOLDER, NecessityModels
from tidemill.review.necessity_feedback import read_samples, train
from tidemill.settings import load_settings

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def necessity() -> None:
    """Which hunks need a person's eye: the model that scores them."""


@app.command("train")
def train_command(
    examples: Annotated[Path, typer.Argument(metavar="FILE", help="JSON lines; `export` writes them.")],
) -> None:
    """Train on what people made of comments; the new model is used if it is better, and thrown away otherwise."""
    if not examples.is_file():
        raise NotFound(f"There is no file {str(examples)!r}.")
    try:
        with examples.open(encoding="utf-8") as lines:
            samples = read_samples(lines)
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{str(examples)!r} is not UTF-8: {error.reason}.") from error
    models = _models()
    made = train(samples, models.current(), source=examples.name, at=system_clock())
    sys.stdout.write(
        f"{made.samples} examples, each scored without its pull request\n"
        f"{'':8}{'AUC':>8}{'AP':>8}{'ECE':>8}\n"
        f"{'before':8}{made.before.auc:8.3f}{made.before.precision:8.3f}{made.before.calibration_error:8.3f}\n"
        f"{'after':8}{made.after.auc:8.3f}{made.after.precision:8.3f}{made.after.calibration_error:8.3f}\n"
        f"AUC gained: {made.gain[0]:+.3f}…{made.gain[1]:+.3f} (95 %)\n"
    )
    if not made.better:
        sys.stdout.write("It is not better beyond chance, or its probabilities are worse: it is not used.\n")
        raise typer.Exit(1)
    before = models.current().version
    models.keep(made.model)
    models.use(made.model.version)
    sys.stdout.write(f"In use: {made.model.version}. Back with `tidemill necessity use {before}`.\n")


@app.command()
def show(
    version: Annotated[str | None, typer.Argument(help="One model, with its weights; all of them when absent.")] = None,
) -> None:
    """Show the models that there are, and which one is in use."""
    models = _models()
    if version is not None:
        sys.stdout.write(json.dumps(model_json(models.get(version)), indent=2, ensure_ascii=False) + "\n")
        return
    current = models.current().version
    for model in models.all():
        held = model.trained.get("held out")
        auc = f"AUC {held['auc']}" if isinstance(held, dict) and "auc" in held else ""
        mark = "*" if model.version == current else " "
        sys.stdout.write(f"{mark} {model.version}  {auc}  {model.trained.get('from', '')}\n")


@app.command()
def use(version: Annotated[str, typer.Argument(help="As `show` names it.")]) -> None:
    """Put a model in use that there is; reviews that begin from now on score by it."""
    _models().use(version)
    sys.stdout.write(f"In use: {version}.\n")


@app.command()
def export() -> None:
    """Write what became of comments on pull requests, as JSON lines to train on."""

    async def written(rows: AsyncIterator[JsonObject]) -> None:
        async for row in rows:
            sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")

    on_database(open_examples, written)


def _models() -> NecessityModels:
    return NecessityModels(load_settings().data_dir / FOLDER)
