"""The database of one evaluation: a server and a folder of its own, which are gone at the end.

What a run that was killed left behind, its server among it, is taken away when the next one starts.
"""

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tidemill.app.database import Database, open_database
from tidemill.settings import Settings
from tidemill.store.data_folder import inherit_owner, make_data_folder
from tidemill.store.embedded import EmbeddedPostgres, inspect
from tidemill.store.secret_key import load_secret_key

RUN = "run-"
LOCK = "lock"


@contextmanager
def open_evaluation_database(settings: Settings) -> Iterator[tuple[Settings, Database]]:
    """An empty, migrated database for the block, and the settings of its folder."""
    folder = make_data_folder(settings.data_dir / "evaluation")
    with (folder / LOCK).open("a") as door:
        inherit_owner(folder)
        inherit_owner(folder / LOCK)
        fcntl.flock(door, fcntl.LOCK_EX)
        for left in folder.glob(f"{RUN}*"):
            _clear(settings, left)
        run = Path(tempfile.mkdtemp(prefix=RUN, dir=folder))
        run.chmod(folder.stat().st_mode & 0o777)  # the server, which never runs as root, passes through it
        held = _held(run)
    assert held is not None  # noqa: S101 - nobody else comes through the door
    try:
        own = _settings_of(settings, run)
        with open_database(own) as database:
            yield own, database
    finally:
        shutil.rmtree(run, ignore_errors=True)  # what is left is cleared by the next run
        held.close()


def _clear(settings: Settings, run: Path) -> None:
    """Ends the server of a run that is over, and removes its folder; nothing happens while it goes on."""
    held = _held(run)
    if held is None:
        return
    with held:
        own = _settings_of(settings, run)
        if own.key_file.exists():
            key = load_secret_key(own)
            if inspect(own, key).running:
                with EmbeddedPostgres.acquire(own, key):
                    pass  # the last owner that leaves stops it
        shutil.rmtree(run, ignore_errors=True)


def _held(run: Path) -> IO[str] | None:
    """The run's lock, open, which the kernel drops with its process; `None` where a process has it."""
    file = (run / LOCK).open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _settings_of(settings: Settings, run: Path) -> Settings:
    return settings.model_copy(update={"data_dir": run / "data", "database_url": None})
