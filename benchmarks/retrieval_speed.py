"""How fast hybrid search is at 30,000 and 100,000 chunks, and how much of the exact neighbours the index finds.

The vectors are random ones of unit length, which are harder for an index than those of texts; the texts are those of
the retrieval sets, repeated. A reader sees one scope of a hundred, or all of them. The question's vector is given.
"""

import itertools
import math
import os
import random
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import numpy as np
import psycopg
from numpy.typing import NDArray

from benchmarks.retrieval_data import RetrievalSet
from tidemill.analysis.terms import terms, without_diacritics
from tidemill.core.classification import Level
from tidemill.core.context import Asker
from tidemill.core.search import Filters, Reader
from tidemill.knowledge.search import Search, SearchRequest
from tidemill.settings import Settings
from tidemill.store import vectors
from tidemill.store.database import Pool, make_pool
from tidemill.store.embedded import EmbeddedPostgres
from tidemill.store.narrowing import narrowing_of
from tidemill.store.postings import visible_scopes
from tidemill.store.schema import migrate
from tidemill.store.secret_key import load_secret_key
from tidemill.store.vectors import Space, VectorSpaces

SCOPES = 100
WIDTH = 384
QUESTIONS = 60
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NARROW = Reader(Level.PUBLIC)
WIDE = Reader(Level.SECRET, all_departments=True)


class GivenVectors:
    """Gives each question a random vector at once."""

    def __init__(self, seed: int = 1) -> None:
        self._numbers = np.random.default_rng(seed)

    async def of(self, questions: Sequence[str], space: Space, asker: Asker | None = None) -> tuple[list[bytes], bool]:
        """A vector for each."""
        del space, asker
        return [row.tobytes() for row in units(self._numbers, len(questions))], False


def units(numbers: np.random.Generator, count: int) -> NDArray[np.float32]:
    """Random vectors of unit length."""
    rows = numbers.standard_normal((count, WIDTH), dtype=np.float32)
    found: NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype("<f4")
    return found


async def measure(sets: Sequence[RetrievalSet], sizes: Sequence[int]) -> None:
    """Prints the figures for each size."""
    texts = list(itertools.chain.from_iterable(one.texts for one in sets))
    questions = [question for one in sets for question in one.questions]
    random.Random(2).shuffle(questions)
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as folder:
            os.chmod(folder, 0o711)  # noqa: PTH101
            settings = Settings(data_dir=Path(folder) / "data")
            with EmbeddedPostgres.acquire(settings, load_secret_key(settings)) as server:
                migrate(server.url)
                async with make_pool(server.url, size=4) as pool:
                    space = await VectorSpaces(pool).ensure("random", "1", WIDTH, NOON)
                    started = time.perf_counter()
                    fill(server.url, texts, size, space)
                    print(f"retrieval  {size:,} chunks loaded in {time.perf_counter() - started:.0f} s", flush=True)
                    await figures(pool, size, questions[:QUESTIONS])


async def figures(pool: Pool, size: int, questions: Sequence[str]) -> None:
    """Times of hybrid searches, and the index's recall."""
    search = Search(pool, GivenVectors(), lambda: NOON)  # type: ignore[arg-type]
    for name, reader in (("1 % visible", NARROW), ("all visible", WIDE)):
        times = []
        for question in questions:
            started = time.perf_counter()
            await search.search(SearchRequest(question, reader))
            times.append((time.perf_counter() - started) * 1000)
        times = sorted(times[5:])
        middle, last = times[len(times) // 2], times[math.ceil(len(times) * 0.95) - 1]
        print(f"retrieval  {size:,} chunks, {name:<12} hybrid p50 {middle:6.1f} ms, p95 {last:6.1f} ms", flush=True)
        print(f"retrieval  {size:,} chunks, {name:<12} recall@10 of exact {await recall(pool, reader):.3f}", flush=True)


async def recall(pool: Pool, reader: Reader, count: int = 30) -> float:
    """The share of the ten nearest, found by comparing all, that a search finds among its candidates' first ten."""
    queries = units(np.random.default_rng(3), count)
    found = []
    bound = vectors.EXACT
    for query in queries:
        async with pool.connection() as connection, connection.transaction():
            scopes = await visible_scopes(connection, reader)
            space = await vectors.current_space(connection)
            assert space is not None
            both = []
            for limit in (bound, 10**9):
                vectors.EXACT = limit
                near = await vectors.nearest(connection, space, query.tobytes(), scopes, narrowing_of(Filters()), 100)
                both.append(sorted(near, key=lambda one: -near[one])[:10])
            vectors.EXACT = bound
            found.append(len(set(both[0]) & set(both[1])) / max(1, len(both[1])))
    return float(np.mean(found))


def fill(url: str, texts: Sequence[str], size: int, space: Space) -> None:
    """Rows as `search_index.write` writes them, all at once, and the indexes after."""
    counted = [terms(text) for text in texts]
    numbers = {term: place for place, term in enumerate(sorted({term for one in counted for term in one}), 1)}
    rows = units(np.random.default_rng(0), size)
    with psycopg.connect(url, autocommit=True) as connection:
        drops = ("ALTER TABLE postings DROP CONSTRAINT postings_pkey", "DROP INDEX postings_by_chunk")
        for statement in (*drops, f"DROP INDEX chunk_vectors_of_space_{space.id}"):
            connection.execute(statement)
        documents = []
        connection.execute("INSERT INTO document_texts VALUES ('none', '')")
        for scope in range(1, SCOPES + 1):
            source, document = uuid4(), uuid4()
            level = Level.PUBLIC if scope == 1 else Level.SECRET
            connection.execute(
                "INSERT INTO sources (id, name, kind, location, owner_id, level, strategy, options, created_at) "
                "VALUES (%s, %s, 'folder', '/', %s, %s, 'auto', '{}', %s)",
                (source, f"source {scope}", uuid4(), level, NOON),
            )
            connection.execute("INSERT INTO scopes (source_id, level_rank) VALUES (%s, %s)", (source, level.rank))
            connection.execute(
                "INSERT INTO documents (id, source_id, scope_id, path, raw_digest, raw_bytes, text_digest, title, "
                "kind, metadata, chunked_by, created_at, changed_at) "
                "VALUES (%s, %s, %s, 'a', 'none', 0, 'none', 'a', 'document', '{}', 'bench', %s, %s)",
                (document, source, scope, NOON, NOON),
            )
            documents.append(document)
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
                    copy.write_row((*row, counted[one].total()))
            with cursor.copy("COPY postings FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(["int4", "int4", "int8", "int2", "int4"])
                for place in range(size):
                    found, scope = counted[place % len(texts)], place % SCOPES + 1
                    length = found.total()
                    for term, count in found.items():
                        copy.write_row((numbers[term], scope, place + 1, count, length))
            with cursor.copy("COPY chunk_vectors FROM STDIN") as copy:
                for place, row in enumerate(rows):
                    copy.write_row((space.id, place + 1, place % SCOPES + 1, vectors.literal(row.tobytes())))
        connection.execute("SET maintenance_work_mem = '600MB'")
        connection.execute(
            "ALTER TABLE postings ADD CONSTRAINT postings_pkey PRIMARY KEY (term_id, scope_id, chunk_id) "
            "INCLUDE (frequency, length)"
        )
        connection.execute("CREATE INDEX postings_by_chunk ON postings (chunk_id)")
        connection.execute(vectors.index_of(space))
        connection.execute("VACUUM ANALYZE")
