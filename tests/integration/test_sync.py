"""Syncs: what changed is read, cut and embedded, and nothing else; what is gone is gone; one bad file is a row."""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.syncing import EVERYTHING, CountingReader, Syncing
from tidemill.core.classification import Level
from tidemill.core.document import ChunkStrategy, RawDocument, Source, SourceKind
from tidemill.core.embedding import EmbeddingRequest, Embeddings
from tidemill.core.errors import ContextTooLong, ModelFailed, NotFound, NotPermitted, Unavailable
from tidemill.core.search import Reader
from tidemill.core.sync import SyncState
from tidemill.crawlers.port import Failed, Found, Known, Unchanged
from tidemill.jobs.direct import Interrupted
from tidemill.llm.scripted_embeddings import ScriptedEmbedder
from tidemill.settings.knowledge import ReadingSettings
from tidemill.store.database import Pool

MEALS = (
    "# Meals\n\nA meal on a trip is paid up to three hundred thousand a day, and drinks are not paid at all.\n\n"
    "# Trains\n\nTrains go in second class, and a sleeper is paid where the journey takes a whole night.\n"
)
LEAVE = "# Leave\n\nEach year has fifteen days of leave. Ask two weeks before.\n"
LONG_AGO = 1_700_000_000


@pytest.fixture
async def syncing(pool: Pool, tmp_path: Path) -> AsyncIterator[Syncing]:
    made = Syncing(pool, tmp_path)
    yield made
    await made.reader.close()


def old(path: Path) -> Path:
    """The file as one that was written long ago, whose time says for certain whether it changes."""
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


async def test_a_folder_is_read_cut_embedded_and_can_be_searched_by_its_words(syncing: Syncing) -> None:
    syncing.write("travel/meals.md", MEALS)
    syncing.write("leave.md", LEAVE)
    syncing.write("picture.png", b"\x89PNG\r\n")
    syncing.write(".hidden.md", "hidden")
    source = await syncing.source()
    sync = await syncing.sync(source)
    assert sync.state is SyncState.DONE, sync.error
    assert (sync.counts.seen, sync.counts.new, sync.counts.failed) == (2, 2, 0)
    assert sync.counts.chunks_added == sync.counts.embedded == 3
    found = await syncing.documents.page(source.id, EVERYTHING, limit=10)
    assert [(one.path, one.title, one.language, one.chunks) for one in found] == [
        ("leave.md", "Leave", "en", 1),
        ("travel/meals.md", "Meals", "en", 2),
    ]
    assert len(await syncing.rows("SELECT 1 FROM chunk_vectors")) == 3
    assert not await syncing.rows("SELECT 1 FROM chunks_to_embed")
    stored = await syncing.sources.find(source.id)
    assert stored is not None
    assert stored.synced_at == syncing.now
    assert syncing.ended == ["done"]


async def test_a_second_sync_reads_nothing_and_embeds_nothing(syncing: Syncing) -> None:
    old(syncing.write("a.md", MEALS))
    syncing.write("just written.md", LEAVE)
    syncing.write("broken.pdf", b"%PDF-1.4 nothing more")
    source = await syncing.source()
    first = await syncing.sync(source)
    assert (first.counts.new, first.counts.failed) == (2, 1)
    before = await syncing.rows("SELECT id, hash, xmin FROM chunks ORDER BY id")
    syncing.reader.read_paths.clear()
    syncing.embedder.requests.clear()
    second = await syncing.sync(source)
    assert second.state is SyncState.DONE
    assert (second.counts.seen, second.counts.unchanged, second.counts.failed) == (3, 2, 1)
    assert (second.counts.new, second.counts.changed, second.counts.gone, second.counts.embedded) == (0, 0, 0, 0)
    assert syncing.reader.read_paths == []
    assert syncing.embedder.requests == []
    assert await syncing.rows("SELECT id, hash, xmin FROM chunks ORDER BY id") == before


async def test_an_edit_embeds_the_chunks_that_changed_and_no_others(syncing: Syncing) -> None:
    syncing.write("meals.md", MEALS)
    syncing.write("leave.md", LEAVE)
    source = await syncing.source()
    await syncing.sync(source)
    syncing.embedder.requests.clear()
    syncing.reader.read_paths.clear()
    syncing.now += timedelta(hours=1)
    syncing.write("meals.md", MEALS.replace("second", "first"))
    sync = await syncing.sync(source)
    assert syncing.reader.read_paths == ["meals.md"]
    assert [text for text in syncing.embedded if "first class" in text] == syncing.embedded
    assert (sync.counts.changed, sync.counts.chunks_added, sync.counts.chunks_kept, sync.counts.chunks_removed) == (
        1, 1, 1, 1,
    )  # fmt: skip
    versions = await syncing.rows(
        "SELECT ended_at, raw_digest FROM document_versions WHERE path = 'meals.md' ORDER BY 1"
    )
    assert [one["ended_at"] for one in versions] == [syncing.now, None]
    for one in versions:
        assert await syncing.blobs.get(one["raw_digest"])


