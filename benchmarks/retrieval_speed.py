"""How fast hybrid search is at 30,000 and 100,000 chunks, and how many of the ten nearest it finds.

The texts are those of the retrieval sets, repeated. Their vectors are random ones of unit length, which are the hardest
for an index, and where `BENCH_VECTORS` has them, those of the texts with noise added to each repetition (cosine .97).
A reader sees one scope of a hundred, or all of them. The question's vector is given, and ten nearest are those that
NumPy finds by comparing all. `BENCH_DATA` names the sets' folder; `BENCH_SIZES` other numbers of chunks.
"""

import asyncio
import itertools
import math
import os
import random
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import numpy as np
import psycopg
from numpy.typing import NDArray

from benchmarks.retrieval_data import RetrievalSet, whole_sets
from benchmarks.retrieval_database import NOON, database
from tidemill.analysis.terms import terms, without_diacritics
from tidemill.core.classification import Level
from tidemill.core.context import Asker
from tidemill.core.search import Filters, Reader, SearchRequest
from tidemill.knowledge.search import Search
from tidemill.store import vectors
from tidemill.store.database import Pool, make_pool
from tidemill.store.narrowing import narrowing_of
from tidemill.store.postings import visible_scopes
from tidemill.store.vectors import Space, VectorSpaces

SCOPES = 100
WIDTH = 384
QUESTIONS = 60
WARMING = 5
RECALL_OF = 40
BEST = 10
NOISE = 0.25
"""The length of what is added to a text's vector: the cosine with it is then .97."""
READERS = (("1 % visible", Reader(Level.PUBLIC)), ("all visible", Reader(Level.SECRET, all_departments=True)))

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Family:
    """Vectors of one kind: for the chunks, for the questions that are timed, and for those whose recall is counted."""

    name: str
    rows: Floats
    questions: Floats


def run() -> None:
    """Prints times and recall for each size and kind of vectors."""
    named = os.environ.get("BENCH_DATA")
    sets = list(whole_sets(Path(named))) if named else []
    if not sets:
        print("retrieval speed: not run; BENCH_DATA names no folder with Cranfield or XQuAD\n")
        return
    sizes = [int(size) for size in os.environ.get("BENCH_SIZES", "30000 100000").split()]
    asyncio.run(_measure(sets, sizes))
    print()


async def _measure(sets: Sequence[RetrievalSet], sizes: Sequence[int]) -> None:
    texts = list(itertools.chain.from_iterable(one.texts for one in sets))
    asked = list(itertools.chain.from_iterable(one.questions for one in sets))
    chosen = random.Random(2).sample(range(len(asked)), QUESTIONS)
    questions = [asked[place] for place in chosen]
    for size in sizes:
        with database() as url:
            async with make_pool(url, size=4) as pool:
                started = time.perf_counter()
                _fill(url, texts, size)
                print(f"speed  {size:,} chunks written in {time.perf_counter() - started:.0f} s", flush=True)
                for family in _families(sets, size, chosen):
                    space = await VectorSpaces(pool).ensure(family.name, "1", WIDTH, NOON)
                    await asyncio.to_thread(_put_vectors, url, space, family.rows)
                    await _figures(pool, f"{size:,} {family.name:<6}", family, questions)
                    with psycopg.connect(url, autocommit=True) as connection:
                        connection.execute(f"DROP INDEX chunk_vectors_of_space_{space.id}")
                        connection.execute("TRUNCATE chunk_vectors, chunks_to_embed, embedding_spaces")


def _families(sets: Sequence[RetrievalSet], size: int, chosen: Sequence[int]) -> Iterator[Family]:
    numbers = np.random.default_rng(0)
    yield Family("random", _units(numbers, size), _units(numbers, len(chosen)))
    folder = Path(os.environ.get("BENCH_VECTORS", "nowhere"))
    passages, questions = [[folder / f"{key(one)}.npy" for one in sets] for key in (_passages, _questions)]
    if not all(path.is_file() for path in [*passages, *questions]):
        print("speed  vectors of texts: not run; `BENCH_VECTORS` has none, which the benchmark `retrieval` makes")
        return
    base = np.concatenate([np.load(path) for path in passages])
    rows = base[np.arange(size) % len(base)] + NOISE * _units(numbers, size)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    yield Family("texts", rows.astype("<f4"), np.concatenate([np.load(path) for path in questions])[list(chosen)])


def _passages(one: RetrievalSet) -> str:
    return one.passage_key


