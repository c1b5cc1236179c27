"""What is due goes when its time has come and not before."""

import errno
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import NOON
from tidemill.app.data import kept_data
from tidemill.core.errors import Configuration
from tidemill.core.ids import new_id
from tidemill.protection.retention import Kept, Retention
from tidemill.settings import Settings
from tidemill.store.blobs import BlobStore
from tidemill.store.database import Pool
from tidemill.store.files import FileRepository
from tidemill.store.log_files import PIECE, overwrite_in_logs
from tidemill.store.retention import RetentionRepository

HOUR = timedelta(hours=1)
OWNER = new_id()


@dataclass
class Keeping:
    """Retention with a clock that tests move."""

    settings: Settings
    pool: Pool
    now: datetime = NOON

    def service(self) -> Retention:
        blobs = BlobStore(self.settings.blobs_dir)
        kinds = list(kept_data(self.settings, self.pool, FileRepository(self.pool, blobs), blobs, self.logs))
        return Retention(kinds, RetentionRepository(self.pool), clock=lambda: self.now)

    @property
    def logs(self) -> Path:
        return self.settings.data_dir / "logs"

    async def due(self) -> dict[str, int]:
        return {state.kind: state.due for state in await self.service().state() if state.due}

    async def run_after(self, time: timedelta) -> dict[str, int]:
        self.now = NOON + time
        return {kind: count for kind, count in (await self.service().run()).items() if count}


@pytest.fixture
async def keeping(pool: Pool, tmp_path: Path) -> Keeping:
    settings = Settings(data_dir=tmp_path / "data")
    keeping = Keeping(settings, pool)
    keeping.logs.mkdir(parents=True)
    digest = await BlobStore(settings.blobs_dir).put(b"a change")
    file_digest = await BlobStore(settings.blobs_dir).put(b"a file")
    inference, review = new_id(), new_id()
    async with pool.connection() as connection:
        await connection.execute(
            "INSERT INTO inferences (id, task, variant, model, model_version, config_hash, request_hash, trace_id, "
            "status, streamed, prompt_tokens, completion_tokens, cached_tokens, cost_usd, latency_ms, created_at) "
            "VALUES (%s, 'chat', 'a', 'm', '1', '', '', '', 'ok', false, 1, 1, 0, 0, 1, %s)",
            (inference, NOON),
        )
        await connection.execute(
            "INSERT INTO inference_texts (inference_id, request, response, expires_at) VALUES (%s, '{}', '{}', %s)",
            (inference, NOON + timedelta(days=7)),
        )
        await connection.execute(
            "INSERT INTO conversations (id, owner_id, title, titled_by, model, history, created_at, updated_at) "
            "VALUES (%s, %s, 't', 'person', 'm', 'window', %s, %s)",
            (new_id(), OWNER, NOON, NOON),
        )
        await connection.execute(
            "INSERT INTO responses (id, owner_id, input, response, created_at, expires_at) "
            "VALUES (%s, %s, '[]', '{}', %s, %s)",
            (new_id(), OWNER, NOON, NOON + timedelta(days=7)),
        )
        await connection.execute(
            "INSERT INTO answers (id, owner_id, question, answer, status, language, citations, metadata, level, "
            "created_at, expires_at) VALUES (%s, %s, 'q', 'a', 'success', 'en', '[]', '{}', 'public', %s, %s)",
            (new_id(), OWNER, NOON, NOON + timedelta(days=7)),
        )
        await connection.execute(
            "INSERT INTO files (id, owner_id, filename, purpose, bytes, digest, created_at, expires_at) "
            "VALUES (%s, %s, 'f', 'user_data', 6, %s, %s, %s)",
            (new_id(), OWNER, file_digest, NOON, NOON + timedelta(days=2)),
        )
        await connection.execute(
            "INSERT INTO embedding_cache (model_version, content_hash, vector, tokens, created_at) "
            "VALUES ('1', 'a', 'b', 1, %s)",
            (NOON,),
        )
        await connection.execute(
            "INSERT INTO reviews (id, state, title, change_digest, with_model, created_at, finished_at) "
            "VALUES (%s, 'done', 't', %s, false, %s, %s)",
            (review, digest, NOON, NOON),
        )
        await connection.execute(
            "INSERT INTO review_events (review_id, step, kind, data, at) VALUES (%s, 'plan', 'planned', '{}', %s)",
            (review, NOON),
        )
    for name, at in (("old.log", NOON), ("new.log", NOON + timedelta(days=400))):
        (keeping.logs / name).write_text("something that was logged\n")
        os.utime(keeping.logs / name, (at.timestamp(), at.timestamp()))
    return keeping