async def test_what_the_folder_lost_is_found_no_more_and_its_bytes_stay_for_a_while(syncing: Syncing) -> None:
    meals = syncing.write("meals.md", MEALS)
    syncing.write("leave.md", LEAVE)
    source = await syncing.source()
    await syncing.sync(source)
    [row] = await syncing.rows("SELECT raw_digest FROM documents WHERE path = 'meals.md'")
    meals.unlink()
    sync = await syncing.sync(source)
    assert (sync.counts.gone, sync.counts.chunks_removed) == (1, 2)
    assert await syncing.texts() == ["# Leave\n\nEach year has fifteen days of leave. Ask two weeks before."]
    for table in ("postings", "chunk_vectors"):
        assert not await syncing.rows(f"SELECT 1 FROM {table} WHERE chunk_id NOT IN (SELECT id FROM chunks)")
    assert len(await syncing.rows("SELECT 1 FROM document_texts")) == 1
    assert await syncing.blobs.get(row["raw_digest"]) == MEALS.encode()
    assert await syncing.documents.forget_versions(syncing.now) == 0
    assert await syncing.documents.forget_versions(syncing.now + timedelta(days=1)) == 1
    with pytest.raises(NotFound):
        await syncing.blobs.get(row["raw_digest"])


async def test_one_bad_file_is_a_row_with_its_reason_and_read_again_only_when_it_changes(syncing: Syncing) -> None:
    bad = old(syncing.write("bad.pdf", b"%PDF-1.4 not really"))
    old(syncing.write("good.md", LEAVE))
    old(syncing.write("empty.txt", ""))
    source = await syncing.source()
    sync = await syncing.sync(source)
    assert sync.state is SyncState.DONE
    assert (sync.counts.new, sync.counts.failed) == (1, 2)
    failures = await syncing.documents.failures(source.id, limit=10)
    assert [(one.path, one.code) for one in failures] == [("bad.pdf", "corrupt"), ("empty.txt", "empty")]
    assert "bad.pdf" in failures[0].reason
    syncing.reader.read_paths.clear()
    await syncing.sync(source)
    assert syncing.reader.read_paths == []
    bad.write_bytes(b"%PDF-1.4 still not")
    await syncing.sync(source)
    assert syncing.reader.read_paths == ["bad.pdf"]
    bad.unlink()
    await syncing.sync(source)
    assert [one.path for one in await syncing.documents.failures(source.id, limit=10)] == ["empty.txt"]


async def test_a_document_over_a_bound_is_read_once_the_bound_is_raised(syncing: Syncing) -> None:
    old(syncing.write("table.csv", "name,amount\n" + "\n".join(f"n{row},{row}" for row in range(30))))
    old(syncing.write("bad.pdf", b"%PDF-1.4 not really"))
    source = await syncing.source()
    both, read = ["bad.pdf", "table.csv"], []
    for rows, codes in ((20, ["corrupt", "too_large"]), (20, ["corrupt", "too_large"]), (40, ["corrupt"])):
        knowledge = syncing.settings.knowledge.model_copy(update={"reading": ReadingSettings(max_rows=rows)})
        syncing.settings = syncing.settings.model_copy(update={"knowledge": knowledge})
        await syncing.reader.close()
        syncing.reader = CountingReader(syncing.settings)
        syncing.start()
        assert (await syncing.sync(source)).state is SyncState.DONE
        assert [one.code for one in await syncing.documents.failures(source.id, limit=5)] == codes
        read.append(syncing.reader.read_paths)
    assert read == [both, [], both]
    assert len(await syncing.documents.page(source.id, EVERYTHING, limit=5)) == 1


async def test_a_file_that_can_no_longer_be_read_keeps_what_it_said_before(syncing: Syncing) -> None:
    file = syncing.write("notes.md", LEAVE)
    source = await syncing.source()
    await syncing.sync(source)
    before = await syncing.texts()
    file.write_bytes(b"\x00\x01\x02" * 100)
    sync = await syncing.sync(source)
    assert (sync.counts.failed, sync.counts.gone) == (1, 0)
    assert await syncing.texts() == before
    file.write_text(LEAVE)
    sync = await syncing.sync(source)
    assert sync.counts.failed == 0
    assert await syncing.documents.failures(source.id, limit=10) == []