def _questions(one: RetrievalSet) -> str:
    return one.question_key


class GivenVectors:
    """Gives each question the next of these vectors at once."""

    def __init__(self, rows: Floats) -> None:
        self._rows = itertools.cycle(rows)

    async def of(self, questions: Sequence[str], space: Space, asker: Asker) -> tuple[list[bytes], bool]:
        """A vector for each."""
        del space, asker
        return [next(self._rows).tobytes() for _ in questions], False


def _units(numbers: np.random.Generator, count: int) -> Floats:
    """Random vectors of unit length."""
    rows = numbers.standard_normal((count, WIDTH), dtype=np.float32)
    found: Floats = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype("<f4")
    return found


async def _figures(pool: Pool, name: str, family: Family, questions: Sequence[str]) -> None:
    """Times of hybrid searches, and the recall of what they ask; then that of the index where they ask it not."""
    search = Search(pool, GivenVectors(family.questions), lambda: NOON)  # type: ignore[arg-type]
    for seen, reader in READERS:
        times = []
        for question in questions:
            started = time.perf_counter()
            await search.search(SearchRequest(question, reader))
            times.append((time.perf_counter() - started) * 1000)
        found, _ = await _recall(pool, family, reader)
        print(f"speed  {name}, {seen}: hybrid {_percentiles(times[WARMING:])}, recall@10 {found:.3f}", flush=True)
    bound, vectors.EXACT = vectors.EXACT, 0
    for seen, reader in READERS:
        found, times = await _recall(pool, family, reader)
        print(f"speed  {name}, {seen}: the index alone {_percentiles(times)}, recall@10 {found:.3f}", flush=True)
    vectors.EXACT = bound


async def _recall(pool: Pool, family: Family, reader: Reader) -> tuple[float, list[float]]:
    """The share of the ten nearest that the dense leg finds among its first ten, and the times of that."""
    found, times = [], []
    visible = np.arange(0, len(family.rows), 1 if reader.all_departments else SCOPES)
    for query in family.questions[:RECALL_OF]:
        nearest = visible[np.argsort(-(family.rows[visible] @ query), kind="stable")[:BEST]] + 1
        async with pool.connection() as connection, connection.transaction():
            scopes = await visible_scopes(connection, reader)
            space = await vectors.current_space(connection)
            assert space is not None
            started = time.perf_counter()
            near = await vectors.nearest(connection, space, query.tobytes(), scopes, narrowing_of(Filters()), 100)
            times.append((time.perf_counter() - started) * 1000)
        best = sorted(near, key=lambda one: -near[one])[:BEST]
        found.append(len(set(best) & set(nearest.tolist())) / BEST)
    return float(np.mean(found)), times


def _percentiles(times: Sequence[float]) -> str:
    ordered = sorted(times)
    return f"p50 {ordered[len(ordered) // 2]:6.1f} ms, p95 {ordered[math.ceil(len(ordered) * 0.95) - 1]:6.1f} ms"


def _fill(url: str, texts: Sequence[str], size: int) -> None:
    """Rows as `search_index.write` writes them, all at once, and the indexes after."""
    counted = [terms(text) for text in texts]
    numbers = {term: place for place, term in enumerate(sorted({term for one in counted for term in one}), 1)}
    lengths = [one.total() for one in counted]
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in ("ALTER TABLE postings DROP CONSTRAINT postings_pkey", "DROP INDEX postings_by_chunk"):
            connection.execute(statement)
        documents = [_document(connection, scope) for scope in range(1, SCOPES + 1)]
        with connection.cursor() as cursor:
            with cursor.copy("COPY terms (term, plain) FROM STDIN") as copy:
                for term in numbers:
                    plain = without_diacritics(term)
                    copy.write_row((term, plain if plain != term else None))
            names = "document_id, scope_id, ordinal, span_start, span_end, heading, text, hash, tokens, terms"
            with cursor.copy(f"COPY chunks ({names}) FROM STDIN") as copy:
                for place in range(size):
                    one, scope = place % len(texts), place % SCOPES
                    row = (documents[scope], scope + 1, place, 0, len(texts[one]), "", texts[one], f"{place}", 9)
                    copy.write_row((*row, lengths[one]))
            with cursor.copy("COPY postings FROM STDIN (FORMAT BINARY)") as copy:
                copy.write(HEADER)
                for one, found in enumerate(counted):
                    places = np.arange(one, size, len(texts))
                    ids = np.array([numbers[term] for term in found])
                    counts = np.array(list(found.values()))
                    copy.write(
                        _rows(
                            (">i4", np.tile(ids, len(places))),
                            (">i4", np.repeat(places % SCOPES + 1, len(ids))),
                            (">i8", np.repeat(places + 1, len(ids))),
                            (">i2", np.tile(counts, len(places))),
                            (">i4", np.full(len(ids) * len(places), lengths[one])),
                        )
                    )
                copy.write(TRAILER)
        connection.execute("SET maintenance_work_mem = '600MB'")
        connection.execute(
            "ALTER TABLE postings ADD CONSTRAINT postings_pkey PRIMARY KEY (term_id, scope_id, chunk_id) "
            "INCLUDE (frequency, length)"
        )
        connection.execute("CREATE INDEX postings_by_chunk ON postings (chunk_id)")
        connection.execute("VACUUM ANALYZE")


