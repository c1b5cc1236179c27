"""Search: what a question says of where to look, two legs, one ranking, and then what makes it worth reading."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from tidemill.analysis.compression import compressed
from tidemill.analysis.diversity import diverse
from tidemill.analysis.fusion import FEEDBACK_FROM, Traits, fused, lexical_weight, range_of, with_feedback
from tidemill.analysis.query_words import identifier_share, marks_left_out, query_terms, question_language
from tidemill.analysis.self_query import SelfQuery, filters_named, joined, mentions_author, read_filters
from tidemill.core.clock import Clock
from tidemill.core.context import Asker
from tidemill.core.errors import Configuration, InvalidInput, Unavailable
from tidemill.core.ids import new_id
from tidemill.core.search import Expansion, Filters, Hit, Reader, Scores, SearchMode, SelfQuerying
from tidemill.core.text import storable
from tidemill.knowledge.question_vectors import QuestionVectors
from tidemill.store import chunks, postings, vectors
from tidemill.store.database import Connection, Pool, one_view
from tidemill.store.narrowing import Narrowing, narrowing_of
from tidemill.store.postings import Scopes, WeightedTerm
from tidemill.store.vectors import Space

LONGEST_QUESTION = 20_000
MOST_HITS = 100
CANDIDATES = 50
"""Passages that each leg puts forward."""
MOST_TERMS = 64
"""Terms of a question that are looked for: the rarest of them."""


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


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """What to search, and how.

    Attributes:
        filters: which narrow it, whatever the question says.
        self_query: who reads filters from the question, too.
        diversity: from 0, by relevance alone, to 1; see `analysis.diversity`.
        compress: whether each hit says which sentences matter.
        rerank: whether the best are read by the reranker.
        explain: whether each hit says what each word gave.
        asker: for whom models are asked; the hub itself where absent.
    """

    query: str
    reader: Reader
    filters: Filters = field(default_factory=Filters)
    mode: SearchMode = SearchMode.HYBRID
    limit: int = 10
    self_query: SelfQuerying = SelfQuerying.RULES
    expansion: Expansion = Expansion.RULES
    diversity: float = 0.0
    compress: bool = False
    rerank: bool = False
    explain: bool = False
    asker: Asker | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What was found, and what was made of the question.

    Attributes:
        query: the question without what was read as a filter.
        filters: those that held.
        relaxed: filters were guessed from the question, nothing matched them, and so they were left out.
        variants: what a model asked beside it.
        shortened: the question is longer than the embedding model reads, so only its beginning was compared by meaning.
    """

    hits: Sequence[Hit]
    query: str
    filters: Filters
    mode: SearchMode
    relaxed: bool = False
    variants: Sequence[str] = ()
    shortened: bool = False


@dataclass(frozen=True, slots=True)
class _Words:
    """A question's terms as the index has them: weights by number, the question's word for each, and the most that
    BM25 can be."""

    terms: Sequence[WeightedTerm]
    named: Mapping[int, str]
    by_term: Mapping[str, float]
    mass: float


@dataclass(frozen=True, slots=True)
class _Asked:
    """All that both legs need, once the question is read."""

    request: SearchRequest
    question: str
    space: Space | None
    vectors: Sequence[bytes]
    variants: Sequence[str]
    most: int
    scopes: Scopes = field(default_factory=lambda: Scopes([], 0, 0))


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
        asked = _Asked(request, read.query, space, found_vectors, variants, most)
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

    async def _hits(self, asked: _Asked, filters: Filters) -> tuple[list[Hit], _Words]:
        """The candidates of both legs, ranked, in one view of the database: what the reader may see now."""
        narrowing = narrowing_of(filters)
        async with self._pool.connection() as connection, one_view(connection):
            asked = replace(asked, scopes=await postings.visible_scopes(connection, asked.request.reader))
            words = await _words(connection, asked)
            scores = await _ranked(connection, asked, words, narrowing)
            scores = await _chosen(connection, asked, scores)
            if asked.request.explain:
                scores = await _explained(connection, asked, words, scores)
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


async def _words(connection: Connection, asked: _Asked) -> _Words:
    """The question's terms with the weights that the visible chunks give them; where meaning alone ranks, none to rank
    by."""
    by_meaning = asked.request.mode is SearchMode.DENSE
    if by_meaning and not asked.request.compress:
        return _Words([], {}, {}, 0.0)
    expand = asked.request.expansion is not Expansion.NONE
    wanted = query_terms(asked.question, expand=expand)
    there = {one.term for one in wanted}
    for variant in asked.variants:
        more = [one for one in query_terms(variant, expand=False) if one.term not in there]
        wanted += [replace(one, weight=one.weight / 2, added=True) for one in more]
        there |= {one.term for one in more}
    scopes = asked.scopes
    without_marks = expand and marks_left_out(asked.question)
    found = await postings.find_terms(connection, [one.term for one in wanted], scopes, marks_left_out=without_marks)
    having: dict[int, int] = {}
    for one in found:
        having[one.place] = having.get(one.place, 0) + one.chunks
    idf = [_idf(scopes.chunks, min(having.get(place, 0), scopes.chunks)) for place in range(len(wanted))]
    mass = sum(weight for weight, one in zip(idf, wanted, strict=True) if not one.added)
    found.sort(key=lambda one: (wanted[one.place].added, -idf[one.place], one.id))
    kept = {one.id: one for one in reversed(found[:MOST_TERMS])}.values()
    ranking = [] if by_meaning else kept
    return _Words(
        [WeightedTerm(one.id, idf[one.place] * wanted[one.place].weight, one.chunks) for one in ranking],
        {one.id: one.term if without_marks else wanted[one.place].word for one in ranking},
        {one.term: idf[one.place] * min(1.0, wanted[one.place].weight) for one in kept},
        mass,
    )


