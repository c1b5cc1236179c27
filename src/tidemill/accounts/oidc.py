"""Signing in through an OpenID Connect issuer: from the first redirect to the session.

What binds the way out to the way back is a *ticket*, a signed cookie that holds a random number; `state`, `nonce` and
PKCE's verifier are derived from it, so that none of them is stored, and each is of use in one browser alone.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from tidemill.accounts.audit import Audit, Change, Derive
from tidemill.accounts.issuer import Identity, Issuer, IssuerFailed
from tidemill.accounts.sessions import NewSession, Sessions
from tidemill.core.accounts import LONGEST_NAME, User, normal_email, proper_name
from tidemill.core.audit import Actor
from tidemill.core.clock import Clock
from tidemill.core.errors import InvalidInput, NotPermitted, TidemillError, Unavailable
from tidemill.core.ids import new_id
from tidemill.settings import OidcSettings
from tidemill.store.people import PeopleRepository

LIFETIME = timedelta(minutes=10)
LONGEST_PATH = 2000
LONGEST_TICKET = 4096
ALGORITHM = "HS256"
NOT_BEGUN = "This sign-in was not begun in this browser, or more than ten minutes ago. Start it again."
DISABLED = "Your account here is disabled. Ask an admin of this hub."


@dataclass(frozen=True, slots=True)
class Started:
    """Where the browser goes, and the ticket with which it comes back."""

    url: str
    ticket: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the issuer sent the browser back with."""

    state: str | None = None
    code: str | None = None
    error: str | None = None
    iss: str | None = None


