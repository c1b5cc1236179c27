"""`/v1/answers`: questions answered from documents, whole or as they are checked, and answers that are kept."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from tidemill.api.answering import asker_of
from tidemill.api.errors import error_body
from tidemill.api.gate import caller_of
from tidemill.api.rights import needs
from tidemill.api.search_filters import FiltersShown
from tidemill.api.services import services_of
from tidemill.api.streaming import ClientGone, EventStream, while_connected
from tidemill.core.accounts import Right
from tidemill.core.answer import Answer, AnswerStatus, Citation, Given, Issue, Outcome
from tidemill.core.errors import TidemillError
from tidemill.core.search import Filters
from tidemill.knowledge.answers import Event, Found, Said
from tidemill.knowledge.citations import reference
from tidemill.knowledge.questions import Question, Turn

router = APIRouter(tags=["knowledge"])

NEEDS = [needs(Right.KNOWLEDGE_READ), needs(Right.MODELS_USE)]


class TurnGiven(BaseModel):
    """Something that was said before."""

    model_config = ConfigDict(extra="forbid")

    role: Literal["user", "assistant"]
    content: str


History = Annotated[list[TurnGiven], Field(max_length=200)]


class QuestionBody(BaseModel):
    """A question to the documents."""

    model_config = ConfigDict(extra="forbid")

    query: str = Field(description="The question.")
    conversation_history: History = Field([], description="What was said before, oldest first.")
    conversation_id: UUID | None = Field(
        None, description="A conversation of yours: what was said before is taken from it, and the answer kept there."
    )
    filters: FiltersShown = FiltersShown()
    language: Literal["en", "vi"] | None = Field(None, description="Of the answer; the question's when absent.")
    stream: bool = False


class SpanShown(BaseModel):
    """Characters of a text."""

    start: int
    end: int


class CitationShown(BaseModel):
    """A number of the answer, with the passage as it was then.

    `start` and `end` are the characters of `text` that support what cites it, and `used_content` are these. Each of
    `spans` supports one sentence that cites it; `sentences` are these, as characters of the answer. `chunk_start` says
    where `text` began in its document.
    """

    number: int
    reference: str
    chunk_id: str
    document_id: str | None
    title: str
    text: str
    start: int
    end: int
    used_content: str
    confidence: float
    page: int | None
    url: str | None
    path: str | None
    source: str | None
    chunk_start: int | None
    spans: list[SpanShown]
    sentences: list[SpanShown]


class AnswerShown(BaseModel):
    """An answer. Its `confidence_score` is calibrated: of claims with `0.8`, about four in five are supported."""

    id: UUID
    object: Literal["answer"] = "answer"
    query: str
    answer: str
    status: AnswerStatus
    outcome: Outcome
    issues: list[Issue]
    language: str
    confidence_score: float
    citations: list[CitationShown]
    conversation_id: UUID | None
    inference_id: UUID | None
    response_metadata: dict[str, Any]
    created_at: datetime


@router.post(
    "/answers",
    summary="Answer a question from documents",
    dependencies=NEEDS,
    response_model=AnswerShown,
    responses={
        200: {
            "content": {"text/event-stream": {}},
            "description": "The answer, or with `stream` server-sent events: `sources`, a `sentence` for each that was "
            "checked, `answer` with the whole, whose text counts, and `done`; instead of an answer `error`.",
        }
    },
)
async def create_answer(request: Request, body: QuestionBody) -> Response:
    """Searches what you may see, answers from that alone, and checks each citation."""
    services = services_of(request)
    question = Question(
        body.query,
        history=[Turn(one.role, one.content) for one in body.conversation_history],
        filters=Filters(**dict(body.filters)),
        language=body.language,
        conversation_id=body.conversation_id,
    )
    caller, asker = caller_of(request.scope), asker_of(request)
    reader = await services.readers.of(caller)
    if body.stream:
        return EventStream(events_of(services.questions.stream(caller, question, asker, reader)))
    try:
        answer = await while_connected(request, services.questions.answer(caller, question, asker, reader))
    except ClientGone:
        return Response(status_code=499)
    return Response(shown(answer).model_dump_json(), 200, media_type="application/json")


@router.get("/answers/{answer_id}", summary="An answer that was given", dependencies=NEEDS)
async def get_answer(request: Request, answer_id: UUID) -> AnswerShown:
    """The same text and the same passages as then, also where the documents have changed since."""
    return shown(await services_of(request).questions.find(caller_of(request.scope), answer_id))


def shown(answer: Answer) -> AnswerShown:
    """An answer as the API has it."""
    return AnswerShown(
        id=answer.id,
        query=answer.question,
        answer=answer.text,
        status=answer.status,
        outcome=answer.outcome,
        issues=list(answer.issues),
        language=answer.language,
        confidence_score=answer.confidence,
        citations=[_citation(one) for one in answer.citations],
        conversation_id=answer.conversation_id,
        inference_id=answer.inference_id,
        response_metadata=dict(answer.metadata),
        created_at=answer.created_at,
    )


async def events_of(answering: AsyncGenerator[Event, None]) -> AsyncGenerator[bytes, None]:
    """The events of a streamed answer."""
    try:
        async with aclosing(answering) as events:
            async for event in events:
                yield _event_of(event)
    except TidemillError as error:
        body = error_body(error.status, error.message, code=error.code, param=error.param)
        yield b"event: error\ndata: " + body + b"\n\n"
    yield b"event: done\ndata: {}\n\n"


class _Sources(BaseModel):
    data: list[dict[str, Any]]


class _Sentence(BaseModel):
    text: str
    supported: bool
    confidence: float
    citations: list[int]


def _event_of(event: Event) -> bytes:
    name: str
    value: BaseModel
    if isinstance(event, Found):
        listed = [_source(number, one, event.language) for number, one in event.passages.items()]
        name, value = "sources", _Sources(data=listed)
    elif isinstance(event, Said):
        sentence = event.sentence
        numbers = sorted({one.number for one in sentence.evidence}) if sentence.supported else []
        name, value = (
            "sentence",
            _Sentence(
                text=event.text,
                supported=sentence.supported,
                confidence=sentence.confidence,
                citations=numbers,
            ),
        )
    else:
        name, value = "answer", shown(event)
    return f"event: {name}\ndata: {value.model_dump_json()}\n\n".encode()


def _source(number: int, given: Given, language: str) -> dict[str, Any]:
    return {
        "number": number,
        "reference": reference(number, given, language),
        "chunk_id": given.chunk_id,
        "document_id": given.document_id,
        "title": given.title,
        "page": given.page,
        "url": given.url,
        "path": given.path,
        "source": given.source,
        "score": given.score,
    }


def _citation(one: Citation) -> CitationShown:
    return CitationShown(
        number=one.number,
        reference=one.reference,
        chunk_id=one.chunk_id,
        document_id=one.document_id,
        title=one.title,
        text=one.text,
        start=one.span.start,
        end=one.span.end,
        used_content=one.used_content,
        confidence=one.confidence,
        page=one.page,
        url=one.url,
        path=one.path,
        source=one.source,
        chunk_start=one.start,
        spans=[SpanShown(start=span.start, end=span.end) for span in one.spans],
        sentences=[SpanShown(start=span.start, end=span.end) for span in one.sentences],
    )
