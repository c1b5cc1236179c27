"""`/v1/conversations`: stored conversations, their messages, and questions that are answered."""

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from tidemill.api.answering import asker_of
from tidemill.api.errors import error_body
from tidemill.api.gate import caller_of
from tidemill.api.rights import needs
from tidemill.api.served_headers import served_headers
from tidemill.api.services import services_of
from tidemill.api.streaming import ClientGone, EventStream, while_connected
from tidemill.conversations.service import Answered, Change, Conversations, Listed, Opening, Post
from tidemill.conversations.turn import Turn
from tidemill.core import conversation as core
from tidemill.core.accounts import Right
from tidemill.core.classification import Level
from tidemill.core.conversation import History, Speaker, TitledBy
from tidemill.core.errors import InvalidInput, TidemillError

router = APIRouter(tags=["conversations"])

NEEDS = [needs(Right.CONVERSATIONS)]
NEEDS_MODEL = [needs(Right.CONVERSATIONS), needs(Right.MODELS_USE)]
ModelName = Annotated[str, Field(min_length=1, max_length=200)]
Siblings = Mapping[UUID | None, Sequence[UUID]]


class Body(BaseModel):
    """A request body, without room for misspelt fields."""

    model_config = ConfigDict(extra="forbid")


class FirstMessage(Body):
    """A message with which a conversation begins. `system` is taken as the first one alone."""

    role: Literal["system", "user", "assistant"]
    content: str


class NewConversation(Body):
    """What a new conversation begins with; everything can be left out."""

    title: str | None = Field(None, description="Given, it is kept; absent, it comes from the first message.")
    model: ModelName = "default"
    history: History | None = Field(None, description="The setting `conversations.history` when absent.")
    system: str | None = Field(None, description="What the model is told before every message.")
    messages: list[FirstMessage] = Field(default_factory=list, max_length=1000)


class ConversationChange(Body):
    """What is to be changed; what is absent stays."""

    title: str | None = None
    leaf_id: UUID | None = Field(None, description="The message with which the current path is to end.")
    history: History | None = None
    model: ModelName | None = None


class Options(Body):
    """What the model is given beside the messages; as in OpenAI's chat."""

    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    max_tokens: int | None = Field(None, ge=1, le=1_000_000)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    stop: str | Annotated[list[str], Field(max_length=16)] | None = None
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)


class NewMessage(Body):
    """A question. Without `content`, the question that `parent_id` names is answered once more."""

    content: str | None = None
    parent_id: UUID | None = Field(
        None, description="The answer that it follows; null for a new beginning, absent for the end of the path."
    )
    model: ModelName | None = Field(None, description="Another model than the conversation's, for this answer.")
    stream: bool = False
    options: Options = Options()


class MessageUsage(BaseModel):
    """Tokens, as the model's server counted them."""

    prompt_tokens: int
    completion_tokens: int


class Message(BaseModel):
    """One message. `siblings` (where it is asked for) are the ids of all versions with the same parent."""

    id: UUID
    object: Literal["message"] = "message"
    conversation_id: UUID
    parent_id: UUID | None
    role: Speaker
    content: str
    level: Level
    model: str | None
    inference_id: UUID | None
    citations: list[dict[str, Any]]
    finish_reason: str | None
    usage: MessageUsage | None
    siblings: list[UUID] | None = None
    created_at: datetime


class Conversation(BaseModel):
    """A conversation without its messages. `snippet` says where a search has found it."""

    id: UUID
    object: Literal["conversation"] = "conversation"
    title: str
    titled_by: TitledBy
    model: str
    history: History
    system: str | None
    leaf_id: UUID | None
    snippet: str | None = None
    created_at: datetime
    updated_at: datetime


class ConversationWithMessages(Conversation):
    """A conversation with the messages of its current path, or of every branch."""

    messages: list[Message]


class ConversationList(BaseModel):
    """One page of conversations, newest first."""

    object: Literal["list"] = "list"
    data: list[Conversation]
    has_more: bool


class MessageList(BaseModel):
    """One page of messages of every branch, oldest first."""

    object: Literal["list"] = "list"
    data: list[Message]
    has_more: bool


class MessagePair(BaseModel):
    """A question and its answer, both stored."""

    object: Literal["conversation.turn"] = "conversation.turn"
    user: Message
    assistant: Message


class Deleted(BaseModel):
    """What was deleted."""

    id: UUID
    object: Literal["conversation.deleted"] = "conversation.deleted"
    deleted: Literal[True] = True


@router.post("/conversations", summary="Begin a conversation", dependencies=NEEDS)
async def create_conversation(request: Request, body: NewConversation) -> Conversation:
    """Stores a new conversation with its first messages, and asks no model."""
    system, messages = body.system, body.messages
    if system is None and messages and messages[0].role == "system":
        system, messages = messages[0].content, messages[1:]
    if any(message.role == "system" for message in messages):
        raise InvalidInput("A system message is the first of `messages`, or stands in `system`.", param="messages")
    opening = Opening(
        model=body.model,
        title=body.title,
        history=body.history,
        system=system,
        messages=[(Speaker(message.role), message.content) for message in messages],
    )
    return _conversation(await _service(request).create(caller_of(request.scope), opening))


@router.get("/conversations", summary="The caller's conversations", dependencies=NEEDS)
async def list_conversations(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: UUID | None = None,
    query: Annotated[str | None, Query(min_length=1, max_length=200)] = None,
) -> ConversationList:
    """Newest first. `query` finds words in titles and messages, with or without diacritics."""
    found = await _service(request).latest(caller_of(request.scope), limit=limit + 1, after=after, query=query)
    return ConversationList(data=[_listed(one) for one in found[:limit]], has_more=len(found) > limit)


