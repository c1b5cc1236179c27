"""Who the embedded server runs as: never root."""

import logging
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tidemill.core.errors import Configuration

logger = logging.getLogger("tidemill.store.embedded")


@dataclass(frozen=True, slots=True)
class ServerAccount:
    """The user that owns the cluster and runs the server and its tools."""

    name: str
    uid: int
    gid: int

    @property
    def is_other(self) -> bool:
        """Whether this process has to change users (it is root) to act as this account."""
        return os.geteuid() != self.uid

    def run(
        self, command: Sequence[str | Path], *, text: str | None = None, timeout: float = 120
    ) -> "subprocess.CompletedProcess[str]":
        """Runs a command to its end as this account, with a clean environment and `text` as its input.

        Raises:
            PermissionError: this account may not execute it.
            Configuration: it takes too long, or this process can't change to the account.
        """
        try:
            return subprocess.run(
                [str(part) for part in command],
                input=text or "",
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=timeout,
                **self._options(),
            )
        except subprocess.TimeoutExpired as error:
            raise Configuration(f"{Path(command[0]).name} took more than {timeout:.0f} seconds.") from error
        except subprocess.SubprocessError as error:
            raise Configuration(f"Commands can't be run as the user {self.name}: {error}") from error

    def start(self, command: Sequence[str | Path], output: IO[bytes]) -> "subprocess.Popen[bytes]":
        """Starts a command as this account in a session of its own, so that no Ctrl-C of ours reaches it."""
        return subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            **self._options(),
        )

    def can_enter(self, folder: Path) -> bool:
        """Whether the account may pass through the folder and all those above it.

        Raises:
            Configuration: this process can't become the account at all.
        """
        try:
            return self.run(["/bin/sh", "-c", 'cd -- "$1"', "sh", folder]).returncode == 0
        except OSError as error:
            raise Configuration(
                f"PostgreSQL refuses to run as root, and this process can't become the user {self.name}: "
                f"{error.strerror}. Run Tidemill as a plain user, or set DATABASE_URL."
            ) from error

    def write(self, path: Path, content: str) -> None:
        """Writes a file as the account: root never opens a file in a folder that another user controls.

        Raises:
            Configuration: it can't be written, such as on a full disk.
        """
        script = 'umask 077; cat > "$1.new" && mv -f -- "$1.new" "$1"'
        result = self.run(["/bin/sh", "-c", script, "sh", path], text=content)
        if result.returncode:
            raise Configuration(f"The file {path} can't be written: {result.stderr.strip()}.")

    def own(self, path: Path) -> None:
        """Gives a file or folder that was just made to the account."""
        if self.is_other:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            "cwd": "/",
            "umask": 0o077,
            # Settings of libpq and locales of whoever starts us must not reach the server.
            "env": {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
        }
        if self.is_other:
            options |= {"user": self.uid, "group": self.gid, "extra_groups": []}
        return options


def choose_account(system_user: str, cluster: Path) -> ServerAccount:
    """This process's own user; for root the owner of an existing cluster, else `system_user`, made if missing.

    Raises:
        Configuration: a cluster belongs to another user, or no user can be made.
    """
    owner = cluster.stat().st_uid if cluster.exists() else None
    me = os.geteuid()
    if me != 0:
        if owner not in (None, me):
            raise Configuration(
                f"The database folder {cluster} belongs to the user {_name_of(owner)}. "
                "Run Tidemill as that user, or choose another folder with TIDEMILL_DATA_DIR."
            )
        return ServerAccount(_name_of(me), me, os.getegid())
    if owner == 0:
        raise Configuration(
            f"The database folder {cluster} belongs to root, and PostgreSQL refuses to run as root. "
            f"Give it to the user {system_user} with `chown -R`, or choose another data folder."
        )
    entry = pwd.getpwuid(owner) if owner is not None and _name_of(owner) != str(owner) else None
    if owner is not None and entry is None:
        return ServerAccount(str(owner), owner, cluster.stat().st_gid)
    if entry is None:
        entry = _system_user(system_user)
    return ServerAccount(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _system_user(name: str) -> pwd.struct_passwd:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        entry = _make_system_user(name)
    if entry.pw_uid == 0:
        raise Configuration(
            f"`database.system_user` is {name}, which is root, and PostgreSQL refuses to run as root. Name another."
        )
    return entry


def _make_system_user(name: str) -> pwd.struct_passwd:
    advice = "Name an existing user in `database.system_user`, run Tidemill as a plain user, or set DATABASE_URL."
    program = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if program is None or sys.platform != "linux":
        raise Configuration(f"PostgreSQL refuses to run as root, and the user {name} can't be made here. {advice}")
    command = [program, "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", name]
    result = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", timeout=60)
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise Configuration(
            f"PostgreSQL refuses to run as root, and making the user {name} failed: {result.stderr.strip()}. {advice}"
        ) from None
    if result.returncode == 0:
        logger.warning("Made the system user %s, who runs the embedded PostgreSQL.", name)
    return entry


def _name_of(uid: int | None) -> str:
    try:
        return pwd.getpwuid(uid if uid is not None else -1).pw_name
    except (KeyError, OverflowError):
        return str(uid)
