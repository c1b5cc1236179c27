"""The folder that holds everything of one hub."""

import os
import shutil
import time
from pathlib import Path

from tidemill.core.errors import Configuration

CLUSTER = "postgres"
LEFT_SECONDS = 3600.0


def make_data_folder(data_dir: Path) -> Path:
    """Makes the folder where it is missing, and returns its real path.

    It is private (0700). As root it is 0711 instead, because the embedded server, which never runs as root, has to
    pass through to its own folder inside. The mode of a folder that was there already is never changed.

    Raises:
        Configuration: it can't be made, or something else has its name.
    """
    try:
        if not data_dir.is_dir():
            data_dir.parent.mkdir(parents=True, exist_ok=True)
            mode = 0o711 if os.geteuid() == 0 else 0o700
            data_dir.mkdir(mode=0o700, exist_ok=True)
            data_dir.chmod(mode)
        return data_dir.resolve(strict=True)
    except OSError as error:
        raise Configuration(
            f"The data folder {data_dir} can't be made: {error.strerror}. Choose another with TIDEMILL_DATA_DIR."
        ) from error


def inherit_owner(path: Path) -> None:
    """As root, gives what was just made to the owner of the folder that holds it.

    A plain user's hub stays usable for that user after root has looked after it.
    """
    if os.geteuid() == 0:
        folder = path.parent.stat()
        if folder.st_uid != 0:
            os.chown(path, folder.st_uid, folder.st_gid, follow_symlinks=False)


def make_private_folder(path: Path) -> Path:
    """Makes a folder that its owner alone can enter (0700), where it is missing.

    Raises:
        Configuration: it can't be made.
    """
    try:
        path.mkdir(mode=0o700)
        inherit_owner(path)
    except FileExistsError:
        pass
    except OSError as error:
        raise Configuration(f"The folder {path} can't be made: {error.strerror}.") from error
    return path


def make_scratch_folder(path: Path) -> Path:
    """A private folder for what lives for seconds, without what a killed process left there an hour ago or more.

    Raises:
        Configuration: it can't be made.
    """
    make_private_folder(path)
    for left in path.iterdir():
        if time.time() - left.lstat().st_mtime > LEFT_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
    return path
