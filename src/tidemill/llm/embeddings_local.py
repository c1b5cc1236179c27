"""Embedding models that run in this process: off the event loop, text by text or in batches of texts of like length."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from tidemill.core.embedding import EmbeddingRequest, Embeddings, TextKind
from tidemill.core.errors import ContextTooLong
from tidemill.llm.runtime.traffic import Traffic

BATCH_TOKENS = 512
"""Tokens of one batch, padding included, where an engine takes batches. A CPU works no faster on more (decision 007 has
the figures), and a batch is how long another request waits at most."""

SLICE_CHARACTERS = 20_000
"""Characters that are tokenized in one turn, save one text that has more by itself: the turns of requests mix, and
what is left of a request ends with its client, or with a text that is too long."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A text as an engine takes it: with the prefix of its kind, and as tokens where the engine takes those.

    `tokens` counts all that the model reads, the marks at both ends included.
    """

    text: str
    tokens: int
    ids: Sequence[int] = ()


class Engine(Protocol):
    """A loaded model. One thread calls `prepare`, and others `vectors`: as many as its embedder was told of."""

    @property
    def context_tokens(self) -> int:
        """The most tokens that it reads of one text."""
        ...

    def prepare(self, texts: Sequence[str], kind: TextKind) -> list[Prepared]:
        """The texts, tokenized."""
        ...

    def vectors(self, batch: Sequence[Prepared]) -> list[bytes]:
        """A vector of unit length for each."""
        ...


class LocalEmbedder:
    """Loads an engine when it is first asked for, and keeps it.

    Native code lets Python's other threads run meanwhile.

    Args:
        load: makes the engine; heavy, called once in a thread. A failure is raised, and the next request tries anew.
        name: the model's, for messages.
        max_queue: requests that may be at work or wait beside one; the next is told when to come back.
        at_once: how many texts are computed at the same time, each in a thread of its own. 1 stands for an engine that
            takes all cores for one batch.
    """

    def __init__(self, load: Callable[[], Engine], *, name: str, max_queue: int, at_once: int = 1) -> None:
        self._load = load
        self._traffic = Traffic(name, 1, max_queue)
        self._engine: Engine | None = None
        self._at_once = at_once
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="embedding-reading")
        self._computing = ThreadPoolExecutor(at_once, thread_name_prefix="embedding")

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        """As the port says; `TooManyRequests` where the queue is full."""
        with self._traffic.admit():
            return await self._embed(request)

    async def _embed(self, request: EmbeddingRequest) -> Embeddings:
        run = asyncio.get_running_loop().run_in_executor
        prepared: list[Prepared] = []
        for texts in slices(request.texts):
            prepared += await run(self._reading, self._prepare, texts, request.kind, len(prepared))
        vectors: list[bytes] = [b""] * len(prepared)
        waiting = batches([one.tokens for one in prepared], BATCH_TOKENS if self._at_once == 1 else 0)

        async def compute() -> None:
            for places in waiting:
                found = await run(self._computing, self._vectors, [prepared[place] for place in places])
                for place, vector in zip(places, found, strict=True):
                    vectors[place] = vector

        tasks = [asyncio.create_task(compute()) for _ in range(min(self._at_once, len(prepared)))]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        return Embeddings(vectors, [one.tokens for one in prepared])

    def close(self) -> None:
        """Ends the threads, after what is running in them."""
        for threads in (self._reading, self._computing):
            threads.shutdown(wait=True, cancel_futures=True)

    def _prepare(self, texts: Sequence[str], kind: TextKind, before: int) -> list[Prepared]:
        if self._engine is None:
            self._engine = self._load()
        prepared = self._engine.prepare(texts, kind)
        for place, one in enumerate(prepared, before):
            if one.tokens > self._engine.context_tokens:
                raise ContextTooLong(
                    prompt_tokens=one.tokens,
                    context_tokens=self._engine.context_tokens,
                    param="input",
                    what=f"input {place}",
                )
        return prepared

    def _vectors(self, batch: Sequence[Prepared]) -> list[bytes]:
        assert self._engine is not None  # noqa: S101 - a batch was prepared by it
        return self._engine.vectors(batch)


def slices(texts: Sequence[str], limit: int = SLICE_CHARACTERS) -> Iterator[Sequence[str]]:
    """The texts in order, as many at a time as have no more than `limit` characters together, and always one."""
    start, size = 0, 0
    for place, text in enumerate(texts):
        if place > start and size + len(text) > limit:
            yield texts[start:place]
            start, size = place, 0
        size += len(text)
    yield texts[start:]


def batches(tokens: Sequence[int], limit: int = BATCH_TOKENS) -> Iterator[list[int]]:
    """The places of texts in batches, longest texts first: no batch has more than `limit` tokens once its texts are
    padded to its longest, save one text that has more by itself."""
    batch: list[int] = []
    for place in sorted(range(len(tokens)), key=lambda place: -tokens[place]):
        if batch and tokens[batch[0]] * (len(batch) + 1) > limit:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch
