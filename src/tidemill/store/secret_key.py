"""The one secret that a hub keeps in a file; passwords and signing keys are derived from it."""

import hashlib
import hmac
import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from tidemill.core.errors import Configuration
from tidemill.settings import Settings
from tidemill.store.data_folder import CLUSTER, inherit_owner, make_data_folder

ENVIRONMENT = "TIDEMILL_SECRET_KEY"
SHORTEST = 32


@dataclass(frozen=True, slots=True)
class SecretKey:
    """The secret itself, never shown: only what is derived from it leaves this object."""

    value: str = field(repr=False)

    def derive(self, purpose: str) -> str:
        """64 hexadecimal digits that are always the same for this key and purpose (HMAC-SHA256)."""
        return hmac.new(self.value.encode(), f"tidemill/{purpose}".encode(), hashlib.sha256).hexdigest()


def load_secret_key(settings: Settings) -> SecretKey:
    """The key from `TIDEMILL_SECRET_KEY`, else from the key file, which is made in a new data folder.

    An empty variable counts as not set.

    Safe in several processes at once: one makes the file, all read the same key.

    Raises:
        Configuration: the key is missing beside data that depends on it, too short, unreadable, or readable by
            other users of the machine.
    """
    given = os.environ.get(ENVIRONMENT)
    if given:
        return _checked(given, f"the environment variable {ENVIRONMENT}")
    path = settings.key_file
    if not path.exists():
        _refuse_orphaned_data(settings)
        make_data_folder(settings.data_dir)
        _create(path)
    return _checked(_read(path), str(path))


def _refuse_orphaned_data(settings: Settings) -> None:
    try:
        kept = (settings.data_dir / CLUSTER).exists() or any(settings.blobs_dir.glob("*"))
    except PermissionError as error:
        raise Configuration(
            f"The data folder {settings.data_dir} belongs to another user. "
            "Run Tidemill as that user, or choose another folder with TIDEMILL_DATA_DIR."
        ) from error
    if kept:
        raise Configuration(
            f"The data folder {settings.data_dir} holds data, but its key file {settings.key_file} is missing. "
            f"Put the file back from a backup, or set {ENVIRONMENT} to its content."
        )


def _create(path: Path) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(secrets.token_hex(32) + "\n")
                file.flush()
                os.fsync(file.fileno())
            inherit_owner(temporary)
            os.link(temporary, path)
        except FileExistsError:
            pass
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise Configuration(f"The key file {path} can't be made: {error.strerror}.") from error


def _read(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Configuration(
            f"The key file {path} can't be read: {error}. Run Tidemill as the user who made it."
        ) from error
    if stat.S_IMODE(mode) & 0o077:
        raise Configuration(f"The key file {path} can be read by other users. Run `chmod 600 {path}`.")
    return content


def _checked(text: str, where: str) -> SecretKey:
    value = text.strip()
    if len(value) < SHORTEST:
        raise Configuration(
            f"The secret key in {where} has {len(value)} characters and needs {SHORTEST} or more. "
            "Put the right one back from a backup."
        )
    return SecretKey(value)
