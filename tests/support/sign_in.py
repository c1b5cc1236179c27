"""The services by which people sign in, over a test's own database and a clock that a test moves."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tests.conftest import NOON
from tidemill.accounts.attempts import Attempts
from tidemill.accounts.audit import Audit
from tidemill.accounts.passwords import Passwords
from tidemill.accounts.sessions import Sessions
from tidemill.accounts.sign_in import SignIn
from tidemill.core.accounts import Role, User, normal_email
from tidemill.core.audit import COMMAND
from tidemill.core.ids import new_id
from tidemill.settings import AuthSettings, PasswordSettings
from tidemill.store.audit import AuditRepository
from tidemill.store.database import Pool
from tidemill.store.people import PeopleRepository
from tidemill.store.secret_key import SecretKey
from tidemill.store.sessions import SessionRepository
from tidemill.store.sign_in_failures import SignInFailureRepository

SECRET = SecretKey("5" * 64)
CHEAP = PasswordSettings(memory_kib=8192, passes=1, lanes=1)
"""Hashes that take a few milliseconds."""
PASSWORD = "seven grey herons wade"


@dataclass
class Time:
    """A clock that stands still until it is moved; `mono` is its monotonic side, in seconds."""

    now: datetime = NOON
    mono: float = 0.0

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, **spans: float) -> None:
        """Lets some time go by."""
        self.now += timedelta(**spans)
        self.mono += timedelta(**spans).total_seconds()


@dataclass
class SignInServices:
    """The services of one process."""

    pool: Pool
    time: Time = field(default_factory=Time)
    settings: AuthSettings = field(default_factory=lambda: AuthSettings(passwords=CHEAP))

    def __post_init__(self) -> None:
        given: dict[str, Any] = {"derive": SECRET.derive, "clock": self.time}
        self.people = PeopleRepository(self.pool)
        self.audit = Audit(AuditRepository(self.pool), **given)
        self.passwords = Passwords(self.settings.passwords)
        self.attempts = Attempts(SignInFailureRepository(self.pool), audit=self.audit, **given)
        self.sessions = Sessions(SessionRepository(self.pool), audit=self.audit, settings=self.settings, **given)
        self.sign_in = SignIn(self.people, self.passwords, self.attempts, self.sessions, audit=self.audit)

    async def add(self, email: str = "an@mill.example", password: str | None = PASSWORD, **more: Any) -> User:
        """A person, with a password unless it is `None`."""
        user = User(
            **{
                "id": new_id(),
                "email": normal_email(email),
                "name": "An Nguyễn",
                "role": Role.MEMBER,
                "created_at": self.time(),
                "password_hash": await self.passwords.hash(password) if password else None,
                **more,
            }
        )
        async with self.audit.change(COMMAND) as change:
            await self.people.add(change.connection, user)
        return user

    async def update(self, user: User) -> None:
        """Writes the person anew."""
        async with self.audit.change(COMMAND) as change:
            await self.people.update(change.connection, user)

    async def audited(self) -> list[str]:
        """The actions in the audit log."""
        return [entry.action async for entry in self.audit.entries()]
