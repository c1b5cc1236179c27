"""What slows down guessing: tries that failed are counted for each account and for each address, in the database.

After a few, each further one has to wait twice as long as the one before. An account that does not exist is treated
as one that does, so that no answer says which it is.
"""

import asyncio
import hashlib
import hmac
import ipaddress
from dataclasses import dataclass
from datetime import timedelta
from math import ceil
from uuid import UUID

from tidemill.accounts.audit import Audit, Change, Derive
from tidemill.core.audit import STRANGER
from tidemill.core.clock import Clock
from tidemill.core.errors import TooManyRequests
from tidemill.core.ids import new_id
from tidemill.store.sign_in_failures import SignInFailureRepository

LONGEST_WAIT = 900
AT_ONCE = 2
"""Tries that one process begins at once. Those on one account wait for one another, each with a connection to the
database: without a limit, a flood of them would leave none to anybody else."""
NETWORK_BITS = 64
"""Of an IPv6 address: a household or a machine has as many addresses in one such network as it likes."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How many tries may fail in a window before the next has to wait."""

    free: int
    window: timedelta

    def wait(self, failures: int) -> int:
        """Seconds from the last failure until the next try: none, then 1, 2, 4 … up to a quarter of an hour."""
        over = failures - self.free
        return 0 if over < 0 else min(2 ** min(over, 30), LONGEST_WAIT)


ACCOUNT = Pace(free=5, window=timedelta(days=1))
ADDRESS = Pace(free=50, window=timedelta(hours=1))


@dataclass(frozen=True, slots=True)
class Attempt:
    """A try that counts as failed until it is said to be right.

    Attributes:
        account: what its account is counted by.
        user_id: whose account it is; `None` where there is none.
        count: which one of the account's failures it will be, from 1.
    """

    id: UUID
    account: bytes
    user_id: UUID | None
    count: int


class Attempts:
    """Lets tries through at their pace.

    Args:
        rows: the failed ones.
        audit: hears of accounts that have to wait.
        derive: gives the key of the hashes under which addresses are stored.
        clock: gives their times.
    """

    def __init__(self, rows: SignInFailureRepository, *, audit: Audit, derive: Derive, clock: Clock) -> None:
        self._rows = rows
        self._audit = audit
        self._pepper = bytes.fromhex(derive("sign-in failures"))
        self._clock = clock
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def begin(self, email: str, address: str, *, user_id: UUID | None) -> Attempt:
        """Counts a try as failed before it is made, so that many at once are no way around the pace.

        Args:
            email: the account, normalised.
            address: where the try comes from.
            user_id: whose account it is, for the audit log; `None` where there is none.

        Raises:
            TooManyRequests: it has to wait; the right password, too.
        """
        account, place = self._subject("account", email), self._subject("address", _network(address))
        counts: dict[bytes, int] = {}
        waits = 0.0
        async with self._turns, self._audit.change(STRANGER) as change:
            await self._rows.lock(change.connection, (account, place))
            now = self._clock()
            for subject, pace in ((account, ACCOUNT), (place, ADDRESS)):
                failures = await self._rows.count(change.connection, subject, now - pace.window)
                if failures.last is not None:
                    waits = max(waits, pace.wait(failures.count) - (now - failures.last).total_seconds())
                counts[subject] = failures.count
            attempt = Attempt(new_id(), account, user_id, counts[account] + 1)
            if waits <= 0:
                await self._rows.add(change.connection, attempt.id, (account, place), now)
        if waits > 0:
            seconds = ceil(waits)
            raise TooManyRequests(
                f"Signing in failed too often. Try again in {seconds} second{'s' if seconds > 1 else ''}.",
                retry_after=seconds,
            )
        return attempt

    async def succeeded(self, change: Change, attempt: Attempt) -> None:
        """The try was right: it is taken back, and its account has a clean slate."""
        await self._rows.take_back(change.connection, attempt.id)
        await self._rows.clear(change.connection, attempt.account)

    async def failed(self, attempt: Attempt) -> None:
        """The try was wrong: the audit log hears of the one after which the account has to wait."""
        if attempt.count == ACCOUNT.free:
            async with self._audit.change(STRANGER) as change:
                change.note("user.locked_out", "user", attempt.user_id, failures=attempt.count)

    async def withdraw(self, attempt: Attempt) -> None:
        """The try was never made: nothing was found out by it, so it does not count."""
        async with self._audit.change(STRANGER) as change:
            await self._rows.take_back(change.connection, attempt.id)

    async def clear(self, change: Change, email: str) -> None:
        """Gives an account a clean slate."""
        await self._rows.clear(change.connection, self._subject("account", email))

    async def forget(self) -> int:
        """Deletes the tries that count no more. How many there were."""
        return await self._rows.forget(self._clock() - max(ACCOUNT.window, ADDRESS.window))

    def _subject(self, kind: str, name: str) -> bytes:
        return hmac.new(self._pepper, f"{kind}/{name}".encode("utf-8", "surrogatepass"), hashlib.sha256).digest()


def _network(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((int(parsed), NETWORK_BITS), strict=False))
    return str(parsed)
