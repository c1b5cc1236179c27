"""Answers from documents: which passages were given, what each sentence rests on, and how well."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from tidemill.core.classification import Level
from tidemill.core.document import Span
from tidemill.core.json import Json


class AnswerStatus(StrEnum):
    """How much of an answer a question got.

    Also: an honest "that is not in the documents" is a success, if nothing stood in the way of finding it.
    """

    SUCCESS = "success"
    PARTIAL = "partial_success"
    """Some of what the model said did not hold and was left out, or the answer is one that is not certain."""
    MINIMAL = "minimal_success"
    """No model's answer: what was found for the question, or a template."""
    FAILED = "failed"


class Unsupported(StrEnum):
    """What becomes of a sentence that no passage supports."""

    DROP = "drop"
    MARK = "mark"


class Issue(StrEnum):
    """What quality control finds wrong with an answer."""

    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    INTERRUPTED = "interrupted"
    """The answer broke off."""
    LOW_CONFIDENCE = "low_confidence"
    MISSING_CITATIONS = "missing_citations"


class Outcome(StrEnum):
    """What stands in an answer."""

    ANSWERED = "answered"
    UNCERTAIN = "low_confidence"
    """Something that may be right, with a warning around it."""
    NOT_FOUND = "no_context"
    """That it is not in the documents."""
    PASSAGES = "search_only"
    """No answer, but the passages that were found."""


@dataclass(frozen=True, slots=True)
class Given:
    """A passage that an answer may rest on.

    Attributes:
        chunk_id: what names it to whoever asked: the chunk's number, or the caller's own id.
        title: its document's.
        page: counted from 1, where its document has pages.
        score: how well it fits the question, 0 to 1, where that is known.
        level: how sensitive it is.
        start: where it begins in its document's clean text, where it is a stored chunk.
    """

    chunk_id: str
    text: str
    title: str
    document_id: str | None = None
    page: int | None = None
    url: str | None = None
    path: str | None = None
    source: str | None = None
    score: float | None = None
    level: Level = Level.INTERNAL
    start: int | None = None


@dataclass(frozen=True, slots=True)
class Citation:
    """One number of an answer, with the text as it was when the answer was made.

    Attributes:
        number: as it stands in the answer's `[n]`; counted from 1 in the order in which the passages were given.
        reference: such as `[1] Purchasing, page 2`.
        span: the characters of `text` that support the sentence of which that is likeliest.
        spans: those for every sentence that cites it, in the answer's order.
        sentences: these sentences: the characters of the answer of each.
        used_content: these characters.
        confidence: how likely it is that they do, 0 to 1.
    """

    number: int
    chunk_id: str
    reference: str
    title: str
    text: str
    span: Span
    used_content: str
    confidence: float
    document_id: str | None = None
    page: int | None = None
    url: str | None = None
    path: str | None = None
    source: str | None = None
    start: int | None = None
    spans: tuple[Span, ...] = ()
    sentences: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where a sentence finds its support: characters of the passage of this number."""

    number: int
    span: Span
    confidence: float


@dataclass(frozen=True, slots=True)
class CheckedSentence:
    """A sentence of an answer after it was held to the passages.

    Attributes:
        text: as it is shown, with the numbers that hold.
        confidence: how likely it is that the passages say it.
        supported: whether that is enough.
        evidence: where it stands; of a sentence that is not supported, what comes nearest.
        cited: the sentence with the numbers of its evidence, whether that is enough or not.
        is_claim: false for what claims nothing, such as a heading or "Here are the steps:".
        model_cited: whether the model itself cited what supports it.
    """

    text: str
    confidence: float
    supported: bool
    evidence: tuple[Evidence, ...] = ()
    cited: str = ""
    is_claim: bool = True
    model_cited: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it is shown and stored.

    Attributes:
        confidence: calibrated: of answers with `0.8`, about four in five claims hold. 0 where nothing was claimed.
        issues: what quality control found.
        metadata: `model_used`, `provider`, `tokens_used`, `processing_time`, `cost_estimate`, and what else is known.
    """

    id: UUID
    question: str
    text: str
    status: AnswerStatus
    language: str
    confidence: float
    citations: Sequence[Citation]
    created_at: datetime
    outcome: Outcome = Outcome.ANSWERED
    issues: Sequence[Issue] = ()
    metadata: Mapping[str, Json] = field(default_factory=dict)
    inference_id: UUID | None = None
    conversation_id: UUID | None = None
    level: Level = Level.INTERNAL
