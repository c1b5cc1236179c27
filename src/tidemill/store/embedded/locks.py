"""Which processes use the cluster, kept by the kernel: `flock` is dropped when its holder dies, however it dies.

Every owner holds a shared lock on one file for as long as it lives. Starting, joining and stopping happen under an
exclusive lock on another, so that the last to leave can tell that it is the last.
"""

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tidemill.core.errors import Configuration, Unavailable
from tidemill.store.data_folder import inherit_owner

logger = logging.getLogger("tidemill.store.embedded")

PATIENCE = 300.0


class OwnersLock:
    """A share in the cluster. Not inherited by programs that we start."""

    def __init__(self, path: Path) -> None:
        self._descriptor: int | None = _open(path)
        self._process = os.getpid()
        fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)

    @property
    def is_ours(self) -> bool:
        """False in a forked copy of the owner, which shares the lock without being an owner itself."""
        return os.getpid() == self._process

    def is_last(self) -> bool:
        """Whether nobody else holds a share. Call it under `starting`, once, before `drop`."""
        if self._descriptor is None:
            return False
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def drop(self) -> None:
        """Gives the share back; does nothing the second time."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


@contextmanager
def starting(path: Path) -> Iterator[None]:
    """Holds the lock under which the server is started, joined and stopped.

    Raises:
        Unavailable: another process has held it for minutes.
    """
    descriptor = _open(path)
    try:
        deadline = time.monotonic() + PATIENCE
        told = False
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Unavailable(
                        f"Another Tidemill process has been starting or stopping the database for {PATIENCE:.0f} "
                        "seconds. Try again, or end that process."
                    ) from None
                if not told and time.monotonic() > deadline - PATIENCE + 2:
                    logger.info("Waiting for another Tidemill process, which is starting or stopping the database.")
                    told = True
                time.sleep(0.02)
        yield
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        inherit_owner(path)
    except OSError as error:
        raise Configuration(
            f"The lock file {path} can't be opened: {error.strerror}. Run Tidemill as the user who owns it."
        ) from error
    return descriptor
