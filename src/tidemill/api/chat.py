"""`POST /v1/chat/completions`, as OpenAI's API has it."""

import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Annotated, Any, Literal, Required
from uuid import UUID

import jsonschema_rs
from fastapi import APIRouter, Request
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from pydantic_core import PydanticSerializationError, to_json
from starlette.responses import Response
from typing_extensions import TypedDict

from tidemill.api.errors import error_body, invalid
from tidemill.api.gate import caller_of
from tidemill.api.rights import needs
from tidemill.api.services import Services, services_of
from tidemill.api.streaming import ClientGone, EventStream, while_connected
from tidemill.core.accounts import Right
from tidemill.core.chat import ChatChunk, ChatCompletion, ChatRequest, Usage
from tidemill.core.errors import InvalidInput, TidemillError
from tidemill.core.ids import new_id
from tidemill.core.inference import InferenceContext

FORBID = ConfigDict(extra="forbid")
IGNORED = frozenset({"model", "messages", "stream", "stream_options", "n", "user", "metadata", "store", "service_tier",
                     "safety_identifier", "prompt_cache_key", "max_completion_tokens"})  # fmt: skip
"""Fields that the hub reads itself, or takes from its clients and has no use for."""


@with_config(FORBID)
class TextPart(TypedDict):
    """A part of a message's content."""

    type: Literal["text"]
    text: str


@with_config(FORBID)
class Message(TypedDict, total=False):
    """One message of the conversation."""

    role: Required[Literal["system", "developer", "user", "assistant"]]
    content: Required[str | Annotated[list[TextPart], Field(min_length=1)]]
    name: str


@with_config(FORBID)
class JsonSchema(TypedDict, total=False):
    """The schema of a `response_format`."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: str
    schema: dict[str, Any]
    strict: bool | None


@with_config(FORBID)
class ResponseFormat(TypedDict, total=False):
    """What form the answer takes; a grammar holds the model to it."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema


@with_config(FORBID)
class StreamOptions(TypedDict, total=False):
    """What a stream carries besides the text."""

    include_usage: bool
    include_obfuscation: bool


Penalty = Annotated[float, Field(ge=-2, le=2)]
Tokens = Annotated[int, Field(ge=1, le=1_000_000)]


@with_config(FORBID)
class ChatCompletionRequest(TypedDict, total=False):
    """A chat request. The model `default` is the hub's default model."""

    model: Required[Annotated[str, Field(min_length=1, max_length=200)]]
    messages: Required[Annotated[list[Message], Field(min_length=1)]]
    temperature: Annotated[float, Field(ge=0, le=2)] | None
    top_p: Annotated[float, Field(ge=0, le=1)] | None
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] | None
    min_p: Annotated[float, Field(ge=0, le=1)] | None
    max_tokens: Tokens | None
    max_completion_tokens: Tokens | None
    frequency_penalty: Penalty | None
    presence_penalty: Penalty | None
    stop: str | Annotated[list[str], Field(max_length=16)] | None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None
    logprobs: bool | None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None
    response_format: ResponseFormat | None
    stream: bool | None
    stream_options: StreamOptions | None
    n: Literal[1] | None
    user: str | None
    metadata: dict[str, str] | None
    store: bool | None
    service_tier: str | None
    safety_identifier: str | None
    prompt_cache_key: str | None


DIALECTS = frozenset(
    {
        "https://json-schema.org/draft/2020-12/schema",
        "https://json-schema.org/draft/2019-09/schema",
        "http://json-schema.org/draft-07/schema",
        "http://json-schema.org/draft-06/schema",
        "http://json-schema.org/draft-04/schema",
    }
)
REQUEST = TypeAdapter(ChatCompletionRequest)
SCHEMA = REQUEST.json_schema(ref_template="#/components/schemas/{model}")
"""The request's JSON schema; its definitions go to the OpenAPI document's components."""

router = APIRouter(tags=["chat"])


@router.post(
    "/chat/completions",
    summary="Answer a conversation",
    dependencies=[needs(Right.MODELS_USE)],
    response_description="A `chat.completion`, or with `stream` server-sent `chat.completion.chunk`s.",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {k: v for k, v in SCHEMA.items() if k != "$defs"}}},
        }
    },
)
async def create_chat_completion(request: Request) -> Response:
    """Answers with the named model, whole or streamed. Every answer leaves one inference row."""
    services = services_of(request)
    asked = _parse(await request.body())
    chat = await _chat_request(services, request, asked)
    name = str(asked["model"])
    if asked.get("stream"):
        include_usage = bool((asked.get("stream_options") or {}).get("include_usage"))
        return await _streamed(services, request, chat, name, include_usage=include_usage)
    try:
        answer = await while_connected(request, services.chat.complete(chat))
    except ClientGone:
        return Response(status_code=499)
    return Response(_completion(chat, answer, name), 200, _headers(chat), "application/json")


def _parse(body: bytes) -> ChatCompletionRequest:
    try:
        asked = REQUEST.validate_json(body)
    except ValidationError as error:
        raise invalid(error) from error
    if asked.get("top_logprobs") and not asked.get("logprobs"):
        raise InvalidInput("`top_logprobs` needs `logprobs` to be true.", param="top_logprobs")
    _check_format(asked.get("response_format"))
    return asked


