"""Where the parts of the embedded database lie in the data folder."""

import hashlib
import logging
import os
import re
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tidemill.core.errors import Configuration
from tidemill.settings import Settings
from tidemill.store.data_folder import CLUSTER, inherit_owner, make_data_folder, make_private_folder
from tidemill.store.embedded.account import ServerAccount
from tidemill.store.secret_key import SecretKey

logger = logging.getLogger("tidemill.store.embedded")

PORT = 5432
LONGEST_SOCKET_PATH = 103  # bytes, on macOS; 107 on Linux
LARGEST_LOG = 10 * 1024 * 1024
PLAIN_PATH = re.compile(r"[A-Za-z0-9._/-]+\Z")
LOG_TAIL = 4096
LOG_PREFIX = re.compile(r"^\S+ \S+ \S+ \[\d+\] ")


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of one data folder's database. `root` is the data folder's real path."""

    root: Path
    run: Path
    sockets: Path

    @classmethod
    def of(cls, settings: Settings, key: SecretKey) -> "Layout":
        """The paths, without making any of them."""
        root = Path(os.path.realpath(settings.data_dir))
        return cls(root, Path(os.path.realpath(settings.run_dir)), _socket_folder(root, key))

    @property
    def cluster(self) -> Path:
        """PostgreSQL's own data folder."""
        return self.root / CLUSTER

    @property
    def binaries(self) -> Path:
        """Copies of PostgreSQL's programs, made only where the server's user can't execute the installed ones."""
        return self.root / "postgres-binaries"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.root / "logs" / "postgres.log"

    @property
    def owners_lock(self) -> Path:
        """Shared by every process that uses the cluster."""
        return self.run / "postgres.owners.lock"

    @property
    def start_lock(self) -> Path:
        """Held while the server is started, joined or stopped."""
        return self.run / "postgres.start.lock"

    def make_folders(self) -> None:
        """Makes the data folder and those that this process itself writes to."""
        make_data_folder(self.root)
        make_private_folder(self.run)
        make_private_folder(self.log.parent)

    def make_socket_folder(self, account: ServerAccount) -> None:
        """Makes the folder of the server's socket, which the account alone (and root) can enter.

        Raises:
            Configuration: something that is not ours has its name.
        """
        try:
            self.sockets.mkdir(mode=0o700)
            account.own(self.sockets)
        except FileExistsError:
            found = self.sockets.lstat()
            if found.st_uid == 0 and account.is_other and stat.S_ISDIR(found.st_mode):
                account.own(self.sockets)  # ours, from a start that was cut off before this line
                found = self.sockets.lstat()
            private = stat.S_ISDIR(found.st_mode) and stat.S_IMODE(found.st_mode) == 0o700
            if not private or found.st_uid != account.uid:
                raise Configuration(
                    f"The folder {self.sockets} is not a private folder of the user {account.name}. Remove it."
                ) from None
        except OSError as error:
            raise Configuration(
                f"The folder {self.sockets} for the database's socket can't be made: {error.strerror}."
            ) from error

    def remove_outside_sockets(self) -> None:
        """Removes the socket's folder where it is not in the data folder."""
        if self.sockets.parent != self.root:
            shutil.rmtree(self.sockets, ignore_errors=True)

    def remove_scratch(self) -> None:
        """Removes what an earlier, interrupted creation of a cluster left."""
        for path in self.root.glob("postgres-new-*"):
            shutil.rmtree(path, ignore_errors=True)

    def bound_log(self) -> None:
        """Moves a long log's content to `postgres.log.1`. The server appends, so it goes on in the emptied file."""
        try:
            if self.log.exists() and self.log.stat().st_size > LARGEST_LOG:
                older = self.log.with_suffix(".log.1")
                older.unlink(missing_ok=True)
                descriptor = os.open(older, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "wb") as target, self.open_log() as source:
                    inherit_owner(older)
                    source.seek(0)
                    shutil.copyfileobj(source, target)
                    source.truncate(0)
        except (OSError, Configuration) as error:
            logger.warning("The log %s can't be moved aside, and goes on growing: %s", self.log, error)

    def open_log(self) -> IO[bytes]:
        """The log, made where it is missing, for reading and appending.

        Raises:
            Configuration: it can't be opened.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            file = os.fdopen(os.open(self.log, flags, 0o600), "a+b")
            inherit_owner(self.log)
        except OSError as error:
            raise Configuration(f"The log {self.log} can't be written: {error.strerror}.") from error
        return file

    def last_words(self, since: int) -> str:
        """What the server logged last after the byte `since`: its reason to end, and the line that led to it."""
        with self.log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(since, size - LOG_TAIL))
            lines = [line for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
        end = next((i for i, line in enumerate(lines) if "FATAL:" in line or "PANIC:" in line), len(lines) - 1)
        said = [LOG_PREFIX.sub("", line).strip() for line in lines[max(0, end - 1) : end + 1]]
        return " ".join(said) or "it said nothing."


def _socket_folder(root: Path, key: SecretKey) -> Path:
    """In the data folder where the path is short and plain, else in /tmp under a name that others can't guess.

    libpq splits `host` at commas, and PostgreSQL splits the setting at commas and unquotes it: a plain path needs
    no rules.
    """
    inside = root / "socket"
    socket = os.fsencode(inside / f".s.PGSQL.{PORT}")
    if len(socket) <= LONGEST_SOCKET_PATH and PLAIN_PATH.match(str(inside)):
        return inside
    place = hashlib.sha256(os.fsencode(root)).hexdigest()
    return Path("/tmp") / f"tidemill-{key.derive('socket folder ' + place)[:24]}"  # noqa: S108 made 0700, unguessable
