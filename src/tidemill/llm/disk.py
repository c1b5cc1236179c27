"""Room on the disk for model files: asked for before it is taken, and a clear word when it runs out."""

import errno
import shutil
from pathlib import Path

from tidemill.core.errors import Configuration

MIB = 2**20
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def require_space(folder: Path, needed: int) -> None:
    """Raises when the disk can't take `needed` more bytes.

    Raises:
        Configuration: with what is needed and what is free.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise Configuration(
            f"The disk of {folder} has {free / MIB:,.0f} MiB free, and {needed / MIB:,.0f} MiB are needed. "
            "Free some, or choose another place with TIDEMILL_DATA_DIR."
        )


def disk_error(error: OSError, folder: Path) -> Configuration:
    """What a failed write means."""
    if error.errno in FULL:
        free = shutil.disk_usage(folder).free
        return Configuration(
            f"The disk of {folder} is full, or a file may not grow further ({error.strerror}; "
            f"{free / MIB:,.0f} MiB free). Make room and pull again: it goes on where it stopped."
        )
    return Configuration(f"The model can't be written to {folder}: {error.strerror or error}.")
