"""Migrations and blobs."""

import os
import stat
from pathlib import Path

import psycopg
import pytest

from tidemill.core.errors import Configuration, DataFolderNewer, NotFound, TidemillError
from tidemill.store.blobs import BlobStore
from tidemill.store.data_folder import make_scratch_folder
from tidemill.store.database import check_key, migrate, schema_revision


def test_migrating_twice_changes_nothing(database_url: str) -> None:
    before = schema_revision(database_url)
    migrate(database_url)
    assert schema_revision(database_url) == before
    assert before[0] == before[1] is not None


def test_a_database_of_a_later_version_is_left_alone(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(DataFolderNewer, match="9999"):
        migrate(database_url)
    assert schema_revision(database_url)[0] == "9999"


def test_a_server_that_is_not_there_is_said_in_a_sentence() -> None:
    with pytest.raises(Configuration, match="can't be used"):
        migrate("postgresql://nobody@127.0.0.1:1/none?connect_timeout=2")


def test_a_url_of_another_database_is_refused() -> None:
    with pytest.raises(Configuration, match="postgresql://"):
        migrate("mysql://localhost/x")


def test_a_database_of_another_secret_key_is_refused_before_its_keys_seem_to_be_wrong(database_url: str) -> None:
    check_key(database_url, "ours")
    check_key(database_url, "ours")
    with pytest.raises(Configuration, match="another secret key"):
        check_key(database_url, "theirs")


async def test_a_blob_comes_back_by_its_digest(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path / "blobs")
    digest = await blobs.put("đường".encode())
    assert await blobs.put("đường".encode()) == digest
    assert await blobs.get(digest) == "đường".encode()
    assert len(list((tmp_path / "blobs").rglob("*"))) == 2


async def test_a_missing_or_damaged_blob_is_an_error_and_never_empty(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path)
    digest = await blobs.put(b"whole")
    (tmp_path / digest[:2] / digest[2:]).write_bytes(b"hole")
    with pytest.raises(TidemillError, match="damaged"):
        await blobs.get(digest)
    with pytest.raises(NotFound):
        await blobs.get("0" * 64)


def test_a_scratch_folder_loses_what_a_killed_process_left_and_keeps_what_is_in_use(tmp_path: Path) -> None:
    folder = make_scratch_folder(tmp_path / "tmp")
    for name in ("old", "new"):
        (folder / name).mkdir()
        (folder / name / "source.py").write_text("secret = 1\n")
    os.utime(folder / "old", (0, 0))
    assert [left.name for left in make_scratch_folder(folder).iterdir()] == ["new"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
