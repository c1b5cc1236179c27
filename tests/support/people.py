"""People, teams and keys over a test's own database."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tests.conftest import NOON
from tidemill.accounts.accounts import Accounts
from tidemill.accounts.api_keys import ApiKeys
from tidemill.accounts.audit import Audit
from tidemill.accounts.key_check import KeyCheck
from tidemill.accounts.people import NewPerson, People
from tidemill.accounts.teams import Teams
from tidemill.core.accounts import Role, User
from tidemill.core.audit import COMMAND
from tidemill.store.api_keys import ApiKeyRepository
from tidemill.store.audit import AuditRepository
from tidemill.store.database import Pool
from tidemill.store.people import PeopleRepository
from tidemill.store.secret_key import SecretKey
from tidemill.store.sessions import SessionRepository
from tidemill.store.teams import TeamRepository

SECRET = SecretKey("5" * 64)


@dataclass
class MovedClock:
    """A clock that a test moves."""

    now: datetime = field(default=NOON)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **by: float) -> None:
        """Moves on by so many seconds, minutes, days."""
        self.now += timedelta(**by)


def make_accounts(pool: Pool, clock: Callable[[], datetime], secret: SecretKey = SECRET) -> Accounts:
    """The services, as one hub has them."""
    people, keys = PeopleRepository(pool), ApiKeyRepository(pool)
    audit = Audit(AuditRepository(pool), derive=secret.derive, clock=clock)
    check = KeyCheck(keys, derive=secret.derive, clock=clock)
    api_keys = ApiKeys(keys, people, check=check, audit=audit, clock=clock)
    return Accounts(
        people=People(people, keys, SessionRepository(pool), keys=api_keys, check=check, audit=audit, clock=clock),
        teams=Teams(TeamRepository(pool), people, audit=audit, clock=clock),
        keys=api_keys,
        audit=audit,
    )


async def person(accounts: Accounts, name: str, role: Role = Role.MEMBER) -> User:
    """A person called so, at example.org."""
    return await accounts.people.add(NewPerson(f"{name.lower()}@example.org", name, role), COMMAND)


async def actions(accounts: Accounts) -> list[str]:
    """What the audit log says was done, in order."""
    return [entry.action async for entry in accounts.audit.entries()]
