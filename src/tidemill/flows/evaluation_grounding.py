"""The check of citations, and answers over passages that were found, as an evaluation asks for them."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from tidemill.core.context import Asker
from tidemill.core.deployment import Deployment
from tidemill.core.document import Span
from tidemill.core.embedding import EmbeddingRequest, TextKind, floats_of
from tidemill.core.errors import ModelFailed
from tidemill.core.ids import new_id
from tidemill.evaluation.grounding import AnsweredFrom, GivenAnswer, Judged
from tidemill.flows.evaluation_index import LEVEL, EvaluatedSearch
from tidemill.knowledge.grounding.support import Grounding, Passages
from tidemill.llm.embeddings import Embedder

Generate = Callable[[dict[str, Any]], Awaitable[Mapping[str, Any]]]
"""Gives the answer, as `GET /v1/answers/ID` shows it, to a body of `POST /api/generate`."""


class GroundingJudge:
    """The product's own check. All texts are one passage for it, since the evidence of a set has no bounds of its own.

    Attributes:
        lexical_only: whether words alone were compared at some time, since there was no embedding model.
    """

    def __init__(self, grounding: Grounding) -> None:
        self._grounding = grounding
        self.lexical_only = False

    async def support(self, claim: str, texts: Sequence[str]) -> Judged:
        """As `evaluation.grounding.Judge` says."""
        spans, start = [], 0
        for text in texts:
            spans.append(Span(start, start + len(text)))
            start += len(text) + 2
        passages = Passages({1: "\n\n".join(texts)})
        await self._grounding.embed(passages, [claim], Asker(trace_id=new_id().hex, level=LEVEL))
        self.lexical_only = self.lexical_only or passages.lexical_only
        found = self._grounding.support(claim, passages, [1])
        shown = [span for span in found.spans.values() if found.confidence > 0]
        places = {
            place
            for place, span in enumerate(spans)
            if any(one.start < span.end and span.start < one.end for one in shown)
        }
        return Judged(found.confidence, frozenset(places))


class EmbeddedNearness:
    """Cosines by the embedding model."""

    def __init__(self, embedder: Embedder, deployment: Callable[[], Deployment]) -> None:
        self._embedder = embedder
        self._deployment = deployment

    async def cosines(self, question: str, texts: Sequence[str]) -> Sequence[float]:
        """As `evaluation.grounding.Nearness` says."""
        [asked] = await self._vectors([question], TextKind.QUERY)
        made = await self._vectors(texts, TextKind.PASSAGE)
        return [sum(a * b for a, b in zip(asked, one, strict=True)) for one in made]

    async def _vectors(self, texts: Sequence[str], kind: TextKind) -> Sequence[Sequence[float]]:
        deployment = self._deployment()
        context = Asker(trace_id=new_id().hex, level=LEVEL).context(new_id(), deployment)
        made = await self._embedder.embed(EmbeddingRequest(deployment.model, list(texts), kind, context=context))
        return [floats_of(vector) for vector in made.vectors]


class SearchedAnswers:
    """Answers from what the search finds in the evaluation's index.

    Args:
        generate: asks whoever answers; it is given the passages.
        passages: how many it is given.
    """

    def __init__(self, search: EvaluatedSearch, generate: Generate, passages: int) -> None:
        self._search = search
        self._generate = generate
        self._passages = passages

    async def answer(self, question: str) -> GivenAnswer:
        """As `evaluation.grounding.Answering` says.

        Raises:
            ModelFailed: no model answered, so there is nothing to measure.
        """
        hits = await self._search.passages(question, self._passages)
        given = [AnsweredFrom(hit.path, hit.text) for hit in hits]
        chunks = [
            {"chunk_id": str(place), "content": hit.text, "metadata": {"title": hit.title}}
            for place, hit in enumerate(hits)
        ]
        answer = await self._generate({"query": question, "context_chunks": chunks})
        if answer["outcome"] == "search_only":
            raise ModelFailed(
                "No model answered, so there is nothing to measure. `tidemill doctor` says which model is set up."
            )
        cited = {one["number"]: int(one["chunk_id"]) for one in answer["citations"]}
        return GivenAnswer(answer["answer"], answer["outcome"] == "no_context", given, cited)
