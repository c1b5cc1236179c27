"""The runs of an evaluation, from a set to a result that names the exact versions of all that took part."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from tidemill import __version__
from tidemill.app.database import open_database
from tidemill.app.evaluation import (
    EmbeddingParts,
    open_embedding,
    open_index,
    settings_digest,
)
from tidemill.app.evaluation_database import open_evaluation_database
from tidemill.core.clock import system_clock
from tidemill.core.json import Json
from tidemill.core.search import SearchMode
from tidemill.evaluation.data import ClaimSet, QuestionSet
from tidemill.evaluation.grounding import Measured, measure_answers, measure_claims
from tidemill.evaluation.readers import files_of
from tidemill.evaluation.results import Result, means
from tidemill.evaluation.retrieval import Told, answerable, measure
from tidemill.flows.evaluation_grounding import EmbeddedNearness, Generate, GroundingJudge, SearchedAnswers
from tidemill.flows.evaluation_index import EvaluatedSearch, Filled
from tidemill.llm.catalog import DEFAULT
from tidemill.settings import Settings

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run asks. `limit` questions are drawn evenly; all of them where it is absent."""

    k: int = 10
    limit: int | None = None
    mode: SearchMode = SearchMode.HYBRID
    self_query: bool = True

    def drawn(self, found: Sequence[T]) -> list[T]:
        """The questions that are asked, in their order."""
        if self.limit is None or self.limit >= len(found):
            return list(found)
        return [found[place * len(found) // self.limit] for place in range(self.limit)]

    def as_json(self) -> dict[str, Json]:
        """The options as a result names them."""
        return {"k": self.k, "limit": self.limit, "mode": self.mode.value, "self_query": self.self_query}


def run_retrieval(settings: Settings, found: QuestionSet, options: RunOptions, told: Told) -> Result:
    """Indexes the set's documents and asks its questions.

    Raises:
        TidemillError: the database or the embedding model does not work, or nothing can be measured.
    """
    asked = options.drawn(answerable(found.questions))

    async def work(embedding: EmbeddingParts, filled: Filled, search: EvaluatedSearch) -> Result:
        questions = await measure(search, asked, options.k, told)
        data = {**_described(found), "questions": len(questions), **asdict(filled)}
        versions = _versions(settings, embedding)
        if options.mode is SearchMode.LEXICAL:
            versions["embedding"] = None
        now = system_clock()
        return Result("retrieval", data, versions, options.as_json(), means(questions), questions, now, _since(started))

    started = time.monotonic()
    return _indexed(settings, found, options, told, work)


def run_answers(settings: Settings, found: QuestionSet, options: RunOptions, generate: Generate, told: Told) -> Result:
    """Indexes the set's documents, has its questions answered from what is found, and judges the answers.

    Raises:
        TidemillError: as `run_retrieval`, or nobody answers.
    """
    chosen = settings.knowledge.answers
    models: set[str] = set()

    async def generated(body: dict[str, Any]) -> Any:
        answer = await generate(body)
        if answer["response_metadata"].get("model_used"):
            models.add(str(answer["response_metadata"]["model_used"]))
        return answer

    async def work(embedding: EmbeddingParts, filled: Filled, search: EvaluatedSearch) -> Result:
        judge = GroundingJudge(embedding.grounding())
        nearness = EmbeddedNearness(embedding.embedder, lambda: embedding.deployments.find(DEFAULT))
        answering = SearchedAnswers(search, generated, chosen.passages)
        asked = options.drawn(found.questions)
        measured = await measure_answers(answering, judge, nearness, asked, chosen.support_threshold, told)
        data = {**_described(found), "questions": len(measured.questions), **asdict(filled)}
        versions = {**_versions(settings, embedding), "answers": sorted(models), "lexical_only": judge.lexical_only}
        return _grounding(settings, measured, data, versions, options, started)

    started = time.monotonic()
    return _indexed(settings, found, options, told, work)


def run_claims(settings: Settings, found: ClaimSet, options: RunOptions, told: Told) -> Result:
    """Holds claims to their evidence.

    Raises:
        TidemillError: the database does not work, or the embedding model is not there.
    """
    started = time.monotonic()
    with open_database(settings) as database:

        async def work() -> Result:
            async with open_embedding(settings, database) as embedding:
                judge = GroundingJudge(embedding.grounding())
                claims = options.drawn(found.claims)
                measured = await measure_claims(judge, claims, settings.knowledge.answers.support_threshold, told)
                data: dict[str, Json] = {"name": found.name, "digest": found.digest, "claims": len(claims)}
                versions = {**_versions(settings, embedding), "lexical_only": judge.lexical_only}
                return _grounding(settings, measured, data, versions, options, started)

        return asyncio.run(work())


def _indexed(
    settings: Settings,
    found: QuestionSet,
    options: RunOptions,
    told: Told,
    work: Callable[[EmbeddingParts, Filled, EvaluatedSearch], Awaitable[Result]],
) -> Result:
    """What `work` makes of the set's index, which is gone afterwards."""
    with open_database(settings) as database, open_evaluation_database(settings) as (own, apart):

        async def run() -> Result:
            async with AsyncExitStack() as stack:
                embedding = await stack.enter_async_context(open_embedding(settings, database))
                index, search = await stack.enter_async_context(
                    open_index(own, apart, embedding, options.mode, self_query=options.self_query)
                )
                embed = options.mode is not SearchMode.LEXICAL
                return await work(embedding, await index.fill(found, told, embed=embed), search)

        return asyncio.run(run())


def _grounding(
    settings: Settings,
    measured: Measured,
    data: dict[str, Json],
    versions: dict[str, Json],
    options: RunOptions,
    started: float,
) -> Result:
    asked = {**options.as_json(), "support_threshold": settings.knowledge.answers.support_threshold}
    return Result(
        "grounding", data, versions, asked, measured.metrics, measured.questions, system_clock(), _since(started)
    )


def _described(found: QuestionSet) -> dict[str, Json]:
    documents = len(found.passages) if found.folder is None else sum(1 for _ in files_of(found.folder))
    return {"name": found.name, "digest": found.digest, "documents": documents}


def _versions(settings: Settings, embedding: EmbeddingParts) -> dict[str, Json]:
    return {"tidemill": __version__, "embedding": embedding.version, "settings": settings_digest(settings)}


def _since(started: float) -> float:
    return time.monotonic() - started