@router.get("/conversations/{conversation_id}", summary="One conversation", dependencies=NEEDS)
async def get_conversation(
    request: Request, conversation_id: UUID, view: Literal["path", "tree"] = "path"
) -> ConversationWithMessages:
    """With the messages of its current path, or with `view=tree` of every branch; each names its siblings."""
    service = _service(request)
    found = await service.get(caller_of(request.scope), conversation_id)
    messages = await (service.path(found) if view == "path" else service.messages(found, limit=None, after=None))
    siblings = await service.siblings(found)
    return ConversationWithMessages(
        **_conversation(found).model_dump(), messages=[_message(message, siblings) for message in messages]
    )


@router.patch("/conversations/{conversation_id}", summary="Change a conversation", dependencies=NEEDS)
async def change_conversation(request: Request, conversation_id: UUID, body: ConversationChange) -> Conversation:
    """A title of one's own, another model or way with the history, or another branch as the current one."""
    change = Change(title=body.title, leaf_id=body.leaf_id, history=body.history, model=body.model)
    return _conversation(await _service(request).change(caller_of(request.scope), conversation_id, change))


@router.delete("/conversations/{conversation_id}", summary="Delete a conversation", dependencies=NEEDS)
async def delete_conversation(request: Request, conversation_id: UUID) -> Deleted:
    """Deletes it with every message and summary."""
    await _service(request).delete(caller_of(request.scope), conversation_id)
    return Deleted(id=conversation_id)


@router.get("/conversations/{conversation_id}/messages", summary="A conversation's messages", dependencies=NEEDS)
async def list_messages(
    request: Request,
    conversation_id: UUID,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: UUID | None = None,
) -> MessageList:
    """Those of every branch, oldest first; `parent_id` makes the tree."""
    service = _service(request)
    found = await service.get(caller_of(request.scope), conversation_id)
    messages = await service.messages(found, limit=limit + 1, after=after)
    return MessageList(data=[_message(message) for message in messages[:limit]], has_more=len(messages) > limit)


@router.post(
    "/conversations/{conversation_id}/messages",
    summary="Ask",
    dependencies=NEEDS_MODEL,
    response_model=MessagePair,
    responses={200: {"content": {"text/event-stream": {}}, "description": "Both messages; with `stream`, events."}},
)
async def create_message(request: Request, conversation_id: UUID, body: NewMessage) -> Response:
    """Stores the question, asks the model with as much of the history as it holds, and stores the answer."""
    service = _service(request)
    post = Post(
        content=body.content,
        asker=asker_of(request),
        parent_id=body.parent_id,
        at_leaf="parent_id" not in body.model_fields_set,
        model=body.model,
        options=body.options.model_dump(exclude_none=True),
    )
    turn = await service.ask(caller_of(request.scope), conversation_id, post)
    if body.stream:
        return EventStream(_events(service, turn))
    try:
        answer = await while_connected(request, _whole(service, turn))
    except ClientGone:
        return Response(status_code=499)
    pair = MessagePair(user=_message(turn.question), assistant=_message(answer.message))
    headers = served_headers(answer.served, turn.deployment.model)
    if answer.message.inference_id is not None:
        headers["x-tidemill-inference-id"] = str(answer.message.inference_id)
    return Response(pair.model_dump_json(), 200, headers, "application/json")


async def _whole(service: Conversations, turn: Turn) -> Answered:
    async with aclosing(service.answer(turn)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Answered):
                return piece
    raise AssertionError  # an answer ends with its message, or raises


async def _events(service: Conversations, turn: Turn) -> AsyncGenerator[bytes, None]:
    yield _event("message.created", _message(turn.question).model_dump_json())
    try:
        async with aclosing(service.answer(turn)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Answered):
                    yield _event("message.completed", _message(piece.message).model_dump_json())
                else:
                    yield _event("delta", json.dumps({"content": piece}))
    except TidemillError as error:
        body = error_body(error.status, error.message, code=error.code, param=error.param)
        yield _event("error", body.decode())
    yield _event("done", "{}")


def _event(name: str, data: str) -> bytes:
    return f"event: {name}\ndata: {data}\n\n".encode()


def _service(request: Request) -> Conversations:
    return services_of(request).conversations


def _listed(listed: Listed) -> Conversation:
    return _conversation(listed.conversation).model_copy(update={"snippet": listed.snippet})


def _conversation(conversation: core.Conversation) -> Conversation:
    return Conversation(
        id=conversation.id,
        title=conversation.title,
        titled_by=conversation.titled_by,
        model=conversation.model,
        history=conversation.history,
        system=conversation.system,
        leaf_id=conversation.leaf_id,
        created_at=conversation.created_at,
        updated_at=conversation.updated_at,
    )


def _message(message: core.Message, siblings: Siblings | None = None) -> Message:
    tokens = message.prompt_tokens, message.completion_tokens
    usage = None if None in tokens else MessageUsage(prompt_tokens=tokens[0] or 0, completion_tokens=tokens[1] or 0)
    return Message(
        id=message.id,
        conversation_id=message.conversation_id,
        parent_id=message.parent_id,
        role=message.role,
        content=message.content,
        level=message.level,
        model=message.model,
        inference_id=message.inference_id,
        citations=[dict(citation) for citation in message.citations],
        finish_reason=message.finish_reason,
        usage=usage,
        siblings=None if siblings is None else list(siblings.get(message.parent_id, ())),
        created_at=message.created_at,
    )
