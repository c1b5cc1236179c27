"""`POST /v1/completions`, as OpenAI's API has it: a text continued, or what is missing between two texts."""

import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Required

from fastapi import APIRouter, Request
from pydantic import Field, TypeAdapter, with_config
from starlette.responses import Response
from typing_extensions import TypedDict

from tidemill.api.answering import (
    asker_of,
    chunks_of,
    headers_of,
    inference_id,
    json_bytes,
    loading,
    served_by,
    stream_events,
    together,
    usage_json,
)
from tidemill.api.chat_schema import FORBID, Biases, ModelName, Penalty, Seed, Stops, StreamOptions, Tokens
from tidemill.api.request_body import json_body, parse_body, parsed
from tidemill.api.rights import needs
from tidemill.api.services import Services, services_of
from tidemill.api.streaming import ClientGone, EventStream, begin, while_connected
from tidemill.core.accounts import Right
from tidemill.core.chat import ChatChunk, ChatCompletion, TextRequest, Usage
from tidemill.core.context import Asker
from tidemill.core.errors import InvalidInput
from tidemill.core.ids import new_id
from tidemill.core.json import JsonObject
from tidemill.llm.several_choices import AT_ONCE, all_of, merged
from tidemill.llm.text_wire import token_logprobs
from tidemill.registry.deployments import Deployments

DEFAULT_TOKENS = 16
"""How long an answer is where the request does not say: OpenAI's own default for this route."""
IGNORED = frozenset({"model", "prompt", "suffix", "echo", "best_of", "stream", "stream_options", "user", "logprobs"})
TOKENS_REFUSED = "`prompt` is a text or a list of texts. Tokens are not taken, since each model has its own."


@with_config(FORBID)
class CompletionRequest(TypedDict, total=False):
    """A text to be continued, or several. With `suffix`, what stands between `prompt` and it is asked for."""

    model: Required[ModelName]
    prompt: Required[str | Annotated[list[str], Field(min_length=1, max_length=64)]]
    suffix: str | None
    max_tokens: Tokens | None
    temperature: Annotated[float, Field(ge=0, le=2)] | None
    top_p: Annotated[float, Field(ge=0, le=1)] | None
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] | None
    min_p: Annotated[float, Field(ge=0, le=1)] | None
    frequency_penalty: Penalty | None
    presence_penalty: Penalty | None
    logit_bias: Biases | None
    logprobs: Annotated[int, Field(ge=0, le=5)] | None
    n: Annotated[int, Field(ge=1, le=128)] | None
    best_of: Annotated[int, Field(ge=1, le=128)] | None
    echo: bool | None
    stop: Stops | None
    seed: Seed | None
    stream: bool | None
    stream_options: StreamOptions | None
    user: str | None


REQUEST = TypeAdapter(CompletionRequest)
SCHEMA = REQUEST.json_schema(ref_template="#/components/schemas/{model}")
"""The request's JSON schema; its definitions go to the OpenAPI document's components."""

router = APIRouter(tags=["completions"])


@router.post(
    "/completions",
    summary="Continue a text",
    dependencies=[needs(Right.MODELS_USE)],
    response_description="A `text_completion`, or with `stream` server-sent ones.",
    openapi_extra=json_body(SCHEMA),
)
async def create_completion(request: Request) -> Response:
    """Continues each prompt, whole or streamed. Each prompt leaves one inference row."""
    services = services_of(request)
    asked = await parsed(parse_completion, await request.body())
    texts = await text_requests(services.deployments, asked, asker_of(request))
    form = CompletionForm(asked, texts)
    try:
        if asked.get("stream"):
            return await _streamed(services, request, texts, form)
        work = all_of([services.chat.complete(text) for text in texts], at_once=prompts_at_once(asked))
        answers = await while_connected(request, work)
    except ClientGone:
        return Response(status_code=499)
    served = together([answer.served for answer in answers])
    return Response(form.whole(answers), 200, headers_of(texts, served), "application/json")


def parse_completion(body: bytes) -> CompletionRequest:
    """The request.

    Raises:
        InvalidInput: it is something else, or its fields don't go together.
    """
    try:
        asked = parse_body(REQUEST, body)
    except InvalidInput as error:
        if error.param is not None and error.param.split(".")[0] == "prompt":
            raise InvalidInput(f"{error.message} {TOKENS_REFUSED}", param="prompt") from error
        raise
    best_of = asked.get("best_of")
    if best_of is not None and best_of != (asked.get("n") or 1):
        raise InvalidInput("`best_of` may only be what `n` is: every answer is given.", param="best_of")
    if asked.get("echo") and asked.get("logprobs") is not None:
        raise InvalidInput("`echo` and `logprobs` don't go together: the prompt's tokens have none.", param="echo")
    if asked.get("suffix") is not None and asked.get("echo"):
        raise InvalidInput("`echo` and `suffix` don't go together.", param="echo")
    return asked


