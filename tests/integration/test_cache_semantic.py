"""The answer to a similar question, for tasks that want it; never where a number, a name or a no is another."""

import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import NOON
from tests.support.caching import EMBEDDING, Cache, CacheOf, Serving, asked, tier_of
from tests.support.paraphrases import OTHER_ENGLISH, OTHER_VIETNAMESE, SAME_ENGLISH, SAME_VIETNAMESE
from tidemill.analysis.particulars import particulars
from tidemill.core.classification import Level
from tidemill.core.context import CacheUse
from tidemill.core.deployment import Task
from tidemill.core.embedding import EmbeddingRequest, Embeddings, TextKind, floats_of, unit_vector
from tidemill.core.errors import ContextTooLong
from tidemill.llm.embedding_catalog import E5
from tidemill.llm.embeddings_all import EmbeddingModels
from tidemill.llm.scripted import ScriptedModel
from tidemill.settings import CacheSettings, SemanticCacheSettings, Settings
from tidemill.store.database import Pool

TURNS = "The tide turns the mill."
ON = SemanticCacheSettings(tasks=[Task.CHAT])
MILL, WHEEL, MOON = [1.0, 0.0, 0.0], [0.999, 0.01, 0.0], [0.0, 1.0, 0.0]
MEANINGS = {"What turns the mill?": MILL, "What makes the mill turn?": WHEEL, "What is the moon?": MOON}


class Meaning:
    """Embeds known questions as vectors that the test chose."""

    def __init__(self) -> None:
        self.requests: list[EmbeddingRequest] = []

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        self.requests.append(request)
        [text] = request.texts
        if len(text) > 500:
            raise ContextTooLong(prompt_tokens=900, context_tokens=512)
        return Embeddings([unit_vector(MEANINGS.get(text, MILL), request.model)], [3])


@pytest.fixture
def serving() -> Serving:
    return Serving(ScriptedModel(lambda request: TURNS))


@pytest.fixture
async def cache_of(pool: Pool, tmp_path: Path, serving: Serving) -> AsyncIterator[CacheOf]:
    made: list[Cache] = []

    def make(semantic: SemanticCacheSettings = ON, embedder: Any = None) -> Cache:
        settings = CacheSettings(semantic=semantic)
        made.append(Cache(serving, pool, tmp_path / "c", settings=settings, embedder=embedder or Meaning()))
        return made[-1]

    yield make
    for cache in made:
        await cache.answers.aclose()


async def kept(cache: Cache, **options: Any) -> None:
    await cache.model.complete(asked("What turns the mill?", **options))
    await cache.answers.written()


async def test_a_similar_question_gets_the_answer_and_is_told_so_each_time(cache_of: CacheOf, serving: Serving) -> None:
    cache = cache_of()
    await kept(cache)
    for _ in range(2):
        assert tier_of(await cache.model.complete(asked("What makes the mill turn?"))) == "semantic"
    assert tier_of(await cache.model.complete(asked("What is the moon?"))) is None
    assert serving.asked == 2


async def test_it_is_off_unless_a_task_switches_it_on(cache_of: CacheOf, serving: Serving) -> None:
    embedder = Meaning()
    cache = cache_of(SemanticCacheSettings(), embedder)
    await kept(cache)
    await cache.model.complete(asked("What makes the mill turn?"))
    assert (serving.asked, embedder.requests) == (2, [])


@pytest.mark.parametrize(
    "other",
    [
        {"level": Level.CONFIDENTIAL},
        {"deployment": replace(asked().context.deployment, model_version="2")},  # type: ignore[union-attr]
        {"before": [{"role": "system", "content": "Be brief."}]},
        {"options": {"temperature": 0, "max_tokens": 5}},
        {"cache": CacheUse.REFRESH},
    ],
    ids=["level", "model", "system", "option", "no-cache"],
)
async def test_only_the_last_message_may_differ(cache_of: CacheOf, serving: Serving, other: Any) -> None:
    cache = cache_of()
    await kept(cache)
    assert tier_of(await cache.model.complete(asked("What makes the mill turn?", **other))) is None


@pytest.mark.parametrize("text", ["What turns mill 2?", "What turns the mill of Huế?", "What does not turn the mill?"])
async def test_a_number_a_name_or_a_no_makes_another_question(cache_of: CacheOf, text: str) -> None:
    cache = cache_of()
    await kept(cache)
    assert tier_of(await cache.model.complete(asked(text))) is None


async def test_a_question_that_cannot_be_embedded_is_answered_all_the_same(
    cache_of: CacheOf, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    cache = cache_of()
    assert (await cache.model.complete(asked("word " * 200))).text == TURNS
    assert "context_length_exceeded" in caplog.text
    assert "word word" not in caplog.text


async def test_the_question_is_embedded_in_the_askers_name(cache_of: CacheOf) -> None:
    embedder = Meaning()
    request = asked("What turns the mill?")
    await cache_of(embedder=embedder).model.complete(request)
    [embedded] = embedder.requests
    assert (embedded.kind, embedded.model) == (TextKind.QUERY, EMBEDDING.model)
    assert embedded.context is not None
    assert request.context is not None
    assert embedded.context.owner_id == request.context.owner_id
    assert embedded.context.inference_id != request.context.inference_id


async def test_what_has_ended_is_nobodys_answer(cache_of: CacheOf) -> None:
    cache = cache_of()
    await kept(cache)
    cache.now = NOON.replace(hour=14)
    assert tier_of(await cache.model.complete(asked("What makes the mill turn?"))) is None


@pytest.fixture(scope="module")
def e5(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddingModels]:
    def serve(name: str) -> Any:
        raise AssertionError(f"{name} is behind no URL")

    settings = Settings(data_dir=tmp_path_factory.mktemp("e5"))
    models = EmbeddingModels(settings, httpx.AsyncClient(), serve)
    yield models
    models.close()


async def found(e5: EmbeddingModels, pairs: list[tuple[str, str]], threshold: float) -> int:
    """For how many of these pairs the tier would give the answer to the one for the other."""
    texts = [text for pair in pairs for text in pair]
    made = await e5.embed(EmbeddingRequest(E5, texts, TextKind.QUERY))
    vectors = [floats_of(vector) for vector in made.vectors]
    near = [
        sum(x * y for x, y in zip(vectors[2 * number], vectors[2 * number + 1], strict=True)) >= threshold
        for number in range(len(pairs))
    ]
    alike = [particulars(one) == particulars(other) for one, other in pairs]
    return sum(both for both in map(all, zip(near, alike, strict=True)))


async def test_with_the_default_model_and_threshold_no_other_question_is_taken_for_the_same(
    e5: EmbeddingModels,
) -> None:
    threshold = SemanticCacheSettings().threshold
    assert await found(e5, OTHER_ENGLISH + OTHER_VIETNAMESE, threshold) == 0
    assert await found(e5, SAME_ENGLISH, threshold) == 3
    assert await found(e5, SAME_VIETNAMESE, threshold) == 3


async def test_a_lower_threshold_takes_other_questions_for_the_same(e5: EmbeddingModels) -> None:
    for threshold, same, other in FIGURES:
        assert await found(e5, SAME_ENGLISH + SAME_VIETNAMESE, threshold) == same
        assert await found(e5, OTHER_ENGLISH + OTHER_VIETNAMESE, threshold) == other


FIGURES = ((0.95, 15, 6), (0.96, 14, 4), (0.97, 10, 4), (0.98, 7, 0), (0.985, 6, 0), (0.99, 1, 0))
"""The table of docs/cache.md: threshold, found of 24 paraphrases, taken for one of 26 others."""
