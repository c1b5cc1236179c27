"""`tidemill users set-password`: works on the database itself, whether or not a hub is running."""

import sys

import typer

from tidemill.accounts.entrance import Entrance
from tidemill.app.entrance import open_entrance
from tidemill.cli.database import on_database
from tidemill.core.accounts import User
from tidemill.core.errors import InvalidInput


def set_password(email: str) -> User:
    """Reads a password from the terminal, twice, or a line of standard input, and gives it to a person.

    It is no argument, since the arguments of a command can be seen by others on the machine.

    Raises:
        NotFound: no one has this address.
        InvalidInput: the password can't be taken, or was typed in two ways.
    """
    if sys.stdin.isatty():
        password = typer.prompt("New password", hide_input=True)
        if typer.prompt("The same again", hide_input=True) != password:
            raise InvalidInput("The two passwords are not the same. Nothing was changed.")
    else:
        try:
            password = sys.stdin.readline().rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise InvalidInput("The password on standard input is not UTF-8.") from error

    async def work(entrance: Entrance) -> User:
        return await entrance.sign_in.set_password(email, password)

    return on_database(open_entrance, work)
