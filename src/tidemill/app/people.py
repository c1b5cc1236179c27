"""The services for people: who they are, what they may, and how they sign in."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from tidemill.accounts.accounts import Accounts
from tidemill.accounts.api_keys import ApiKeys
from tidemill.accounts.attempts import Attempts
from tidemill.accounts.audit import Audit
from tidemill.accounts.entrance import Entrance
from tidemill.accounts.issuer import Issuer
from tidemill.accounts.key_check import KeyCheck
from tidemill.accounts.oidc import OidcSignIn
from tidemill.accounts.passwords import Passwords
from tidemill.accounts.people import People
from tidemill.accounts.sessions import Sessions
from tidemill.accounts.sign_in import SignIn
from tidemill.accounts.teams import Teams
from tidemill.accounts.tokens import Tokens
from tidemill.app.database import Database
from tidemill.core.clock import system_clock
from tidemill.core.errors import Configuration
from tidemill.protection.secrets import Secrets
from tidemill.settings import Settings
from tidemill.store.api_keys import ApiKeyRepository
from tidemill.store.audit import AuditRepository
from tidemill.store.database import Pool, make_pool
from tidemill.store.people import PeopleRepository
from tidemill.store.sessions import SessionRepository
from tidemill.store.sign_in_failures import SignInFailureRepository
from tidemill.store.teams import TeamRepository


@asynccontextmanager
async def open_accounts(database: Database) -> AsyncIterator[Accounts]:
    """The services for people, teams and keys alone, for the commands that need no more."""
    async with make_pool(database.url, size=2) as pool:
        yield accounts_of(database, pool)


@asynccontextmanager
async def open_entrance(settings: Settings, database: Database) -> AsyncIterator[Entrance]:
    """The services for passwords and sessions alone, for the commands that need no more."""
    async with make_pool(database.url, size=2) as pool:
        yield entrance_of(settings, database, pool, accounts_of(database, pool))


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


def issuer_of(settings: Settings, client: httpx.AsyncClient, secrets: Secrets) -> Issuer | None:
    """The issuer through which people sign in; `None` where the settings name none."""
    oidc = settings.auth.oidc
    if oidc.issuer is None:
        return None

    async def secret() -> str | None:
        if oidc.client_secret is not None:
            return await secrets.reveal(oidc.client_secret)
        if oidc.client_secret_env is None:
            return None
        found = os.environ.get(oidc.client_secret_env)
        if not found:
            raise Configuration(
                f"Sign-in through {oidc.issuer} needs the environment variable {oidc.client_secret_env}, which is not "
                "set."
            )
        return found

    return Issuer(client, oidc, secret=secret, clock=system_clock)


def entrance_of(
    settings: Settings, database: Database, pool: Pool, accounts: Accounts, issuer: Issuer | None = None
) -> Entrance:
    """The services for signing in."""
    derive, people, audit = database.key.derive, PeopleRepository(pool), accounts.audit
    failures = SignInFailureRepository(pool)
    attempts = Attempts(failures, audit=audit, derive=derive, clock=system_clock)
    sessions = Sessions(SessionRepository(pool), audit=audit, derive=derive, clock=system_clock, settings=settings.auth)
    oidc = None
    if issuer is not None:
        chosen = settings.auth.oidc
        oidc = OidcSignIn(issuer, people, sessions, audit=audit, derive=derive, clock=system_clock, settings=chosen)
    return Entrance(
        sign_in=SignIn(people, Passwords(settings.auth.passwords), attempts, sessions, audit=audit),
        sessions=sessions,
        tokens=Tokens(keys=accounts.keys, sessions=sessions, audit=audit, derive=derive, clock=system_clock),
        attempts=attempts,
        oidc=oidc,
    )
