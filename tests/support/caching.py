"""A cache of answers over a scripted model, with a clock that tests set."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from tests.conftest import NOON
from tidemill.core.chat import ChatChunk, ChatCompletion, ChatRequest, ModelRequest
from tidemill.core.context import InferenceContext
from tidemill.core.deployment import Deployment, Task
from tidemill.core.embedding import EmbeddingRequest, Embeddings
from tidemill.core.errors import TidemillError
from tidemill.core.ids import new_id
from tidemill.core.served import Served
from tidemill.llm.cache.model import CachedModel
from tidemill.llm.cache.redis_tier import RedisTier
from tidemill.llm.cache.semantic import SemanticTier
from tidemill.llm.cache.tiers import Answers
from tidemill.llm.embeddings import Embedder
from tidemill.llm.port import ChatModel
from tidemill.llm.recording import TextPolicy
from tidemill.settings import CacheSettings
from tidemill.store.answer_cache import AnswerCacheRepository
from tidemill.store.answer_files import AnswerFiles
from tidemill.store.database import Pool

SEVEN_DAYS = 7.0
DEPLOYMENT = Deployment(Task.CHAT, "scripted", "1")
EMBEDDING = Deployment(Task.EMBED, "scripted-embedder", "1")
SERVED = Served("upstream", "scripted", "1", cost_usd=0.25)
OWNER = UUID("11111111-1111-7111-8111-111111111111")


class Serving:
    """A model that says who answered and what it cost, as adapters do, and that a test can hold up.

    `refusals` are raised, one for each request, before anything is answered.
    """

    def __init__(self, inner: ChatModel, served: Served = SERVED, refusals: Sequence[TidemillError] = ()) -> None:
        self._inner = inner
        self.served = served
        self._refusals = list(refusals)
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = 0
        self.cancelled = 0

    async def complete(self, request: ModelRequest) -> ChatCompletion:
        self.asked += 1
        try:
            await self.gate.wait()
            self._refuse()
            return replace(await self._inner.complete(request), served=self.served)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ChatChunk, None]:
        self.asked += 1
        first = True
        try:
            if self._refusals:
                await self.gate.wait()
                self._refuse()
            async for chunk in self._inner.stream(request):
                if first:
                    yield replace(chunk, served=replace(self.served, cost_usd=None))
                    first = False
                    await self.gate.wait()
                else:
                    yield replace(chunk, served=self.served) if chunk.usage else chunk
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled += 1
            raise

    def _refuse(self) -> None:
        if self._refusals:
            raise self._refusals.pop(0)


class NoEmbedder:
    """Fails the test that asks it."""

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        raise AssertionError("nothing was to be embedded")


class Cache:
    """A cached model and its parts."""

    def __init__(
        self,
        inner: ChatModel,
        pool: Pool,
        folder: Path,
        *,
        settings: CacheSettings | None = None,
        redis: RedisTier | None = None,
        embedder: Embedder | None = None,
        hours: float = 24.0,
        days: float = SEVEN_DAYS,
    ) -> None:
        chosen = settings or CacheSettings()
        self.now = NOON
        self.looks: list[tuple[str, bool]] = []
        self.rows = AnswerCacheRepository(pool, AnswerFiles(folder), over=chosen.file_over_bytes)
        self.answers = Answers(self.rows, redis, chosen, hours=hours, clock=self._clock, observe=self._look)
        self.model = CachedModel(
            inner,
            self.answers,
            texts=TextPolicy(days),
            semantic=SemanticTier(embedder or NoEmbedder(), lambda: EMBEDDING, chosen.semantic),
            sampled=chosen.sampled,
        )

    def _clock(self) -> datetime:
        return self.now

    def _look(self, *, tier: str, hit: bool) -> None:
        self.looks.append((tier, hit))


CacheOf = Callable[..., Cache]


@asynccontextmanager
async def closing(answers: Answers) -> AsyncIterator[Answers]:
    try:
        yield answers
    finally:
        await answers.aclose()


def asked(text: str = "What turns the mill?", *, deployment: Deployment = DEPLOYMENT, options: Any = None,
          before: Any = (), **context: Any) -> ChatRequest:  # fmt: skip
    """A deterministic request, where `options` do not say otherwise."""
    who = InferenceContext(new_id(), deployment, trace_id="0" * 31 + "1", **{"owner_id": OWNER, **context})
    messages = [*before, {"role": "user", "content": text}]
    return ChatRequest(deployment.model, messages, {"temperature": 0} if options is None else options, who)


async def chunks_of(stream: AsyncGenerator[ChatChunk, None]) -> list[ChatChunk]:
    return [chunk async for chunk in stream]


def said(chunks: list[ChatChunk]) -> str:
    return "".join(
        str(choice["delta"].get("content") or "")  # type: ignore[index, call-overload, union-attr]
        for chunk in chunks
        for choice in chunk.choices
    )


def tier_of(answer: ChatCompletion) -> str | None:
    assert answer.served is not None
    return answer.served.cache_tier
