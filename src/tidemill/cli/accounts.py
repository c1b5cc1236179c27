"""What the commands about people, teams and keys share, and those about what they used."""

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from tidemill.accounts.accounts import Accounts
from tidemill.app.accounts import open_accounts
from tidemill.cli.database import on_database
from tidemill.core.clock import system_clock
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


def moment(text: str | None, option: str) -> datetime | None:
    """A time as people write it; without an offset it is in UTC."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        pass
    else:
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    try:
        return system_clock() - duration(text, option)
    except InvalidInput as error:
        raise InvalidInput(f"{option} takes a date, a time as 2026-03-01T12:00, or 30d; not {text!r}.") from error
