"""One archive that holds a whole hub: its database, its blobs and its key. Whoever has it has everything.

The archive is a gzipped tar of `manifest.json`, `database.dump` (pg_dump's custom format), `secret.key`,
`encryption.keys` where there are any, and `blobs/ab/cdef…`. The manifest comes first, and names the size and SHA-256
of every other member.
"""

import hashlib
import os
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from subprocess import run
from typing import IO, Annotated, Literal

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tidemill import __version__
from tidemill.core.clock import system_clock
from tidemill.core.errors import Configuration, Conflict, DataFolderNewer, InvalidInput
from tidemill.settings import Settings
from tidemill.store.data_folder import make_data_folder
from tidemill.store.embedded import EmbeddedPostgres
from tidemill.store.embedded.binaries import installed_binaries
from tidemill.store.key_ring import ENVIRONMENT as RING_ENVIRONMENT
from tidemill.store.key_ring import KeyRing, open_key_file, parse_ring
from tidemill.store.schema import migrate
from tidemill.store.secret_key import ENVIRONMENT, SecretKey
from tidemill.store.secrets import LOCK

FORMAT = 1
MANIFEST = "manifest.json"
DUMP = "database.dump"
KEY = "secret.key"
RING = "encryption.keys"
BLOB = re.compile(r"blobs/[0-9a-f]{2}/[0-9a-f]{62}\Z")
LARGEST_MANIFEST = 256 * 1024 * 1024
PIECE = 1024 * 1024
NOT_DATA = {"tidemill.yaml", "models", "lost+found"}
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Member(BaseModel):
    """What the manifest says of one file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    size: int = Field(ge=0)
    sha256: Digest


class Manifest(BaseModel):
    """The first member of a backup. `created_at` is ISO 8601, in UTC."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: Literal[1]
    tidemill: str
    created_at: str
    members: dict[str, Member]


@dataclass(frozen=True, slots=True)
class BackupReport:
    """A written backup, and how many blobs it holds."""

    path: Path
    size_bytes: int
    blobs: int


def backup(settings: Settings, database_url: str, key: SecretKey, destination: Path) -> BackupReport:
    """Writes the archive, readable by its owner alone (0600); the hub may be running.

    Args:
        settings: say where the blobs are.
        database_url: the embedded server's URL or any other; its password stays out of the process list.
        key: goes into the archive, because what is signed and hashed in the database depends on it.
        destination: a file that does not exist yet, in a folder that does.

    Raises:
        Conflict: the destination exists.
        Configuration: the database or the disk refuses; the message holds their words.
    """
    destination = destination.absolute()
    if destination.exists():
        raise Conflict(f"{destination} exists already. Name a new file.")
    try:
        with tempfile.TemporaryDirectory(prefix=".tidemill-backup-", dir=destination.parent) as scratch:
            dump = Path(scratch) / DUMP
            with _unchanged_keys(database_url):
                _dump(database_url, dump)
                ring = open_key_file(settings).read()
            # After the dump: a blob is written before the row that names it, so none that it names is missing.
            files = {DUMP: dump, **_blobs(settings.blobs_dir)}
            archive = Path(scratch) / "archive"
            keys = {KEY: f"{key.value}\n".encode()} | ({RING: ring.text().encode()} if ring else {})
            _write_archive(archive, files, keys)
            archive.rename(destination)
    except OSError as error:
        raise Configuration(f"The backup {destination} can't be written: {error.strerror}.") from error
    return BackupReport(destination, destination.stat().st_size, len(files) - 1)