async def text_requests(deployments: Deployments, asked: CompletionRequest, asker: Asker) -> list[TextRequest]:
    """What is put to the model for a request: one for each prompt.

    Raises:
        ModelNotFound: there is no model of the name.
    """
    deployment = await deployments.for_text(asked["model"])
    options: dict[str, Any] = {key: value for key, value in asked.items() if key not in IGNORED and value is not None}
    options.setdefault("max_tokens", DEFAULT_TOKENS)
    if (alternatives := asked.get("logprobs")) is not None:
        options["logprobs"] = max(1, alternatives)  # llama-server gives no log probabilities at all for 0
    prompt = asked["prompt"]
    return [
        TextRequest(
            deployment.model, text, asked.get("suffix"), options, asker.part(number).context(new_id(), deployment)
        )
        for number, text in enumerate([prompt] if isinstance(prompt, str) else prompt)
    ]


def prompts_at_once(asked: CompletionRequest) -> int:
    """Each prompt is asked for `n` answers at once, and all of them together are one client's request."""
    return max(1, AT_ONCE // (asked.get("n") or 1))


async def _streamed(
    services: Services, request: Request, texts: Sequence[TextRequest], form: "CompletionForm"
) -> Response:
    chunks = _numbered(services, texts, form)
    first = await begin(request, chunks, may_wait=loading(services, texts[0].model))
    return EventStream(form.events(chunks_of(first, chunks, texts[0].model)), headers_of(texts, served_by(first)))


async def _numbered(
    services: Services, texts: Sequence[TextRequest], form: "CompletionForm"
) -> AsyncGenerator[ChatChunk, None]:
    """The chunks for all prompts, mixed, with each choice's number among all of them."""
    usages: list[Usage] = []
    mixed = merged([services.chat.stream(text) for text in texts], at_once=form.at_once)
    try:
        async for number, chunk in mixed:
            if chunk.usage is not None:
                usages.append(chunk.usage)
            served = chunk.served if len(texts) == 1 or chunk.served is None else replace(chunk.served, cost_usd=None)
            numbered = [{**choice, "index": form.index(number, choice)} for choice in chunk.choices]
            yield ChatChunk(numbered, served=served)
    finally:
        await mixed.aclose()
    yield ChatChunk([], _sum(usages))


class CompletionForm:
    """How the answers to one request are written."""

    def __init__(self, asked: CompletionRequest, texts: Sequence[TextRequest]) -> None:
        self._head = {
            "id": f"cmpl-{inference_id(texts[0]).hex}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": asked["model"],
        }
        self._choices = asked.get("n") or 1
        self.at_once = prompts_at_once(asked)
        self._alternatives = asked.get("logprobs") or 0
        self._echoed = [text.prompt if asked.get("echo") else "" for text in texts]
        self._include_usage = bool((asked.get("stream_options") or {}).get("include_usage"))
        self._written: dict[int, int] = {}

    def index(self, prompt: int, choice: JsonObject) -> int:
        """A choice's number among the answers to all prompts."""
        own = choice.get("index", 0)
        return prompt * self._choices + (own if isinstance(own, int) else 0)

    def whole(self, answers: Sequence[ChatCompletion]) -> bytes:
        """The JSON of the whole answer."""
        choices = [
            self._choice(choice, self.index(prompt, choice))
            for prompt, answer in enumerate(answers)
            for choice in answer.choices
        ]
        usage = _sum([answer.usage for answer in answers])
        return json_bytes({**self._head, "choices": choices, "usage": usage_json(usage)})

    def events(self, pieces: AsyncGenerator[ChatChunk | bytes, None]) -> AsyncGenerator[bytes, None]:
        """The events of a stream, each with one choice."""
        return stream_events(pieces, self._head, self._one_by_one, include_usage=self._include_usage)

    def _one_by_one(self, chunk: ChatChunk) -> Iterator[list[Mapping[str, object]]]:
        for choice in chunk.choices:
            number = choice["index"]
            assert isinstance(number, int)  # noqa: S101 - _numbered has set it
            yield [self._choice(choice, number)]

    def _choice(self, choice: JsonObject, index: int) -> Mapping[str, object]:
        """One choice, or the next piece of one; the prompt goes before its first piece where it is echoed."""
        text = str(choice.get("text") or "")
        written = self._written.get(index)
        if written is None:
            text = self._echoed[index // self._choices] + text
        logprobs = token_logprobs(choice.get("logprobs"), start=written or 0, alternatives=self._alternatives)
        self._written[index] = (written or 0) + len(text)
        return {"text": text, "index": index, "logprobs": logprobs, "finish_reason": choice.get("finish_reason")}


def _sum(usages: Sequence[Usage]) -> Usage:
    return Usage(
        prompt_tokens=sum(usage.prompt_tokens for usage in usages),
        completion_tokens=sum(usage.completion_tokens for usage in usages),
        cached_tokens=sum(usage.cached_tokens for usage in usages),
    )
