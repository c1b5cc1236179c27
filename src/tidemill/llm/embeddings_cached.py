"""Wrappers of the embedding port: what may leave, what is computed once, and the row that each request leaves."""

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

from tidemill.core.chat import Usage
from tidemill.core.classification import Use, UseLimits
from tidemill.core.clock import Clock
from tidemill.core.context import InferenceContext
from tidemill.core.deployment import Deployment
from tidemill.core.embedding import EmbeddingRequest, Embeddings, shortened
from tidemill.core.errors import TidemillError
from tidemill.core.ids import digest
from tidemill.core.inference import Inference, InferenceStatus
from tidemill.core.served import Served
from tidemill.llm.embeddings import Embedder
from tidemill.llm.outside import Classify, OutsideLimit
from tidemill.llm.recording import Observer, record_failure
from tidemill.store.embedding_cache import CachedVector, EmbeddingCacheRepository
from tidemill.store.inferences import InferenceRepository

CACHED = "embedding"
"""The cache tier of an inference whose vectors were all there."""


class ClassifiedEmbedder:
    """Holds back texts whose level may not leave, before a model outside sees them."""

    def __init__(self, inner: Embedder, limit: OutsideLimit) -> None:
        self._inner = inner
        self._limit = limit

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        """As the port says."""
        await self._limit.check(request.model, request.texts)
        return await self._inner.embed(request)


class CachedEmbedder:
    """Computes what is not there, each text once, and keeps it. Vectors are cut to size after that.

    A text whose level may not be logged leaves no vector behind: something of a text can be read out of its vector.

    Args:
        inner: computes whole vectors.
        cache: keeps them.
        hours: how long; zero keeps none.
        limits: which level may be stored.
        classify: gives the level.
        clock: gives the time.
    """

    def __init__(
        self,
        inner: Embedder,
        cache: EmbeddingCacheRepository,
        *,
        hours: float,
        limits: UseLimits,
        classify: Classify,
        clock: Clock,
    ) -> None:
        self._inner = inner
        self._cache = cache
        self._hours = hours
        self._limits = limits
        self._classify = classify
        self._clock = clock

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        """As the port says."""
        context = _context(request)
        version = f"{context.deployment.model_version} {request.kind}"
        keys = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in request.texts]
        known = await self._known(version, keys)
        missing = {key: text for key, text in zip(keys, request.texts, strict=True) if key not in known}
        cached = frozenset(place for place, key in enumerate(keys) if key not in missing)
        if missing:
            whole = replace(request, texts=list(missing.values()), dimensions=None)
            fresh = await self._inner.embed(whole)
            made = map(CachedVector, fresh.vectors, fresh.tokens)
            found = dict(zip(missing, made, strict=True))
            await self._keep(version, found, missing, context)
            known |= found
            served = fresh.served
        else:
            served = Served(CACHED, request.model, context.deployment.model_version, 0.0, attempts=0, cache_tier=CACHED)
        all_of_them = [known[key] for key in keys]
        vectors, tokens = [one.vector for one in all_of_them], [one.tokens for one in all_of_them]
        embeddings = Embeddings(vectors, tokens, cached, served)
        if request.dimensions is None:
            return embeddings
        return shortened(embeddings, request.dimensions, request.model)

    async def _known(self, version: str, keys: Sequence[bytes]) -> dict[bytes, CachedVector]:
        if self._hours <= 0:
            return {}
        since = self._clock() - timedelta(hours=self._hours)
        return await self._cache.find(version, list(dict.fromkeys(keys)), since)

    async def _keep(
        self, version: str, found: dict[bytes, CachedVector], texts: dict[bytes, str], context: InferenceContext
    ) -> None:
        if self._hours <= 0:
            return
        may = await asyncio.to_thread(lambda: {key for key, text in texts.items() if self._storable(text)})
        if may:
            kept = {key: one for key, one in found.items() if key in may}
            await self._cache.add(version, kept, context.owner_id, self._clock())

    def _storable(self, text: str) -> bool:
        return self._limits.allow(self._classify([text]).level, Use.LOGGING)


class RecordedEmbedder:
    """Commits one row for each request before its vectors are given, however it ended. No text is stored.

    Args:
        inner: the model that answers.
        inferences: where the rows go.
        clock: gives their time.
        observe: is told of each after its row is committed.
        is_free: whether a deployment's vectors cost nothing, also those that nobody waited for.
    """

    def __init__(
        self,
        inner: Embedder,
        inferences: InferenceRepository,
        *,
        clock: Clock,
        observe: Observer,
        is_free: Callable[[Deployment], bool] = lambda deployment: False,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._inner = inner
        self._inferences = inferences
        self._clock = clock
        self._observe = observe
        self._is_free = is_free
        self._timer = timer

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        """As the port says."""
        started = self._timer()
        try:
            embeddings = await self._inner.embed(request)
        except BaseException as error:
            if isinstance(error, TidemillError):
                cost = error.cost_usd
            else:
                cost = 0.0 if self._is_free(_context(request).deployment) else None
            await record_failure(
                error,
                lambda status, code: self._write(request, status, started, error_code=code, cost_usd=cost),
                _context(request).inference_id,
                what="An embedding",
            )
            raise
        cost = embeddings.served.cost_usd if embeddings.served else None
        await self._write(request, InferenceStatus.OK, started, embeddings=embeddings, cost_usd=cost)
        return embeddings

    async def _write(
        self,
        request: EmbeddingRequest,
        status: InferenceStatus,
        started: float,
        *,
        embeddings: Embeddings | None = None,
        error_code: str | None = None,
        cost_usd: float | None = None,
    ) -> None:
        tokens, cached = (embeddings.tokens, embeddings.cached) if embeddings else ((), frozenset[int]())
        inference = Inference(
            context=_context(request),
            request_hash=digest(request.kind, str(request.dimensions), *request.texts),
            status=status,
            usage=Usage(prompt_tokens=sum(tokens), cached_tokens=sum(tokens[place] for place in cached)),
            latency_ms=(self._timer() - started) * 1000,
            first_token_ms=None,
            streamed=False,
            finish_reason=None,
            error_code=error_code,
            cost_usd=cost_usd,
            cache_tier=CACHED if tokens and len(cached) == len(tokens) else None,
            created_at=self._clock(),
            served=embeddings.served if embeddings else None,
        )
        await self._inferences.add(inference, None, None)
        self._observe(inference)


def _context(request: EmbeddingRequest) -> InferenceContext:
    if request.context is None:
        raise TidemillError("A request for embeddings came without saying who asks.")
    return request.context
