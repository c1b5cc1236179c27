"""Search: what a question says of where to look, two legs, one ranking, and then what makes it worth reading."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from tidemill.analysis.compression import compressed
from tidemill.analysis.self_query import SelfQuery, filters_named, joined, mentions_author, read_filters
from tidemill.core.clock import Clock
from tidemill.core.context import Asker
from tidemill.core.errors import Configuration, InvalidInput
from tidemill.core.ids import new_id
from tidemill.core.search import Expansion, Filters, Found, Hit, Reader, SearchMode, SearchRequest, SelfQuerying
from tidemill.core.text import storable
from tidemill.knowledge.question_vectors import QuestionVectors
from tidemill.knowledge.ranking import Asked, Words, chosen, explained, question_words, ranked
from tidemill.store import chunks, postings, vectors
from tidemill.store.database import Connection, Pool, one_view
from tidemill.store.narrowing import narrowing_of
from tidemill.store.postings import Scopes

LONGEST_QUESTION = 20_000
MOST_HITS = 100


class QuestionWriter(Protocol):
    """Says a question in other words."""

    async def variants(self, question: str, asker: Asker) -> Sequence[str]:
        """A few questions of the same meaning; maybe none."""
        ...


class FilterReader(Protocol):
    """Reads a question for where to look."""

    async def said(self, question: str, now: datetime, asker: Asker) -> Mapping[str, object]:
        """What it names, by filter; see `analysis.self_query.filters_named`."""
        ...


class Reranker(Protocol):
    """Reads passages beside the question."""

    @property
    def most(self) -> int:
        """Passages that it is given at most."""
        ...

    async def scores(self, question: str, hits: Sequence[Hit], asker: Asker) -> Sequence[float]:
        """How well each answers it, from 0 to 1."""
        ...


class Search:
    """Finds passages.

    Args:
        pool: the database.
        question_vectors: embeds questions for the space that is searched.
        writer: where questions may be widened by a model.
        filter_reader: where a model may read filters from questions.
        reranker: where hits may be reranked.
        rerank_answers: whether it reads the passages for answers, too.
    """

    def __init__(
        self,
        pool: Pool,
        question_vectors: QuestionVectors,
        clock: Clock,
        *,
        writer: QuestionWriter | None = None,
        filter_reader: FilterReader | None = None,
        reranker: Reranker | None = None,
        rerank_answers: bool = False,
    ) -> None:
        self._pool = pool
        self._vectors = question_vectors
        self._clock = clock
        self._writer = writer
        self._filter_reader = filter_reader
        self._reranker = reranker
        self._rerank_answers = rerank_answers

    async def find(self, query: str, reader: Reader, filters: Filters, asker: Asker, *, limit: int) -> Sequence[Hit]:
        """The best passages, for an answer."""
        request = SearchRequest(query, reader, filters, limit=limit, rerank=self._rerank_answers, asker=asker)
        return (await self.search(request)).hits

    async def search(self, request: SearchRequest) -> Found:
        """The best passages that the reader may see.

        Raises:
            InvalidInput: the question is empty or too long, or asks for what can't be.
            ModelNotFound: the embedding model is not there, and the search needs it.
            Configuration: nothing is embedded, or by another version of the model; or no model is set up for what the
                search asks for.
            Unavailable: another embedding model took over meanwhile.
            TidemillError: a model that the search asks can't answer.
        """
        question = self._checked(request)
        asker = request.asker or Asker(trace_id=new_id().hex)
        space = None
        async with self._pool.connection() as connection:
            scopes = await postings.visible_scopes(connection, request.reader)
            authors = await _authors(connection, request.self_query, question, scopes)
            if request.mode is not SearchMode.LEXICAL:
                space = await vectors.current_space(connection)
        read = await self._read(request.self_query, question, authors, asker)
        filters = joined(request.filters, joined(read.said, read.guessed))
        if not scopes.chunks:
            return Found([], read.query, filters, request.mode)
        variants: Sequence[str] = []
        if self._writer is not None and request.expansion is Expansion.MODEL:
            variants = list(await self._writer.variants(read.query, asker))
        found_vectors: Sequence[bytes] = []
        shortened = False
        if request.mode is not SearchMode.LEXICAL:
            if space is None:
                raise Configuration(
                    "No document has a vector yet. Wait until the first ones are embedded, or search with the mode "
                    "`lexical`."
                )
            found_vectors, shortened = await self._vectors.of([read.query, *variants], space, asker)
        reranker = self._reranker if request.rerank else None
        most = request.limit if reranker is None else max(request.limit, reranker.most)
        asked = Asked(request, read.query, space, found_vectors, variants, most)
        hits, words = await self._hits(asked, filters)
        kept = joined(request.filters, read.said)
        relaxed = not hits and filters != kept
        if relaxed:
            filters = kept
            hits, words = await self._hits(asked, filters)
        if reranker is not None:
            hits = await _reranked(reranker, read.query, hits, asker)
        hits = hits[: request.limit]
        if request.compress:
            hits = [replace(hit, compressed=compressed(hit.text, words.by_term, hit.language)) for hit in hits]
        return Found(hits, read.query, filters, request.mode, relaxed, variants, shortened)

    async def _read(self, self_query: SelfQuerying, question: str, authors: Sequence[str], asker: Asker) -> SelfQuery:
        """The question's filters, by rules and then by the model where that is asked for."""
        if self_query is SelfQuerying.NONE:
            return SelfQuery(question)
        now = self._clock()
        read = read_filters(question, now, authors)
        nothing = read.said == Filters() and read.guessed == Filters()
        if self._filter_reader is None or self_query is not SelfQuerying.MODEL or not nothing:
            return read
        return replace(read, guessed=filters_named(await self._filter_reader.said(read.query, now, asker), authors))

    def _checked(self, request: SearchRequest) -> str:
        question = storable(request.query)
        if not question.strip():
            raise InvalidInput("The question is empty. Say what to look for.", param="query")
        if len(question) > LONGEST_QUESTION:
            raise InvalidInput(
                f"The question has {len(question):,} characters, and may have {LONGEST_QUESTION:,}. Shorten it.",
                param="query",
            )
        if not 1 <= request.limit <= MOST_HITS:
            raise InvalidInput(f"`limit` is from 1 to {MOST_HITS}.", param="limit")
        if not 0 <= request.diversity <= 1:
            raise InvalidInput("`diversity` is from 0 to 1.", param="diversity")
        if request.expansion is Expansion.MODEL and self._writer is None:
            raise Configuration("No model is set up that could widen questions. Search with the expansion `rules`.")
        if request.self_query is SelfQuerying.MODEL and self._filter_reader is None:
            raise Configuration("No model is set up that could read filters. Search with `self_query` as `rules`.")
        if request.rerank and self._reranker is None:
            raise Configuration("No reranker is set up. Search without `rerank`.")
        return question

    async def _hits(self, asked: Asked, filters: Filters) -> tuple[list[Hit], Words]:
        """The candidates of both legs, ranked, in one view of the database: what the reader may see now."""
        narrowing = narrowing_of(filters)
        async with self._pool.connection() as connection, one_view(connection):
            asked = replace(asked, scopes=await postings.visible_scopes(connection, asked.request.reader))
            words = await question_words(connection, asked)
            scores = await ranked(connection, asked, words, narrowing)
            scores = await chosen(connection, asked, scores)
            if asked.request.explain:
                scores = await explained(connection, asked, words, scores)
            return list(await chunks.hits(connection, scores, asked.scopes)), words


async def _authors(connection: Connection, self_query: SelfQuerying, question: str, scopes: Scopes) -> Sequence[str]:
    """Who wrote what is visible, where the question may name one of them."""
    if not scopes.chunks or self_query is SelfQuerying.NONE:
        return ()
    if self_query is SelfQuerying.MODEL or mentions_author(question):
        return await chunks.authors(connection, scopes)
    return ()


async def _reranked(reranker: Reranker, question: str, hits: Sequence[Hit], asker: Asker) -> list[Hit]:
    """The first hits in the reranker's order, then the others."""
    first = hits[: reranker.most]
    if not first:
        return []
    scores = await reranker.scores(question, first, asker)
    scored = [replace(hit, scores=replace(hit.scores, rerank=score)) for hit, score in zip(first, scores, strict=True)]
    scored.sort(key=lambda hit: -(hit.scores.rerank or 0.0))
    return [*scored, *hits[len(first) :]]
