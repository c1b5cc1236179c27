"""Migrations and blobs."""

import asyncio
import os
import stat
from importlib.resources import files
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.conftest import NOON, fresh_database
from tidemill.core.errors import Configuration, DataFolderNewer, NotFound, TidemillError
from tidemill.store.blobs import BlobStore
from tidemill.store.data_folder import make_scratch_folder
from tidemill.store.database import Pool, check_key, make_pool, sqlalchemy_url
from tidemill.store.embedded import EmbeddedPostgres
from tidemill.store.schema import migrate, schema_revision


def test_migrating_twice_changes_nothing(database_url: str) -> None:
    before = schema_revision(database_url)
    migrate(database_url)
    assert schema_revision(database_url) == before
    assert before[0] == before[1] is not None


def test_a_database_of_the_first_version_keeps_its_rows_and_gains_their_owners(postgres: EmbeddedPostgres) -> None:
    with fresh_database(postgres, migrated=False) as url:
        migrate_to(url, "0001")
        key, review, inference = uuid4(), uuid4(), uuid4()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                "INSERT INTO api_keys (id, name, role, prefix, hash, created_at) "
                "VALUES (%s, 'ci', 'admin', 'tm-12345', 'x', %s)",
                (key, NOON),
            )
            connection.execute(
                "INSERT INTO reviews (id, key_id, state, title, change_digest, with_model, created_at) "
                "VALUES (%s, %s, 'done', 'A title', 'd', false, %s)",
                (review, key, NOON),
            )
            connection.execute(
                "INSERT INTO inferences (id, task, variant, model, model_version, config_hash, request_hash, key_id, "
                "trace_id, status, streamed, prompt_tokens, completion_tokens, cached_tokens, cost_usd, latency_ms, "
                "created_at) VALUES (%s, 'chat', 'v', 'm', 'mv', 'c', 'r', %s, 't', 'ok', false, 1, 1, 0, 0, 1, %s)",
                (inference, key, NOON),
            )
            connection.execute(
                "INSERT INTO inference_texts (inference_id, request, response, expires_at) VALUES (%s, '{}', '{}', %s)",
                (inference, NOON),
            )
        migrate(url)
        assert schema_revision(url)[0] == schema_revision(url)[1]
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT owner_id, title FROM reviews").fetchall() == [(key, "A title")]
            assert connection.execute("SELECT owner_id FROM inferences").fetchall() == [(key,)]
            assert connection.execute("SELECT level FROM inference_texts").fetchall() == [("internal",)]
            row = connection.execute("SELECT owner_id, scopes, expires_at, role FROM api_keys").fetchone()
    assert row == (None, None, None, "admin")


def test_the_revisions_are_those_that_alembic_knows_and_in_its_order(database_url: str) -> None:
    scripts = ScriptDirectory(str(files("tidemill.store") / "migrations"))
    assert schema_revision(database_url)[1] == scripts.get_current_head()
    known = [script.revision for script in scripts.walk_revisions()]
    assert known == sorted(known, reverse=True)


def migrate_to(url: str, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(files("tidemill.store") / "migrations"))
    config.set_main_option("path_separator", "os")
    engine = sqlalchemy.create_engine(sqlalchemy_url(url), poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


def test_a_database_without_pgvector_is_refused_with_what_to_run(postgres: EmbeddedPostgres) -> None:
    with fresh_database(postgres, migrated=False) as url:
        name = conninfo_to_dict(url)["dbname"]
        with psycopg.connect(make_conninfo(postgres.admin_url, dbname=name), autocommit=True) as admin:
            admin.execute("DROP EXTENSION vector")
        with pytest.raises(Configuration, match="CREATE EXTENSION vector` in this database as superuser"):
            migrate(url)
        assert schema_revision(url)[0] is None


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


@pytest.mark.parametrize("synchronous_commit", [True, False])
async def test_a_connection_that_the_server_ended_a_moment_ago_is_replaced_unseen(
    database_url: str, pool: Pool, synchronous_commit: bool
) -> None:
    async with make_pool(database_url, size=1, synchronous_commit=synchronous_commit) as used:
        before = await _process_id(used)
        async with pool.connection() as other:
            await other.execute("SELECT pg_terminate_backend(%s, 5000)", (before,))
        assert await _process_id(used) != before


async def test_a_connection_that_is_used_is_kept(database_url: str, pool: Pool) -> None:
    async with make_pool(database_url, size=1) as used:
        assert await _process_id(used) == await _process_id(used)


async def _process_id(pool: Pool) -> int:
    async with pool.connection() as connection:
        return connection.info.backend_pid


async def test_a_block_that_is_cancelled_at_any_moment_leaves_its_lock_to_others(pool: Pool) -> None:
    async def work() -> None:
        async with pool.alone(4711) as mine:
            assert mine
            await asyncio.sleep(0.005)

    for moment in range(60):  # before, while it is asked for, within the block, and while it is given back
        task = asyncio.create_task(work())
        for _ in range(moment):
            await asyncio.sleep(0 if moment < 30 else 0.0005)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with pool.connection() as one, pool.connection() as other:
            for connection in (one, other):
                row = await (await connection.execute("SELECT pg_try_advisory_xact_lock(4711) AS got")).fetchone()
                assert row == {"got": True}


async def test_a_lock_is_held_for_longer_than_the_server_lets_transactions_be_idle(
    database_url: str, pool: Pool
) -> None:
    name = sql.Identifier(str(conninfo_to_dict(database_url)["dbname"]))
    async with pool.connection() as connection:
        await connection.execute(sql.SQL("ALTER DATABASE {} SET idle_in_transaction_session_timeout = 50").format(name))
    async with make_pool(database_url, size=2) as fresh, fresh.alone(4712) as mine:
        assert mine
        await asyncio.sleep(0.3)
        async with pool.alone(4712) as also:
            assert not also
