"""`POST /v1/chat/completions`, as OpenAI's API has it. `chat_schema` says what a request may hold."""

import time

from fastapi import APIRouter, Request
from starlette.responses import Response

from tidemill.api.answering import (
    asker_of,
    chunks_of,
    headers_of,
    inference_id,
    json_bytes,
    loading,
    served_by,
    stream_events,
    usage_json,
)
from tidemill.api.chat_schema import SCHEMA, ChatCompletionRequest, parse_chat, plain_message
from tidemill.api.knowledge_chat import KNOWLEDGE, answer_chat
from tidemill.api.request_body import json_body, parsed
from tidemill.api.rights import needs
from tidemill.api.services import Services, services_of
from tidemill.api.streaming import ClientGone, EventStream, begin, while_connected
from tidemill.core.accounts import Right
from tidemill.core.chat import ChatCompletion, ChatRequest
from tidemill.core.context import Asker
from tidemill.core.ids import new_id
from tidemill.registry.deployments import Deployments

IGNORED = frozenset({"model", "messages", "stream", "stream_options", "user", "metadata", "store", "service_tier",
                     "safety_identifier", "prompt_cache_key", "max_completion_tokens", "modalities"})  # fmt: skip
"""Fields that the hub reads itself, or takes from its clients and has no use for."""

router = APIRouter(tags=["chat"])


@router.post(
    "/chat/completions",
    summary="Answer a conversation",
    dependencies=[needs(Right.MODELS_USE)],
    response_description="A `chat.completion`, or with `stream` server-sent `chat.completion.chunk`s.",
    openapi_extra=json_body(SCHEMA),
)
async def create_chat_completion(request: Request) -> Response:
    """Answers with the named model, whole or streamed. Every answer leaves one inference row.

    The model `knowledge` answers from your documents.
    """
    services = services_of(request)
    asked = await parsed(parse_chat, await request.body())
    if asked["model"] == KNOWLEDGE:
        return await answer_chat(request, asked)
    chat = await chat_request(services.deployments, asked, asker_of(request))
    name = asked["model"]
    try:
        if asked.get("stream"):
            include_usage = bool((asked.get("stream_options") or {}).get("include_usage"))
            return await _streamed(services, request, chat, name, include_usage=include_usage)
        answer = await while_connected(request, services.chat.complete(chat))
    except ClientGone:
        return Response(status_code=499)
    return Response(completion_json(chat, answer, name), 200, headers_of([chat], answer.served), "application/json")


async def chat_request(deployments: Deployments, asked: ChatCompletionRequest, asker: Asker) -> ChatRequest:
    """What is put to the model for a request.

    Raises:
        ModelNotFound: there is no model of the name.
    """
    deployment = await deployments.for_chat(asked["model"])
    options = {key: value for key, value in asked.items() if key not in IGNORED and value is not None}
    limit = asked.get("max_completion_tokens") or asked.get("max_tokens")
    if limit is not None:
        options["max_tokens"] = limit
    return ChatRequest(
        model=deployment.model,
        messages=[plain_message(message) for message in asked["messages"]],
        options=options,  # type: ignore[arg-type]
        context=asker.context(new_id(), deployment),
    )


async def _streamed(
    services: Services, request: Request, chat: ChatRequest, name: str, *, include_usage: bool
) -> Response:
    chunks = services.chat.stream(chat)
    first = await begin(request, chunks, may_wait=loading(services, chat.model))
    pieces = chunks_of(first, chunks, chat.model)
    head = _head(chat, name, "chat.completion.chunk")
    events = stream_events(
        pieces, head, lambda chunk: [chunk.choices] if chunk.choices else [], include_usage=include_usage
    )
    return EventStream(events, headers_of([chat], served_by(first)))


def completion_json(chat: ChatRequest, answer: ChatCompletion, name: str) -> bytes:
    """The JSON of a whole answer; `name` is the model's as the request had it."""
    head = _head(chat, name, "chat.completion")
    return json_bytes({**head, "choices": answer.choices, "usage": usage_json(answer.usage)})


def _head(chat: ChatRequest, name: str, kind: str) -> dict[str, object]:
    return {"id": f"chatcmpl-{inference_id(chat).hex}", "object": kind, "created": int(time.time()), "model": name}