def _idf(chunks_: int, having: int) -> float:
    """Inverse document frequency as Lucene has it: never negative."""
    return math.log(1 + (chunks_ - having + 0.5) / (having + 0.5))


async def _ranked(connection: Connection, asked: _Asked, words: _Words, narrowing: Narrowing) -> dict[int, Scores]:
    """Every candidate with its scores by both legs, the best first; of equal texts one."""
    limit = max(CANDIDATES, 2 * asked.most)
    lexical = await postings.best_by_terms(connection, words.terms, asked.scopes, narrowing, limit)
    dense: dict[int, float] = {}
    if asked.space is not None:
        for vector in asked.vectors:
            near = await vectors.nearest(connection, asked.space, vector, asked.scopes, narrowing, limit)
            dense = _most(dense, near)
        if not dense:
            await _check_space(connection, asked.space)
    candidates = list({**lexical, **dense})
    whole = len(postings.read_for_candidates(words.terms)) == len(words.terms)
    unread = [one for one in candidates if not whole or one not in lexical]
    parts = await postings.contributions(connection, words.terms, asked.scopes, unread)
    totals = {**lexical, **{one: sum(given.values()) for one, given in parts.items()}}
    if asked.space is not None:
        left = [one for one in candidates if one not in dense or len(asked.vectors) > 1]
        for vector in asked.vectors if left else ():
            dense = _most(dense, await vectors.cosines(connection, asked.space, vector, left))
    kin = await chunks.kinships(connection, candidates, asked.scopes)
    traits = Traits(identifier_share(asked.question), question_language(asked.question))
    legs = _Legs(asked, words, totals, dense, kin, traits)
    ordered = _without_twins(legs.scores({}), kin)
    leaders = [one for one in ordered if one in dense and not traits.crosses(kin[one].language)][:FEEDBACK_FROM]
    if asked.space is None or asked.request.mode is not SearchMode.HYBRID or len(leaders) < FEEDBACK_FROM:
        return ordered
    mean = await vectors.mean_vector(connection, asked.space, leaders)
    first = list(ordered)[:limit]
    alike = await vectors.cosines(connection, asked.space, mean, first)
    again = legs.scores(alike, vectors.cosine(mean, asked.vectors[0]))
    return _without_twins({one: again[one] for one in first}, kin)


async def _check_space(connection: Connection, space: Space) -> None:
    """Goes on where the space is still the one that searches ask.

    Raises:
        Unavailable: another one took over while the question was embedded.
    """
    there = await vectors.current_space(connection)
    if there is None or there.id != space.id:
        raise Unavailable("Another embedding model took over just now. Search again.")


@dataclass(frozen=True, slots=True)
class _Legs:
    """What both legs say of each candidate."""

    asked: _Asked
    words: _Words
    lexical: Mapping[int, float]
    dense: Mapping[int, float]
    kin: Mapping[int, chunks.Kinship]
    traits: Traits

    def scores(self, alike: Mapping[int, float], between: float = 0.0) -> dict[int, Scores]:
        """The fused scores. `alike` has the cosines with the best passages' mean, and `between` the question's."""
        cosines = range_of(self.asked.space.model if self.asked.space else "", self.dense)
        found: dict[int, Scores] = {}
        for one, kin in self.kin.items():
            weight = self._weight(kin.language)
            total = self.lexical.get(one, 0.0)
            cosine, feedback = self.dense.get(one), alike.get(one)
            near = cosine if cosine is None or feedback is None else with_feedback(cosine, feedback, between)
            found[one] = Scores(
                fused=fused(total, self.words.mass, near, cosines, weight),
                dense=cosine,
                feedback=feedback,
                lexical=total or None,
                dense_weight=1 - weight,
                lexical_weight=weight,
            )
        return found

    def _weight(self, language: str | None) -> float:
        if self.asked.request.mode is SearchMode.HYBRID:
            return lexical_weight(self.traits, language)
        return 1.0 if self.asked.request.mode is SearchMode.LEXICAL else 0.0


def _without_twins(scores: Mapping[int, Scores], kin: Mapping[int, chunks.Kinship]) -> dict[int, Scores]:
    """The best first, and of chunks that say the same only the first."""
    seen: set[str] = set()
    kept: dict[int, Scores] = {}
    for one in sorted(scores, key=lambda chunk: (-scores[chunk].fused, chunk)):
        if kin[one].hash not in seen:
            seen.add(kin[one].hash)
            kept[one] = scores[one]
    return kept


async def _explained(
    connection: Connection, asked: _Asked, words: _Words, scores: Mapping[int, Scores]
) -> dict[int, Scores]:
    """The scores with what each of the question's words gave."""
    parts = await postings.contributions(connection, words.terms, asked.scopes, list(scores))
    return {
        one: replace(
            found,
            terms=[
                (words.named[term], score)
                for term, score in sorted(parts[one].items(), key=lambda part: (-part[1], part[0]))
            ],
        )
        for one, found in scores.items()
    }


async def _chosen(connection: Connection, asked: _Asked, scores: dict[int, Scores]) -> dict[int, Scores]:
    """As many as are wanted, the most diverse ones where that is asked for."""
    limit = asked.most
    if asked.request.diversity and asked.space is not None:
        their = await vectors.vectors_of(connection, asked.space, list(scores))
        order = diverse({one: found.fused for one, found in scores.items()}, their, limit, asked.request.diversity)
        return {one: scores[one] for one in order}
    return dict(list(scores.items())[:limit])


def _most(one: Mapping[int, float], other: Mapping[int, float]) -> dict[int, float]:
    return {key: max(one.get(key, -1.0), other.get(key, -1.0)) for key in {**one, **other}}
