"""How the processes on one data folder share a local model: a lock, and the address that its holder publishes.

Who holds the lock of a model owns its child process. The system frees the lock when the owner dies, however it
dies; its child ends with it, and the next process that needs the model becomes the owner.
"""

import fcntl
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class Publication:
    """Where an owner's child serves.

    Attributes:
        owner: the owner's process id.
        path: the file that the child loaded.
        adapters: the names of its adapters, in the order of their numbers.
    """

    base_url: str
    api_key: str
    pid: int
    owner: int
    path: str
    adapters: Sequence[str] = ()


class SharedModel:
    """The lock and the publication of one model, in a private folder."""

    def __init__(self, folder: Path, name: str) -> None:
        stem = quote(name, safe="")
        self._lock_path = folder / f"{stem}.lock"
        self._path = folder / f"{stem}.json"
        self._lock: int | None = None

    def try_own(self) -> bool:
        """Takes the lock if nobody else has it. Costs microseconds."""
        if self._lock is not None:
            return True
        descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._lock = descriptor
        self.withdraw()
        return True

    def release(self) -> None:
        """Withdraws the publication and frees the lock."""
        if self._lock is not None:
            try:
                self.withdraw()
            finally:
                os.close(self._lock)
                self._lock = None

    def publish(self, publication: Publication) -> None:
        """Tells the other processes; only the owner may."""
        fresh = self._path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(publication), file)
        fresh.replace(self._path)

    def withdraw(self) -> None:
        """Nothing serves for the moment."""
        self._path.unlink(missing_ok=True)

    def read(self) -> Publication | None:
        """What the owner published; `None` while it starts its child."""
        try:
            return Publication(**json.loads(self._path.read_text("utf-8")))
        except FileNotFoundError:
            return None

    def stamp(self) -> tuple[int, int] | None:
        """Changes with every publication; `None` while there is none."""
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            return None
        return stat.st_ino, stat.st_mtime_ns