async def test_the_same_text_twice_is_embedded_once_and_linked(syncing: Syncing) -> None:
    words = " ".join(f"clause {number} binds the buyer of lot {number * 7}" for number in range(60))
    syncing.write("a.txt", words)
    syncing.write("b.txt", words + "\n")
    syncing.write("c.txt", words.replace("clause 59", "clause fifty-nine"))
    syncing.write("d.txt", "Something else altogether, of which no other document here says anything at all, ever.")
    source = await syncing.source()
    await syncing.sync(source)
    found = {one.path: one for one in await syncing.documents.page(source.id, EVERYTHING, limit=10)}
    assert found["a.txt"].duplicate_of is None
    assert (found["b.txt"].duplicate_of, found["b.txt"].similarity) == (found["a.txt"].id, 1.0)
    assert found["c.txt"].duplicate_of == found["a.txt"].id
    assert 0.8 <= (found["c.txt"].similarity or 0) < 1
    assert found["d.txt"].duplicate_of is None
    assert len(set(syncing.embedded)) == len(syncing.embedded)


async def test_a_text_that_is_more_sensitive_than_its_source_is_for_fewer(syncing: Syncing) -> None:
    syncing.write("plain.md", LEAVE + "\nAsk hr@example.org.\n")
    card = syncing.write("card.md", "# Card\n\nThe travel card is 4111 1111 1111 1111, for all of us.\n")
    source = await syncing.source(level=Level.PUBLIC)
    await syncing.sync(source)
    everyone, few = Reader(Level.PUBLIC, all_departments=True), Reader(Level.SECRET, all_departments=True)
    assert [one.path for one in await syncing.documents.page(source.id, everyone, limit=9)] == ["plain.md"]
    assert [(one.path, one.level) for one in await syncing.documents.page(source.id, few, limit=9)] == [
        ("card.md", Level.SECRET),
        ("plain.md", Level.PUBLIC),
    ]
    async with syncing.pool.connection() as connection:
        await syncing.sources.change(connection, replace(source, level=Level.CONFIDENTIAL))
    assert await syncing.documents.page(source.id, everyone, limit=9) == []
    inner = Reader(Level.CONFIDENTIAL, all_departments=True)
    assert [one.path for one in await syncing.documents.page(source.id, inner, limit=9)] == ["plain.md"]
    card.write_text("# Card\n\nThe travel card is in the safe, for all of us.\n")
    await syncing.sync(source)
    assert [one.path for one in await syncing.documents.page(source.id, inner, limit=9)] == ["card.md", "plain.md"]
    scopes = await syncing.rows("SELECT text_rank, level_rank, chunks FROM scopes JOIN scope_sizes ON scope_id = id")
    assert {(one["text_rank"], one["level_rank"], one["chunks"]) for one in scopes} == {(0, 2, 2), (3, 3, 0)}


async def test_another_way_of_cutting_is_applied_at_the_next_sync(syncing: Syncing) -> None:
    old(syncing.write("meals.md", MEALS))
    source = await syncing.source()
    await syncing.sync(source)
    assert len(await syncing.texts()) == 2
    changed = replace(source, strategy=ChunkStrategy.SENTENCES)
    async with syncing.pool.connection() as connection:
        await syncing.sources.change(connection, changed)
    sync = await syncing.sync(changed)
    assert sync.counts.changed == 1
    assert await syncing.rows("SELECT 1 FROM documents WHERE chunked_by LIKE 'sentences/%%'")
    assert (await syncing.sync(changed)).counts.unchanged == 1


async def test_cutting_by_meaning_asks_the_embedding_model(syncing: Syncing) -> None:
    text = " ".join(f"Sentence number {number} tells of ships and harbours." for number in range(60))
    syncing.write("ships.txt", text)
    source = await syncing.source(strategy=ChunkStrategy.SEMANTIC)
    sync = await syncing.sync(source)
    assert sync.state is SyncState.DONE, sync.error
    assert len(await syncing.texts()) > 1


async def test_a_missing_embedding_model_fails_the_sync_and_loses_nothing(syncing: Syncing) -> None:
    syncing.write("leave.md", LEAVE)
    syncing.installed.clear()
    source = await syncing.source()
    sync = await syncing.sync(source)
    assert sync.state is SyncState.FAILED
    assert "Fetch it with" in (sync.error or "")
    assert len(await syncing.texts()) == 1
    syncing.installed.add("scripted")
    syncing.reader.read_paths.clear()
    again = await syncing.sync(source)
    assert again.state is SyncState.DONE
    assert again.counts.embedded == 1
    assert syncing.reader.read_paths == []


