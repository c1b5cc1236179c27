"""Checks API keys, on the path of every request: what was checked is believed for five seconds."""

import hashlib
import hmac
from datetime import datetime, timedelta
from uuid import UUID

from tidemill.accounts.audit import Derive
from tidemill.accounts.recent import SECONDS, Recent
from tidemill.core.accounts import ApiKey, Caller, Role, narrowed
from tidemill.core.classification import Level
from tidemill.core.clock import Clock
from tidemill.core.errors import NotAuthenticated
from tidemill.store.api_keys import ApiKeyRepository, Owner

USE_SPACING = timedelta(minutes=1)
"""A key's last use is written no more often than this."""


class KeyCheck:
    """Says whose a key is.

    Args:
        repository: the keys' rows.
        derive: gives the key of the hash, so that the rows alone don't let anyone test guesses.
        clock: gives the time that a key's end is compared with.
    """

    def __init__(self, repository: ApiKeyRepository, *, derive: Derive, clock: Clock) -> None:
        self._repository = repository
        self._pepper = bytes.fromhex(derive("api keys"))
        self._clock = clock
        self._known: Recent[bytes | UUID, Caller] = Recent()
        self._uses: dict[UUID, datetime] = {}

    def hash(self, secret: str) -> bytes:
        """What is stored of a secret, and found by."""
        return hmac.new(self._pepper, secret.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()

    async def check(self, secret: str, now: float) -> Caller:
        """Who the secret belongs to. `now` is a monotonic time in seconds.

        Raises:
            NotAuthenticated: unknown, revoked, expired, malformed, or its owner is disabled. Each takes the same
                work, one look by a keyed hash, and gets the same answer.
        """
        hashed = self.hash(secret)
        known = self._known.get(hashed, now)
        if known is not None:
            return known
        return self._remembered(hashed, await self._repository.find_by_hash(hashed), now)

    async def check_id(self, key_id: UUID, now: float) -> Caller:
        """Who the key with this id belongs to, for what was issued to it, as a token.

        Raises:
            NotAuthenticated: as for `check`.
        """
        known = self._known.get(key_id, now)
        if known is not None:
            return known
        return self._remembered(key_id, await self._repository.find(key_id), now)

    def forget(self) -> None:
        """Believes nothing any more, after a change of keys or people."""
        self._known.clear()

    async def write_uses(self) -> None:
        """Writes when keys were last used; done now and then, off the path of requests."""
        uses, self._uses = self._uses, {}
        if uses:
            await self._repository.note_uses(uses)

    def _remembered(self, name: bytes | UUID, found: tuple[ApiKey, Owner | None] | None, now: float) -> Caller:
        moment = self._clock()
        if found is None or not _valid(*found, moment):
            raise NotAuthenticated(
                "This API key is not valid here. Make one with `tidemill keys create NAME` and send it as "
                "`Authorization: Bearer KEY`."
            )
        key, owner = found
        if key.last_used_at is None or moment - key.last_used_at >= USE_SPACING:
            self._uses[key.id] = moment
        seconds = SECONDS
        if key.expires_at is not None:
            seconds = min(seconds, (key.expires_at - moment).total_seconds())
        caller = caller_of_key(key, owner)
        self._known.put(name, caller, now, seconds=seconds)
        return caller


def caller_of_key(key: ApiKey, owner: Owner | None) -> Caller:
    """What a key makes of a request: never more than its owner may at this time.

    A key of the installation sees texts up to `internal`, an admin's up to `secret`.
    """
    if owner is None:
        role, level = key.role, Level.SECRET if key.role is Role.ADMIN else Level.INTERNAL
    else:
        role, level = key.role.at_most(owner.role), owner.level
    return Caller(
        owner_id=key.owner_id or key.origin_id or key.id,
        role=role,
        rights=narrowed(role, key.scopes),
        level=level,
        key_id=key.id,
        user_id=key.owner_id,
        expires_at=key.expires_at,
    )


def _valid(key: ApiKey, owner: Owner | None, now: datetime) -> bool:
    return key.live(now) and (owner is None or owner.enabled)
