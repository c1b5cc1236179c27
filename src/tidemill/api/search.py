"""`POST /v1/search`: passages of the documents that the caller may see."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from tidemill.api.answering import asker_of
from tidemill.api.gate import caller_of
from tidemill.api.rights import needs
from tidemill.api.search_filters import FiltersShown
from tidemill.api.services import services_of
from tidemill.core.accounts import Right
from tidemill.core.classification import Level
from tidemill.core.document import DocumentKind
from tidemill.core.search import Expansion, Filters, Found, Hit, Scores, SearchMode, SearchRequest, SelfQuerying
from tidemill.knowledge.search import MOST_HITS

router = APIRouter(tags=["knowledge"])


class SearchBody(BaseModel):
    """What to look for."""

    model_config = ConfigDict(extra="forbid")

    query: str = Field(description="At most 20,000 characters.")
    filters: FiltersShown = FiltersShown()
    mode: SearchMode = SearchMode.HYBRID
    limit: int = Field(10, ge=1, le=MOST_HITS)
    self_query: SelfQuerying = Field(
        SelfQuerying.RULES, description="Who reads filters from the question: nobody, rules, or then a model."
    )
    expansion: Expansion = Field(Expansion.RULES, description="By what the question is widened.")
    diversity: float = Field(0.0, ge=0, le=1, description="0 ranks by relevance alone.")
    compress: bool = Field(False, description="Add to each hit the sentences that matter.")
    rerank: bool = Field(False, description="Let a model read the best ones again.")
    explain: bool = Field(False, description="Add what each term gave.")


class TermShown(BaseModel):
    """What a word of the question gave to BM25."""

    term: str
    score: float


class ScoresShown(BaseModel):
    """Why a passage stands where it does. `dense` is the cosine, `lexical` BM25, `fused` from 0 to 1.

    `feedback` is the cosine with what the best passages say on average, where that counted, too.
    """

    fused: float
    dense: float | None
    feedback: float | None
    lexical: float | None
    dense_weight: float
    lexical_weight: float
    rerank: float | None
    terms: list[TermShown] | None


class HitShown(BaseModel):
    """A passage. `start` and `end` say where it stands in the document's text, in characters."""

    object: Literal["search.hit"] = "search.hit"
    chunk_id: int
    document_id: UUID
    source: str
    path: str
    title: str
    heading: str
    text: str
    compressed: str | None
    start: int
    end: int
    page: int | None
    url: str | None
    kind: DocumentKind
    platform: str | None
    author: str | None
    language: str | None
    level: Level
    published_at: datetime | None
    scores: ScoresShown


class SearchFound(BaseModel):
    """Passages, the best first, and what was made of the question.

    `query` is the question without what was read as a filter, `filters` those that held. `relaxed` says that filters
    were guessed from the question, that nothing matched them, and that they were left out. `shortened` says that only
    the question's beginning was compared by meaning, since the model reads no more.
    """

    object: Literal["list"] = "list"
    data: list[HitShown]
    query: str
    filters: FiltersShown
    mode: SearchMode
    relaxed: bool
    variants: list[str]
    shortened: bool


@router.post("/search", summary="Search documents", dependencies=[needs(Right.KNOWLEDGE_READ)])
async def search(request: Request, body: SearchBody) -> SearchFound:
    """The passages that best answer a question, of the documents that you may see.

    What asks a model (`rerank`, and `model` for `self_query` or `expansion`) needs the right `models.use`, too.
    """
    services, caller = services_of(request), caller_of(request.scope)
    if body.rerank or body.self_query is SelfQuerying.MODEL or body.expansion is Expansion.MODEL:
        caller.require(Right.MODELS_USE)
    wanted = SearchRequest(
        query=body.query,
        reader=await services.readers.of(caller),
        filters=Filters(**dict(body.filters)),
        mode=body.mode,
        limit=body.limit,
        self_query=body.self_query,
        expansion=body.expansion,
        diversity=body.diversity,
        compress=body.compress,
        rerank=body.rerank,
        explain=body.explain,
        asker=asker_of(request),
    )
    return _found(await services.search.search(wanted), explain=body.explain)


def _found(found: Found, *, explain: bool) -> SearchFound:
    filters = found.filters
    return SearchFound(
        data=[_hit(hit, explain=explain) for hit in found.hits],
        query=found.query,
        filters=FiltersShown(
            sources=list(filters.sources),
            kinds=list(filters.kinds),
            platforms=list(filters.platforms),
            authors=list(filters.authors),
            languages=list(filters.languages),
            paths=list(filters.paths),
            after=filters.after,
            before=filters.before,
        ),
        mode=found.mode,
        relaxed=found.relaxed,
        variants=list(found.variants),
        shortened=found.shortened,
    )


def _hit(hit: Hit, *, explain: bool) -> HitShown:
    return HitShown(
        chunk_id=hit.chunk_id,
        document_id=hit.document_id,
        source=hit.source,
        path=hit.path,
        title=hit.title,
        heading=hit.heading,
        text=hit.text,
        compressed=hit.compressed,
        start=hit.span.start,
        end=hit.span.end,
        page=hit.page,
        url=hit.url,
        kind=hit.kind,
        platform=hit.platform,
        author=hit.author,
        language=hit.language,
        level=hit.level,
        published_at=hit.published_at,
        scores=_scores(hit.scores, explain=explain),
    )


def _scores(scores: Scores, *, explain: bool) -> ScoresShown:
    return ScoresShown(
        fused=scores.fused,
        dense=scores.dense,
        feedback=scores.feedback,
        lexical=scores.lexical,
        dense_weight=scores.dense_weight,
        lexical_weight=scores.lexical_weight,
        rerank=scores.rerank,
        terms=[TermShown(term=term, score=score) for term, score in scores.terms] if explain else None,
    )
