"""`POST /api/generate`: an answer from passages that the caller brings along.

Who asks is the key. `user_context` narrows what that key may see, and widens it only for a key that may ask for others.
"""

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from tidemill.api.answering import asker_of
from tidemill.api.answers import NEEDS, History
from tidemill.api.gate import caller_of
from tidemill.api.services import services_of
from tidemill.api.streaming import ClientGone, while_connected
from tidemill.core.accounts import Caller, Right
from tidemill.core.answer import Answer, Given
from tidemill.core.classification import Level
from tidemill.core.errors import InvalidInput
from tidemill.core.search import Reader
from tidemill.knowledge.questions import Question, Turn
from tidemill.settings.knowledge import AnswerSettings

router = APIRouter(prefix="/api", tags=["knowledge"])

NAMED = {"employee": Level.INTERNAL}
"""Beside the levels' own names: what everyone who works here may see."""
Name = Annotated[str, Field(max_length=1000)]


class ChunkMetadata(BaseModel):
    """Where a passage comes from. Fields of one's own are taken, and not read."""

    model_config = ConfigDict(extra="ignore")

    document_id: Name | None = None
    title: Name | None = None
    page: int | None = Field(None, ge=0)
    confidence_score: float | None = Field(None, ge=0, le=1)


class ContextChunk(BaseModel):
    """A passage."""

    model_config = ConfigDict(extra="forbid")

    chunk_id: Annotated[str, Field(min_length=1, max_length=1000)]
    content: str
    metadata: ChunkMetadata = ChunkMetadata()


class UserContext(BaseModel):
    """For whom it is asked."""

    model_config = ConfigDict(extra="forbid")

    user_id: Name | None = None
    department: Name | None = None
    access_level: Name | None = None


class GenerateBody(BaseModel):
    """A question, and the passages to answer it from."""

    model_config = ConfigDict(extra="forbid")

    query: str
    context_chunks: list[ContextChunk]
    user_context: UserContext = UserContext()
    conversation_history: History = []


class UsedPassage(BaseModel):
    """A citation of the answer."""

    chunk_id: str
    reference: str
    used_content: str


class Generated(BaseModel):
    """The answer. `response_metadata` has `model_used`, `tokens_used`, `processing_time` (s), `cost_estimate` (USD)."""

    answer: str
    citations: list[UsedPassage]
    confidence_score: float
    response_metadata: dict[str, Any]


@router.post("/generate", summary="Answer from given passages", dependencies=NEEDS, response_model=Generated)
async def generate(request: Request, body: GenerateBody) -> Response:
    """Answers from these passages alone, and checks each citation."""
    services, caller = services_of(request), caller_of(request.scope)
    told = body.user_context
    level = level_for(caller, told.access_level, services.settings.knowledge.answers)
    question = Question(
        body.query,
        passages=[_given(one, level) for one in body.context_chunks],
        history=[Turn(one.role, one.content) for one in body.conversation_history],
        department=told.department,
        access_level=told.access_level,
    )
    asker = replace(asker_of(request), level=level)
    try:
        answer = await while_connected(request, services.questions.answer(caller, question, asker, Reader(level)))
    except ClientGone:
        return Response(status_code=499)
    return Response(_generated(answer).model_dump_json(), 200, media_type="application/json")


def level_for(caller: Caller, named: str | None, settings: AnswerSettings) -> Level:
    """Up to which level it is asked: never above the key's, unless the key may ask for others.

    Raises:
        InvalidInput: there is no such access level.
    """
    if named is None:
        return caller.level
    levels = {**{level.value: level for level in Level}, **NAMED, **settings.access_levels}
    wanted = levels.get(named)
    if wanted is None:
        raise InvalidInput(
            f"There is no access level {named!r}. There are: {', '.join(levels)}.", param="user_context.access_level"
        )
    if caller.may(Right.KNOWLEDGE_FOR_OTHERS):
        return wanted
    return min(wanted, caller.level, key=lambda level: level.rank)


def _given(chunk: ContextChunk, level: Level) -> Given:
    """A passage of the caller's, who says nothing of its level: an internal text, or of no more than is asked up to."""
    metadata = chunk.metadata
    return Given(
        chunk.chunk_id,
        chunk.content,
        metadata.title or metadata.document_id or chunk.chunk_id,
        metadata.document_id,
        metadata.page,
        score=metadata.confidence_score,
        level=min(level, Level.INTERNAL, key=lambda one: one.rank),
    )


def _generated(answer: Answer) -> Generated:
    return Generated(
        answer=answer.text,
        citations=[
            UsedPassage(chunk_id=one.chunk_id, reference=one.reference, used_content=one.used_content)
            for one in answer.citations
        ],
        confidence_score=answer.confidence,
        response_metadata={**answer.metadata, "status": answer.status, "answer_id": str(answer.id)},
    )