class Choosy(ScriptedEmbedder):
    """Reads ten words, and nothing of what is said to be kept here."""

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        """As the port says."""
        for text in request.texts:
            if "keep it here" in text:
                raise NotPermitted("This text may not leave the team's network.")
            if len(text.split()) > 10:
                raise ContextTooLong(prompt_tokens=len(text.split()), context_tokens=10, param="input", what="the text")
        return await super().embed(request)


async def test_a_text_that_a_model_cannot_or_may_not_have_stops_no_other(pool: Pool, tmp_path: Path) -> None:
    syncing = Syncing(pool, tmp_path, embedder=Choosy())
    syncing.write("long.txt", " ".join(f"word{number}" for number in range(50)))
    syncing.write("kept.txt", "This is ours: keep it here.")
    syncing.write("short.txt", "This may be known.")
    source = await syncing.source()
    sync = await syncing.sync(source)
    assert sync.state is SyncState.DONE, sync.error
    assert sync.counts.embedded >= sync.counts.shortened >= 1
    paths = (
        "SELECT path FROM chunk_vectors JOIN chunks ON chunks.id = chunk_id "
        "JOIN documents ON documents.id = document_id"
    )
    assert {row["path"] for row in await syncing.rows(paths)} == {"long.txt", "short.txt"}
    assert (await syncing.sync(source)).state is SyncState.DONE


