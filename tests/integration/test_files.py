"""Files below HTTP: what is left on the disk, and what goes when an owner or a time does."""

import asyncio
import errno
import os
from collections.abc import Callable
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import NOON
from tidemill.core.accounts import RIGHTS, Caller, Role
from tidemill.core.classification import Level
from tidemill.core.errors import Configuration, InvalidInput, TooLarge
from tidemill.core.file import File, Purpose
from tidemill.core.ids import new_id
from tidemill.core.review import ReviewState
from tidemill.files.service import Files, shown_name
from tidemill.settings import FileSettings
from tidemill.store.blobs import BlobStore
from tidemill.store.database import Pool
from tidemill.store.files import FileRepository
from tidemill.store.reviews import ReviewRepository, ReviewRow
from tidemill.store.shared_blobs import lock_blob


class Shelf:
    """The service on a folder of its own, with a clock that tests set."""

    def __init__(self, pool: Pool, folder: Path, **settings: int) -> None:
        self.now = NOON
        self.folder = folder / "blobs"
        self.blobs = BlobStore(self.folder)
        self.rows = FileRepository(pool, self.blobs)
        self.files = Files(self.rows, self.blobs, FileSettings(**settings), lambda: self.now)
        self.who = someone()

    async def keep(self, content: bytes, *, who: Caller | None = None, seconds: int | None = None) -> File:
        caller = who or self.who
        async with self.files.receive(caller) as upload:
            await upload.write(content)
            return await self.files.keep(caller, upload, filename="a", purpose=Purpose.USER_DATA, seconds=seconds)

    def left(self) -> list[Path]:
        """Every file in the folder."""
        return [path for path in self.folder.rglob("*") if path.is_file()]


@pytest.fixture
def shelf(pool: Pool, tmp_path: Path) -> Shelf:
    return Shelf(pool, tmp_path)


