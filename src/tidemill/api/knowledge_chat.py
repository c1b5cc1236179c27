"""The model name `knowledge` in `POST /v1/chat/completions`: any of OpenAI's clients can ask the documents."""

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any
from uuid import UUID

from fastapi import Request
from starlette.responses import Response

from tidemill.api.answering import DONE, asker_of, error_event, event_bytes, json_bytes
from tidemill.api.chat_schema import ChatCompletionRequest
from tidemill.api.gate import caller_of
from tidemill.api.services import services_of
from tidemill.api.streaming import ClientGone, EventStream, while_connected
from tidemill.core.accounts import Right
from tidemill.core.answer import Answer
from tidemill.core.context import Asker
from tidemill.core.errors import InvalidInput, TidemillError
from tidemill.knowledge.answers import Event, Found
from tidemill.knowledge.questions import Question, Turn

KNOWLEDGE = "knowledge"


async def answer_chat(request: Request, asked: ChatCompletionRequest) -> Response:
    """The answer to the last message from documents, in the conversation that `metadata.conversation_id` names.

    What was said before is taken from there; without one, from the messages before. System messages are not read.
    """
    caller = caller_of(request.scope)
    caller.require(Right.KNOWLEDGE_READ)
    services, question = services_of(request), question_of(asked)
    asker, reader = asker_of(request), await services.readers.of(caller)
    if asked.get("stream"):
        return EventStream(_events(services.questions.stream(caller, question, asker, reader), asker))
    try:
        answer = await while_connected(request, services.questions.answer(caller, question, asker, reader))
    except ClientGone:
        return Response(status_code=499)
    choice = {"index": 0, "message": {"role": "assistant", "content": with_sources(answer)}, "finish_reason": "stop"}
    body = {**_head(answer, "chat.completion"), "choices": [choice], "usage": _usage(answer), "tidemill": _more(answer)}
    return Response(json_bytes(body), 200, media_type="application/json")


def question_of(asked: ChatCompletionRequest) -> Question:
    """The last message as a question, after those before it.

    Raises:
        InvalidInput: the last message is no text of a user, or the conversation's id is none.
    """
    said = [Turn(str(one["role"]), _text(one)) for one in asked["messages"] if one["role"] in ("user", "assistant")]
    if not said or said[-1].role != "user":
        raise InvalidInput("The last of `messages` is to be a user's question, as text.", param="messages")
    conversation_id = _conversation_of(asked)
    before = [turn for turn in said[:-1] if turn.content] if conversation_id is None else []
    return Question(said[-1].content, history=before, conversation_id=conversation_id)


def _conversation_of(asked: ChatCompletionRequest) -> UUID | None:
    given: Mapping[str, str] = asked.get("metadata") or {}
    named = given.get("conversation_id")
    if named is None:
        return None
    try:
        return UUID(named)
    except ValueError as error:
        raise InvalidInput(
            f"`metadata.conversation_id` is the id of a conversation, and {named[:50]!r} is none.",
            param="metadata.conversation_id",
        ) from error


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(str(part.get("text", "")) for part in content if part.get("type") == "text")


def with_sources(answer: Answer) -> str:
    """The answer with what its numbers stand for beneath it: these clients show no more than a text."""
    return answer.text + _sources(answer)


def _sources(answer: Answer) -> str:
    listed = [f"{one.reference}{f' – {one.url}' if one.url else ''}" for one in answer.citations]
    return "\n\n" + "\n".join(listed) if listed else ""


async def _events(answering: AsyncGenerator[Event, None], asker: Asker) -> AsyncGenerator[bytes, None]:
    """Sentences as they are checked. What a template adds to them in the end comes with the last ones."""
    head: dict[str, object] = {"object": "chat.completion.chunk", "created": int(time.time()), "model": KNOWLEDGE}
    head["id"] = f"chatcmpl-{asker.trace_id}"
    said = ""

    def chunk(delta: Mapping[str, str], reason: str | None = None) -> bytes:
        return event_bytes({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})

    try:
        async with aclosing(answering) as events:
            async for event in events:
                if isinstance(event, Found):
                    yield chunk({"role": "assistant", "content": ""})
                elif isinstance(event, Answer):
                    rest = event.text.removeprefix(said)
                    rest = rest if said == "" or event.text.startswith(said) else f"\n\n{event.text}"
                    yield chunk({"content": rest + _sources(event)})
                    yield event_bytes(
                        {
                            **head,
                            "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
                            "usage": _usage(event),
                            "tidemill": _more(event),
                        }
                    )
                else:
                    said += event.text
                    yield chunk({"content": event.text})
        yield DONE
    except TidemillError as error:
        yield error_event(error)


def _head(answer: Answer, kind: str) -> dict[str, object]:
    created = int(answer.created_at.timestamp())
    return {"id": f"chatcmpl-{answer.id.hex}", "object": kind, "created": created, "model": KNOWLEDGE}


def _usage(answer: Answer) -> dict[str, object]:
    tokens = answer.metadata.get("tokens_used", 0)
    return {"prompt_tokens": answer.metadata.get("prompt_tokens", 0),
            "completion_tokens": answer.metadata.get("completion_tokens", 0), "total_tokens": tokens}  # fmt: skip


def _more(answer: Answer) -> dict[str, object]:
    return {
        "answer_id": str(answer.id),
        "status": answer.status,
        "outcome": answer.outcome,
        "confidence_score": answer.confidence,
        "citations": [
            {"number": one.number, "reference": one.reference, "used_content": one.used_content, "url": one.url}
            for one in answer.citations
        ],
    }
