"""The services for signing in: passwords, sessions, and the issuer."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from tidemill.accounts.accounts import Accounts
from tidemill.accounts.attempts import Attempts
from tidemill.accounts.entrance import Entrance
from tidemill.accounts.issuer import Issuer
from tidemill.accounts.oidc import OidcSignIn
from tidemill.accounts.passwords import Passwords
from tidemill.accounts.sessions import Sessions
from tidemill.accounts.sign_in import SignIn
from tidemill.accounts.tokens import Tokens
from tidemill.app.accounts import accounts_of
from tidemill.app.database import Database
from tidemill.core.clock import system_clock
from tidemill.core.errors import Configuration
from tidemill.protection.secrets import Secrets
from tidemill.settings import Settings
from tidemill.store.database import Pool, make_pool
from tidemill.store.people import PeopleRepository
from tidemill.store.sessions import SessionRepository
from tidemill.store.sign_in_failures import SignInFailureRepository


@asynccontextmanager
async def open_entrance(settings: Settings, database: Database) -> AsyncIterator[Entrance]:
    """The services for passwords and sessions alone, for the commands that need no more."""
    async with make_pool(database.url, size=2) as pool:
        yield entrance_of(settings, database, pool, accounts_of(database, pool))


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
