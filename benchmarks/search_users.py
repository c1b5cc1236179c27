"""A hundred people who search at once for a minute: errors, times, and what it does to the hub's memory.

They ask the questions of the retrieval sets over all of their passages, each question once, so that the embedding
model reads every one. `BENCH_DATA` names the sets' folder, `BENCH_VECTORS` one where the passages' vectors are kept.
"""

import asyncio
import itertools
import os
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

import psutil

from benchmarks.load import json_request
from benchmarks.processes import hub
from benchmarks.retrieval import Vectors, index
from benchmarks.retrieval_data import RetrievalSet, whole_sets
from benchmarks.retrieval_database import NOON
from benchmarks.users import crowd, show
from tidemill.core.embedding import TextKind
from tidemill.llm.embedding_catalog import E5, find_embedding_model
from tidemill.settings import Settings
from tidemill.store.database import make_pool
from tidemill.store.embedded import EmbeddedPostgres
from tidemill.store.schema import migrate
from tidemill.store.secret_key import load_secret_key
from tidemill.store.vectors import VectorSpaces


def run() -> None:
    """Prints errors, searches per second, latencies, and the ratio of memory at the end to memory once settled."""
    named = os.environ.get("BENCH_DATA")
    sets = list(whole_sets(Path(named))) if named else []
    if not sets:
        print("search users: not run; BENCH_DATA names no folder with Cranfield or XQuAD\n")
        return
    questions = list(itertools.chain.from_iterable(one.questions for one in sets))
    random.Random(4).shuffle(questions)
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as folder:
        Path(folder).chmod(0o711)
        data = Path(folder) / "data"
        asyncio.run(_fill(data, sets))
        with hub(data_dir=data) as running:
            url = f"{running.url}/v1/search"
            left = (json_request(url, running.key, {"query": one}) for one in itertools.cycle(questions))
            seen = asyncio.run(crowd(url, lambda _: left, psutil.Process(running.pid)))
    show("searchers", seen)


async def _fill(data: Path, sets: Sequence[RetrievalSet]) -> None:
    """Writes the passages into a hub's database before the hub starts."""
    kept = Vectors(Path(os.environ.get("BENCH_VECTORS") or tempfile.mkdtemp(prefix="tidemill-bench-")))
    settings = Settings(data_dir=data)
    with EmbeddedPostgres.acquire(settings, load_secret_key(settings)) as server:
        migrate(server.url)
        async with make_pool(server.url, size=2) as pool:
            version = find_embedding_model(settings, E5).version
            space = await VectorSpaces(pool).ensure(E5, version, 384, NOON)
            for one in sets:
                await index(pool, one, space, kept.of(one.passage_key, one.texts, TextKind.PASSAGE))