def restore(settings: Settings, archive: Path) -> Manifest:
    """Restores an archive into an empty data folder and the database, and brings the schema up to date.

    The whole archive is read and verified first. A failure later leaves the data folder as it was.

    Raises:
        Conflict: the data folder or the database of `DATABASE_URL` holds something already.
        InvalidInput: the file is no backup, is damaged, or holds what no backup holds.
        DataFolderNewer: a later Tidemill wrote it.
        Configuration: the database or the disk refuses.
    """
    _refuse_full(settings)
    with _reading(archive):
        manifest, key, ring = _verify(archive)
    given = os.environ.get(ENVIRONMENT)
    if given is not None and given.strip() != key.value:
        raise Configuration(f"{ENVIRONMENT} is set to another key than this backup's. Unset it, and restore again.")
    given_ring = open_key_file(settings).read()
    if given_ring is not None and ring is not None and not set(ring.ids) <= set(given_ring.ids):
        raise Configuration(
            f"{RING_ENVIRONMENT} lacks a key of this backup. Add it, or unset the variable, and restore again."
        )
    with _undone_on_failure(make_data_folder(settings.data_dir)) as root, _reading(archive):
        dump = root / DUMP
        for name, source in _members(archive):
            if name == DUMP:
                _write(dump, source)
            elif name == KEY and given is None:
                _write(settings.key_file, source)
            elif name == RING and given_ring is None:
                _write(settings.encryption_keys_file, source)
            elif name not in {KEY, RING, MANIFEST}:
                _write(settings.data_dir / name, source)
        if settings.database_url is not None:
            _load(settings.database_url.get_secret_value(), dump)
        else:
            with EmbeddedPostgres.acquire(settings, key) as embedded:
                _load(embedded.url, dump)
        dump.unlink()
    return manifest


@contextmanager
def _unchanged_keys(url: str) -> Iterator[None]:
    """Keeps the secrets' keys as they are: what is dropped from their file during a dump could be one of the dump's."""
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
            connection.execute("SELECT pg_advisory_lock_shared(%s)", (LOCK,))
            yield
    except psycopg.OperationalError as error:
        raise Configuration(f"The database can't be read: {str(error).strip()}") from error


def _dump(url: str, target: Path) -> None:
    # The extension belongs to the superuser, who makes it in a new database before anything is restored.
    # Kept answers stay out: they can be made anew, and the files of large ones are in no backup.
    _postgres_tool(
        "pg_dump", url, "--format=custom", "--no-owner", "--exclude-extension=vector",
        "--exclude-table-data=answer_cache", f"--file={target}"
    )  # fmt: skip


def _load(url: str, dump: Path) -> None:
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
            tables = connection.execute(
                "SELECT count(*) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace "
                "WHERE relkind IN ('r', 'p') AND nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'"
            ).fetchone()
            if tables is not None and tables[0]:
                raise Conflict(f"The database holds {tables[0]} tables already. Restore into an empty one.")
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    except psycopg.errors.InsufficientPrivilege as error:
        raise Configuration("The database lacks pgvector. Run `CREATE EXTENSION vector` in it as superuser.") from error
    except psycopg.Error as error:
        raise Configuration(f"The database can't be restored into: {str(error).strip()}") from error
    _postgres_tool(
        "pg_restore", url, "--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction", str(dump)
    )
    migrate(url)


def _postgres_tool(name: str, url: str, *options: str) -> None:
    parts = {name: str(value) for name, value in conninfo_to_dict(url).items() if value is not None}
    secret = parts.pop("password", None)
    environment = {**os.environ, "LC_ALL": "C"}
    if secret is not None:
        environment["PGPASSWORD"] = secret
    command = [str(installed_binaries().program(name)), f"--dbname={make_conninfo(**parts)}", *options]
    result = run(command, env=environment, capture_output=True, encoding="utf-8", errors="replace")
    if result.returncode:
        lines = [line for line in result.stderr.splitlines() if "error:" in line] or ["it said nothing"]
        raise Configuration(f"{name} failed: {lines[0].strip()}")


def _blobs(folder: Path) -> dict[str, Path]:
    names = {f"blobs/{path.parent.name}/{path.name}": path for path in sorted(folder.glob("*/*"))}
    return {name: path for name, path in names.items() if BLOB.match(name)}


