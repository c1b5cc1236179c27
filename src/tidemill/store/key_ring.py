"""The keys under which secrets are encrypted at rest: AES-256-GCM, several keys at once, so that they can change.

The file `encryption.keys` (0600) holds one key of 32 bytes in hexadecimal on each line. The first encrypts, all
decrypt. `TIDEMILL_ENCRYPTION_KEY` stands in for it: the same keys in hexadecimal or base64, with commas between.
"""

import base64
import binascii
import fcntl
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tidemill.core.errors import Configuration
from tidemill.settings import Settings
from tidemill.store.data_folder import inherit_owner, make_data_folder

ENVIRONMENT = "TIDEMILL_ENCRYPTION_KEY"
KEY_BYTES = 32
NONCE_BYTES = 12


@dataclass(frozen=True, slots=True)
class Sealed:
    """A secret as it is stored. Under AES-GCM the tag is the last 16 bytes of the ciphertext."""

    name: str
    key_id: str
    nonce: bytes
    ciphertext: bytes = field(repr=False)


class KeyRing:
    """One key or more, the first of which encrypts. What it holds is never shown.

    Args:
        keys: 32 bytes each, by their ids, the first of them first.
        where: the file or the variable that they came from; for messages.
    """

    def __init__(self, keys: Mapping[str, bytes], where: str) -> None:
        self._keys = dict(keys)
        self._where = where

    def __repr__(self) -> str:
        return f"KeyRing({', '.join(self._keys)})"

    @property
    def first(self) -> str:
        """The id of the key that encrypts."""
        return next(iter(self._keys))

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all keys, the first first."""
        return tuple(self._keys)

    def text(self) -> str:
        """The keys as the file holds them."""
        return "".join(f"{key.hex()}\n" for key in self._keys.values())

    def joined(self, other: "KeyRing | None") -> "KeyRing":
        """These keys, and after them those of another ring."""
        return self if other is None else KeyRing({**self._keys, **other._keys, **self._keys}, self._where)

    def seal(self, name: str, value: str) -> Sealed:
        """Encrypts a secret under the first key, with a nonce of its own, bound to its name."""
        nonce = os.urandom(NONCE_BYTES)
        key_id = self.first
        ciphertext = AESGCM(self._keys[key_id]).encrypt(nonce, value.encode(), _bound_to(name, key_id))
        return Sealed(name, key_id, nonce, ciphertext)

    def open(self, sealed: Sealed) -> str:
        """The secret itself.

        Raises:
            Configuration: its key is not here, or the row is not what was written.
        """
        key = self._keys.get(sealed.key_id)
        if key is None:
            raise Configuration(
                f"The secret {sealed.name} is encrypted under the key {sealed.key_id}, which is not in {self._where}. "
                f"Put that key back from a backup, or set the secret anew with `tidemill secrets set {sealed.name}`."
            )
        try:
            data = AESGCM(key).decrypt(sealed.nonce, sealed.ciphertext, _bound_to(sealed.name, sealed.key_id))
        except InvalidTag as error:
            raise Configuration(
                f"The secret {sealed.name} is not what was stored: its row was changed or damaged. "
                f"Set it anew with `tidemill secrets set {sealed.name}`."
            ) from error
        return data.decode()


class KeyFile:
    """Where a hub's key ring comes from and, unless the environment gives it, how it changes.

    Args:
        settings: say where the file is.
        given: the ring of the environment, which no file then overrules.
    """

    def __init__(self, settings: Settings, given: KeyRing | None) -> None:
        self._data_dir = settings.data_dir
        self._path = settings.encryption_keys_file
        self._given = given

    @property
    def changeable(self) -> bool:
        """Whether keys can be added and dropped here: in a file they can, in the environment its owner does it."""
        return self._given is None

    @property
    def where(self) -> str:
        """Where the keys are, for messages."""
        return ENVIRONMENT if self._given is not None else str(self._path)

    def read(self) -> KeyRing | None:
        """The ring as it is now; `None` where no key was made yet.

        Raises:
            Configuration: the file can't be used, or other users can read it.
        """
        return self._given or _read(self._path)

    def make(self) -> KeyRing:
        """The ring, made now where there is none. Several processes at once get the same.

        Raises:
            Configuration: as for `read`; or the file can't be written.
        """
        if (ring := self.read()) is not None:
            return ring
        make_data_folder(self._data_dir)
        with self._locked():
            return _read(self._path) or self._write(_new_ring(str(self._path)))

    def add(self) -> KeyRing:
        """Puts a new key before the others."""
        make_data_folder(self._data_dir)
        with self._locked():
            return self._write(_new_ring(str(self._path)).joined(_read(self._path)))

    def keep_first(self) -> KeyRing:
        """Drops all keys but the first."""
        with self._locked():
            ring = _read(self._path)
            if ring is None:
                raise Configuration(f"The key file {self._path} is gone. Put it back from a backup.")
            return self._write(KeyRing({ring.first: ring._keys[ring.first]}, str(self._path)))

    def _write(self, ring: KeyRing) -> KeyRing:
        """Replaces the file in one step: whoever reads it, or is killed here, has the old or the new one whole."""
        temporary = self._path.with_name(f".{self._path.name}.{secrets.token_hex(8)}")
        try:
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(ring.text())
                file.flush()
                os.fsync(file.fileno())
            inherit_owner(temporary)
            temporary.rename(self._path)
            _sync_folder(self._path.parent)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise Configuration(f"The key file {self._path} can't be written: {error.strerror}.") from error
        return ring

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Holds the folder against other processes that would change the file."""
        descriptor = os.open(self._path.parent, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def open_key_file(settings: Settings) -> KeyFile:
    """The key ring's place. An empty variable counts as not set.

    Raises:
        Configuration: `TIDEMILL_ENCRYPTION_KEY` holds something else than keys.
    """
    given = os.environ.get(ENVIRONMENT)
    return KeyFile(settings, _parsed(given.split(","), f"the environment variable {ENVIRONMENT}") if given else None)


def parse_ring(text: str, where: str) -> KeyRing:
    """The ring in a key file's text.

    Raises:
        Configuration: it holds something else than keys.
    """
    return _parsed(text.split("\n"), where)


def _bound_to(name: str, key_id: str) -> bytes:
    return f"tidemill secret\0{name}\0{key_id}".encode()


def _new_ring(where: str) -> KeyRing:
    return _ring([secrets.token_bytes(KEY_BYTES)], where)


def _ring(keys: list[bytes], where: str) -> KeyRing:
    return KeyRing({hashlib.sha256(b"tidemill key id" + key).hexdigest()[:16]: key for key in keys}, where)


def _read(path: Path) -> KeyRing | None:
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="ascii")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise Configuration(
            f"The key file {path} can't be read. Run Tidemill as the user who made it, or put it back from a backup."
        ) from error
    if stat.S_IMODE(mode) & 0o077:
        raise Configuration(f"The key file {path} can be read by other users. Run `chmod 600 {path}`.")
    return parse_ring(text, str(path))


def _parsed(lines: list[str], where: str) -> KeyRing:
    keys = [_key(line.strip(), number, where) for number, line in enumerate(lines, 1) if line.strip()]
    if not keys:
        raise Configuration(f"There is no key in {where}. Put it back from a backup.")
    return _ring(keys, where)


def _key(text: str, number: int, where: str) -> bytes:
    try:
        key = bytes.fromhex(text) if len(text) == 2 * KEY_BYTES else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if len(key) != KEY_BYTES:
        raise Configuration(
            f"Key {number} in {where} is not {KEY_BYTES} bytes in hexadecimal or base64. "
            "`openssl rand -hex 32` makes one; an older one is in a backup."
        ) from None
    return key


def _sync_folder(folder: Path) -> None:
    """Makes a rename survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
