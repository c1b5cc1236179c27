"""Backup and restore with a real embedded server, and archives that nobody should trust."""

import hashlib
import io
import json
import os
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import psycopg
import pytest

from tidemill.core.errors import Configuration, Conflict, DataFolderNewer, InvalidInput
from tidemill.settings import Settings
from tidemill.store.backup import DUMP, KEY, MANIFEST, backup, restore
from tidemill.store.embedded import EmbeddedPostgres, inspect
from tidemill.store.key_ring import open_key_file
from tidemill.store.schema import migrate
from tidemill.store.secret_key import SecretKey, load_secret_key


class Hub(NamedTuple):
    """A hub with something in it, which runs."""

    settings: Settings
    key: SecretKey
    server: EmbeddedPostgres
    blob: Path


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    # Not under pytest's private folder: as root, the server's own user has to pass through.
    with tempfile.TemporaryDirectory(prefix="tm-backup-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


@pytest.fixture(scope="module")
def hub(folder: Path) -> Iterator[Hub]:
    settings = Settings(data_dir=folder / "source")
    key = load_secret_key(settings)
    open_key_file(settings).make()
    with EmbeddedPostgres.acquire(settings, key) as server:
        migrate(server.url)
        with psycopg.connect(server.url) as connection:
            connection.execute("CREATE SCHEMA dbos")
            connection.execute("CREATE TABLE dbos.steps (name text)")
            connection.execute("INSERT INTO dbos.steps VALUES ('đường')")
            connection.execute("CREATE TABLE public.vectors (v vector(2))")
            connection.execute("INSERT INTO public.vectors VALUES ('[1,2]')")
        digest = hashlib.sha256(b"kept").hexdigest()
        blob = settings.blobs_dir / digest[:2] / digest[2:]
        blob.parent.mkdir(parents=True)
        blob.write_bytes(b"kept")
        (blob.parent / "tmphalfwritten").write_bytes(b"ke")
        yield Hub(settings, key, server, blob)


@pytest.fixture(scope="module")
def archive(hub: Hub, folder: Path) -> Path:
    path = folder / "hub.tar.gz"
    report = backup(hub.settings, hub.server.url, hub.key, path)
    assert (report.path, report.blobs) == (path, 1)
    assert report.size_bytes == path.stat().st_size
    return path


@pytest.fixture
def empty(folder: Path, request: pytest.FixtureRequest) -> Settings:
    return Settings(data_dir=folder / f"to-{hashlib.sha256(request.node.name.encode()).hexdigest()[:8]}")


def contents(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as tar:
        return {entry.name: tar.extractfile(entry).read() for entry in tar}  # type: ignore[union-attr]


def written(path: Path, parts: dict[str, bytes], *extra: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in parts.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
        for entry, data in extra:
            tar.addfile(entry, io.BytesIO(data))
    return path


def test_a_backup_of_a_running_hub_comes_back_whole_in_an_empty_folder(
    hub: Hub, archive: Path, empty: Settings
) -> None:
    empty.data_dir.mkdir(mode=0o711)
    (empty.data_dir / "tidemill.yaml").write_text("port: 9000\n")
    manifest = restore(empty, archive)
    assert manifest.created_at.endswith("+00:00")
    key = load_secret_key(empty)
    assert key == hub.key
    assert open_key_file(empty).make().ids == open_key_file(hub.settings).make().ids
    assert stat.S_IMODE(empty.encryption_keys_file.stat().st_mode) == 0o600
    assert not inspect(empty, key).running
    digest = hub.blob.parent.name
    assert (empty.blobs_dir / digest / hub.blob.name).read_bytes() == b"kept"
    assert not (empty.data_dir / DUMP).exists()
    with EmbeddedPostgres.acquire(empty, key) as server, psycopg.connect(server.url) as connection:
        assert connection.execute("SELECT name FROM dbos.steps").fetchall() == [("đường",)]
        assert connection.execute("SELECT v <-> '[1,2]' FROM public.vectors").fetchall() == [(0.0,)]
        owners = connection.execute(
            "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname IN ('public', 'dbos')"
        ).fetchall()
        assert owners == [("tidemill",)]


def test_only_its_owner_can_read_a_backup_and_half_written_blobs_stay_out(archive: Path) -> None:
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    parts = contents(archive)
    assert next(iter(parts)) == MANIFEST
    assert sorted(json.loads(parts[MANIFEST])["members"]) == sorted(set(parts) - {MANIFEST})
    assert not [name for name in parts if "half" in name]


def test_a_backup_never_overwrites_a_file(hub: Hub, archive: Path) -> None:
    with pytest.raises(Conflict, match="exists already"):
        backup(hub.settings, hub.server.url, hub.key, archive)


def test_a_failed_backup_leaves_no_file_behind(hub: Hub, folder: Path) -> None:
    place = folder / "failed"
    place.mkdir()
    with pytest.raises(Configuration, match="password authentication failed"):
        backup(hub.settings, hub.server.url.replace("tidemill:", "tidemill:x"), hub.key, place / "a.tar.gz")
    assert list(place.iterdir()) == []


def test_the_password_is_not_in_the_process_list(hub: Hub, folder: Path) -> None:
    with psycopg.connect(hub.server.url) as blocker:
        blocker.execute("LOCK TABLE public.vectors IN ACCESS EXCLUSIVE MODE")
        code = "import sys, tidemill.store.backup as b; b._dump(sys.stdin.read(), b.Path(sys.argv[1]))"
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(folder / "x.dump")], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        child.stdin.write(hub.server.url.encode())  # type: ignore[union-attr]
        child.stdin.close()  # type: ignore[union-attr]
        lines: list[str] = []
        deadline = time.monotonic() + 20
        while not lines and time.monotonic() < deadline:
            found = psutil.Process(child.pid).children()
            lines = [" ".join(one.cmdline()) for one in found if one.name() == "pg_dump"]
            time.sleep(0.01)
    assert child.wait(30) == 0
    assert lines
    assert hub.key.derive("postgres role tidemill") not in lines[0]


def test_a_folder_with_data_is_refused_and_left_as_it_is(archive: Path, empty: Settings) -> None:
    empty.data_dir.mkdir()
    (empty.data_dir / "note").write_text("mine")
    with pytest.raises(Conflict, match="not empty"):
        restore(empty, archive)
    assert [path.name for path in empty.data_dir.iterdir()] == ["note"]


def test_a_damaged_backup_is_refused_before_anything_is_touched(archive: Path, empty: Settings, folder: Path) -> None:
    parts = contents(archive)
    parts[DUMP] = parts[DUMP][:-1] + b"?"
    with pytest.raises(InvalidInput, match="damaged"):
        restore(empty, written(folder / "damaged.tar.gz", parts))
    assert not empty.data_dir.exists()


def test_a_backup_that_was_cut_off_is_refused(archive: Path, empty: Settings, folder: Path) -> None:
    cut = folder / "cut.tar.gz"
    cut.write_bytes(archive.read_bytes()[:-2000])
    with pytest.raises(InvalidInput):
        restore(empty, cut)
    assert not empty.data_dir.exists()


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "blobs/../../outside", "blobs/ab", "run/x"])
def test_a_member_that_would_land_elsewhere_is_refused(archive: Path, empty: Settings, folder: Path, name: str) -> None:
    parts = contents(archive)
    manifest = json.loads(parts[MANIFEST])
    manifest["members"][name] = {"size": 1, "sha256": hashlib.sha256(b"x").hexdigest()}
    bad = written(folder / "bad.tar.gz", {**parts, MANIFEST: json.dumps(manifest).encode(), name: b"x"})
    with pytest.raises(InvalidInput, match="no Tidemill backup holds"):
        restore(empty, bad)
    assert not empty.data_dir.exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_a_link_or_a_pipe_in_a_backup_is_refused(archive: Path, empty: Settings, folder: Path, kind: bytes) -> None:
    entry = tarfile.TarInfo("blobs/ab/" + "c" * 62)
    entry.type, entry.linkname = kind, "/etc/passwd"
    with pytest.raises(InvalidInput, match="no Tidemill backup holds"):
        restore(empty, written(folder / "link.tar.gz", contents(archive), (entry, b"")))
    assert not empty.data_dir.exists()