def someone() -> Caller:
    return Caller(new_id(), Role.MEMBER, RIGHTS[Role.MEMBER])


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("call", ["os.fsync", "tempfile.NamedTemporaryFile", "pathlib.Path.rename"])
async def test_a_full_disk_is_said_and_leaves_nothing(shelf: Shelf, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    monkeypatch.setattr(call, full)
    with pytest.raises(Configuration, match="No space left on device"):
        await shelf.keep(b"x" * 3_000_000)
    assert shelf.left() == []
    assert await shelf.rows.used(shelf.who.owner_id, NOON) == 0


async def test_what_another_upload_takes_away_meanwhile_is_no_fault(shelf: Shelf) -> None:
    shelf.folder.mkdir(parents=True)
    (shelf.folder / "incoming-gone").symlink_to(shelf.folder / "taken away")
    assert (await shelf.keep(b"mine")).bytes == 4


async def test_a_blob_that_a_killed_hub_was_writing_is_removed_a_day_later(shelf: Shelf) -> None:
    await shelf.blobs.put(b"whole")
    left = shelf.folder / "incoming-half"
    left.write_bytes(b"ha")
    await shelf.blobs.put(b"another")
    assert left.exists()
    os.utime(left, (0, 0))
    await shelf.blobs.put(b"a third")
    assert sorted(path.read_bytes() for path in shelf.left()) == [b"a third", b"another", b"whole"]


async def test_an_upload_that_is_cancelled_leaves_nothing(shelf: Shelf) -> None:
    begun = asyncio.Event()

    async def slowly() -> None:
        async with shelf.files.receive(shelf.who) as upload:
            await upload.write(b"x" * 2_000_000)
            begun.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(slowly())
    await begun.wait()
    assert len(shelf.left()) == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert shelf.left() == []


async def test_what_a_killed_hub_left_is_removed_a_day_later(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    await shelf.keep(b"kept")
    (shelf.folder / "incoming-old").write_bytes(b"x")
    await shelf.keep(b"kept")
    assert len(shelf.left()) == 2
    monkeypatch.setattr("tidemill.store.blobs.LEFT_SECONDS", -1.0)
    await shelf.keep(b"kept")
    assert len(shelf.left()) == 1


async def test_the_same_content_uploaded_and_deleted_at_once_is_never_lost(shelf: Shelf) -> None:
    async def one() -> File:
        made = await shelf.keep(b"shared")
        if made.id.int % 2:
            await shelf.files.delete(shelf.who, made.id)
        return made

    made = await asyncio.gather(*(one() for _ in range(40)))
    kept = await shelf.files.list(shelf.who, purpose=None, limit=100, order="asc", after=None)
    assert {file.id for file in kept} == {file.id for file in made if not file.id.int % 2}
    for file in kept:
        found, content = await shelf.files.open(shelf.who, file.id)
        with content:
            assert content.read() == b"shared"
        await shelf.files.delete(shelf.who, found.id)
    assert shelf.left() == []


async def test_two_uploads_at_once_do_not_pass_the_limit_together(pool: Pool, tmp_path: Path) -> None:
    shelf = Shelf(pool, tmp_path, owner_max_bytes=100)
    results = await asyncio.gather(*(shelf.keep(bytes([n]) * 60) for n in range(4)), return_exceptions=True)
    assert sum(isinstance(one, File) for one in results) == 1
    assert sum(isinstance(one, TooLarge) for one in results) == 3
    assert len(shelf.left()) == 1


@pytest.mark.parametrize(
    "end",
    [
        lambda shelf: shelf.rows.expire(NOON + timedelta(hours=2)),
        lambda shelf: shelf.rows.erase_owner([shelf.who.owner_id, new_id()]),
    ],
    ids=["its time is over", "its owner is erased"],
)
async def test_a_file_goes_with_its_content_and_no_other_does(shelf: Shelf, end: Callable[[Shelf], Any]) -> None:
    await shelf.keep(b"goes", seconds=3600)
    other = someone()
    shelf.now = later(NOON)
    stays = await shelf.keep(b"stays", who=other)
    assert await end(shelf) == 1
    assert [path.read_bytes() for path in shelf.left()] == [b"stays"]
    assert (await shelf.files.get(other, stays.id)).id == stays.id


async def test_a_forgotten_review_does_not_take_a_file_s_content_with_it(shelf: Shelf, pool: Pool) -> None:
    made = await shelf.keep(b"a change")
    reviews = ReviewRepository(pool)
    await reviewed(reviews, shelf)
    assert await reviews.forget_changes(shelf.blobs, later(NOON), NOON) == 1
    assert len(shelf.left()) == 1
    await shelf.files.delete(shelf.who, made.id)
    assert shelf.left() == []


async def test_a_file_that_is_uploaded_while_a_review_of_the_same_content_is_forgotten_keeps_its_content(
    shelf: Shelf, pool: Pool
) -> None:
    reviews = ReviewRepository(pool)
    await reviewed(reviews, shelf)
    async with pool.connection() as holding, holding.transaction():
        await lock_blob(holding, sha256(b"a change").hexdigest())
        uploading = asyncio.create_task(shelf.keep(b"a change"))
        await until_waiting(pool, 1)
        forgetting = asyncio.create_task(reviews.forget_changes(shelf.blobs, later(NOON), NOON))
        await until_waiting(pool, 2)
    made = await uploading
    assert await forgetting == 1
    _, content = await shelf.files.open(shelf.who, made.id)
    with content:
        assert content.read() == b"a change"


async def test_a_review_that_is_asked_for_while_its_change_is_forgotten_has_it(shelf: Shelf, pool: Pool) -> None:
    reviews = ReviewRepository(pool)
    await reviewed(reviews, shelf)
    async with pool.connection() as holding, holding.transaction():
        await lock_blob(holding, sha256(b"a change").hexdigest())
        forgetting = asyncio.create_task(reviews.forget_changes(shelf.blobs, later(NOON), NOON))
        await until_waiting(pool, 1)
        asking = asyncio.create_task(reviews.add(review_of(b"a change"), shelf.blobs, b"a change"))
        await until_waiting(pool, 2)
    assert await forgetting == 1
    await asking
    assert [path.read_bytes() for path in shelf.left()] == [b"a change"]
    assert await reviews.forget_changes(shelf.blobs, later(NOON), NOON) == 0


def review_of(change: bytes) -> ReviewRow:
    return ReviewRow(new_id(), None, None, ReviewState.QUEUED, "t", None, None, sha256(change).hexdigest(), False, NOON)


async def reviewed(reviews: ReviewRepository, shelf: Shelf) -> None:
    """A review of a change that has ended."""
    review = review_of(b"a change")
    await reviews.add(review, shelf.blobs, b"a change")
    await reviews.fail(review.id, "no", NOON)


async def until_waiting(pool: Pool, count: int) -> None:
    """Until so many wait for a lock that is not a row's, in the order in which they came."""
    async with pool.connection() as connection:
        for _ in range(500):
            cursor = await connection.execute(
                "SELECT count(*) AS n FROM pg_locks WHERE locktype = 'advisory' AND NOT granted "
                "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            if (await cursor.fetchone() or {})["n"] == count:
                return
            await asyncio.sleep(0.02)
    raise AssertionError("nobody waits")


@pytest.mark.parametrize(
    ("content", "level"),
    [
        (b"Write to lan.nguyen@congty.vn.", Level.CONFIDENTIAL),
        ("Số thẻ: 4111 1111 1111 1111".encode(), Level.SECRET),
        (b"Classification: public", Level.PUBLIC),
        (b"nothing in particular", Level.INTERNAL),
        (b"", Level.INTERNAL),
        (b"\xff lan.nguyen@congty.vn", Level.INTERNAL),
        (b"\0 lan.nguyen@congty.vn", Level.INTERNAL),
        (b"lan.nguyen@congty.vn".rjust(1_000_000), Level.CONFIDENTIAL),
        (b"lan.nguyen@congty.vn".rjust(1_000_001), Level.INTERNAL),
    ],
    ids=["address", "card", "public", "nothing", "empty", "no UTF-8", "NUL", "1 MB", "larger"],
)
async def test_a_text_file_has_the_level_of_its_text_and_any_other_the_default(
    shelf: Shelf, content: bytes, level: Level
) -> None:
    made = await shelf.keep(content)
    assert (await shelf.files.get(shelf.who, made.id)).level is made.level is level


async def test_an_empty_file_is_a_file(shelf: Shelf) -> None:
    made = await shelf.keep(b"")
    _, content = await shelf.files.open(shelf.who, made.id)
    with content:
        assert content.read() == b""


@pytest.mark.parametrize("name", ["", "/", "..", "a/", "\x00\x01"[1:], "   "])
def test_a_name_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        shown_name(name)


def later(moment: datetime) -> datetime:
    return moment + timedelta(minutes=1)
