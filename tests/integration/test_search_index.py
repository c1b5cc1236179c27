"""What a document leaves in the search index: only what changed is written, and nothing stays behind."""

from array import array

import pytest

from tests.support.indexed import NOON, Index, cut
from tidemill.core.classification import Level
from tidemill.core.errors import Conflict
from tidemill.core.search import Filters, Reader
from tidemill.store.database import Pool
from tidemill.store.narrowing import narrowing_of
from tidemill.store.postings import visible_scopes
from tidemill.store.retention import RetentionRepository
from tidemill.store.search_index import forget_terms
from tidemill.store.vectors import VectorSpaces, current_space, feedback, nearest


@pytest.fixture
def index(pool: Pool) -> Index:
    return Index(pool)


def unit(*numbers: float) -> bytes:
    return array("f", numbers).tobytes()


async def test_an_edit_keeps_the_rows_and_vectors_of_the_chunks_that_stay(pool: Pool, index: Index) -> None:
    spaces = VectorSpaces(pool)
    space = await spaces.ensure("e5", "1", 2, NOON)
    source = await index.source()
    document = await index.document(source, "a.md", "one", "two", "three")
    await spaces.put_vectors(space, {one.hash: unit(1, 0) for one in await spaces.pending(space, 10)})
    before = {row["text"]: row["id"] for row in await index.rows("SELECT id, text FROM chunks")}

    written = await index.rewrite(source, document, cut("zero", "one", "three"))

    assert (written.added, written.kept, written.removed) == (1, 2, 1)
    after = {row["text"]: row["id"] for row in await index.rows("SELECT id, text FROM chunks ORDER BY ordinal")}
    assert list(after) == ["zero", "one", "three"]
    assert after["one"] == before["one"]
    assert after["three"] == before["three"]
    assert [one.text for one in await spaces.pending(space, 10)] == ["zero"]
    spans = await index.rows("SELECT span_start FROM chunks WHERE text = 'one'")
    assert spans == [{"span_start": 5}]


async def test_what_came_last_is_embedded_first_so_that_a_small_source_does_not_wait_for_a_large_one(
    pool: Pool, index: Index
) -> None:
    spaces = VectorSpaces(pool)
    space = await spaces.ensure("e5", "1", 2, NOON)
    await index.document(await index.source("large"), "large.md", *(f"large {number}" for number in range(9)))
    await index.document(await index.source("small"), "small.md", "small")
    assert [one.text for one in await spaces.pending(space, 1)] == ["small"]


async def test_a_word_that_no_document_has_any_more_is_forgotten_and_the_others_stay(pool: Pool, index: Index) -> None:
    source = await index.source()
    document = await index.document(source, "a.md", "Heron earns three thousand", "one")
    await index.document(source, "b.md", "three herons")
    await index.rewrite(source, document, cut("one"))
    due = RetentionRepository(pool)
    assert await due.due("unused_words", NOON) == await forget_terms(pool) == 2
    words = {row["term"] for row in await index.rows("SELECT term FROM terms")}
    assert {"one", "heron"} <= words
    assert not {"earn", "thousand"} & words
    assert await due.due("unused_words", NOON) == await forget_terms(pool) == 0


async def test_writing_the_same_twice_writes_nothing(index: Index) -> None:
    source = await index.source()
    document = await index.document(source, "a.md", "one", "one", "two")
    written = await index.rewrite(source, document, cut("one", "one", "two"))
    assert (written.added, written.kept, written.removed) == (0, 3, 0)


async def test_a_document_that_becomes_more_sensitive_takes_its_index_along(pool: Pool, index: Index) -> None:
    spaces = VectorSpaces(pool)
    space = await spaces.ensure("e5", "1", 2, NOON)
    public, secret = await index.source("a", level=Level.PUBLIC), await index.source("b", level=Level.SECRET)
    document = await index.document(public, "a.md", "one", "two")
    await spaces.put_vectors(space, {one.hash: unit(1, 0) for one in await spaces.pending(space, 10)})
    written = await index.rewrite(secret, document, cut("one", "three"))
    assert (written.added, written.kept, written.removed) == (1, 1, 1)
    for table in ("chunks", "postings", "chunk_vectors"):
        assert await index.rows(f"SELECT DISTINCT scope_id FROM {table}") == [{"scope_id": index.scopes[secret]}]
    sizes = await index.rows("SELECT scope_id, chunks, terms FROM scope_sizes ORDER BY scope_id")
    assert [tuple(row.values()) for row in sizes] == [(index.scopes[public], 0, 0), (index.scopes[secret], 2, 2)]


async def test_what_is_removed_leaves_no_posting_and_is_no_longer_counted(index: Index) -> None:
    source = await index.source()
    document = await index.document(source, "a.md", "wind tunnel", "wing")
    assert await index.rows("SELECT chunks, terms FROM scope_sizes") == [{"chunks": 2, "terms": 3}]
    assert await index.remove(document) == 2
    assert await index.rows("SELECT chunks, terms FROM scope_sizes") == [{"chunks": 0, "terms": 0}]
    assert not await index.rows("SELECT 1 FROM postings")
    assert not await index.rows("SELECT 1 FROM chunks_to_embed")


