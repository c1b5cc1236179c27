"""The services for people: who they are, what they may, and with which keys."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tidemill.accounts.accounts import Accounts
from tidemill.accounts.api_keys import ApiKeys
from tidemill.accounts.audit import Audit
from tidemill.accounts.key_check import KeyCheck
from tidemill.accounts.people import People
from tidemill.accounts.teams import Teams
from tidemill.app.database import Database
from tidemill.core.clock import system_clock
from tidemill.store.api_keys import ApiKeyRepository
from tidemill.store.audit import AuditRepository
from tidemill.store.database import Pool, make_pool
from tidemill.store.people import PeopleRepository
from tidemill.store.sessions import SessionRepository
from tidemill.store.teams import TeamRepository


@asynccontextmanager
async def open_accounts(database: Database) -> AsyncIterator[Accounts]:
    """The services for people, teams and keys alone, for the commands that need no more."""
    async with make_pool(database.url, size=2) as pool:
        yield accounts_of(database, pool)


def accounts_of(database: Database, pool: Pool) -> Accounts:
    """The services for people, teams, keys and the audit log."""
    derive, people, keys = database.key.derive, PeopleRepository(pool), ApiKeyRepository(pool)
    sessions = SessionRepository(pool)
    audit = Audit(AuditRepository(pool), derive=derive, clock=system_clock)
    check = KeyCheck(keys, derive=derive, clock=system_clock)
    api_keys = ApiKeys(keys, people, check=check, audit=audit, clock=system_clock)
    return Accounts(
        people=People(people, keys, sessions, keys=api_keys, check=check, audit=audit, clock=system_clock),
        teams=Teams(TeamRepository(pool), people, audit=audit, clock=system_clock),
        keys=api_keys,
        audit=audit,
    )
