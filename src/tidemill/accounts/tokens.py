"""Tokens for machines: JWTs of an hour at most (RFC 7519), signed with HS256 under a key derived from the hub's own.

A token stands for the key or the session by which it was got, narrowed to some rights, and ends with it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from tidemill.accounts.audit import Audit, Derive
from tidemill.core.accounts import Caller, Right
from tidemill.core.audit import Actor
from tidemill.core.clock import Clock
from tidemill.core.errors import InvalidInput, NotAuthenticated, NotPermitted
from tidemill.core.ids import new_id

LIFETIME = timedelta(hours=1)
NAME = "tidemill"
"""Issuer and audience: the key that signs is this installation's alone."""
ALGORITHM = "HS256"
HEADER = {"alg": ALGORITHM, "typ": "JWT"}
LONGEST = 4096
LEEWAY_SECONDS = 60
"""How far the clock of another hub, which issued the token, may be ahead. An end is an end by each clock."""
INVALID = "This token is not valid, or has ended. Get another with POST /v1/auth/token."


class Behind(Protocol):
    """Says who stands behind a key or a session, by its id."""

    async def check_id(self, this: UUID, now: float, /) -> Caller:
        """The caller as it is now, or `NotAuthenticated`. `now` is a monotonic time in seconds."""
        ...


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token just made, when it ends, and the rights to which it is narrowed."""

    token: str
    expires_in: int
    scopes: frozenset[Right]


class Tokens:
    """The service for tokens.

    Args:
        keys: says who stands behind a key.
        sessions: says who stands behind a session.
        audit: hears of each token.
        derive: gives the key that signs.
        clock: gives their times.
    """

    def __init__(self, *, keys: Behind, sessions: Behind, audit: Audit, derive: Derive, clock: Clock) -> None:
        self._keys = keys
        self._sessions = sessions
        self._audit = audit
        self._key = OctKey.import_key(bytes.fromhex(derive("access tokens")))
        self._clock = clock
        empty = jwt.encode(dict(HEADER), {}, self._key, algorithms=[ALGORITHM])
        self._header = empty.partition(".")[0] + "."

    async def issue(self, caller: Caller, scopes: Iterable[Right] | None) -> NewToken:
        """A token for the caller, with these rights or all of the caller's.

        It ends with the token by which it was asked for, where it was one.

        Raises:
            NotPermitted: the caller does not have all of these rights.
            InvalidInput: no right at all.
        """
        rights = caller.rights if scopes is None else frozenset(scopes)
        if missing := sorted(rights - caller.rights):
            raise NotPermitted(f"You can't give a token the right `{missing[0]}`, which you do not have.")
        if not rights:
            raise InvalidInput("A token needs one scope at least. Leave `scopes` out for all of yours.", param="scopes")
        now = self._clock()
        end = min(now + LIFETIME, caller.expires_at) if caller.expires_at else now + LIFETIME
        token_id = new_id()
        claims: dict[str, Any] = {
            "iss": NAME,
            "aud": NAME,
            "sub": str(caller.owner_id),
            "iat": int(now.timestamp()),
            "exp": int(end.timestamp()),
            "jti": str(token_id),
            "scopes": sorted(rights),
        }
        ids = {"key_id": caller.key_id, "user_id": caller.user_id, "session_id": caller.session_id}
        claims.update({name: str(one) for name, one in ids.items() if one is not None})
        async with self._audit.change(Actor.of(caller)) as change:
            change.note("token.issued", "token", token_id, scopes=sorted(rights))
        token = jwt.encode(dict(HEADER), claims, self._key, algorithms=[ALGORITHM])
        return NewToken(token, claims["exp"] - claims["iat"], rights)

    async def check(self, token: str, now: float) -> Caller:
        """Who the token stands for. `now` is a monotonic time in seconds.

        Raises:
            NotAuthenticated: not ours, changed, over, or what stands behind it is gone; the same answer for each.
        """
        claims = self._claims(token)
        try:
            scopes = frozenset(map(Right, claims["scopes"]))
            behind, this = (
                (self._keys, UUID(claims["key_id"]))
                if "key_id" in claims
                else (self._sessions, UUID(claims["session_id"]))
            )
        except (KeyError, ValueError) as error:  # signed by a version that knew other rights or claims
            raise NotAuthenticated(INVALID) from error
        caller = await behind.check_id(this, now)
        if str(caller.owner_id) != claims["sub"]:
            raise NotAuthenticated(INVALID)
        return replace(caller, rights=caller.rights & scopes, expires_at=datetime.fromtimestamp(claims["exp"], UTC))

    def _claims(self, token: str) -> dict[str, Any]:
        # Only the one header that we write is taken, so that no other algorithm is ever considered.
        if len(token) > LONGEST or not token.startswith(self._header):
            raise NotAuthenticated(INVALID)
        now = int(self._clock().timestamp())
        needed = jwt.JWTClaimsRegistry(
            now=now,
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": NAME},
            aud={"essential": True, "value": NAME},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
            jti={"essential": True},
        )
        try:
            claims = jwt.decode(token, self._key, algorithms=[ALGORITHM]).claims
            needed.validate(claims)
        except (JoseError, ValueError) as error:
            raise NotAuthenticated(INVALID) from error
        if claims["exp"] <= now:
            raise NotAuthenticated(INVALID)
        return claims