async def test_a_source_that_is_deleted_takes_its_index_along(pool: Pool, index: Index) -> None:
    spaces = VectorSpaces(pool)
    await spaces.ensure("e5", "1", 2, NOON)
    source = await index.source()
    await index.document(source, "a.md", "wind", "wing")
    await index.rows("DELETE FROM sources WHERE id = %s RETURNING id", source)
    for table in ("chunks", "postings", "chunks_to_embed", "scope_sizes"):
        assert not await index.rows(f"SELECT 1 FROM {table}")


async def test_texts_that_are_the_same_are_embedded_once(pool: Pool, index: Index) -> None:
    spaces = VectorSpaces(pool)
    space = await spaces.ensure("e5", "1", 2, NOON)
    source = await index.source()
    await index.document(source, "a.md", "same", "same", "other")
    pending = await spaces.pending(space, 10)
    assert sorted(one.text for one in pending) == ["other", "same"]
    assert await spaces.put_vectors(space, {one.hash: unit(0, 1) for one in pending}) == 3
    await index.document(source, "b.md", "same")
    assert await spaces.waiting(space) == 0
    assert len(await index.rows("SELECT 1 FROM chunk_vectors")) == 4


async def test_a_text_that_a_hidden_document_has_waits_for_its_vector_as_any_other(pool: Pool, index: Index) -> None:
    spaces = VectorSpaces(pool)
    space = await spaces.ensure("e5", "1", 2, NOON)
    await index.document(await index.source("plans", level=Level.SECRET), "a.md", "The price is 12 million.")
    await spaces.put_vectors(space, {one.hash: unit(0, 1) for one in await spaces.pending(space, 10)})
    await index.document(await index.source("mine"), "guess.md", "The price is 12 million.", "The price is 13 million.")
    assert await spaces.waiting(space) == 2


async def test_a_new_model_is_filled_beside_the_old_and_then_takes_over(pool: Pool, index: Index) -> None:
    spaces = VectorSpaces(pool)
    old = await spaces.ensure("e5", "1", 2, NOON)
    source = await index.source()
    await index.document(source, "a.md", "one")
    await spaces.put_vectors(old, {one.hash: unit(1, 0) for one in await spaces.pending(old, 10)})
    new = await spaces.ensure("e5", "2", 3, NOON)
    assert old.current
    assert not new.current
    with pytest.raises(Conflict, match="1 chunks"):
        await spaces.switch(new)
    await index.document(source, "b.md", "two")
    assert await spaces.waiting(new) == 2
    await spaces.put_vectors(new, {one.hash: unit(1, 0, 0) for one in await spaces.pending(new, 10)})
    await spaces.switch(new)
    assert [(one.version, one.current) for one in await spaces.all()] == [("2", True)]
    names = await index.rows("SELECT indexname FROM pg_indexes WHERE indexname LIKE 'chunk_vectors_of_space_%%'")
    assert names == [{"indexname": f"chunk_vectors_of_space_{new.id}"}]
    assert await spaces.ensure("e5", "2", 3, NOON) == (await spaces.all())[0]


async def test_the_index_finds_what_comparing_all_finds(
    pool: Pool, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    spaces = VectorSpaces(pool)
    space = await spaces.ensure("e5", "1", 2, NOON)
    source, hidden = await index.source(), await index.source("secrets", level=Level.SECRET)
    await index.document(source, "a.md", *(f"text {n}" for n in range(30)))
    await index.document(hidden, "b.md", *(f"hidden {n}" for n in range(30)))
    pending = await spaces.pending(space, 100)
    await spaces.put_vectors(space, {one.hash: unit(1 - n / 100, n / 100) for n, one in enumerate(pending)})
    found = []
    for bound in (1000, 1):
        monkeypatch.setattr("tidemill.store.vectors.EXACT", bound)
        async with pool.connection() as connection, connection.transaction():
            scopes = await visible_scopes(connection, Reader(Level.INTERNAL))
            there = await current_space(connection)
            assert there is not None
            query = unit(0.6, 0.8)
            found.append(await nearest(connection, there, query, scopes, narrowing_of(Filters()), 10))
            by_path = narrowing_of(Filters(paths=["a*"], languages=["en"]))
            assert await nearest(connection, there, query, scopes, by_path, 10) == found[-1]
    assert found[0] == pytest.approx(found[1])
    assert len(found[0]) == 10


async def test_feedback_is_the_cosine_with_what_the_leaders_say_on_average(pool: Pool, index: Index) -> None:
    spaces = VectorSpaces(pool)
    space = await spaces.ensure("e5", "1", 2, NOON)
    await index.document(await index.source(), "a.md", "one", "two", "three", "without")
    vectors = {"one": unit(1, 0), "two": unit(0, 1), "three": unit(0.6, 0.8)}
    pending = {one.text: one.hash for one in await spaces.pending(space, 10)}
    await spaces.put_vectors(space, {pending[text]: vector for text, vector in vectors.items()})
    ids = {str(row["text"]): int(str(row["id"])) for row in await index.rows("SELECT id, text FROM chunks")}
    async with pool.connection() as connection:
        found, between = await feedback(
            connection, space, unit(0, 1), [ids["one"], ids["two"]], [ids["three"], ids["two"], ids["without"]]
        )
    assert found == pytest.approx({ids["three"]: 1.4 / 2**0.5, ids["two"]: 0.5**0.5})
    assert between == pytest.approx(0.5**0.5)
