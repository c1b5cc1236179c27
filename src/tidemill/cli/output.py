"""How commands print: JSON for machines, tables for people."""

import json
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
"""The option of a command that prints for programs, too."""
WIDE = 10_000
"""Columns of what is not a terminal: a program that reads a table finds each row on one line."""


def print_json(value: Any) -> None:
    """One JSON document on the standard output, for programs."""
    sys.stdout.write(json.dumps(value, indent=2, default=str, ensure_ascii=False) + "\n")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> None:
    """A table, or a sentence where there is nothing to show."""
    if not rows:
        sys.stdout.write(empty + "\n")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=number == 0)  # an id or a name, to be copied whole
    for row in rows:
        table.add_row(*("–" if cell is None else str(cell) for cell in row))
    width = None if sys.stdout.isatty() else WIDE
    Console(soft_wrap=True, width=width).print(table)


def human_bytes(size: int | None) -> str:
    """A size as people read it, in binary units."""
    if size is None:
        return "–"
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
