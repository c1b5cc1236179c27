"""`tidemill secrets`: works on the database itself, whether or not a hub is running."""

import sys
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer

from tidemill.app.secrets import open_secrets
from tidemill.cli.database import on_database
from tidemill.cli.output import Json, print_json, print_table
from tidemill.core.audit import COMMAND
from tidemill.core.errors import InvalidInput
from tidemill.protection.secrets import LARGEST, Secrets

T = TypeVar("T")
Name = Annotated[str, typer.Argument(help="The secret's name.")]
app = typer.Typer(help="Store secrets encrypted, and rotate their key.", no_args_is_help=True, add_completion=False)


@app.command("set")
def set_secret(name: Name, as_json: Json = False) -> None:
    """Store a secret. Its value is asked for, or read from the standard input; never an argument."""
    if sys.stdin.isatty():
        value = str(typer.prompt("Value", hide_input=True, confirmation_prompt=True, err=True))
    else:
        value = _from_stdin()
    _with_secrets(lambda secrets: secrets.put(name, value, COMMAND))
    if as_json:
        print_json({"name": name})
    else:
        typer.echo(f"The secret {name} is stored.")


@app.command("list")
def list_secrets(as_json: Json = False) -> None:
    """List the names, never the values."""
    found = _with_secrets(lambda secrets: secrets.names())
    if as_json:
        print_json([{"name": one.name, "key_id": one.key_id, "updated_at": one.updated_at} for one in found])
        return
    rows = [(one.name, one.key_id, one.updated_at) for one in found]
    print_table(["name", "under key", "set"], rows, empty="There are no secrets.")


@app.command()
def delete(name: Name, as_json: Json = False) -> None:
    """Delete a secret."""
    _with_secrets(lambda secrets: secrets.delete(name, COMMAND))
    if as_json:
        print_json({"name": name})
    else:
        typer.echo(f"The secret {name} is deleted.")


@app.command()
def rotate(as_json: Json = False) -> None:
    """Encrypt every secret under a new key, and drop the old one. A running hub goes on."""
    count = _with_secrets(lambda secrets: secrets.rotate(COMMAND))
    if as_json:
        print_json({"secrets": count})
    else:
        typer.echo(f"{count} secrets are encrypted under a new key.")


def _from_stdin() -> str:
    data = sys.stdin.buffer.read(4 * LARGEST + 1)
    try:
        return data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise InvalidInput("The value on the standard input is not UTF-8 text. Encode it as base64 first.") from error


def _with_secrets(work: Callable[[Secrets], Awaitable[T]]) -> T:
    return on_database(open_secrets, work)
