"""What the commands about people, teams and keys share."""

import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from tidemill.accounts.accounts import Accounts
from tidemill.app import open_accounts
from tidemill.cli.database import on_database
from tidemill.core.errors import InvalidInput

T = TypeVar("T")
UNITS = {"d": "days", "h": "hours", "m": "minutes"}


def with_accounts(work: Callable[[Accounts], Awaitable[T]]) -> T:
    """The result of some work on people, teams or keys, in the database itself."""
    return on_database(lambda _, database: open_accounts(database), work)


def duration(text: str, option: str) -> timedelta:
    """A length of time as people write it on a command line: `90d`, `12h`, `30m`.

    Raises:
        InvalidInput: it is written otherwise, or is longer than ten thousand days.
    """
    match = re.fullmatch(r"(\d{1,9})([dhm])", text.strip(), re.ASCII)
    length = timedelta(**{UNITS[match[2]]: int(match[1])}) if match else None
    if length is None or length > timedelta(days=10_000):
        raise InvalidInput(f"{option} takes a number of days, hours or minutes, as 90d, 12h or 30m; not {text!r}.")
    return length
