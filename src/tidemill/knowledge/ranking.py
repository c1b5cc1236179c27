"""One ranking of what both legs find: the question's terms, the candidates with their scores, and which are shown."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from tidemill.analysis.diversity import diverse
from tidemill.analysis.fusion import FEEDBACK_FROM, Traits, fused, lexical_weight, range_of, with_feedback
from tidemill.analysis.query_words import identifier_share, marks_left_out, query_terms, question_language
from tidemill.core.errors import Unavailable
from tidemill.core.search import Expansion, Scores, SearchMode, SearchRequest
from tidemill.store import chunks, postings, vectors
from tidemill.store.database import Connection
from tidemill.store.narrowing import Narrowing
from tidemill.store.postings import Scopes, WeightedTerm
from tidemill.store.vectors import Space

CANDIDATES = 50
"""Passages that each leg puts forward."""
MOST_TERMS = 64
"""Terms of a question that are looked for: the rarest of them."""


@dataclass(frozen=True, slots=True)
class Words:
    """A question's terms as the index has them: weights by number, the question's word for each, and the most that
    BM25 can be."""

    terms: Sequence[WeightedTerm]
    named: Mapping[int, str]
    by_term: Mapping[str, float]
    mass: float


@dataclass(frozen=True, slots=True)
class Asked:
    """All that both legs need, once the question is read.

    Attributes:
        vectors: of the question and of its variants, in that order.
        most: how many hits are wanted, those for the reranker among them.
        scopes: what the reader may see now.
    """

    request: SearchRequest
    question: str
    space: Space | None
    vectors: Sequence[bytes]
    variants: Sequence[str]
    most: int
    scopes: Scopes = field(default_factory=lambda: Scopes([], 0, 0))


async def question_words(connection: Connection, asked: Asked) -> Words:
    """The question's terms with the weights that the visible chunks give them; where meaning alone ranks, none to rank
    by."""
    by_meaning = asked.request.mode is SearchMode.DENSE
    if by_meaning and not asked.request.compress:
        return Words([], {}, {}, 0.0)
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
    return Words(
        [WeightedTerm(one.id, idf[one.place] * wanted[one.place].weight, one.chunks) for one in ranking],
        {one.id: one.term if without_marks else wanted[one.place].word for one in ranking},
        {one.term: idf[one.place] * min(1.0, wanted[one.place].weight) for one in kept},
        mass,
    )


def _idf(chunks_: int, having: int) -> float:
    """Inverse document frequency as Lucene has it: never negative."""
    return math.log(1 + (chunks_ - having + 0.5) / (having + 0.5))


async def ranked(connection: Connection, asked: Asked, words: Words, narrowing: Narrowing) -> dict[int, Scores]:
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
    first = list(ordered)[:limit]
    leaders = [one for one in first if one in dense and not traits.crosses(kin[one].language)][:FEEDBACK_FROM]
    if asked.space is None or asked.request.mode is not SearchMode.HYBRID or len(leaders) < FEEDBACK_FROM:
        return ordered
    alike, between = await vectors.feedback(connection, asked.space, asked.vectors[0], leaders, first)
    again = legs.scores(alike, between)
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

    asked: Asked
    words: Words
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


async def explained(
    connection: Connection, asked: Asked, words: Words, scores: Mapping[int, Scores]
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


async def chosen(connection: Connection, asked: Asked, scores: dict[int, Scores]) -> dict[int, Scores]:
    """As many as are wanted, the most diverse ones where that is asked for."""
    limit = asked.most
    if asked.request.diversity and asked.space is not None:
        their = await vectors.vectors_of(connection, asked.space, list(scores))
        order = diverse({one: found.fused for one, found in scores.items()}, their, limit, asked.request.diversity)
        return {one: scores[one] for one in order}
    return dict(list(scores.items())[:limit])


def _most(one: Mapping[int, float], other: Mapping[int, float]) -> dict[int, float]:
    return {key: max(one.get(key, -1.0), other.get(key, -1.0)) for key in {**one, **other}}
