"""API keys: made, checked, listed and revoked. Only a keyed hash of each is stored."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from uuid import UUID

from tidemill.accounts.audit import Derive
from tidemill.core.accounts import ApiKey, Caller, Role, narrowed
from tidemill.core.clock import Clock
from tidemill.core.errors import InvalidInput, NotAuthenticated, NotFound
from tidemill.core.ids import new_id
from tidemill.store.api_keys import ApiKeyRepository

PREFIX = "tm-"
REMEMBERED = 10_000
MEMORY_SECONDS = 5.0
"""How long a key that was checked is believed; a key revoked by another process works for so long at most."""


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """A key just made, with the secret that is shown this once."""

    key: ApiKey
    secret: str


class ApiKeys:
    """The service for API keys.

    Args:
        repository: their rows.
        derive: gives the key of the hash, so that the rows alone don't let anyone test guesses.
        clock: gives their times.
    """

    def __init__(self, repository: ApiKeyRepository, *, derive: Derive, clock: Clock) -> None:
        self._repository = repository
        self._pepper = bytes.fromhex(derive("api keys"))
        self._clock = clock
        self._known: dict[bytes, tuple[float, Caller]] = {}

    async def create(self, name: str, role: Role) -> NewApiKey:
        """Makes a key. Its secret is in the result and nowhere else."""
        name = name.strip()
        if not name or len(name) > 100 or not name.isprintable():
            raise InvalidInput("A key's name has 1 to 100 printable characters.", param="name")
        secret = PREFIX + secrets.token_urlsafe(32)
        key = ApiKey(id=new_id(), name=name, role=role, prefix=secret[:8], created_at=self._clock())
        await self._repository.add(key, self._hash(secret))
        return NewApiKey(key, secret)

    async def check(self, secret: str, now: float) -> Caller:
        """Who the secret belongs to. `now` is a monotonic time in seconds.

        Raises:
            NotAuthenticated: unknown, revoked or malformed; the same answer for each.
        """
        hashed = self._hash(secret)
        known = self._known.get(hashed)
        if known is not None and now - known[0] < MEMORY_SECONDS:
            return known[1]
        key = await self._repository.find(hashed, self._clock())
        if key is None:
            self._known.pop(hashed, None)
            raise NotAuthenticated(
                "This API key is not valid here. Make one with `tidemill keys create NAME` and send it as "
                "`Authorization: Bearer KEY`."
            )
        caller = Caller(key.owner_id or key.id, key.role, narrowed(key.role, key.scopes), key_id=key.id)
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[hashed] = (now, caller)
        return caller

    async def list(self) -> list[ApiKey]:
        """Every key, oldest first, without secrets."""
        return await self._repository.list()

    async def revoke(self, key: str) -> ApiKey:
        """Revokes the key with this id, or the only one whose name or prefix this is.

        Raises:
            NotFound: no unrevoked key, or more than one, is meant.
        """
        live = [one for one in await self._repository.list() if one.revoked_at is None]
        meant = [one for one in live if key in {str(one.id), one.name, one.prefix}]
        if len(meant) != 1:
            count = "No" if not meant else f"{len(meant)}"
            raise NotFound(f"{count} unrevoked keys are called {key!r}. `tidemill keys list` shows their ids.")
        await self._repository.revoke(meant[0].id, self._clock())
        self._known.clear()
        return meant[0]

    async def revoke_id(self, key_id: UUID) -> None:
        """Revokes a key by its id; nothing happens where it is revoked already."""
        await self._repository.revoke(key_id, self._clock())
        self._known.clear()

    def _hash(self, secret: str) -> bytes:
        return hmac.new(self._pepper, secret.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()
