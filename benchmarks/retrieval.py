"""Retrieval: how well each leg and both together find, through the whole search over PostgreSQL.

`BENCH_DATA` names a folder with Cranfield (`cran.all.1400`, `cran.qry`, `cranqrel`) and XQuAD (`xquad.vi.json`,
`xquad.en.json`); `BENCH_VECTORS` a folder where vectors are kept between runs. Beside bm25s where it is installed,
which is no dependency.
"""

import asyncio
import hashlib
import importlib
import math
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import UUID, uuid4

import numpy as np
from numpy.typing import NDArray

from benchmarks.retrieval_data import RetrievalSet, retrieval_sets
from benchmarks.retrieval_database import NOON, database
from tidemill.core.classification import Level
from tidemill.core.context import Asker
from tidemill.core.document import Chunk, Span, embedded_text
from tidemill.core.embedding import TextKind
from tidemill.core.search import Reader, SearchMode, SearchRequest, SelfQuerying
from tidemill.knowledge.search import Search
from tidemill.llm.embedding_catalog import E5
from tidemill.llm.embeddings_e5 import E5Encoder
from tidemill.store.database import Pool, make_pool
from tidemill.store.search_index import write
from tidemill.store.vectors import Space, VectorSpaces

MOST_QUESTIONS = 300
BEST = 10
PUBLISHED: Mapping[str, str] = {
    "Cranfield": "bm25s .494, MiniLM .514, plain RRF .556",
    "XQuAD vi→vi": "bm25s .959, e5-small .946, plain RRF .965",
    "XQuAD vi→en": "bm25s .456, e5-small .826, plain RRF .577",
}
"""nDCG@10 of other systems on the same files: BM25 of bm25s with k1 1.2, b 0.75 and `\\w+`, and RRF with k 60."""


def run() -> None:
    """Prints nDCG@10 of each leg and of both, set by set; says what was not run."""
    named = os.environ.get("BENCH_DATA")
    sets = list(retrieval_sets(Path(named))) if named else []
    if not sets:
        print("retrieval: not run; BENCH_DATA names no folder with Cranfield or XQuAD\n")
        return
    asyncio.run(_quality(sets))
    print()


async def _quality(sets: Sequence[RetrievalSet]) -> None:
    vectors = Vectors(Path(os.environ.get("BENCH_VECTORS") or tempfile.mkdtemp(prefix="tidemill-bench-")))
    for one in sets:
        with database() as url:
            async with make_pool(url, size=2) as pool:
                made = vectors.of(one.passage_key, one.texts, TextKind.PASSAGE)
                space = await VectorSpaces(pool).ensure(E5, "1", made.shape[1], NOON)
                await index(pool, one, space, made)
                given = Given(one.questions, vectors.of(one.question_key, one.questions, TextKind.QUERY))
                await _scores(Search(pool, given, lambda: NOON), one)  # type: ignore[arg-type]