def _write_archive(archive: Path, files: dict[str, Path], contents: dict[str, bytes]) -> None:
    members = {name: Member(size=len(data), sha256=hashlib.sha256(data).hexdigest()) for name, data in contents.items()}
    for name, path in files.items():
        with path.open("rb") as file:
            members[name] = Member(size=path.stat().st_size, sha256=hashlib.file_digest(file, "sha256").hexdigest())
    manifest = Manifest(format=FORMAT, tidemill=__version__, created_at=system_clock().isoformat(), members=members)
    descriptor = os.open(archive, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as raw:
        with tarfile.open(fileobj=raw, mode="w:gz", compresslevel=1, format=tarfile.PAX_FORMAT) as tar:
            for name, data in {MANIFEST: manifest.model_dump_json(indent=1).encode(), **contents}.items():
                tar.addfile(_entry(name, len(data)), BytesIO(data))
            for name, path in files.items():
                with path.open("rb") as file:
                    tar.addfile(_entry(name, members[name].size), file)
        raw.flush()
        os.fsync(raw.fileno())


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = size, 0o600, int(system_clock().timestamp())
    return entry


def _refuse_full(settings: Settings) -> None:
    try:
        names = {path.name for path in settings.data_dir.iterdir()}
    except FileNotFoundError:
        return
    except OSError as error:
        raise Configuration(f"The data folder {settings.data_dir} can't be read: {error.strerror}.") from error
    found = sorted(names - NOT_DATA)
    if found:
        raise Conflict(
            f"The data folder {settings.data_dir} is not empty (it holds {found[0]}). "
            "Choose a new one with TIDEMILL_DATA_DIR."
        )


def _verify(archive: Path) -> tuple[Manifest, SecretKey, KeyRing | None]:
    """Reads everything once: all members that the manifest names, each with its digest, and no other."""
    manifest: Manifest | None = None
    keys = {KEY: b"", RING: b""}
    missing: set[str] = set()
    for name, source in _members(archive):
        if manifest is None:
            manifest = _manifest(archive, name, source)
            missing = set(manifest.members)
            continue
        if name not in missing:
            raise InvalidInput(f"{archive} holds {name!r}, which its manifest does not name once.")
        missing.remove(name)
        digest = hashlib.sha256()
        while piece := source.read(PIECE):
            digest.update(piece)
            if name in keys:
                keys[name] += piece
        if digest.hexdigest() != manifest.members[name].sha256:
            raise InvalidInput(f"{archive} is damaged: {name} is not what was written. Use another backup.")
    if manifest is None or missing or not {DUMP, KEY} <= set(manifest.members):
        raise InvalidInput(f"{archive} is not a whole Tidemill backup: parts are missing. Use another.")
    ring = keys[RING].decode("ascii", "replace")
    key = SecretKey(keys[KEY].decode("utf-8", "replace").strip())
    return manifest, key, parse_ring(ring, str(archive)) if RING in manifest.members else None


def _manifest(archive: Path, name: str, source: IO[bytes]) -> Manifest:
    if name != MANIFEST:
        raise InvalidInput(f"{archive} is no Tidemill backup: it does not begin with a manifest.")
    text = source.read(LARGEST_MANIFEST)
    try:
        written = _Format.model_validate_json(text).format
        if written > FORMAT:
            raise DataFolderNewer(
                f"{archive} was written by a later Tidemill (format {written}; this version reads {FORMAT}). "
                "Install that version to restore it."
            )
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        raise InvalidInput(f"{archive} is no Tidemill backup: its manifest can't be read.") from error


class _Format(BaseModel):
    format: int


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Each member with its content. Plain files with the names of a backup alone: none can lead elsewhere."""
    try:
        raw = archive.open("rb")
    except OSError as error:
        raise InvalidInput(f"The backup {archive} can't be read: {error.strerror}.") from error
    with raw, tarfile.open(fileobj=raw, mode="r|gz") as tar:
        for entry in tar:
            source = tar.extractfile(entry) if entry.isreg() else None
            if source is None or not (entry.name in {MANIFEST, DUMP, KEY, RING} or BLOB.match(entry.name)):
                raise InvalidInput(f"{archive} holds {entry.name!r}, which no Tidemill backup holds.")
            yield entry.name, source


@contextmanager
def _reading(archive: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, zlib.error, EOFError) as error:
        raise InvalidInput(f"{archive} is no Tidemill backup, or is damaged: {error}") from error


def _write(path: Path, source: IO[bytes]) -> None:
    for folder in (path.parent.parent, path.parent):
        folder.mkdir(mode=0o700, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        shutil.copyfileobj(source, file, PIECE)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _undone_on_failure(root: Path) -> Iterator[Path]:
    """Removes what was made in the folder when the block fails, so that it can be tried again."""
    before = {path.name for path in root.iterdir()}
    try:
        yield root
    except BaseException as error:
        for path in root.iterdir():
            if path.name not in before:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise Configuration(f"The backup can't be restored into {root}: {error.strerror}.") from error
        raise
