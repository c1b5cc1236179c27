"""Large kept answers as files in the data folder. Each is named by its row's key and its own content."""

import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

from tidemill.core.errors import Configuration
from tidemill.store.data_folder import inherit_owner, make_private_folder

log = logging.getLogger(__name__)

INCOMING = "incoming-"
LEFT_SECONDS = 3600.0
"""A file that no row names is deleted when it is so old: a younger one's row may still be on its way."""


class AnswerFiles:
    """Files `ab/KEY-DIGEST` in a folder. All methods block: call them in a thread.

    Args:
        folder: made (0700) at the first write.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, key: bytes, data: bytes) -> str:
        """Writes a file whole or not at all, and returns its name.

        Raises:
            Configuration: the disk does not take it.
        """
        name = f"{key.hex()}-{hashlib.sha256(data).hexdigest()}"
        path = self._path(name)
        if path.exists():
            os.utime(path)
            return name
        make_private_folder(self._folder)
        make_private_folder(path.parent)
        incoming: str | None = None
        try:
            handle, incoming = tempfile.mkstemp(dir=self._folder, prefix=INCOMING)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            inherit_owner(Path(incoming))
            Path(incoming).rename(path)
        except OSError as error:
            if incoming is not None:
                with suppress(OSError):
                    Path(incoming).unlink(missing_ok=True)
            raise Configuration(
                f"The folder {self._folder} does not take a file: {error.strerror}. Make room, then try again."
            ) from error
        return name

    def get(self, name: str) -> bytes | None:
        """What the file holds; `None` where it is gone, can't be read, or is no longer what was written.

        What is damaged is deleted. What can't be read is told in the log alone: the answer can be asked for anew.
        """
        path = self._path(name)
        try:
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() == name.rpartition("-")[2]:
                return data
            log.warning("The kept answer %s is damaged, and is deleted.", path)
            path.unlink(missing_ok=True)
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("The kept answer %s can't be read: %s. Mend the folder.", path, error.strerror)
        return None

    def delete(self, names: Iterable[str]) -> None:
        """Deletes files; those that are gone already are no error.

        Raises:
            Configuration: the disk does not let one go.
        """
        for name in names:
            path = self._path(name)
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise Configuration(f"{path} can't be deleted: {error.strerror}. Mend the folder.") from error

    def old(self) -> list[str]:
        """The names of the files that are old enough to be without a row for good."""
        before = time.time() - LEFT_SECONDS
        return [path.name for path in self._folder.glob("??/*") if _modified(path) < before]

    def delete_orphans(self, old: Collection[str], named: Collection[str]) -> int:
        """Deletes those of these files that no row names, and what a killed process was writing; says how many."""
        orphans = set(old) - set(named)
        self.delete(orphans)
        before = time.time() - LEFT_SECONDS
        left = [path for path in self._folder.glob(f"{INCOMING}*") if _modified(path) < before]
        for path in left:
            path.unlink(missing_ok=True)
        return len(orphans) + len(left)

    def _path(self, name: str) -> Path:
        return self._folder / name[:2] / name


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()
