"""What is searched for, and what is found."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from tidemill.core.classification import Level
from tidemill.core.context import Asker
from tidemill.core.document import DocumentKind, Span


@dataclass(frozen=True, slots=True)
class Reader:
    """Who searches: what decides which passages exist for them. Made from the caller alone.

    Attributes:
        level: the highest level that they may see.
        departments: of which they are; a source for departments is there for them where one of these is among its own.
        all_departments: whether they see every department's, as an admin does.
    """

    level: Level
    departments: frozenset[UUID] = frozenset()
    all_departments: bool = False


@dataclass(frozen=True, slots=True)
class Filters:
    """To what a search is narrowed. An empty field narrows nothing; those that are given must all hold.

    `paths` are prefixes or globs of a document's path; `languages` are ISO 639-1 codes; the times are those of
    publication, or of the last change where no publication is known.
    """

    sources: Sequence[str] = ()
    kinds: Sequence[DocumentKind] = ()
    platforms: Sequence[str] = ()
    authors: Sequence[str] = ()
    languages: Sequence[str] = ()
    paths: Sequence[str] = ()
    after: datetime | None = None
    before: datetime | None = None


class SearchMode(StrEnum):
    """Which legs are asked."""

    HYBRID = "hybrid"
    DENSE = "dense"
    LEXICAL = "lexical"


class Expansion(StrEnum):
    """What a question is widened by."""

    NONE = "none"
    RULES = "rules"
    MODEL = "model"
    """By rules, and by what a model would ask instead."""


class SelfQuerying(StrEnum):
    """Who reads filters from the question."""

    NONE = "none"
    RULES = "rules"
    MODEL = "model"
    """Rules, and where they find none, a model."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Why a passage stands where it does.

    Attributes:
        dense: the cosine with the query; `None` where the passage has no vector, or that leg was not asked.
        feedback: the cosine with what the best passages say on average, where that went into `fused`.
        lexical: BM25; `None` as above.
        dense_weight, lexical_weight: with which the legs were fused.
        fused: what came of it, from 0 to 1.
        rerank: the reranker's score, where one was asked.
        terms: which of the query's terms it has, with what each gave to BM25.
    """

    fused: float
    dense: float | None = None
    lexical: float | None = None
    dense_weight: float = 0.0
    lexical_weight: float = 0.0
    rerank: float | None = None
    terms: Sequence[tuple[str, float]] = ()
    feedback: float | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that was found, with what names it.

    Attributes:
        chunk_id: of the chunk as it is now; a changed document has other chunks.
        span: where it stands in the document's clean text.
        compressed: the sentences of it that matter, where compression was asked for.
    """

    chunk_id: int
    document_id: UUID
    source: str
    path: str
    title: str
    text: str
    heading: str
    span: Span
    scores: Scores
    level: Level
    kind: DocumentKind
    url: str | None = None
    page: int | None = None
    author: str | None = None
    platform: str | None = None
    language: str | None = None
    published_at: datetime | None = None
    compressed: str | None = None


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """What to search, and how.

    Attributes:
        filters: which narrow it, whatever the question says.
        self_query: who reads filters from the question, too.
        diversity: from 0, by relevance alone, to 1; see `analysis.diversity`.
        compress: whether each hit says which sentences matter.
        rerank: whether the best are read by the reranker.
        explain: whether each hit says what each word gave.
        asker: for whom models are asked; the hub itself where absent.
    """

    query: str
    reader: Reader
    filters: Filters = field(default_factory=Filters)
    mode: SearchMode = SearchMode.HYBRID
    limit: int = 10
    self_query: SelfQuerying = SelfQuerying.RULES
    expansion: Expansion = Expansion.RULES
    diversity: float = 0.0
    compress: bool = False
    rerank: bool = False
    explain: bool = False
    asker: Asker | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What was found, and what was made of the question.

    Attributes:
        query: the question without what was read as a filter.
        filters: those that held.
        relaxed: filters were guessed from the question, nothing matched them, and so they were left out.
        variants: what a model asked beside it.
        shortened: the question is longer than the embedding model reads, so only its beginning was compared by meaning.
    """

    hits: Sequence[Hit]
    query: str
    filters: Filters
    mode: SearchMode
    relaxed: bool = False
    variants: Sequence[str] = ()
    shortened: bool = False