class OidcSignIn:
    """The service for signing in through an issuer.

    Args:
        issuer: says who someone is.
        people: who there is.
        sessions: what a right answer begins.
        audit: hears of each.
        derive: gives the keys of tickets and of what is derived from them.
        clock: gives their times.
        settings: who may come in, and as what.
    """

    def __init__(
        self,
        issuer: Issuer,
        people: PeopleRepository,
        sessions: Sessions,
        *,
        audit: Audit,
        derive: Derive,
        clock: Clock,
        settings: OidcSettings,
    ) -> None:
        self._issuer = issuer
        self._people = people
        self._sessions = sessions
        self._audit = audit
        self._key = OctKey.import_key(bytes.fromhex(derive("oidc tickets")))
        self._flows = bytes.fromhex(derive("oidc flows"))
        self._clock = clock
        self._settings = settings
        self._domains = frozenset(domain.lower() for domain in settings.allowed_domains)

    async def start(self, *, return_to: str, redirect_uri: str) -> Started:
        """Sends a browser to the issuer.

        Args:
            return_to: the path here at which the browser arrives in the end.
            redirect_uri: our own address, to which the issuer sends the browser back.

        Raises:
            InvalidInput: `return_to` is no path of ours.
            Unavailable, IssuerFailed: see `Issuer`.
        """
        local_path(return_to)
        flow = secrets.token_urlsafe(32)
        claims = {"flow": flow, "return_to": return_to, "exp": int((self._clock() + LIFETIME).timestamp())}
        url = await self._issuer.authorization_url(
            redirect_uri=redirect_uri,
            state=self._of(flow, "state"),
            nonce=self._of(flow, "nonce"),
            verifier=self._of(flow, "verifier"),
        )
        return Started(url, jwt.encode({"alg": ALGORITHM}, claims, self._key, algorithms=[ALGORITHM]))

    async def finish(
        self, answer: Answer, *, ticket: str | None, redirect_uri: str, instead_of: str | None = None
    ) -> tuple[NewSession, str]:
        """A session for the person whom the issuer names, and the path to go on to.

        Raises:
            InvalidInput: it was not begun in this browser, or too long ago, or the answer is none.
            NotPermitted: the person said no, is disabled, or is not among those who may come in.
            SignInRefused, Unavailable, IssuerFailed, Configuration: see `Issuer`.
        """
        flow, return_to = self._opened(ticket)
        given = (answer.state or "").encode("utf-8", "surrogatepass")
        if not hmac.compare_digest(self._of(flow, "state").encode(), given):
            raise InvalidInput(NOT_BEGUN, param="state")
        if answer.iss is not None and answer.iss != self._issuer.url:
            raise InvalidInput("Another issuer than the one that was asked has answered. Start again.", param="iss")
        if answer.error is not None:
            raise self._declined(answer.error)
        if not answer.code:
            raise InvalidInput("The issuer's answer has no `code`. Start to sign in again.", param="code")
        identity = await self._issuer.identity(
            answer.code,
            redirect_uri=redirect_uri,
            nonce=self._of(flow, "nonce"),
            verifier=self._of(flow, "verifier"),
        )
        return await self._begin(identity, instead_of), return_to

    async def _begin(self, identity: Identity, instead_of: str | None) -> NewSession:
        email = self._vouched(identity)
        found = await self._people.find_by_oidc(identity.issuer, identity.subject)
        if found is None:
            found = await self._people.find_by_email(email) if email else None
        if found is not None and not found.enabled:
            raise NotPermitted(DISABLED)
        user_id = found.id if found else new_id()
        async with self._audit.change(Actor("user", user_id)) as change:
            if found is None:
                user = await self._added(change, identity, email, user_id)
            else:
                user = await self._linked(change, identity, found)
            return await self._sessions.begin(change, user, by="oidc", instead_of=instead_of)

    def _vouched(self, identity: Identity) -> str | None:
        """The address, normalised, if the issuer has verified it.

        Raises:
            NotPermitted: only addresses of some domains may come in, and this is none.
        """
        email = normal_email(identity.email) if identity.email and identity.email_verified else None
        if self._domains and (email is None or email.rpartition("@")[2] not in self._domains):
            raise NotPermitted(
                "Only who has a verified address of this organisation may sign in here (`auth.oidc.allowed_domains`)."
            )
        return email

    async def _added(self, change: Change, identity: Identity, email: str | None, user_id: UUID) -> User:
        """A person made by a first sign-in, where that is wanted."""
        if email is None:
            raise NotPermitted(
                "The issuer does not vouch for your email address, so you can't be known here by it. Have it verified "
                "there, or ask an admin of this hub."
            )
        if not self._settings.create_users:
            raise NotPermitted(
                "There is no account for you here. An admin makes one with `tidemill users add`, for the address that "
                "the issuer knows."
            )
        user = User(
            id=user_id,
            email=email,
            name=_name(identity.name, email),
            role=self._settings.default_role,
            created_at=self._clock(),
            oidc_issuer=identity.issuer,
            oidc_subject=identity.subject,
        )
        await self._people.add(change.connection, user)
        change.note("user.added", "user", user.id, role=user.role, access_level=user.access_level, by="oidc")
        return user

    async def _linked(self, change: Change, identity: Identity, found: User) -> User:
        """The person, held still; from now on known by the issuer's subject, whatever becomes of the address."""
        user = await self._people.lock(change.connection, found.id)
        if user is None or not user.enabled:
            raise NotPermitted(DISABLED)
        known = (user.oidc_issuer, user.oidc_subject)
        if known == (identity.issuer, identity.subject):
            return user
        if known != (None, None) or user.email != found.email:
            raise NotPermitted(
                "The account with your address belongs to someone whom the issuer knows as another. If it is yours, an "
                "admin ends that with `tidemill users unlink`."
            )
        user = replace(user, oidc_issuer=identity.issuer, oidc_subject=identity.subject)
        await self._people.update(change.connection, user)
        change.note("user.linked", "user", user.id, by="oidc")
        return user

    def _opened(self, ticket: str | None) -> tuple[str, str]:
        if ticket is None or len(ticket) > LONGEST_TICKET:
            raise InvalidInput(NOT_BEGUN)
        needed = jwt.JWTClaimsRegistry(
            now=int(self._clock().timestamp()),
            exp={"essential": True},
            flow={"essential": True},
            return_to={"essential": True},
        )
        try:
            claims = jwt.decode(ticket, self._key, algorithms=[ALGORITHM]).claims
            needed.validate(claims)
        except (JoseError, ValueError, TypeError) as error:
            raise InvalidInput(NOT_BEGUN) from error
        return claims["flow"], claims["return_to"]

    def _declined(self, error: str) -> TidemillError:
        if error == "access_denied":
            return NotPermitted("The issuer did not let you in, or you said no there.")
        if error in {"server_error", "temporarily_unavailable"}:
            return Unavailable(f"The issuer is not well ({error}). Try again in a moment.")
        shown = error if re.fullmatch(r"[a-z_]{1,60}", error) else "an error"
        return IssuerFailed(f"The issuer {self._issuer.url} did not sign you in: {shown}.")

    def _of(self, flow: str, purpose: str) -> str:
        """64 hexadecimal digits, of which each purpose has its own; enough for PKCE's verifier (RFC 7636 §4.1)."""
        return hmac.new(self._flows, f"{purpose}/{flow}".encode(), hashlib.sha256).hexdigest()


def local_path(path: str) -> str:
    """The path, if a browser that is sent there stays here.

    Raises:
        InvalidInput: it leads elsewhere, or might: `//host`, `/\\host`, an address with a scheme, control characters.
    """
    local = path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()
    if not local or len(path) > LONGEST_PATH:
        raise InvalidInput("`return_to` is a path of this hub that begins with one slash.", param="return_to")
    return path


def _name(name: str | None, email: str) -> str:
    """What the issuer calls the person, where that can be shown; else the address up to its @."""
    shown = "".join(character for character in name or "" if character.isprintable()).strip()
    return proper_name(shown[:LONGEST_NAME] or email.partition("@")[0][:LONGEST_NAME], "a person's")