class Interrupting(ScriptedEmbedder):
    """Is broken off in the middle, once."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self._left = after

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        """As the port says."""
        self._left -= 1
        if self._left == 0:
            raise Interrupted("embed")
        return await super().embed(request)


async def test_a_text_at_which_the_model_fails_stops_no_other_and_a_model_that_is_broken_is_said(
    pool: Pool, tmp_path: Path
) -> None:
    class Failing(ScriptedEmbedder):
        broken = False

        async def embed(self, request: EmbeddingRequest) -> Embeddings:
            if self.broken or any("poison" in text for text in request.texts):
                raise ModelFailed("It gave something that is no vector.")
            return await super().embed(request)

    model = Failing()
    syncing = Syncing(pool, tmp_path, embedder=model)
    syncing.write("a.txt", "This text is poison for the model.")
    syncing.write("b.txt", "This one is none.")
    source = await syncing.source()
    sync = await syncing.sync(source)
    assert (sync.state, sync.counts.embedded) == (SyncState.DONE, 1), sync.error
    assert len(await syncing.texts()) == 2
    model.broken = True
    syncing.write("c.txt", "This one comes later.")
    sync = await syncing.sync(source)
    assert (sync.state, sync.error) == (SyncState.FAILED, "It gave something that is no vector.")
    assert len(await syncing.texts()) == 3


async def test_a_sync_that_is_broken_off_goes_on_where_it_was(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemill.flows.chunk_vectors.BATCH", 3)
    syncing = Syncing(pool, tmp_path, embedder=Interrupting(after=3))
    for number in range(7):
        syncing.write(f"{number}.txt", f"Note number {number} of many.")
    source = await syncing.source()
    with pytest.raises(Interrupted):
        await syncing.flow.start(source.id, None)
    [row] = await syncing.rows("SELECT id, state FROM source_syncs")
    assert row["state"] == "running"
    read = list(syncing.reader.read_paths)
    assert len(read) == len(set(read)) == 7
    await syncing.jobs.submit("sync", str(row["id"]))
    sync = await syncing.flow.find(row["id"])
    assert sync is not None
    assert sync.state is SyncState.DONE
    assert syncing.reader.read_paths == read, "nothing is read again"
    assert sorted(syncing.embedded) == sorted(f"Note number {number} of many." for number in range(7))
    assert sync.counts.embedded == 7


async def test_collecting_that_is_broken_off_reads_the_rest_alone(syncing: Syncing) -> None:
    for number in range(10):
        syncing.write(f"{number}.txt", f"Note number {number} of many.")
    source = await syncing.source()
    reads = 0
    inner = syncing.reader.read

    async def read(document: object) -> object:
        nonlocal reads
        reads += 1
        if reads == 6:
            raise Interrupted("collect")
        return await inner(document)  # type: ignore[arg-type]

    syncing.reader.read = read  # type: ignore[method-assign, assignment]
    with pytest.raises(Interrupted):
        await syncing.flow.start(source.id, None)
    [row] = await syncing.rows("SELECT id FROM source_syncs")
    await syncing.jobs.submit("sync", str(row["id"]))
    assert reads == 11
    assert len(await syncing.texts()) == 10
    assert len(await syncing.rows("SELECT 1 FROM document_versions")) == 10


async def test_a_sync_can_be_cancelled_and_what_it_wrote_stays(syncing: Syncing) -> None:
    for number in range(5):
        syncing.write(f"{number}.txt", f"Note number {number} of many.")
    source = await syncing.source()
    inner = syncing.reader.read

    async def read(document: object) -> object:
        if len(syncing.reader.read_paths) == 3:
            [row] = await syncing.rows("SELECT id FROM source_syncs")
            await syncing.flow.cancel(source.id, row["id"])
        return await inner(document)  # type: ignore[arg-type]

    syncing.reader.read = read  # type: ignore[method-assign, assignment]
    sync = await syncing.sync(source)
    assert sync.state is SyncState.CANCELLED
    assert len(await syncing.texts()) == 3
    assert "Note number 4 of many." not in syncing.embedded
    syncing.reader.read = inner  # type: ignore[method-assign]
    assert (await syncing.sync(source)).state is SyncState.DONE
    assert len(await syncing.texts()) == 5


async def test_a_source_that_is_deleted_during_its_sync_ends_it_and_leaves_nothing(syncing: Syncing) -> None:
    for number in range(5):
        syncing.write(f"{number}.txt", f"Note number {number} of many.")
    source = await syncing.source()
    inner = syncing.reader.read

    async def read(document: object) -> object:
        if len(syncing.reader.read_paths) == 3:
            await syncing.sources.empty(source.id, syncing.now)
            async with syncing.pool.connection() as connection:
                assert await syncing.sources.remove(connection, source.id)
        return await inner(document)  # type: ignore[arg-type]

    syncing.reader.read = read  # type: ignore[method-assign, assignment]
    started = await syncing.flow.start(source.id, None)
    assert await syncing.flow.find(started.id) is None
    for table in ("sources", "scopes", "source_syncs", "documents", "document_versions", "document_texts", "chunks",
                  "postings", "chunk_vectors", "chunks_to_embed", "document_bands"):  # fmt: skip
        assert not await syncing.rows(f"SELECT 1 FROM {table}"), table
    assert [path for path in syncing.settings.blobs_dir.rglob("*") if path.is_file()] == []


async def test_a_folder_that_is_gone_fails_the_sync_and_forgets_nothing(syncing: Syncing) -> None:
    syncing.write("leave.md", LEAVE)
    source = await syncing.source()
    await syncing.sync(source)
    syncing.files.rename(syncing.folder / "elsewhere")
    sync = await syncing.sync(source)
    assert sync.state is SyncState.FAILED
    assert "There is no folder" in (sync.error or "")
    assert len(await syncing.texts()) == 1


async def test_no_file_outside_of_the_folder_is_read_and_none_of_the_hubs_own(syncing: Syncing) -> None:
    secret = syncing.folder / "secret.txt"
    secret.write_text("outside of it")
    (syncing.files / "link.txt").symlink_to(secret)
    (syncing.files / "up").symlink_to(syncing.folder)
    os.mkfifo(syncing.files / "pipe.txt")
    syncing.write("here.txt", "inside of it")
    source = await syncing.source()
    await syncing.sync(source)
    assert await syncing.texts() == ["inside of it"]
    own = await syncing.source("own", location=str(syncing.settings.data_dir))
    assert "own data" in ((await syncing.sync(own)).error or "")
    above = await syncing.source("above", location=str(syncing.folder.resolve()))
    await syncing.sync(above)
    assert sorted(await syncing.texts(above.id)) == ["inside of it", "outside of it"]


async def test_uploads_are_read_and_one_that_comes_during_a_sync_is_not_missed(syncing: Syncing) -> None:
    source = await syncing.source("uploads", SourceKind.UPLOAD)

    async def upload(path: str, text: str) -> None:
        async with syncing.blobs.receive() as incoming:
            await incoming.write(text.encode())
            await incoming.finish()
            assert await syncing.sources.upload(source.id, path, incoming, None, syncing.now)

    await upload("a.md", LEAVE)
    inner = syncing.reader.read

    async def read(document: object) -> object:
        if not syncing.reader.read_paths:
            await upload("b.md", MEALS)
            assert (await syncing.flow.start(source.id, None)).state is SyncState.RUNNING
        return await inner(document)  # type: ignore[arg-type]

    syncing.reader.read = read  # type: ignore[method-assign, assignment]
    await syncing.sync(source)
    assert syncing.reader.read_paths == ["a.md", "b.md"]
    assert len(await syncing.flow.latest(source.id, limit=5)) == 2
    assert await syncing.sources.take_back(source.id, "a.md")
    assert (await syncing.sync(source)).counts.gone == 1


async def test_a_source_is_synced_when_its_time_has_come(syncing: Syncing) -> None:
    syncing.write("leave.md", LEAVE)
    source = await syncing.source(sync_every=3600)
    other = await syncing.source("other")
    await syncing.flow.settle()
    await syncing.flow.settle()
    assert len(await syncing.flow.latest(source.id, limit=5)) == 1
    assert await syncing.flow.latest(other.id, limit=5) == []
    syncing.now += timedelta(minutes=61)
    await syncing.flow.settle()
    assert len(await syncing.flow.latest(source.id, limit=5)) == 2


async def test_a_sync_whose_workflow_was_lost_gets_it_again_and_a_stranded_one_ends(syncing: Syncing) -> None:
    source = await syncing.source()
    started = await syncing.sync(source)
    lost = replace(started, id=source.id, state=SyncState.QUEUED, finished_at=None)
    await syncing.syncs.add(lost)
    syncing.now += timedelta(minutes=1)
    await syncing.flow.settle()
    found = await syncing.flow.find(lost.id)
    assert found is not None
    assert found.state is SyncState.DONE
    stranded = replace(lost, id=started.source_id.__class__(int=7))
    await syncing.syncs.add(stranded)
    syncing.jobs.break_off(str(stranded.id))
    await syncing.flow.settle()
    found = await syncing.flow.find(stranded.id)
    assert found is not None
    assert found.state is SyncState.FAILED


async def test_a_new_embedding_model_is_filled_beside_the_old_one_and_then_takes_over(syncing: Syncing) -> None:
    syncing.write("leave.md", LEAVE)
    syncing.write("meals.md", MEALS)
    source = await syncing.source()
    await syncing.sync(source)
    [(before, waiting)] = await syncing.flow.spaces()
    assert (before.model, before.current, waiting) == ("scripted", True, 0)
    syncing.model = "other"
    syncing.start()
    assert await syncing.vectors.stale()
    seen: list[tuple[str, bool]] = []

    class Watching(ScriptedEmbedder):
        async def embed(self, request: EmbeddingRequest) -> Embeddings:
            seen.extend((space.model, space.current) for space, _ in await syncing.flow.spaces())
            return await super().embed(request)

    syncing.embedder = Watching()
    syncing.start()
    syncing.reader.read_paths.clear()
    await syncing.flow.reembed()
    assert ("scripted", True) in seen
    assert ("other", False) in seen
    [(after, waiting)] = await syncing.flow.spaces()
    assert (after.model, after.current, waiting) == ("other", True, 0)
    assert syncing.reader.read_paths == []
    assert len(syncing.embedded) == 3
    assert len(await syncing.rows("SELECT 1 FROM chunk_vectors WHERE space_id = %s", after.id)) == 3
    assert len(await syncing.rows("SELECT 1 FROM chunk_vectors")) == 3
    assert not await syncing.vectors.stale()


class Away(ScriptedEmbedder):
    """Is away at first."""

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        """As the port says."""
        if not self.requests:
            self.requests.append(request)
            raise Unavailable("The model is starting.")
        return await super().embed(request)


async def test_a_model_that_is_away_for_a_moment_is_asked_again(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemill.flows.sync_run.PAUSES", (0.0,))
    syncing = Syncing(pool, tmp_path, embedder=Away())
    syncing.write("leave.md", LEAVE)
    sync = await syncing.sync(await syncing.source())
    assert sync.state is SyncState.DONE, sync.error


async def test_two_syncs_at_once_leave_no_chunk_without_its_vector(syncing: Syncing) -> None:
    first = await syncing.source()
    second = await syncing.source("again")
    for number in range(8):
        syncing.write(f"{number}.txt", f"Note number {number} of many.")
    await asyncio.gather(syncing.sync(first), syncing.sync(second))
    assert len(await syncing.rows("SELECT 1 FROM chunk_vectors")) == 16
    assert not await syncing.rows("SELECT 1 FROM chunks_to_embed")


class Origin:
    """A source whose documents a test sets: bytes, `None` for one that has not changed, or a failure."""

    def __init__(self) -> None:
        self.found: dict[str, bytes | str | None] = {}
        self.known: Mapping[str, Known] = {}

    def check(self, source: Source) -> None:
        """Everything goes."""

    async def crawl(self, source: Source, known: Mapping[str, Known]) -> AsyncGenerator[Found, None]:
        """What the test set."""
        self.known = known
        for path, content in self.found.items():
            if content is None:
                yield Unchanged(path)
            elif isinstance(content, str):
                yield Failed(path, "timeout", content)
            else:
                yield RawDocument(path, content, title="A page", etag="1", author="Mai")


async def test_a_document_that_can_not_be_fetched_for_a_while_stays_and_is_known(pool: Pool, tmp_path: Path) -> None:
    origin = Origin()
    syncing = Syncing(pool, tmp_path, crawlers={SourceKind.WEBSITE: origin})
    source = await syncing.source("site", SourceKind.WEBSITE)
    origin.found = {"/a": LEAVE.encode(), "/b": MEALS.encode()}
    await syncing.sync(source)
    before = await syncing.texts()
    for _ in range(2):
        origin.found = {"/a": None, "/b": "It did not answer."}
        sync = await syncing.sync(source)
        assert (sync.counts.failed, sync.counts.gone) == (1, 0)
        assert set(origin.known) == {"/a", "/b"}
        assert [one.code for one in await syncing.documents.failures(source.id, limit=5)] == ["timeout"]
    origin.found = {"/a": None, "/b": None}
    sync = await syncing.sync(source)
    assert (sync.counts.failed, sync.counts.unchanged) == (0, 2)
    assert await syncing.documents.failures(source.id, limit=5) == []
    assert await syncing.texts() == before


async def test_what_the_origin_does_not_send_again_is_cut_anew_from_the_stored_bytes(
    pool: Pool, tmp_path: Path
) -> None:
    origin = Origin()
    syncing = Syncing(pool, tmp_path, crawlers={SourceKind.WEBSITE: origin})
    source = await syncing.source("site", SourceKind.WEBSITE)
    origin.found = {"/a.md": MEALS.encode()}
    await syncing.sync(source)
    origin.found = {"/a.md": None}
    changed = replace(source, strategy=ChunkStrategy.TOKENS)
    async with syncing.pool.connection() as connection:
        await syncing.sources.change(connection, changed)
    assert (await syncing.sync(changed)).counts.changed == 1
    [document] = await syncing.documents.page(source.id, EVERYTHING, limit=5)
    assert (document.author, document.title) == ("Mai", "Meals")
    assert await syncing.rows("SELECT 1 FROM documents WHERE chunked_by LIKE 'tokens/%%' AND etag = '1'")


async def test_a_path_that_is_too_long_to_be_kept_is_a_failure_and_stops_nothing(pool: Pool, tmp_path: Path) -> None:
    origin = Origin()
    syncing = Syncing(pool, tmp_path, crawlers={SourceKind.WEBSITE: origin})
    source = await syncing.source("site", SourceKind.WEBSITE)
    long = "/" + "".join(chr(0x4E00 + number * 7 % 20_000) for number in range(999))
    origin.found = {long: MEALS.encode(), "/b": LEAVE.encode()}
    for _ in range(2):
        sync = await syncing.sync(source)
        assert (sync.state, sync.counts.seen, sync.counts.failed) == (SyncState.DONE, 2, 1), sync.error
        [failure] = await syncing.documents.failures(source.id, limit=5)
        assert failure.code == "path_too_long"
        assert failure.path.startswith(long[:100])
    assert len(await syncing.texts()) == 1


async def test_documents_are_embedded_while_others_are_still_collected(pool: Pool, tmp_path: Path) -> None:
    embedded = asyncio.Event()

    class Telling(ScriptedEmbedder):
        async def embed(self, request: EmbeddingRequest) -> Embeddings:
            made = await super().embed(request)
            if any("fifteen days" in text for text in request.texts):
                embedded.set()
            return made

    class Slow(Origin):
        async def crawl(self, source: Source, known: Mapping[str, Known]) -> AsyncGenerator[Found, None]:
            yield RawDocument("/leave.md", LEAVE.encode())
            async with asyncio.timeout(30):
                await embedded.wait()
            yield RawDocument("/meals.md", MEALS.encode())

    syncing = Syncing(pool, tmp_path, crawlers={SourceKind.WEBSITE: Slow()}, embedder=Telling())
    sync = await syncing.sync(await syncing.source("site", SourceKind.WEBSITE))
    assert (sync.state, sync.counts.embedded) == (SyncState.DONE, 3), sync.error
    assert not await syncing.rows("SELECT 1 FROM chunks_to_embed")


async def test_no_text_of_a_level_that_may_not_leave_is_given_to_a_model_outside(syncing: Syncing) -> None:
    syncing.may_have = lambda model, level: level.rank <= Level.INTERNAL.rank
    syncing.write("leave.md", LEAVE)
    plans = await syncing.source("plans", level=Level.CONFIDENTIAL)
    assert (await syncing.sync(plans)).state is SyncState.DONE
    assert syncing.embedded == []
    assert len(await syncing.texts()) == 1
    by_meaning = await syncing.source("by meaning", level=Level.SECRET, strategy=ChunkStrategy.SEMANTIC)
    syncing.write("long.md", "One thing is so. Another thing is not so. A third one is neither. " * 20)
    assert (await syncing.sync(by_meaning)).state is SyncState.DONE
    assert {one.code for one in await syncing.documents.failures(by_meaning.id, limit=5)} == {"not_permitted"}
    assert syncing.embedded == []
    handbook = await syncing.source("handbook", level=Level.INTERNAL)
    await syncing.sync(handbook)
    assert len([text for text in syncing.embedded if "fifteen days" in text]) == 1
    (syncing.files / "long.md").unlink()
    syncing.embedder.requests.clear()
    async with syncing.pool.connection() as connection:
        await syncing.sources.change(connection, replace(plans, level=Level.PUBLIC))
    syncing.write("new.md", "# New\n\nThis stands in no other document.\n")
    await syncing.sync(plans)
    assert [text for text in syncing.embedded if "no other document" in text]
    assert not await syncing.rows(
        "SELECT 1 FROM chunks JOIN documents ON documents.id = document_id WHERE source_id = %s "
        "AND NOT EXISTS (SELECT 1 FROM chunk_vectors WHERE chunk_id = chunks.id)",
        plans.id,
    )


async def test_a_sentence_that_is_too_long_for_the_model_is_compared_by_its_beginning(
    pool: Pool, tmp_path: Path
) -> None:
    class Short(ScriptedEmbedder):
        async def embed(self, request: EmbeddingRequest) -> Embeddings:
            if max(map(len, request.texts)) > 100:
                raise ContextTooLong(prompt_tokens=max(map(len, request.texts)), context_tokens=100)
            return await super().embed(request)

    syncing = Syncing(pool, tmp_path, embedder=Short())
    syncing.write("long.txt", "A sentence that goes on, and on, and on, until nobody knows how it began. " * 12)
    sync = await syncing.sync(await syncing.source(strategy=ChunkStrategy.SEMANTIC))
    assert (sync.state, sync.counts.new, sync.counts.failed) == (SyncState.DONE, 1, 0), sync.error


async def test_copies_of_a_document_that_changes_or_goes_name_the_next_one(syncing: Syncing) -> None:
    text = " ".join(f"word{number}" for number in range(60))
    for number, name in enumerate(("a", "b", "c", "d")):
        syncing.now += timedelta(seconds=number)
        syncing.write(f"{name}.txt", text if name != "d" else f"{text} and one more")
    source = await syncing.source()
    await syncing.sync(source)

    async def named() -> dict[str, str | None]:
        found = await syncing.documents.page(source.id, EVERYTHING, limit=10)
        paths = {one.id: one.path for one in found}
        return {one.path: paths[one.duplicate_of] if one.duplicate_of else None for one in found}

    assert await named() == {"a.txt": None, "b.txt": "a.txt", "c.txt": "a.txt", "d.txt": "a.txt"}
    syncing.write("a.txt", " ".join(f"other{number}" for number in range(60)))
    await syncing.sync(source)
    assert await named() == {"a.txt": None, "b.txt": None, "c.txt": "b.txt", "d.txt": "b.txt"}
    (syncing.files / "b.txt").unlink()
    await syncing.sync(source)
    assert await named() == {"a.txt": None, "c.txt": None, "d.txt": "c.txt"}
    folder = syncing.folder / "more"
    folder.mkdir()
    (folder / "e.txt").write_text(text)
    copy = await syncing.source("more", location=str(folder.resolve()))
    await syncing.sync(copy)
    await syncing.sources.empty(source.id, syncing.now)
    [left] = await syncing.documents.page(copy.id, EVERYTHING, limit=10)
    assert left.duplicate_of is None


async def test_what_comes_while_a_source_is_removed_is_not_left_behind(syncing: Syncing) -> None:
    syncing.write("leave.md", LEAVE)
    source = await syncing.source()
    await syncing.sync(source)
    await syncing.sources.empty(source.id, syncing.now)
    await syncing.sync(source)
    async with syncing.pool.connection() as connection, connection.transaction():
        assert not await syncing.sources.remove(connection, source.id)
    await syncing.sources.empty(source.id, syncing.now)
    async with syncing.pool.connection() as connection, connection.transaction():
        assert await syncing.sources.remove(connection, source.id)
    assert [path for path in syncing.settings.blobs_dir.rglob("*") if path.is_file()] == []


async def test_an_origin_that_wants_to_be_left_alone_for_long_is_not_asked_again(pool: Pool, tmp_path: Path) -> None:
    asked = 0

    class Limited(Origin):
        async def crawl(self, source: Source, known: Mapping[str, Known]) -> AsyncGenerator[Found, None]:
            nonlocal asked
            asked += 1
            yield RawDocument("/leave.md", LEAVE.encode())
            raise Unavailable("It allows no more requests for an hour.", retry_after=3600)

    syncing = Syncing(pool, tmp_path, crawlers={SourceKind.WEBSITE: Limited()})
    sync = await syncing.sync(await syncing.source("site", SourceKind.WEBSITE))
    assert (sync.state, asked) == (SyncState.FAILED, 1)
    assert len(await syncing.texts()) == 1
