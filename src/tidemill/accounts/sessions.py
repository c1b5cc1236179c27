"""Sessions of people in browsers: begun at sign-in, checked at each request, ended.

A session's token is shown to the browser alone; only a keyed hash of it is stored. The token against cross-site
requests (CSRF) is derived from it, so that it is bound to the session and stored nowhere.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from tidemill.accounts.audit import Audit, Change, Derive
from tidemill.accounts.recent import Recent
from tidemill.core.accounts import RIGHTS, Caller, Session, User
from tidemill.core.audit import Actor
from tidemill.core.clock import Clock
from tidemill.core.errors import NotAuthenticated, NotFound
from tidemill.core.ids import new_id
from tidemill.settings import AuthSettings
from tidemill.store.sessions import LiveSession, SessionRepository

SEEN_EVERY = timedelta(minutes=1)
"""How often the use of a session is written at most; more often where it may not be idle for long."""
KEPT = timedelta(days=1)
"""How long an ended session's row stays."""
INVALID = "This session is not valid, or has ended. Sign in again."


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session just begun, with the token that goes to the browser this once."""

    user: User
    session: Session
    token: str


class Sessions:
    """The service for sessions.

    Args:
        rows: their rows.
        audit: hears of what ends by a person's hand.
        derive: gives the keys of the hashes, so that the rows alone don't let anyone in.
        clock: gives their times.
        settings: how long they last.
    """

    def __init__(
        self, rows: SessionRepository, *, audit: Audit, derive: Derive, clock: Clock, settings: AuthSettings
    ) -> None:
        self._rows = rows
        self._audit = audit
        self._pepper = bytes.fromhex(derive("sessions"))
        self._csrf_key = bytes.fromhex(derive("csrf tokens"))
        self._clock = clock
        self._idle = timedelta(minutes=settings.session_idle_minutes)
        self._seen_every = min(SEEN_EVERY, self._idle / 4)
        self._longest = timedelta(hours=settings.session_max_hours)
        self._known: Recent[bytes | UUID, Caller] = Recent()

    async def begin(self, change: Change, user: User, *, by: str, instead_of: str | None = None) -> NewSession:
        """A new session with a new token, in the transaction that found out who it is for.

        Args:
            change: the transaction.
            user: whose it is.
            by: how the person signed in, for the audit log: `password` or `oidc`.
            instead_of: the token that the browser had before; its session ends.
        """
        now = self._clock()
        if instead_of is not None:
            ended = await self._rows.end_token(change.connection, self._hash(instead_of), now)
            if ended is not None:
                change.note("session.ended", "user", ended.user_id, session_id=str(ended.id))
            self._known.clear()
        token = secrets.token_urlsafe(32)
        session = Session(new_id(), user.id, created_at=now, seen_at=now)
        await self._rows.add(change.connection, session, self._hash(token))
        change.note("user.signed_in", "user", user.id, session_id=str(session.id), by=by)
        return NewSession(user, session, token)

    async def check(self, token: str, now: float) -> Caller:
        """Who the token's session belongs to. `now` is a monotonic time in seconds.

        Raises:
            NotAuthenticated: unknown, ended, timed out, or its person is disabled; the same answer for each.
        """
        hashed = self._hash(token)
        known = self._known.get(hashed, now)
        if known is not None:
            return known
        moment = self._clock()
        live = await self._rows.find(hashed, born=moment - self._longest, seen=moment - self._idle)
        caller = _caller(live)
        if live is not None and moment - live.session.seen_at >= self._seen_every:
            await self._rows.see(live.session.id, moment)
        self._known.put(hashed, caller, now)
        return caller

    async def check_id(self, session_id: UUID, now: float) -> Caller:
        """Who the session belongs to, without using it.

        Raises:
            NotAuthenticated: as for `check`.
        """
        known = self._known.get(session_id, now)
        if known is not None:
            return known
        caller = _caller(await self._find(session_id))
        self._known.put(session_id, caller, now)
        return caller

    async def get(self, session_id: UUID) -> Session:
        """One live session.

        Raises:
            NotFound: there is none with this id.
        """
        live = await self._find(session_id)
        if live is None:
            raise NotFound(INVALID)
        return live.session

    async def of(self, user_id: UUID) -> list[Session]:
        """A person's live sessions, newest first."""
        moment = self._clock()
        return await self._rows.of(user_id, born=moment - self._longest, seen=moment - self._idle)

    async def end(self, session_id: UUID, caller: Caller, user_id: UUID) -> None:
        """Ends one of a person's sessions.

        Raises:
            NotFound: the person has no such session that has not ended.
        """
        async with self._audit.change(Actor.of(caller)) as change:
            if not await self._rows.end(change.connection, session_id, user_id, self._clock()):
                raise NotFound(f"You have no session {session_id}. GET /v1/auth/sessions lists those that you have.")
            own = session_id == caller.session_id
            change.note("user.signed_out" if own else "session.ended", "user", user_id, session_id=str(session_id))
        self._known.clear()

    async def end_all(self, change: Change, user_id: UUID, *, but: UUID | None = None) -> int:
        """Ends a person's sessions, save for one where it is given, in a transaction. How many there were."""
        ended = await self._rows.end_all(change.connection, user_id, self._clock(), but=but)
        self._known.clear()
        return ended

    async def forget(self) -> int:
        """Deletes the rows of sessions that ended, or timed out, more than a day ago. How many there were."""
        return await self._rows.forget(self._clock() - max(self._idle, self._longest) - KEPT)

    def csrf_token(self, token: str) -> str:
        """What a request that changes something shows besides the session's cookie."""
        return hmac.new(self._csrf_key, token.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()

    def matches(self, token: str, csrf_token: str) -> bool:
        """Whether this is the session's token against cross-site requests; in constant time."""
        return hmac.compare_digest(self.csrf_token(token).encode(), csrf_token.encode("utf-8", "surrogatepass"))

    def end_of(self, session: Session) -> datetime:
        """When the session ends if it is not used again."""
        return min(session.created_at + self._longest, session.seen_at + self._idle)

    async def _find(self, session_id: UUID) -> LiveSession | None:
        moment = self._clock()
        return await self._rows.find_id(session_id, born=moment - self._longest, seen=moment - self._idle)

    def _hash(self, token: str) -> bytes:
        return hmac.new(self._pepper, token.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()


def _caller(live: LiveSession | None) -> Caller:
    if live is None:
        raise NotAuthenticated(INVALID)
    user_id = live.session.user_id
    return Caller(user_id, live.role, RIGHTS[live.role], live.access_level, user_id=user_id, session_id=live.session.id)