def _check_format(response_format: ResponseFormat | None) -> None:
    if not response_format or response_format.get("type") != "json_schema":
        return
    schema = response_format.get("json_schema", {}).get("schema")
    if schema is None:
        raise InvalidInput("`response_format.json_schema.schema` is missing.", param="response_format")
    _refuse_references(schema)
    try:
        json.dumps(schema, allow_nan=False)
        jsonschema_rs.meta.validate(schema)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        message = getattr(error, "message", None) or str(error)
        raise InvalidInput(
            f"`response_format` does not hold a JSON schema: {message}", param="response_format"
        ) from error


async def _chat_request(services: Services, request: Request, asked: ChatCompletionRequest) -> ChatRequest:
    caller = caller_of(request.scope)
    deployment = await services.deployments.for_chat(asked["model"])
    options = {key: value for key, value in asked.items() if key not in IGNORED and value is not None}
    limit = asked.get("max_completion_tokens") or asked.get("max_tokens")
    if limit is not None:
        options["max_tokens"] = limit
    return ChatRequest(
        model=deployment.model,
        messages=[_flat(message) for message in asked["messages"]],
        options=options,  # type: ignore[arg-type]
        context=InferenceContext(
            inference_id=new_id(),
            deployment=deployment,
            trace_id=trace_id(request.headers.get("traceparent")),
            key_id=caller.key_id,
            owner_id=caller.owner_id,
        ),
    )


def _refuse_references(schema: object) -> None:
    """A schema that names another document would have it fetched, by whoever checks it: from a URL, or a file."""
    match schema:
        case {"$schema": str(dialect)} if dialect.rstrip("#") not in DIALECTS:
            raise InvalidInput(
                "`response_format` names a `$schema` that is not one of JSON Schema's own drafts.",
                param="response_format",
            )
        case {"$ref": str(reference)} if not reference.startswith("#"):
            raise InvalidInput("A `$ref` of `response_format` leads out of the schema.", param="response_format")
    for part in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        _refuse_references(part)


def _flat(message: Message) -> dict[str, str]:
    """The message as every chat template takes it: text in one piece, `developer` as `system`."""
    content = message["content"]
    flat = {
        "role": "system" if message["role"] == "developer" else message["role"],
        "content": content if isinstance(content, str) else "".join(part["text"] for part in content),
    }
    if "name" in message:
        flat["name"] = message["name"]
    return flat


def trace_id(traceparent: str | None) -> str:
    """The caller's trace id from a W3C `traceparent`, or a new one."""
    parts = (traceparent or "").split("-")
    if len(parts) == 4 and len(parts[1]) == 32 and set(parts[1]) <= set("0123456789abcdef") and set(parts[1]) != {"0"}:
        return parts[1]
    return new_id().hex


async def _streamed(
    services: Services, request: Request, chat: ChatRequest, name: str, *, include_usage: bool
) -> Response:
    chunks = services.chat.stream(chat)
    try:
        first = await while_connected(request, anext(chunks, None))
    except ClientGone:
        return Response(status_code=499)
    return EventStream(_events(chat, name, first, chunks, include_usage=include_usage), _headers(chat))


async def _events(
    chat: ChatRequest, name: str, first: ChatChunk | None, rest: AsyncIterator[ChatChunk], *, include_usage: bool
) -> AsyncGenerator[bytes, None]:
    base = {"id": _completion_id(chat), "object": "chat.completion.chunk", "created": int(time.time()), "model": name}
    usage = Usage()
    try:
        chunk = first
        while chunk is not None:
            usage = chunk.usage or usage
            if chunk.choices:
                yield (
                    b"data: "
                    + _json({**base, "choices": chunk.choices, **({"usage": None} if include_usage else {})})
                    + b"\n\n"
                )
            chunk = await anext(rest, None)
        if include_usage:
            yield b"data: " + _json({**base, "choices": [], "usage": _usage(usage)}) + b"\n\n"
        yield b"data: [DONE]\n\n"
    except TidemillError as error:
        yield b"data: " + error_body(error.status, error.message, code=error.code, param=error.param) + b"\n\n"
    finally:
        if isinstance(rest, AsyncGenerator):
            await rest.aclose()


def _completion(chat: ChatRequest, answer: ChatCompletion, name: str) -> bytes:
    return _json(
        {
            "id": _completion_id(chat),
            "object": "chat.completion",
            "created": int(time.time()),
            "model": name,
            "choices": answer.choices,
            "usage": _usage(answer.usage),
        }
    )


def _json(value: Mapping[str, object]) -> bytes:
    """JSON, also of half a surrogate pair: some servers send the halves of one character in two chunks."""
    try:
        return to_json(value)
    except PydanticSerializationError:
        return json.dumps(value, separators=(",", ":")).encode()


def _usage(usage: Usage) -> Mapping[str, object]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


def _inference_id(chat: ChatRequest) -> UUID:
    assert chat.context is not None  # noqa: S101 - _chat_request has set it
    return chat.context.inference_id


def _completion_id(chat: ChatRequest) -> str:
    return f"chatcmpl-{_inference_id(chat).hex}"


def _headers(chat: ChatRequest) -> dict[str, str]:
    return {"x-tidemill-inference-id": str(_inference_id(chat)), "x-tidemill-model": _latin(chat.model)}


def _latin(text: str) -> str:
    return text.encode("ascii", "replace").decode()
