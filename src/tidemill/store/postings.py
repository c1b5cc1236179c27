"""BM25 over the postings, of what a reader may see and nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import LiteralString

from tidemill.core.search import Reader
from tidemill.store.database import Connection
from tidemill.store.narrowing import Narrowing

SATURATION = 1.2
"""BM25's k1."""
LENGTH_WEIGHT = 0.75
"""BM25's b: Robertson and Zaragoza, The Probabilistic Relevance Framework, 2009."""
SCANNED = 60_000
"""Postings that one search reads to find candidates, beyond which the commonest terms only score what others found."""

SCOPES = """
SELECT scopes.id, coalesce(sizes.chunks, 0) AS chunks, coalesce(sizes.terms, 0) AS terms
FROM scopes LEFT JOIN scope_sizes AS sizes ON sizes.scope_id = scopes.id
WHERE level_rank <= %(level)s AND (%(all)s OR departments = '{}' OR departments && %(departments)s::uuid[])
ORDER BY scopes.id
"""
TERMS = """
SELECT asked.place, terms.id, terms.term,
    (SELECT count(*) FROM postings WHERE term_id = terms.id AND scope_id = ANY(%(scopes)s)) AS chunks
FROM unnest(%(terms)s::text[]) WITH ORDINALITY AS asked(term, place) JOIN terms ON terms.term = asked.term
"""
VARIANTS = """
SELECT asked.place, terms.id, terms.term,
    (SELECT count(*) FROM postings WHERE term_id = terms.id AND scope_id = ANY(%(scopes)s)) AS chunks
FROM unnest(%(terms)s::text[]) WITH ORDINALITY AS asked(term, place) JOIN terms ON terms.plain = asked.term
"""
CANDIDATES: LiteralString = """
SELECT postings.chunk_id, sum(asked.weight * frequency / (frequency + %(k1)s * (1 - %(b)s + %(b)s * length / %(mean)s)))
    AS score
FROM unnest(%(terms)s::int[], %(weights)s::float4[]) AS asked(term_id, weight)
JOIN postings ON postings.term_id = asked.term_id AND postings.scope_id = ANY(%(scopes)s)
GROUP BY postings.chunk_id
"""
CONTRIBUTIONS = """
SELECT chunk_id, postings.term_id,
    asked.weight * frequency / (frequency + %(k1)s * (1 - %(b)s + %(b)s * length / %(mean)s)) AS score
FROM chunks
CROSS JOIN unnest(%(terms)s::int[], %(weights)s::float4[]) AS asked(term_id, weight)
JOIN postings ON postings.term_id = asked.term_id AND postings.scope_id = chunks.scope_id AND chunk_id = chunks.id
WHERE chunks.id = ANY(%(chunks)s) AND chunks.scope_id = ANY(%(scopes)s)
"""


@dataclass(frozen=True, slots=True)
class Scopes:
    """The scopes that a reader may see, with how many chunks and terms they have together."""

    ids: Sequence[int]
    chunks: int
    terms: int

    @property
    def mean_length(self) -> float:
        """Terms of a chunk, on average; 1 where there is none."""
        return self.terms / self.chunks if self.chunks and self.terms else 1.0


@dataclass(frozen=True, slots=True)
class FoundTerm:
    """A term as the index has it. `place` says for which of the asked ones; `chunks` how many visible ones have it."""

    place: int
    id: int
    term: str
    chunks: int


@dataclass(frozen=True, slots=True)
class WeightedTerm:
    """A term of a search. `weight` is its inverse document frequency, times what the query makes of it."""

    id: int
    weight: float
    chunks: int


async def visible_scopes(connection: Connection, reader: Reader) -> Scopes:
    """What the reader may see."""
    cursor = await connection.execute(
        SCOPES,
        {"level": reader.level.rank, "departments": list(reader.departments), "all": reader.all_departments},
    )
    rows = await cursor.fetchall()
    return Scopes(
        [_int(row["id"]) for row in rows],
        sum(_int(row["chunks"]) for row in rows),
        sum(_int(row["terms"]) for row in rows),
    )


async def find_terms(
    connection: Connection, wanted: Sequence[str], scopes: Scopes, *, marks_left_out: bool = False
) -> list[FoundTerm]:
    """Those of the terms that the visible chunks have. Chunks that the reader may not see are not counted.

    Args:
        marks_left_out: also the terms that are these without their diacritics.
    """
    values = {"terms": list(wanted), "scopes": list(scopes.ids)}
    rows = await (await connection.execute(TERMS, values, prepare=False)).fetchall()
    if marks_left_out:
        rows += await (await connection.execute(VARIANTS, values, prepare=False)).fetchall()
    found = [FoundTerm(_int(row["place"]) - 1, _int(row["id"]), str(row["term"]), _int(row["chunks"])) for row in rows]
    return [one for one in found if one.chunks]


async def best_by_terms(
    connection: Connection, asked: Sequence[WeightedTerm], scopes: Scopes, narrowing: Narrowing, limit: int
) -> dict[int, float]:
    """The chunks of highest BM25, with their score by the terms that were read.

    Where the terms have more than `SCANNED` postings, the commonest are left out: they tell chunks apart least.
    `contributions` counts every term of those that are found.
    """
    if not asked:
        return {}
    values = {**_values(read_for_candidates(asked), scopes), "limit": limit}
    inner, outer = CANDIDATES, "ORDER BY score DESC, chunk_id LIMIT %(limit)s"
    if narrowing.narrows:
        values |= narrowing.values
        query = f"SELECT chunk_id, score FROM ({inner}) AS scored {narrowing.join('scored.chunk_id')} {outer}"  # noqa: S608 - constants
    else:
        query = f"{inner} {outer}"
    rows = await (await connection.execute(query.encode(), values, prepare=False)).fetchall()
    return {_int(row["chunk_id"]): float(str(row["score"])) for row in rows}


async def contributions(
    connection: Connection, asked: Sequence[WeightedTerm], scopes: Scopes, chunks: Sequence[int]
) -> Mapping[int, Mapping[int, float]]:
    """What each term gives to each of these chunks: by chunk, then by term."""
    found: dict[int, dict[int, float]] = {chunk: {} for chunk in chunks}
    if asked and chunks:
        values = {**_values(asked, scopes), "chunks": list(chunks)}
        for row in await (await connection.execute(CONTRIBUTIONS, values, prepare=False)).fetchall():
            found[_int(row["chunk_id"])][_int(row["term_id"])] = float(str(row["score"]))
    return found


def read_for_candidates(asked: Sequence[WeightedTerm]) -> Sequence[WeightedTerm]:
    """The rarest terms whose postings are no more than `SCANNED` together, and always one."""
    kept: list[WeightedTerm] = []
    total = 0
    for term in sorted(asked, key=lambda one: one.chunks):
        total += term.chunks
        if kept and total > SCANNED:
            break
        kept.append(term)
    return kept


def _values(asked: Sequence[WeightedTerm], scopes: Scopes) -> dict[str, object]:
    return {
        "terms": [one.id for one in asked],
        "weights": [one.weight for one in asked],
        "scopes": list(scopes.ids),
        "mean": scopes.mean_length,
        "k1": SATURATION,
        "b": LENGTH_WEIGHT,
    }


def _int(value: object) -> int:
    return int(str(value))
