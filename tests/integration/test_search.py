"""What a search finds, and for whom: over a real index, with a scripted embedding model."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from tests.support.indexed import NOON, Index
from tidemill.core.classification import Level
from tidemill.core.context import Asker, InferenceContext
from tidemill.core.deployment import Deployment, Task
from tidemill.core.document import DocumentKind
from tidemill.core.embedding import EmbeddingRequest, Embeddings
from tidemill.core.errors import Configuration, ContextTooLong, InvalidInput, ModelNotFound, Unavailable
from tidemill.core.search import Expansion, Filters, Found, Hit, Reader, SearchMode, SearchRequest, SelfQuerying
from tidemill.knowledge.question_vectors import QuestionVectors
from tidemill.knowledge.search import Search
from tidemill.llm.scripted_embeddings import DIMENSIONS, ScriptedEmbedder
from tidemill.store.database import Pool
from tidemill.store.vectors import VectorSpaces

EVERYONE = Reader(Level.SECRET, all_departments=True)
COLLEAGUE = Reader(Level.INTERNAL)


def deployment(name: str) -> Deployment:
    return Deployment(Task.EMBED, name, "1")


@pytest.fixture
def index(pool: Pool) -> Index:
    return Index(pool)


@pytest.fixture
async def space(pool: Pool) -> None:
    await VectorSpaces(pool).ensure("scripted", "1", DIMENSIONS, NOON)


@pytest.fixture
def search(pool: Pool) -> Search:
    return Search(pool, QuestionVectors(ScriptedEmbedder(), deployment), lambda: NOON)


async def embed(pool: Pool) -> None:
    """Gives each waiting chunk its vector."""
    spaces, embedder = VectorSpaces(pool), ScriptedEmbedder()
    (space,) = await spaces.all()
    while waiting := await spaces.pending(space, 100):
        made = await embedder.embed(EmbeddingRequest("scripted", [one.text for one in waiting]))
        await spaces.put_vectors(space, {one.hash: vector for one, vector in zip(waiting, made.vectors, strict=True)})


async def paths(search: Search, query: str, reader: Reader = COLLEAGUE, **more: object) -> list[str]:
    return [hit.path for hit in (await search.search(SearchRequest(query, reader, **more))).hits]  # type: ignore[arg-type]


@pytest.mark.usefixtures("space")
async def test_words_and_meaning_both_find_and_each_score_is_explained(
    pool: Pool, index: Index, search: Search
) -> None:
    source = await index.source()
    await index.document(source, "wings.md", "The wing of an aircraft lifts it.", heading="Wings")
    await index.document(source, "purchase.md", "A purchase needs two quotations.")
    await embed(pool)
    found = await search.search(SearchRequest("how does a wing lift", COLLEAGUE, explain=True))
    best = found.hits[0]
    assert (best.path, best.source, best.heading) == ("wings.md", "handbook", "Wings")
    assert best.scores.lexical == pytest.approx(sum(score for _, score in best.scores.terms))
    assert {"wing", "lift"} <= {word for word, _ in best.scores.terms}
    assert best.scores.dense is not None
    assert best.scores.dense_weight + best.scores.lexical_weight == pytest.approx(1)
    assert 0 < best.scores.fused <= 1


@pytest.mark.usefixtures("space")
async def test_what_a_reader_may_not_see_changes_neither_hits_nor_scores(
    pool: Pool, index: Index, search: Search
) -> None:
    source = await index.source()
    await index.document(source, "open.md", "wing lift", "wing", "lift of a propeller", "stream")
    await embed(pool)
    requests = [
        *(SearchRequest("wing lift", COLLEAGUE, mode=mode, limit=limit) for mode in SearchMode for limit in (1, 100)),
        *(SearchRequest(f"wing lift by {name}", COLLEAGUE) for name in ("Mallory", "Nobody")),
        *(SearchRequest(f"source:{name} wing", COLLEAGUE) for name in ("plans", "nothing")),
        *(SearchRequest("wing", COLLEAGUE, Filters(paths=[path])) for path in ("x.md", "*")),
        SearchRequest("canh may bay gia mat", COLLEAGUE),
        SearchRequest("wing budget_2027 codename", COLLEAGUE, diversity=0.5, compress=True, explain=True),
        SearchRequest("documents from 2026 about wings", COLLEAGUE),
    ]
    before = [await search.search(one) for one in requests]

    secret = await index.source("plans", level=Level.SECRET)
    other = await index.source("finance", departments=[uuid4()])
    for hidden in (secret, other):
        await index.document(hidden, "x.md", "wing lift", "wing wing wing", "wing lift lift", author="Mallory")
        await index.document(hidden, "y.md", "budget_2027 codename giá mật cánh", language="vi", modified_at=NOON)
    await embed(pool)

    assert [await search.search(one) for one in requests] == before
    assert len(await paths(search, "wing", EVERYONE)) > len(await paths(search, "wing"))


@pytest.mark.usefixtures("space")
async def test_departments_open_a_source_to_their_own_people(pool: Pool, index: Index, search: Search) -> None:
    finance, sales = uuid4(), uuid4()
    await index.document(await index.source(departments=[finance]), "budget.md", "the budget of the year")
    await embed(pool)
    assert await paths(search, "budget") == []
    assert await paths(search, "budget", Reader(Level.INTERNAL, frozenset({sales}))) == []
    assert await paths(search, "budget", Reader(Level.INTERNAL, frozenset({finance, sales}))) == ["budget.md"]
    assert await paths(search, "budget", Reader(Level.PUBLIC, frozenset({finance}))) == []
    assert await paths(search, "budget", Reader(Level.INTERNAL, all_departments=True)) == ["budget.md"]


NARROWED: Sequence[tuple[Filters, set[str]]] = (
    (Filters(kinds=[DocumentKind.CODE]), {"src/retry.py"}),
    (Filters(platforms=["GitHub"]), {"src/retry.py"}),
    (Filters(authors=["lan nguyễn"]), {"docs/retry.md"}),
    (Filters(languages=["vi"]), {"docs/thử-lại.md"}),
    (Filters(paths=["docs/"]), {"docs/retry.md", "docs/thử-lại.md"}),
    (Filters(paths=["*.py"]), {"src/retry.py"}),
    (Filters(paths=["100%"]), set()),
    (Filters(after=datetime(2025, 1, 1, tzinfo=UTC)), {"docs/retry.md"}),
    (Filters(before=datetime(2025, 1, 1, tzinfo=UTC)), {"src/retry.py"}),
    (Filters(sources=["handbook"], kinds=[DocumentKind.DOCUMENT], languages=["en"]), {"docs/retry.md"}),
    (Filters(sources=["'; DROP TABLE documents; --"]), set()),
    *(
        (Filters(**{name: ["\x00", "\ud83d"]}), set())
        for name in ("sources", "platforms", "authors", "languages", "paths")
    ),
)


@pytest.mark.usefixtures("space")
async def test_filters_narrow_each_leg(pool: Pool, index: Index, search: Search) -> None:
    source = await index.source()
    old, new = datetime(2024, 5, 1, tzinfo=UTC), datetime(2025, 5, 1, tzinfo=UTC)
    await index.document(source, "src/retry.py", "retry a b", kind="code", platform="github", modified_at=old)
    await index.document(source, "docs/retry.md", "retry c d", author="Lan Nguyễn", published_at=new, modified_at=old)
    await index.document(source, "docs/thử-lại.md", "retry thử lại", language="vi")
    await embed(pool)
    for filters, expected in NARROWED:
        for mode in SearchMode:
            assert set(await paths(search, "retry", filters=filters, mode=mode)) == expected, (filters, mode)


@pytest.mark.usefixtures("space")
async def test_filters_are_read_from_the_question_and_dropped_where_nothing_matches(
    pool: Pool, index: Index, search: Search
) -> None:
    source = await index.source()
    await index.document(source, "a.md", "caching of answers", author="Lan Nguyễn", kind="article")
    await index.document(source, "b.md", "caching of answers in code", author="Bob Stone", kind="code")
    await embed(pool)
    found = await search.search(SearchRequest("articles about caching by Lan Nguyen", COLLEAGUE))
    assert [hit.path for hit in found.hits] == ["a.md"]
    assert found.query == "about caching"
    assert found.filters == Filters(kinds=[DocumentKind.ARTICLE], authors=("Lan Nguyễn",))
    relaxed = await search.search(SearchRequest("what is cached on Medium?", COLLEAGUE))
    assert relaxed.relaxed
    assert relaxed.hits
    assert not (await search.search(SearchRequest("caching platform:medium", COLLEAGUE))).hits
    with pytest.raises(InvalidInput, match="no date"):
        await search.search(SearchRequest("caching after:soon", COLLEAGUE))


@pytest.mark.usefixtures("space")
async def test_vietnamese_is_found_with_and_without_its_marks(pool: Pool, index: Index, search: Search) -> None:
    source = await index.source()
    await index.document(source, "vi.md", "Quy trình mua hàng của công ty", language="vi")
    await index.document(source, "en.md", "The hang of the trinh", language="en")
    await embed(pool)
    lexical = SearchMode.LEXICAL
    assert await paths(search, "quy trình mua hàng", mode=lexical) == ["vi.md"]
    assert (await paths(search, "quy trinh mua hang", mode=lexical))[0] == "vi.md"
    assert await paths(search, "trinh hang", mode=lexical, expansion=Expansion.NONE) == ["en.md"]


@pytest.mark.usefixtures("space")
async def test_identifiers_and_short_forms_are_found(pool: Pool, index: Index, search: Search) -> None:
    source = await index.source()
    await index.document(source, "a.py", "def parse_url(text): ...")
    await index.document(source, "b.md", "Hợp đồng với nhà cung cấp", language="vi")
    await embed(pool)
    assert (await paths(search, "parseURL", mode=SearchMode.LEXICAL)) == ["a.py"]
    assert (await paths(search, "url parser", mode=SearchMode.LEXICAL)) == ["a.py"]
    assert (await paths(search, "NCC nào?", mode=SearchMode.LEXICAL)) == ["b.md"]


ODD = (
    "'; DROP TABLE chunks; --",
    "%_\\' OR 1=1",
    "🙂🙃",
    "…",
    "\x00",
    "\ud83d",
    "a" * 20_000,
    "wing " * 4_000,
    "%s %(x)s",
)


@pytest.mark.usefixtures("space")
async def test_odd_questions_are_answered_like_any_other(pool: Pool, index: Index, search: Search) -> None:
    await index.document(await index.source(), "a.md", "the wing of a table")
    await embed(pool)
    for query in ODD:
        for mode in SearchMode:
            assert len((await search.search(SearchRequest(query, COLLEAGUE, mode=mode))).hits) <= 1
    assert await index.rows("SELECT 1 FROM chunks")


async def test_questions_that_are_empty_or_too_long_are_refused(search: Search) -> None:
    with pytest.raises(InvalidInput, match="empty"):
        await search.search(SearchRequest(" \n", COLLEAGUE))
    with pytest.raises(InvalidInput, match="20,001"):
        await search.search(SearchRequest("a" * 20_001, COLLEAGUE))
    with pytest.raises(InvalidInput, match="limit"):
        await search.search(SearchRequest("a", COLLEAGUE, limit=1000))


async def test_an_empty_index_finds_nothing(search: Search) -> None:
    assert await search.search(SearchRequest("wing", COLLEAGUE)) == Found([], "wing", Filters(), SearchMode.HYBRID)


class Away:
    """An embedding model that is not there."""

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        raise AssertionError(request)


async def test_without_its_embedding_model_a_search_says_so_and_words_still_find(pool: Pool, index: Index) -> None:
    await index.document(await index.source(), "a.md", "wing")

    def missing(name: str) -> Deployment:
        raise ModelNotFound(f"There is no model {name}.")

    search = Search(pool, QuestionVectors(Away(), missing), lambda: NOON)
    with pytest.raises(Configuration, match="lexical"):
        await search.search(SearchRequest("wing", COLLEAGUE))
    await VectorSpaces(pool).ensure("scripted", "1", DIMENSIONS, NOON)
    with pytest.raises(ModelNotFound, match="lexical"):
        await search.search(SearchRequest("wing", COLLEAGUE))
    assert await paths(search, "wing", mode=SearchMode.LEXICAL) == ["a.md"]
    newer = Search(pool, QuestionVectors(Away(), lambda name: Deployment(Task.EMBED, name, "2")), lambda: NOON)
    with pytest.raises(Configuration, match="another version"):
        await newer.search(SearchRequest("wing", COLLEAGUE))


@pytest.mark.usefixtures("space")
async def test_a_chunk_without_a_vector_is_found_by_its_words(index: Index, search: Search) -> None:
    await index.document(await index.source(), "a.md", "wing")
    found = await search.search(SearchRequest("wing", COLLEAGUE))
    assert [(hit.path, hit.scores.dense) for hit in found.hits] == [("a.md", None)]


@pytest.mark.usefixtures("space")
async def test_a_question_longer_than_the_model_reads_is_compared_by_its_beginning(pool: Pool, index: Index) -> None:
    class Short(ScriptedEmbedder):
        async def embed(self, request: EmbeddingRequest) -> Embeddings:
            tokens = max(len(text.split()) for text in request.texts)
            if tokens > 100:
                raise ContextTooLong(prompt_tokens=tokens, context_tokens=100)
            return await super().embed(request)

    await index.document(await index.source(), "a.md", "wing")
    await embed(pool)
    search = Search(pool, QuestionVectors(Short(), deployment), lambda: NOON)
    assert (await search.search(SearchRequest("wing " * 3_000, COLLEAGUE))).shortened
    assert not (await search.search(SearchRequest("wing", COLLEAGUE))).shortened


@pytest.mark.usefixtures("space")
async def test_equal_texts_are_shown_once_and_diversity_brings_others_forward(
    pool: Pool, index: Index, search: Search
) -> None:
    source = await index.source()
    await index.document(source, "a.md", "wing lift drag", "wing lift drag stall")
    await index.document(source, "b.md", "wing lift drag")
    await index.document(source, "c.md", "wing paint colour of the season")
    await embed(pool)
    hits = (await search.search(SearchRequest("wing lift drag", COLLEAGUE))).hits
    assert [hit.text for hit in hits].count("wing lift drag") == 1
    assert (await paths(search, "wing lift drag", limit=2, diversity=0.7))[1] == "c.md"


@pytest.mark.usefixtures("space")
async def test_compression_keeps_the_sentences_that_matter(pool: Pool, index: Index, search: Search) -> None:
    text = "The office opens at eight. A quotation needs two signatures. Lunch is at noon. Please be kind."
    await index.document(await index.source(), "a.md", text)
    await embed(pool)
    for mode in SearchMode:
        (hit,) = (await search.search(SearchRequest("who signs a quotation", COLLEAGUE, mode=mode, compress=True))).hits
        assert hit.text == text
        assert hit.compressed == "A quotation needs two signatures."


class Backwards:
    """Likes best what came last."""

    most = 10

    async def scores(self, question: str, hits: Sequence[Hit], asker: Asker) -> Sequence[float]:
        return [place / len(hits) for place, _ in enumerate(hits)]


class Synonyms:
    """Knows one word for another."""

    async def variants(self, question: str, asker: Asker) -> Sequence[str]:
        return [question.replace("plane", "aircraft")]


class Guesser:
    """Names the same filters for every question."""

    def __init__(self, named: Mapping[str, object]) -> None:
        self.named = named
        self.asked: list[str] = []

    async def said(self, question: str, now: datetime, asker: Asker) -> Mapping[str, object]:
        self.asked.append(question)
        return self.named


@pytest.mark.usefixtures("space")
async def test_a_reranker_and_a_model_that_widens_are_asked_only_where_that_is_wanted(
    pool: Pool, index: Index, search: Search
) -> None:
    source = await index.source()
    await index.document(source, "a.md", "aircraft wing")
    await index.document(source, "b.md", "wing")
    await embed(pool)
    better = Search(
        pool,
        QuestionVectors(ScriptedEmbedder(), deployment),
        lambda: NOON,
        reranker=Backwards(),
        writer=Synonyms(),
    )
    plain = await paths(better, "wing")
    assert await paths(better, "wing", rerank=True) == plain[::-1]
    for_answers = Search(
        pool,
        QuestionVectors(ScriptedEmbedder(), deployment),
        lambda: NOON,
        reranker=Backwards(),
        rerank_answers=True,
    )
    (best,) = await for_answers.find("wing", COLLEAGUE, Filters(), Asker(trace_id="0" * 32), limit=1)
    assert best.path == plain[-1]
    assert await paths(better, "plane", mode=SearchMode.LEXICAL) == []
    widened = SearchRequest("plane", COLLEAGUE, mode=SearchMode.LEXICAL, expansion=Expansion.MODEL)
    found = await better.search(widened)
    assert ([hit.path for hit in found.hits], found.variants) == (["a.md"], ["aircraft"])
    by_model = SearchRequest("a", COLLEAGUE, self_query=SelfQuerying.MODEL)
    for refused in (SearchRequest("a", COLLEAGUE, rerank=True), widened, by_model):
        with pytest.raises(Configuration):
            await search.search(refused)


@pytest.mark.usefixtures("space")
async def test_a_model_reads_filters_where_rules_find_none_and_its_guess_is_left_out_where_nothing_matches(
    pool: Pool, index: Index
) -> None:
    source = await index.source()
    await index.document(source, "a.py", "retry wing", kind="code", author="Lan Nguyễn")
    await index.document(source, "b.md", "retry wing", author="Bob Stone")
    await index.document(await index.source("plans", level=Level.SECRET), "c.md", "retry", author="Mallory")
    await embed(pool)
    vectors = QuestionVectors(ScriptedEmbedder(), deployment)

    async def asked(query: str, named: Mapping[str, object]) -> tuple[Found, Guesser]:
        guesser = Guesser(named)
        search = Search(pool, vectors, lambda: NOON, filter_reader=guesser)
        return await search.search(SearchRequest(query, COLLEAGUE, self_query=SelfQuerying.MODEL)), guesser

    found, _ = await asked("what did our colleague Lan program?", {"author": "Lan Nguyen", "kind": "code"})
    assert [hit.path for hit in found.hits] == ["a.py"]
    assert found.filters == Filters(kinds=[DocumentKind.CODE], authors=("Lan Nguyễn",))
    found, _ = await asked("retry", {"platform": "medium"})
    assert found.relaxed
    assert found.hits
    found, guesser = await asked("retry kind:code", {"author": "Bob Stone"})
    assert ([hit.path for hit in found.hits], guesser.asked) == (["a.py"], [])
    found, _ = await asked("retry", {"author": "Mallory"})
    assert (found.filters, found.relaxed) == (Filters(), False)


class Noting(ScriptedEmbedder):
    """Notes for whom it embeds."""

    def __init__(self) -> None:
        super().__init__()
        self.contexts: list[InferenceContext] = []

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        assert request.context is not None
        self.contexts.append(request.context)
        return await super().embed(request)


@pytest.mark.usefixtures("space")
async def test_a_question_is_embedded_for_whoever_asks(pool: Pool, index: Index) -> None:
    await index.document(await index.source(), "a.md", "wing")
    await embed(pool)
    embedder, asker = Noting(), Asker(trace_id="1" * 32, owner_id=uuid4(), key_id=uuid4(), level=Level.INTERNAL)
    search = Search(pool, QuestionVectors(embedder, deployment), lambda: NOON)
    await search.find("wing", COLLEAGUE, Filters(), asker, limit=3)
    await search.search(SearchRequest("wing", COLLEAGUE, asker=asker))
    for context in embedder.contexts:
        assert (context.owner_id, context.key_id, context.trace_id) == (asker.owner_id, asker.key_id, asker.trace_id)


@pytest.mark.usefixtures("space")
async def test_a_source_closed_while_a_question_is_embedded_is_not_found(pool: Pool, index: Index) -> None:
    source = await index.source()
    await index.document(source, "a.md", "wing")
    await embed(pool)

    class Slow(ScriptedEmbedder):
        async def embed(self, request: EmbeddingRequest) -> Embeddings:
            await index.rows("UPDATE scopes SET level_rank = 3 WHERE source_id = %s RETURNING id", source)
            return await super().embed(request)

    search = Search(pool, QuestionVectors(Slow(), deployment), lambda: NOON)
    assert await paths(search, "wing") == []


@pytest.mark.usefixtures("space")
async def test_a_search_that_meets_another_embedding_model_says_so_and_is_no_search_by_words(
    pool: Pool, index: Index
) -> None:
    await index.document(await index.source(), "a.md", "wing")
    await embed(pool)
    spaces = VectorSpaces(pool)

    class Slow(ScriptedEmbedder):
        async def embed(self, request: EmbeddingRequest) -> Embeddings:
            made = await super().embed(request)
            newer = await spaces.ensure("scripted", "2", DIMENSIONS, NOON)
            await spaces.put_vectors(newer, {one.hash: made.vectors[0] for one in await spaces.pending(newer, 9)})
            await spaces.switch(newer)
            return made

    search = Search(pool, QuestionVectors(Slow(), deployment), lambda: NOON)
    with pytest.raises(Unavailable, match="Search again"):
        await search.search(SearchRequest("wing", COLLEAGUE))
