"""`tidemill version`."""

import typer

from tidemill import __version__
from tidemill.cli.output import Json, print_json


def version(as_json: Json = False) -> None:
    """Print the version."""
    if as_json:
        print_json({"version": __version__})
    else:
        typer.echo(f"tidemill {__version__}")