async def test_each_kind_goes_when_its_time_is_over_and_not_an_hour_before(keeping: Keeping) -> None:
    days = timedelta(days=1)
    assert await keeping.run_after(days - HOUR) == {}
    assert await keeping.run_after(days + HOUR) == {"cached_embeddings": 1}
    assert await keeping.run_after(2 * days - HOUR) == {}
    assert await keeping.run_after(2 * days + HOUR) == {"files": 1}
    assert await keeping.run_after(7 * days - HOUR) == {}
    assert await keeping.run_after(7 * days + HOUR) == {
        "inference_texts": 1,
        "conversations": 1,
        "responses": 1,
        "answers": 1,
    }
    assert await keeping.run_after(30 * days - HOUR) == {}
    assert await keeping.run_after(30 * days + HOUR) == {"review_changes": 1, "review_steps": 1, "log_files": 1}
    assert await keeping.run_after(300 * days) == {}
    assert not [path for path in keeping.settings.blobs_dir.rglob("*") if path.is_file()]
    assert (keeping.logs / "old.log").read_text() == ""
    assert (keeping.logs / "new.log").read_text() != ""


async def test_a_look_says_what_is_due_and_deletes_nothing(keeping: Keeping) -> None:
    keeping.now = NOON + timedelta(days=8)
    due = {
        "cached_embeddings": 1,
        "files": 1,
        "inference_texts": 1,
        "conversations": 1,
        "responses": 1,
        "answers": 1,
    }
    assert await keeping.due() == due
    assert await keeping.due() == due
    await keeping.service().run()
    assert await keeping.due() == {}
    states = {state.kind: state.last for state in await keeping.service().state()}
    last = states["conversations"]
    assert last is not None
    assert (last.at, last.deleted, last.total) == (keeping.now, 1, 1)


async def test_a_setting_of_zero_keeps_conversations_until_the_next_run(keeping: Keeping) -> None:
    given = {"conversation_days": 0}
    keeping.settings = Settings(data_dir=keeping.settings.data_dir, retention=given)
    assert (await keeping.run_after(timedelta(seconds=1)))["conversations"] == 1


async def test_two_processes_never_delete_at_once(keeping: Keeping) -> None:
    keeping.now = NOON + timedelta(days=8)
    async with RetentionRepository(keeping.pool).alone() as alone:
        assert alone
        assert await keeping.service().run() == {}
    assert (await keeping.service().run())["conversations"] == 1


async def test_a_kind_that_fails_keeps_no_other_and_is_tried_again(pool: Pool) -> None:
    done: list[str] = []

    def kept(kind: str, forget: Callable[[datetime], Awaitable[int]]) -> Kept:
        return Kept(kind, HOUR, due=lambda before: forget(before), forget=forget)

    async def work(kind: str, before: datetime) -> int:
        done.append(kind)
        if kind == "second" and len(done) == 2:
            raise Configuration("the disk is full")
        return 1

    kinds = [kept(kind, partial(work, kind)) for kind in ("first", "second", "third")]
    retention = Retention(kinds, RetentionRepository(pool), clock=lambda: NOON)
    with pytest.raises(Configuration, match="the disk is full"):
        await retention.run()
    assert done == ["first", "second", "third"]
    assert set(await RetentionRepository(pool).runs()) == {"first", "third"}
    assert await retention.run() == {"first": 1, "second": 1, "third": 1}


async def test_a_log_that_can_not_be_emptied_or_overwritten_is_named_and_one_that_moved_is_passed_over(
    keeping: Keeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: object, **options: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    def moved(*given: object, **options: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    with monkeypatch.context() as patched:
        patched.setattr("os.truncate", refuse)
        with pytest.raises(Configuration, match=r"old\.log can't be changed: Permission denied"):
            await keeping.run_after(timedelta(days=31))
        patched.setattr("pathlib.Path.open", refuse)
        with pytest.raises(Configuration, match="Permission denied"):
            overwrite_in_logs(keeping.logs, ["something"])
        patched.setattr("pathlib.Path.open", moved)
        assert overwrite_in_logs(keeping.logs, ["something"]) == 0
    assert (await keeping.run_after(timedelta(days=31)))["log_files"] == 1


@pytest.mark.parametrize("before", range(PIECE - 24, PIECE + 2))
def test_a_word_is_overwritten_wherever_it_stands_in_a_large_log(tmp_path: Path, before: int) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"." * before + b"heron@congty.vn heron" + b"." * 10)
    assert overwrite_in_logs(tmp_path, ["heron@congty.vn", "Heron"]) == 2
    assert log.read_bytes() == b"." * before + b"*" * 15 + b" " + b"*" * 5 + b"." * 10


def test_a_word_is_overwritten_in_logs_whatever_its_case_and_nothing_else(tmp_path: Path) -> None:
    log = tmp_path / "deep" / "a.log"
    log.parent.mkdir()
    log.write_text("Ana Bé, ana bé, aNa Bé and ANA BÉ; Anabel stays\n")
    (tmp_path / "empty.log").touch()
    assert overwrite_in_logs(tmp_path, ["Ana Bé", "An"]) == 4
    assert log.read_text() == "*******, *******, ******* and *******; Anabel stays\n"
    assert overwrite_in_logs(tmp_path / "missing", ["Ana Bé"]) == 0
