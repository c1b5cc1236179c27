"""Passwords: which ones are taken, and how they are hashed (Argon2id, RFC 9106) and checked.

What is refused follows NIST SP 800-63B §3.1.1.2: length, context and a list of common ones; no rules of composition.
"""

import asyncio
import unicodedata
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from tidemill.core.errors import Configuration, InvalidInput, TooManyRequests
from tidemill.settings import PasswordSettings

SHORTEST = 12
LONGEST_BYTES = 1024
FEWEST_CHARACTERS = 4
"""A password made of fewer different characters than these is one key held down, or two in turn."""
WAITING_FOR_EACH = 20
"""Checks that may wait for each hash that runs; more are told to come back."""

TRIED_FIRST = """
000000000000 0123456789ab 0987654321qwerty 1111111111111 112233445566 123123123123 1234567890-= 1234567890123
12345678901234 123456789012345 1234567890123456 123456789abc 123456789qwerty 1234567890qwerty 1234qwerasdf
1234qwerasdfzxcv 123456789012 1q2w3e4r5t6y 1q2w3e4r5t6y7u 1q2w3e4r5t6y7u8i 1qaz2wsx3edc 1qaz2wsx3edc4rfv
987654321098 abcd12345678 abcdefghijkl abcdefghijklm abcdefghijklmnop abcdefghijklmnopqrstuvwxyz abc123abc123
adminadmin12 adminadminadmin administrator administrator1 admin1234567 asdfasdfasdf asdfghjkl123 asdfghjkl;'
asdfghjklqwerty asdfghjklzxcvbnm changeme1234 changemechangeme chocolate123 computer1234 correcthorsebatterystaple
defaultpassword football1234 iloveyou1234 iloveyouforever iloveyousomuch letmeinletmein letmein12345 letmein123456
liverpool123 manchesterunited mynameisjohn p@ssw0rd1234 p@ssw0rd12345 password1234 password12345 password123456
password1234567 password12345678 password123456789 password1234567890 passwordpassword passw0rd1234 passwordone1
princess1234 q1w2e3r4t5y6 q1w2e3r4t5y6u7 q1w2e3r4t5y6u7i8 qazwsxedc123 qazwsxedcrfv qazwsxedcrfvtgb qwer1234asdf
qwer1234qwer qwerty123456 qwerty1234567 qwerty12345678 qwerty123456789 qwertyqwerty qwertyuiop12 qwertyuiop123
qwertyuiop1234 qwertyuiop12345 qwertyuiop[] qwertyuiopasdf qwertyuiopasdfghjkl qwertyuiopasdfghjklzxcvbnm
superman1234 testtesttest testtest1234 test12345678 tidemilltidemill unknownpassword welcome12345 welcome123456
welcomewelcome welcome2tidemill whatever1234 zaq12wsxcde3 zxcvbnm12345 zxcvbnmasdfghjkl
"""
COMMON = frozenset(TRIED_FIRST.split())


def normalised(password: str) -> bytes:
    """The bytes that are hashed: NFKC, so that the same password typed on another keyboard is the same, in UTF-8.

    Raises:
        InvalidInput: no password of ours can be so: it is too long, or holds what no keyboard types.
    """
    try:
        # The limit stands before the work as well: normalising grows with the length.
        data = b"" if len(password) > LONGEST_BYTES else unicodedata.normalize("NFKC", password).encode()
    except UnicodeEncodeError as error:
        raise InvalidInput("A password holds valid Unicode only.", param="password") from error
    if len(password) > LONGEST_BYTES or len(data) > LONGEST_BYTES:
        raise InvalidInput(f"A password has {LONGEST_BYTES} bytes at most.", param="password")
    if b"\x00" in data:
        raise InvalidInput("A password holds no NUL character.", param="password")
    return data


class Passwords:
    """Hashes and checks passwords in threads, a few at once, so that a flood of sign-ins can't take the machine.

    Args:
        settings: Argon2id's parameters, and how many hashes run at once.
    """

    def __init__(self, settings: PasswordSettings) -> None:
        self._hasher = PasswordHasher(
            time_cost=settings.passes, memory_cost=settings.memory_kib, parallelism=settings.lanes
        )
        self._at_once = settings.at_once
        self._turns = asyncio.Semaphore(settings.at_once)
        self._waiting = 0
        self._dummy: str | None = None

    async def hash(self, password: str, *, about: Sequence[str] = ()) -> str:
        """The hash of a new password, with its salt and parameters in PHC's text format.

        Args:
            password: as the person typed it.
            about: the person's address and name, which are no passwords.

        Raises:
            InvalidInput: it is too short, too long, too common or the person's own name.
            TooManyRequests: too many wait for a hash already.
        """
        data = _acceptable(password, about)
        async with self._turn():
            return await asyncio.to_thread(self._hasher.hash, data)

    async def check(self, password: str, hashed: str | None) -> bool:
        """Whether this is the password. Without a hash the same work is done for nothing, and the answer is False.

        Raises:
            InvalidInput: no password can be so (too long, a NUL).
            TooManyRequests: too many wait for a hash already.
            Configuration: what is stored is no hash of a password.
        """
        data = normalised(password)
        async with self._turn():
            return await asyncio.to_thread(self._verify, data, hashed)

    def is_outdated(self, hashed: str) -> bool:
        """Whether the hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(hashed)

    async def rehash(self, password: str) -> str:
        """A hash with today's parameters of a password that was just checked, whatever it would be worth today."""
        async with self._turn():
            return await asyncio.to_thread(self._hasher.hash, normalised(password))

    def _verify(self, data: bytes, hashed: str | None) -> bool:
        if self._dummy is None:  # whoever asks first, so that this does not tell either
            self._dummy = self._hasher.hash(b"nobody's")
        try:
            matches = self._hasher.verify(hashed or self._dummy or "", data)
        except VerifyMismatchError:
            return False
        except (InvalidHashError, VerificationError) as error:
            raise Configuration(
                "The stored hash of a password can't be read. Set a new one with `tidemill users set-password EMAIL`."
            ) from error
        return matches and hashed is not None

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self._waiting >= self._at_once * WAITING_FOR_EACH:
            raise TooManyRequests("Too many people sign in at once. Try again in a few seconds.", retry_after=5)
        self._waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._turns.release()


def _acceptable(password: str, about: Sequence[str]) -> bytes:
    data = normalised(password)
    text = data.decode()
    folded = text.casefold()
    if len(text) < SHORTEST:
        raise InvalidInput(
            f"A password has {SHORTEST} characters or more, and this one has {len(text)}. A few words make a good one.",
            param="password",
        )
    if folded in {part for one in about for part in _forms(one)}:
        raise InvalidInput("A password is not the person's own name or address. Choose another.", param="password")
    if folded in COMMON or len(set(folded)) < FEWEST_CHARACTERS:
        raise InvalidInput(
            "This password is among those that are tried first. Choose another; a few unrelated words make a good one.",
            param="password",
        )
    return data


def _forms(about: str) -> set[str]:
    folded = unicodedata.normalize("NFKC", about).casefold()
    return {folded, folded.partition("@")[0], "".join(folded.split())}
