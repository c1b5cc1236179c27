"""Signing in with a password, and changing it."""

from dataclasses import replace

from tidemill.accounts.attempts import Attempt, Attempts
from tidemill.accounts.audit import Audit, Change
from tidemill.accounts.passwords import Passwords
from tidemill.accounts.sessions import NewSession, Sessions
from tidemill.core.accounts import Caller, User, normal_email
from tidemill.core.audit import COMMAND, Actor
from tidemill.core.errors import InvalidInput, NotAuthenticated, NotFound, NotPermitted, TooManyRequests
from tidemill.store.people import PeopleRepository


class WrongPassword(NotAuthenticated):
    """The address or the password is not right; the same answer for each, and for who may not come in."""

    code = "wrong_password"

    def __init__(self) -> None:
        super().__init__("The email address or the password is not right.")


class SignIn:
    """The service for passwords at work.

    Args:
        people: whose passwords they are.
        passwords: hashes and checks them.
        attempts: slows down guessing.
        sessions: what a right one begins.
        audit: hears of each.
    """

    def __init__(
        self, people: PeopleRepository, passwords: Passwords, attempts: Attempts, sessions: Sessions, *, audit: Audit
    ) -> None:
        self._people = people
        self._passwords = passwords
        self._attempts = attempts
        self._sessions = sessions
        self._audit = audit

    async def with_password(
        self, email: str, password: str, *, address: str, instead_of: str | None = None
    ) -> NewSession:
        """A session for who knows an account's password.

        Args:
            email: as the person typed it.
            password: as the person typed it.
            address: where the request comes from.
            instead_of: the session token that the browser had before, if any; that session ends.

        Raises:
            InvalidInput: no address or no password can be so.
            WrongPassword: there is no such account, it has another password or none, or it is disabled. Each takes
                the same work.
            TooManyRequests: this account, or this address, failed too often, or too many sign in at once.
        """
        email = normal_email(email)
        found = await self._people.find_by_email(email)
        attempt = await self._attempts.begin(email, address, user_id=found.id if found else None)
        usable = found is not None and found.enabled
        right = await self._check(attempt, password, found.password_hash if found and usable else None)
        if found is None or not right:
            raise WrongPassword
        fresh = await self._renewed(found, password)
        async with self._audit.change(Actor("user", found.id)) as change:
            user = await self._unchanged(change, found)
            if fresh is not None:
                await self._people.update(change.connection, replace(user, password_hash=fresh))
            await self._attempts.succeeded(change, attempt)
            return await self._sessions.begin(change, user, by="password", instead_of=instead_of)

    async def change_password(self, caller: Caller, old: str, new: str, *, address: str) -> None:
        """Gives a person another password, and ends the person's other sessions.

        Raises:
            NotPermitted: the caller is no person in a session, or signs in through an issuer alone.
            InvalidInput: the new password can't be taken.
            WrongPassword: the old one is not right.
            TooManyRequests: as for `with_password`.
        """
        if caller.user_id is None or caller.session_id is None or caller.expires_at is not None:
            raise NotPermitted("A password is changed by the person who is signed in, not by a key or a token.")
        found = await self._people.find(caller.user_id)
        if found is None or found.email is None or found.password_hash is None:
            raise NotPermitted("You have no password here: you sign in through your organisation's issuer.")
        hashed = await self._passwords.hash(new, about=_about(found))
        attempt = await self._attempts.begin(found.email, address, user_id=found.id)
        if not await self._check(attempt, old, found.password_hash):
            raise WrongPassword
        async with self._audit.change(Actor.of(caller)) as change:
            user = await self._unchanged(change, found)
            await self._people.update(change.connection, replace(user, password_hash=hashed))
            await self._attempts.succeeded(change, attempt)
            ended = await self._sessions.end_all(change, user.id, but=caller.session_id)
            change.note("user.password_changed", "user", user.id, sessions_ended=ended)

    async def set_password(self, email: str, new: str) -> User:
        """Gives a person a password without the old one, for a command on the hub's machine; every session ends.

        Raises:
            NotFound: no one has this address.
            InvalidInput: the password can't be taken.
        """
        email = normal_email(email)
        found = await self._people.find_by_email(email)
        if found is None:
            raise NotFound(f"No one has the address {email}. `tidemill users list` shows who is there.")
        hashed = await self._passwords.hash(new, about=_about(found))
        async with self._audit.change(COMMAND) as change:
            user = await self._people.lock(change.connection, found.id)
            if user is None or user.erased_at is not None:
                raise NotFound(f"No one has the address {email} any more.")
            user = replace(user, password_hash=hashed)
            await self._people.update(change.connection, user)
            await self._attempts.clear(change, email)
            ended = await self._sessions.end_all(change, user.id)
            change.note("user.password_set", "user", user.id, sessions_ended=ended)
        return user

    async def _check(self, attempt: Attempt, password: str, hashed: str | None) -> bool:
        """Whether the password is right; a flood of others, by which none is checked, counts against nobody."""
        try:
            right = await self._passwords.check(password, hashed)
        except TooManyRequests:
            await self._attempts.withdraw(attempt)
            raise
        except InvalidInput:
            await self._attempts.failed(attempt)
            raise
        if not right:
            await self._attempts.failed(attempt)
        return right

    async def _renewed(self, user: User, password: str) -> str | None:
        """A hash with today's parameters, where the stored one has others."""
        if user.password_hash is None or not self._passwords.is_outdated(user.password_hash):
            return None
        return await self._passwords.rehash(password)

    async def _unchanged(self, change: Change, found: User) -> User:
        """The person, held still, if nothing happened since the password was checked: hashing takes a while."""
        user = await self._people.lock(change.connection, found.id)
        if user is None or not user.enabled or user.password_hash != found.password_hash:
            raise WrongPassword
        return user


def _about(user: User) -> list[str]:
    return [one for one in (user.email, user.name) if one]
