"""Secrets such as a provider's key: encrypted at rest, used by the hub, shown to nobody."""

import re

from tidemill.core.audit import Actor
from tidemill.core.clock import Clock
from tidemill.core.errors import Configuration, InvalidInput, NotFound
from tidemill.store.audited import Audited
from tidemill.store.database import Connection
from tidemill.store.key_ring import KeyFile, KeyRing
from tidemill.store.secrets import SecretName, SecretRepository

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
LARGEST = 65_536


class Secrets:
    """The service for secrets.

    Args:
        rows: where they are stored, encrypted.
        keys: the keys under which they are.
        audit: makes each change known.
        clock: gives times.
    """

    def __init__(self, rows: SecretRepository, keys: KeyFile, *, audit: Audited, clock: Clock) -> None:
        self._rows = rows
        self._keys = keys
        self._audit = audit
        self._clock = clock

    async def names(self) -> list[SecretName]:
        """The names, in alphabetical order."""
        return await self._rows.names()

    async def put(self, name: str, value: str, actor: Actor) -> None:
        """Stores a secret, in the place of one of its name.

        Raises:
            InvalidInput: the name or the value can't be used.
            Configuration: the keys can't be read, or are not those of the secrets that are stored.
        """
        if not NAME.fullmatch(name):
            raise InvalidInput(
                "A secret's name has 1 to 100 letters, digits, `_`, `.` or `-`, and begins with a letter or a digit.",
                param="name",
            )
        if not value or len(value) > LARGEST or not _encodable(value):
            raise InvalidInput(f"A secret's value is a text of 1 to {LARGEST:,} characters.", param="value")
        async with self._audit.change(actor) as change:
            await self._rows.hold_keys(change.connection)
            ring = await self._ring(change.connection)
            await self._rows.put(change.connection, ring.seal(name, value), self._clock())
            change.note("secret.set", "secret", name)

    async def delete(self, name: str, actor: Actor) -> None:
        """Deletes a secret.

        Raises:
            NotFound: there is none of this name.
        """
        async with self._audit.change(actor) as change:
            if not NAME.fullmatch(name) or not await self._rows.delete(change.connection, name):
                raise NotFound(f"There is no secret {name!r}. `tidemill secrets list` shows the names.")
            change.note("secret.deleted", "secret", name)

    async def reveal(self, name: str) -> str:
        """The secret itself, for the hub's own use.

        Raises:
            Configuration: there is none of this name, its key is not here, or the row was changed.
        """
        sealed = await self._rows.get(name) if NAME.fullmatch(name) else None
        if sealed is None:
            raise Configuration(f"The secret {name} is needed and not set. Set it with `tidemill secrets set {name}`.")
        ring = self._keys.read()
        if ring is None:
            raise Configuration(
                f"The secret {name} can't be read: the key file {self._keys.where} is missing. Put it back from a "
                f"backup, or set the secret anew after `tidemill secrets delete {name}`."
            )
        return ring.open(sealed)

    async def rotate(self, actor: Actor) -> int:
        """Encrypts every secret under a new key and drops the old ones; returns how many secrets there are.

        Killed between two of its steps, it leaves every secret readable: the new key is in the file before the
        first secret is under it, and an old one leaves the file after the last. With keys from the environment it
        encrypts under the first of them, and whoever set them drops the others.

        Raises:
            Configuration: a secret can't be decrypted, and then nothing is changed but the file, which gains a key.
        """
        async with self._rows.changing_keys():
            await self._check_readable()
            ring = self._keys.add() if self._keys.changeable else self._keys.make()
            async with self._audit.change(actor) as change:
                stored = await self._rows.all(change.connection)
                for sealed in stored:
                    await self._rows.put(change.connection, ring.seal(sealed.name, ring.open(sealed)), self._clock())
                change.note("secrets.rotated", "secrets", None, count=len(stored), key_id=ring.first)
            if self._keys.changeable:
                self._keys.keep_first()
        return len(stored)

    async def _check_readable(self) -> None:
        for secret in await self._rows.names():
            await self.reveal(secret.name)

    async def _ring(self, connection: Connection) -> KeyRing:
        """The ring; never a new one beside secrets that another had encrypted."""
        ring = self._keys.read()
        if ring is not None:
            return ring
        stored = await self._rows.all(connection)
        if stored:
            raise Configuration(
                f"The key file {self._keys.where} is missing, and {len(stored)} secrets are encrypted under it "
                f"({stored[0].name} is one). Put it back from a backup, or delete those secrets first."
            )
        return self._keys.make()


def _encodable(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
