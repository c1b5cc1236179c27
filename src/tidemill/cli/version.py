"""`tidemill version`."""

from typing import Annotated

import typer

from tidemill import __version__
from tidemill.cli.output import print_json


def version(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the version."""
    if as_json:
        print_json({"version": __version__})
    else:
        typer.echo(f"tidemill {__version__}")