async def _scores(search: Search, one: RetrievalSet) -> None:
    """Every n-th question, so that there are at most `MOST_QUESTIONS`; of halves, the second is the one not fitted."""
    step = max(1, len(one.questions) // MOST_QUESTIONS)
    found: dict[SearchMode, list[float]] = {mode: [] for mode in SearchMode}
    for mode, scores in found.items():
        for question, relevant in list(zip(one.questions, one.relevant, strict=True))[::step]:
            request = SearchRequest(
                question, Reader(Level.INTERNAL), mode=mode, limit=BEST, self_query=SelfQuerying.NONE
            )
            hits = (await search.search(request)).hits
            scores.append(ndcg([int(hit.path) for hit in hits], relevant))
    fused, lexical, dense = (np.mean(found[mode]) for mode in (SearchMode.HYBRID, SearchMode.LEXICAL, SearchMode.DENSE))
    print(
        f"retrieval  {one.name:<12} nDCG@10 of {len(found[SearchMode.HYBRID])} questions: lexical {lexical:.3f}, "
        f"dense {dense:.3f}, fused {fused:.3f} ({PUBLISHED.get(one.name, 'nothing published beside it')})",
        flush=True,
    )
    other = bm25s(one, step)
    print(f"retrieval  {one.name:<12} bm25s on the same questions: {other}", flush=True)


def ndcg(ranking: Sequence[int], relevant: frozenset[int]) -> float:
    """Normalised discounted cumulative gain of the first ten, each either relevant or not."""
    gain = sum(1 / math.log2(place + 2) for place, one in enumerate(ranking[:BEST]) if one in relevant)
    best = sum(1 / math.log2(place + 2) for place in range(min(BEST, len(relevant))))
    return gain / best if best else 0.0


def bm25s(one: RetrievalSet, step: int) -> str:
    """nDCG@10 of bm25s, with `\\w+` and its own defaults for the rest; or that it is not there."""
    try:
        library = importlib.import_module("bm25s")  # not a dependency
    except ImportError:
        return "not run; it is not installed"
    words = [re.findall(r"\w+", text.lower()) for text in one.texts]
    index = library.BM25(k1=1.2, b=0.75)
    index.index(words, show_progress=False)
    scores = []
    for question, relevant in list(zip(one.questions, one.relevant, strict=True))[::step]:
        asked = [word for word in re.findall(r"\w+", question.lower()) if word in index.vocab_dict]
        ranking = np.argsort(-index.get_scores(asked), kind="stable")[:BEST].tolist() if asked else []
        scores.append(ndcg(ranking, relevant))
    return f"{np.mean(scores):.3f}"


async def index(pool: Pool, one: RetrievalSet, space: Space, vectors: NDArray[np.float32]) -> None:
    """Writes a set's passages as documents of a source, with these vectors."""
    source, scope = await _source(pool, one.name)
    made: dict[str, bytes] = {}
    async with pool.connection() as connection:
        await connection.execute("INSERT INTO document_texts VALUES ('none', '') ON CONFLICT DO NOTHING")
        for place, (title, text) in enumerate(one.passages):
            document = uuid4()
            await connection.execute(
                "INSERT INTO documents (id, source_id, scope_id, path, raw_digest, raw_bytes, text_digest, title, "
                "kind, language, metadata, chunked_by, created_at, changed_at) "
                "VALUES (%s, %s, %s, %s, 'none', 0, 'none', %s, 'document', %s, '{}', 'bench', %s, %s)",
                (document, source, scope, str(place), title, one.language, NOON, NOON),
            )
            digest = hashlib.sha256(f"{one.name} {place} {embedded_text(title, text)}".encode()).hexdigest()
            made[digest] = vectors[place].tobytes()
            async with connection.transaction():
                await write(connection, document, scope, [Chunk(0, Span(0, len(text)), text, title, digest, 1)])
    await VectorSpaces(pool).put_vectors(space, made)


async def _source(pool: Pool, name: str) -> tuple[UUID, int]:
    source = uuid4()
    async with pool.connection() as connection:
        await connection.execute(
            "INSERT INTO sources (id, name, kind, location, owner_id, level, strategy, options, created_at) "
            "VALUES (%s, %s, 'folder', '/', %s, 'internal', 'auto', '{}', %s)",
            (source, name, uuid4(), NOON),
        )
        cursor = await connection.execute(
            "INSERT INTO scopes (source_id, level_rank) VALUES (%s, 1) RETURNING id", (source,)
        )
        row = await cursor.fetchone()
    assert row is not None
    return source, int(str(row["id"]))


class Given:
    """Gives each question the vector that was made of it."""

    def __init__(self, questions: Sequence[str], vectors: NDArray[np.float32]) -> None:
        self._vectors = {" ".join(text.split()): row for text, row in zip(questions, vectors, strict=True)}
        self._any = vectors[0]

    async def of(self, questions: Sequence[str], space: Space, asker: Asker | None = None) -> tuple[list[bytes], bool]:
        """The vectors."""
        del space, asker
        return [self._vectors[" ".join(question.split())].tobytes() for question in questions], False


class Vectors:
    """Vectors of the default embedding model, kept as files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._encoder: E5Encoder | None = None

    def of(self, key: str, texts: Sequence[str], kind: TextKind) -> NDArray[np.float32]:
        """One for each text; longer ones than the model reads are cut to their beginning."""
        path = self._folder / f"{key}.npy"
        if not path.is_file():
            np.save(path, np.stack([np.frombuffer(self._vector(text, kind), "<f4") for text in texts]))
        found: NDArray[np.float32] = np.load(path)
        return found

    def _vector(self, text: str, kind: TextKind) -> bytes:
        self._encoder = self._encoder or E5Encoder()
        (prepared,) = self._encoder.prepare([text], kind)
        while prepared.tokens > self._encoder.context_tokens:
            text = text[: int(len(text) * 0.9)]
            (prepared,) = self._encoder.prepare([text], kind)
        return self._encoder.vectors([prepared])[0]