def _document(connection: psycopg.Connection, scope: int) -> UUID:
    """A source with its scope and one document; of a hundred one that everybody may see."""
    source, document = uuid4(), uuid4()
    level = Level.PUBLIC if scope == 1 else Level.SECRET
    connection.execute("INSERT INTO document_texts VALUES ('none', '') ON CONFLICT DO NOTHING")
    connection.execute(
        "INSERT INTO sources (id, name, kind, location, owner_id, level, strategy, options, created_at) "
        "VALUES (%s, %s, 'folder', '/', %s, %s, 'auto', '{}', %s)",
        (source, f"source {scope}", uuid4(), level, NOON),
    )
    connection.execute("INSERT INTO scopes (source_id, level_rank) VALUES (%s, %s)", (source, level.rank))
    connection.execute(
        "INSERT INTO documents (id, source_id, scope_id, path, raw_digest, raw_bytes, text_digest, title, kind, "
        "metadata, chunked_by, created_at, changed_at) "
        "VALUES (%s, %s, %s, 'a', 'none', 0, 'none', 'a', 'document', '{}', 'bench', %s, %s)",
        (document, source, scope, NOON, NOON),
    )
    return document


def _put_vectors(url: str, space: Space, rows: Floats) -> None:
    started = time.perf_counter()
    places = np.arange(len(rows))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("TRUNCATE chunks_to_embed")
        connection.execute(f"DROP INDEX chunk_vectors_of_space_{space.id}")
        with (
            connection.cursor() as cursor,
            cursor.copy("COPY chunk_vectors (space_id, chunk_id, scope_id, vector) FROM STDIN (FORMAT BINARY)") as copy,
        ):
            copy.write(HEADER)
            for some in np.array_split(places, max(1, len(rows) // 5000)):
                columns = (">i2", np.full(len(some), space.id)), (">i8", some + 1), (">i4", some % SCOPES + 1)
                copy.write(_rows(*columns, vector=rows[some]))
            copy.write(TRAILER)
        written = time.perf_counter()
        connection.execute("SET maintenance_work_mem = '600MB'")
        connection.execute(vectors.index_of(space))
        connection.execute("VACUUM ANALYZE chunk_vectors")
    print(
        f"speed  {len(rows):,} {space.model} vectors written in {written - started:.0f} s, indexed in "
        f"{time.perf_counter() - written:.0f} s",
        flush=True,
    )


HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
TRAILER = struct.pack(">h", -1)
"""Of PostgreSQL's binary format: https://www.postgresql.org/docs/current/sql-copy.html."""


def _rows(*columns: tuple[str, NDArray[np.int64]], vector: Floats | None = None) -> bytes:
    """Rows of fixed size in that format; a vector as pgvector sends it: its dimensions, nothing, and its numbers."""
    fields = [("fields", ">i2")]
    for place, (kind, _) in enumerate(columns):
        fields += [(f"size{place}", ">i4"), (f"value{place}", kind)]
    if vector is not None:
        fields += [("bytes", ">i4"), ("dimensions", ">i2"), ("unused", ">i2")]
    kinds = np.dtype([*fields, *([("vector", ">f4", (WIDTH,))] if vector is not None else [])])
    rows = np.zeros(len(columns[0][1]), kinds)
    rows["fields"] = len(columns) + (vector is not None)
    for place, (kind, values) in enumerate(columns):
        rows[f"size{place}"], rows[f"value{place}"] = np.dtype(kind).itemsize, values
    if vector is not None:
        rows["bytes"], rows["dimensions"], rows["vector"] = 4 + 4 * WIDTH, WIDTH, vector
    return rows.tobytes()
