"""A kept answer: as bytes, and given again whole or as a stream."""

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from tidemill.core.chat import ChatChunk, ChatCompletion, Usage
from tidemill.core.context import InferenceContext
from tidemill.core.json import Json, JsonObject
from tidemill.core.served import Served
from tidemill.llm.transcript import WORDS

log = logging.getLogger(__name__)

ENDINGS = frozenset({"stop", "length", "tool_calls", "function_call"})
"""How an answer ends that is all that the model had to say; a filter's or an error's ending is none."""


def may_be_kept(answer: ChatCompletion) -> bool:
    """Whether it is a model's own and came to its end: not a fallback's, and not cut off by a filter."""
    if answer.served is not None and answer.served.fallback is not None:
        return False
    return bool(answer.choices) and all(choice.get("finish_reason") in ENDINGS for choice in answer.choices)


def encoded(answer: ChatCompletion, context: InferenceContext) -> bytes:
    """The answer as JSON in UTF-8, with who gave it."""
    served = answer.served or Served("", context.deployment.model, context.deployment.model_version)
    value = {
        "choices": list(answer.choices),
        "usage": [answer.usage.prompt_tokens, answer.usage.completion_tokens],
        "served": [served.provider, served.model, served.version],
    }
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def decoded(data: bytes, tier: str) -> ChatCompletion | None:
    """The answer that was encoded, as the cache gives it: nothing was computed for it, and nothing paid.

    `None` for what is no such answer, as after a damage in the store: it is asked for anew, and kept over it.
    """
    try:
        value: dict[str, Any] = json.loads(data.decode("utf-8", "surrogatepass"))
        prompt, completion = value["usage"]
        provider, model, version = value["served"]
        choices = value["choices"]
    except (ValueError, KeyError, TypeError, RecursionError):
        log.warning("An answer that the tier %s of the cache kept can't be read, and is asked for anew.", tier)
        return None
    served = Served(provider, model, version, cost_usd=0.0, attempts=0, cache_tier=tier)
    return ChatCompletion(choices, Usage(prompt, completion, cached_tokens=prompt), served)


def shared(served: Served | None, context: InferenceContext, tier: str) -> Served:
    """Who answered, for a request that waited for another's answer: that one was asked and paid for."""
    known = served or Served("", context.deployment.model, context.deployment.model_version)
    return replace(known, cost_usd=0.0, attempts=0, recovery=(), cache_tier=tier)


def replayed(answer: ChatCompletion) -> Iterator[ChatChunk]:
    """The answer as the chunks of a stream, in OpenAI's form: each text in one piece, then the ending, then the usage.

    Source: https://platform.openai.com/docs/api-reference/chat-streaming.
    """
    served = answer.served
    for choice in answer.choices:
        for piece in _pieces(choice):
            yield ChatChunk([{"index": choice.get("index", 0), "finish_reason": None, **piece}], served=served)
            served = None
    yield ChatChunk([], answer.usage, answer.served)


def _pieces(choice: JsonObject) -> Iterator[dict[str, Json]]:
    logprobs = {"logprobs": choice["logprobs"]} if choice.get("logprobs") is not None else {}
    finish = choice.get("finish_reason")
    message = choice.get("message")
    if not isinstance(message, Mapping):
        yield {"text": choice.get("text"), **logprobs}
        yield {"text": "", "finish_reason": finish}
        return
    content = message.get("content")
    yield {"delta": {"role": message.get("role", "assistant"), "content": None if content is None else ""}}
    for name in WORDS:
        if isinstance(words := message.get(name), str) and words:
            yield {"delta": {name: words}, **(logprobs if name == "content" else {})}
    calls = message.get("tool_calls")
    for number, call in enumerate(calls if isinstance(calls, list) else ()):
        if isinstance(call, Mapping):
            yield {"delta": {"tool_calls": [{"index": number, **call}]}}
    yield {"delta": {}, "finish_reason": finish, **({} if content else logprobs)}
