"""The cache of answers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tidemill.core.clock import system_clock
from tidemill.llm.cache.model import CachedModel
from tidemill.llm.cache.redis_tier import RedisTier
from tidemill.llm.cache.semantic import SemanticTier
from tidemill.llm.cache.tiers import Answers, Observe
from tidemill.llm.catalog import DEFAULT
from tidemill.llm.embeddings import Embedder
from tidemill.llm.port import ChatModel
from tidemill.llm.recording import TextPolicy
from tidemill.registry.embeddings import EmbeddingDeployments
from tidemill.settings import Settings
from tidemill.store.answer_cache import AnswerCacheRepository
from tidemill.store.answer_files import AnswerFiles
from tidemill.store.database import Pool


def unobserved(*, tier: str, hit: bool) -> None:
    """For commands, which look nothing up."""


def answer_rows(settings: Settings, pool: Pool, fast: Pool | None = None) -> AnswerCacheRepository:
    """The tiers of the database and of files."""
    files = AnswerFiles(settings.cache_dir)
    return AnswerCacheRepository(pool, files, over=settings.cache.file_over_bytes, fast=fast)


@asynccontextmanager
async def open_answers(
    settings: Settings, pool: Pool, observe: Observe, fast: Pool | None = None
) -> AsyncIterator[Answers]:
    """The tiers of kept answers, until the end of the block. Requests look and write through `fast`."""
    url = settings.cache.redis_url
    answers = Answers(
        answer_rows(settings, pool, fast),
        RedisTier(url.get_secret_value()) if url is not None else None,
        settings.cache,
        hours=settings.retention.cache_hours,
        clock=system_clock,
        observe=observe,
    )
    try:
        yield answers
    finally:
        await answers.aclose()


def cached(
    settings: Settings,
    inner: ChatModel,
    texts: TextPolicy,
    answers: Answers,
    embedder: Embedder,
    deployments: EmbeddingDeployments,
) -> ChatModel:
    """The model with its answers kept, where the settings say so, and stored as `texts` says."""
    if not settings.cache.enabled:
        return inner
    return CachedModel(
        inner,
        answers,
        texts=texts,
        semantic=SemanticTier(embedder, lambda: deployments.find(DEFAULT), settings.cache.semantic),
        sampled=settings.cache.sampled,
    )
