"""What the routes that ask a model have in common: who asks, how an answer is written, and how it is streamed."""

import asyncio
import json
import math
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from pydantic_core import PydanticSerializationError, to_json
from starlette.requests import Request

from tidemill.api.errors import error_body
from tidemill.api.gate import caller_of
from tidemill.api.served_headers import served_headers
from tidemill.api.services import Services
from tidemill.api.streaming import comments
from tidemill.core.chat import ChatChunk, ModelRequest, Usage
from tidemill.core.context import Asker, CacheUse, InferenceContext
from tidemill.core.deployment import Deployment
from tidemill.core.embedding import EmbeddingRequest
from tidemill.core.errors import InvalidInput, TidemillError
from tidemill.core.ids import new_id
from tidemill.core.served import Served

LONGEST_TIMEOUT = 86_400
"""Seconds: a day."""
DONE = b"data: [DONE]\n\n"


def context_of(request: Request, deployment: Deployment) -> InferenceContext:
    """The context of a new inference."""
    return asker_of(request).context(new_id(), deployment)


def asker_of(request: Request) -> Asker:
    """Who asks, and under which conditions: both come from the key and the headers, never from the body."""
    caller = caller_of(request.scope)
    state = request.scope["state"]
    headers = dict(reversed(request.scope["headers"]))  # the first of a name counts
    language = headers.get(b"accept-language", b"").lower()
    return Asker(
        trace_id=state["trace_id"],
        key_id=caller.key_id,
        owner_id=caller.owner_id,
        user_id=caller.user_id,
        request_id=state["request_id"],
        level=caller.level,
        cache=_cache_use(headers.get(b"cache-control", b"")),
        deadline=_deadline(headers.get(b"x-tidemill-timeout")),
        max_cost_usd=_max_cost(headers.get(b"x-tidemill-max-cost")),
        language="vi" if language.startswith(b"vi") else "en",
    )


def _cache_use(cache_control: bytes) -> CacheUse:
    """What a `Cache-Control` of a request (RFC 9111 §5.2.1) allows; other directives mean nothing here."""
    if not cache_control:
        return CacheUse.ALLOWED
    directives = {one.strip().lower() for one in cache_control.decode("latin-1").split(",")}
    return next((use for use in (CacheUse.NONE, CacheUse.REFRESH) if use in directives), CacheUse.ALLOWED)


def _deadline(timeout: bytes | None) -> float | None:
    """When an answer is of no use any more to who sent `X-Tidemill-Timeout: SECONDS`, by the monotonic clock."""
    if timeout is None:
        return None
    try:
        seconds = float(timeout)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= LONGEST_TIMEOUT:
        raise InvalidInput(
            f"`X-Tidemill-Timeout` is a number of seconds above 0, and {LONGEST_TIMEOUT} at most.",
            param="X-Tidemill-Timeout",
        )
    return time.monotonic() + seconds


def _max_cost(cost: bytes | None) -> float | None:
    """What an answer may cost at most, in US dollars, as `X-Tidemill-Max-Cost` says it."""
    if cost is None:
        return None
    try:
        dollars = float(cost)
    except ValueError:
        dollars = -1.0
    if not 0 <= dollars < math.inf:
        raise InvalidInput("`X-Tidemill-Max-Cost` is a number of US dollars, 0 or more.", param="X-Tidemill-Max-Cost")
    return dollars


def inference_id(asked: ModelRequest | EmbeddingRequest) -> UUID:
    """The id of the row that a request leaves."""
    assert asked.context is not None  # noqa: S101 - the route has set it
    return asked.context.inference_id


def headers_of(asked: Sequence[ModelRequest | EmbeddingRequest], served: Served | None = None) -> dict[str, str]:
    """Which inferences answer, of which model and by whom, as far as that is known when the headers are sent.

    Headers of a stream go out with its first chunk, so they can't say what the answer will cost.
    """
    ids = ", ".join(str(inference_id(one)) for one in asked)
    return {"x-tidemill-inference-id": ids, **served_headers(served, asked[0].model)}


def together(served: Sequence[Served | None]) -> Served | None:
    """Who gave the first of several answers, with what all of them cost and how the asker stands after the last."""
    known = [one for one in served if one is not None]
    if not known or len(known) < len(served):
        return None
    costs = [one.cost_usd for one in known]
    cost = None if None in costs else math.fsum(cost for cost in costs if cost is not None)
    return replace(known[0], cost_usd=cost, rate=known[-1].rate)


def json_bytes(value: Mapping[str, object]) -> bytes:
    """JSON, also of half a surrogate pair: some servers send the halves of one character in two chunks."""
    try:
        return to_json(value)
    except PydanticSerializationError:
        return json.dumps(value, separators=(",", ":")).encode()


def event_bytes(value: Mapping[str, object]) -> bytes:
    """A server-sent event."""
    return b"data: " + json_bytes(value) + b"\n\n"


def error_event(error: TidemillError) -> bytes:
    """An error in the middle of a stream."""
    return b"data: " + error_body(error.status, error.message, code=error.code, param=error.param) + b"\n\n"


def usage_json(usage: Usage) -> dict[str, object]:
    """OpenAI's `usage`."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


def loading(services: Services, model: str) -> Callable[[], bool]:
    """Says whether this model is a local one that is being loaded."""
    return lambda: services.runtime.is_loading(model)


def served_by(first: "asyncio.Task[ChatChunk | None]") -> Served | None:
    """Who answers a stream, where its first chunk is there already."""
    chunk = first.result() if first.done() else None
    return chunk.served if chunk is not None else None


async def chunks_of(
    first: "asyncio.Task[ChatChunk | None]", rest: AsyncGenerator[ChatChunk, None], model: str
) -> AsyncGenerator[ChatChunk | bytes, None]:
    """The chunks of an answer, and before the first one comments, as bytes, while its model is being loaded."""
    try:
        async for comment in comments(first, f"the model {model} is loading"):
            yield comment
        chunk = await first
        while chunk is not None:
            yield chunk
            chunk = await anext(rest, None)
    finally:
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await rest.aclose()


async def stream_events(
    pieces: AsyncGenerator[ChatChunk | bytes, None],
    head: Mapping[str, object],
    choices_of: Callable[[ChatChunk], Iterable[Sequence[Mapping[str, object]]]],
    *,
    include_usage: bool,
) -> AsyncGenerator[bytes, None]:
    """The events of a stream, to OpenAI's last; an error of the hub's takes the place of what was still to come.

    Args:
        pieces: what `chunks_of` gives.
        head: the fields that every event has.
        choices_of: the `choices` of each event that a chunk becomes.
        include_usage: whether an event with the usage follows the last of the answer's.
    """
    extra = {"usage": None} if include_usage else {}
    usage = Usage()
    try:
        async for piece in pieces:
            if isinstance(piece, bytes):
                yield piece
                continue
            usage = piece.usage or usage
            for choices in choices_of(piece):
                yield event_bytes({**head, "choices": choices, **extra})
        if include_usage:
            yield event_bytes({**head, "choices": [], "usage": usage_json(usage)})
        yield DONE
    except TidemillError as error:
        yield error_event(error)
    finally:
        await pieces.aclose()