def test_a_member_that_comes_twice_is_refused(archive: Path, empty: Settings, folder: Path) -> None:
    entry = tarfile.TarInfo(KEY)
    entry.size = 3
    with pytest.raises(InvalidInput, match="does not name once"):
        restore(empty, written(folder / "twice.tar.gz", contents(archive), (entry, b"abc")))


def test_a_backup_of_a_later_version_says_so(archive: Path, empty: Settings, folder: Path) -> None:
    parts = contents(archive)
    manifest = {**json.loads(parts[MANIFEST]), "format": 2, "more": True}
    newer = written(folder / "newer.tar.gz", {**parts, MANIFEST: json.dumps(manifest).encode()})
    with pytest.raises(DataFolderNewer, match="later Tidemill"):
        restore(empty, newer)


def test_a_file_that_is_no_backup_is_refused(empty: Settings, folder: Path) -> None:
    other = folder / "other.tar.gz"
    other.write_bytes(os.urandom(2000))
    with pytest.raises(InvalidInput):
        restore(empty, other)
    with pytest.raises(InvalidInput, match="can't be read"):
        restore(empty, folder / "absent.tar.gz")


def test_another_key_in_the_environment_is_refused(
    archive: Path, empty: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEMILL_SECRET_KEY", "k" * 40)
    with pytest.raises(Configuration, match="another key"):
        restore(empty, archive)


def test_encryption_keys_in_the_environment_must_hold_those_of_the_backup(
    archive: Path, empty: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEMILL_ENCRYPTION_KEY", "44" * 32)
    with pytest.raises(Configuration, match="TIDEMILL_ENCRYPTION_KEY lacks"):
        restore(empty, archive)


def test_a_dump_that_does_not_load_leaves_the_folder_empty(archive: Path, empty: Settings, folder: Path) -> None:
    parts = contents(archive)
    manifest = json.loads(parts[MANIFEST])
    parts[DUMP] = b"not a dump"
    manifest["members"][DUMP] = {"size": len(parts[DUMP]), "sha256": hashlib.sha256(parts[DUMP]).hexdigest()}
    parts[MANIFEST] = json.dumps(manifest).encode()
    with pytest.raises(Configuration, match="pg_restore failed"):
        restore(empty, written(folder / "unloadable.tar.gz", parts))
    assert list(empty.data_dir.iterdir()) == []


def test_a_database_of_ones_own_is_backed_up_and_restored_through_its_url(
    hub: Hub, archive: Path, folder: Path, empty: Settings
) -> None:
    with psycopg.connect(hub.server.admin_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE other OWNER tidemill")
    url = hub.server.url.replace("/tidemill?", "/other?")
    external = empty.model_copy(update={"database_url": type(empty).model_validate({"database_url": url}).database_url})
    with psycopg.connect(hub.server.admin_url.replace("/tidemill?", "/other?"), autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
    restore(external, archive)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT name FROM dbos.steps").fetchall() == [("đường",)]
    with pytest.raises(Conflict, match="tables already"):
        restore(external.model_copy(update={"data_dir": folder / "again"}), archive)
    assert backup(external, url, hub.key, folder / "external.tar.gz").blobs == 1
