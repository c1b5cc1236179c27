"""OpenAI's wire format from the server's side: chats, texts, embeddings, and errors as OpenAI words them.

References: https://platform.openai.com/docs/api-reference and https://platform.openai.com/docs/guides/error-codes.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tidemill.core.failure import Failure
from tidemill.llm.providers.scripted import Answer, Asked, Refusal, seconds_text, words_of

PIECE = 8
CREATED = 1_700_000_000


class OpenAIWire:
    """Also of Grok, OpenRouter, Ollama, vLLM and TGI."""

    name = "openai"

    def refusal(self, leaf: Failure, asked: Asked, wait: float | None) -> Refusal:
        """The error with which OpenAI says this."""
        status, kind, code, message = _ERRORS.get(leaf, _ERRORS[Failure.UNKNOWN])
        headers = {"x-request-id": "req_scripted"}
        if wait is not None:
            headers |= {
                "retry-after": seconds_text(wait),
                "retry-after-ms": str(round(wait * 1000)),
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": _duration(wait),
            }
            message = f"{message} Please try again in {_duration(wait)}."
        error = {"message": message.format(model=asked.model), "type": kind, "param": None, "code": code}
        return Refusal(status, {"error": error}, headers)

    def filtered(self, leaf: Failure) -> Answer | None:
        """OpenAI refuses with an error status."""
        return None

    def whole(self, asked: Asked, answer: Answer) -> Mapping[str, Any]:
        """A `chat.completion`, or a `text_completion`."""
        choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": _finish(answer)}
        if asked.kind == "text":
            choice["text"] = answer.text
        else:
            choice["message"] = {"role": "assistant", "content": answer.text or None, "refusal": None}
            if answer.calls:
                choice["message"]["tool_calls"] = _calls(answer)
        choices = [{**choice, "index": index} for index in range(_several(asked))]
        return {**_head(asked, chunk=False), "choices": choices, "usage": _usage(asked, answer)}

    def events(self, asked: Asked, answer: Answer) -> list[bytes]:
        """Chunks, the usage, and `[DONE]`."""
        head = _head(asked, chunk=True)
        if asked.kind == "text":
            deltas: list[dict[str, Any]] = [{"text": word} for word in words_of(answer.text)]
            last: dict[str, Any] = {"text": ""}
        else:
            deltas = [{"delta": {"role": "assistant", "content": ""}}]
            deltas += [{"delta": {"content": word}} for word in words_of(answer.text)]
            for place, call in enumerate(_calls(answer)):
                said = call["function"]["arguments"]
                begun = {**call, "index": place, "function": {"name": call["function"]["name"], "arguments": ""}}
                deltas.append({"delta": {"tool_calls": [begun]}})
                for start in range(0, len(said), PIECE):
                    bit = {"index": place, "function": {"arguments": said[start : start + PIECE]}}
                    deltas.append({"delta": {"tool_calls": [bit]}})
            last = {"delta": {}}
        indexes = range(_several(asked))
        choices = [{"index": index, **delta, "finish_reason": None} for delta in deltas for index in indexes]
        choices += [{"index": index, **last, "finish_reason": _finish(answer)} for index in indexes]
        found = [_event({**head, "choices": [choice]}) for choice in choices]
        return [*found, _event({**head, "choices": [], "usage": _usage(asked, answer)}), b"data: [DONE]\n\n"]

    def error_event(self, refusal: Refusal) -> bytes:
        """OpenAI's error object as an event."""
        return _event(refusal.body)

    def embeddings(self, asked: Asked, vectors: Sequence[Sequence[float]]) -> Mapping[str, Any]:
        """A `list` of `embedding`s."""
        data = [{"object": "embedding", "index": place, "embedding": list(one)} for place, one in enumerate(vectors)]
        usage = {"prompt_tokens": asked.tokens, "total_tokens": asked.tokens}
        return {"object": "list", "data": data, "model": asked.model, "usage": usage}


def read_openai(kind: str, model: str, body: Mapping[str, Any], key: str) -> Asked:
    """A request of one of OpenAI's routes."""
    if kind == "embed":
        given = body.get("input", "")
        return Asked("embed", model, key, False, body, [given] if isinstance(given, str) else list(given))
    stream = bool(body.get("stream"))
    if kind == "text":
        return Asked("text", model, key, stream, body, [str(body.get("prompt", ""))])
    messages = body.get("messages", [])
    texts = [str(message.get("content") or "") for message in messages]
    last = messages[-1] if messages else {}
    offers = bool(body.get("tools")) and body.get("tool_choice") != "none" and last.get("role") != "tool"
    form = body.get("response_format") or {}
    return Asked("chat", model, key, stream, body, texts, offers, form.get("type") in {"json_schema", "json_object"})


def _several(asked: Asked) -> int:
    """How many answers are asked for."""
    return int(asked.body.get("n") or 1)


def _finish(answer: Answer) -> str:
    return answer.finish or ("tool_calls" if answer.calls else "stop")


def _calls(answer: Answer) -> list[dict[str, Any]]:
    return [
        {"id": f"call_{place}", "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for place, call in enumerate(answer.calls)
    ]


def _head(asked: Asked, *, chunk: bool) -> dict[str, Any]:
    kind = "text_completion" if asked.kind == "text" else f"chat.completion{'.chunk' if chunk else ''}"
    return {"id": "chatcmpl-scripted", "object": kind, "created": CREATED, "model": f"{asked.model}-2026-01-01"}


def _usage(asked: Asked, answer: Answer) -> dict[str, Any]:
    words = len(answer.text.split()) + sum(len(call.arguments.split()) for call in answer.calls)
    said = words * _several(asked)
    return {
        "prompt_tokens": asked.tokens,
        "completion_tokens": said,
        "total_tokens": asked.tokens + said,
        "prompt_tokens_details": {"cached_tokens": min(answer.cached_tokens, asked.tokens), "audio_tokens": 0},
    }


def _event(value: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def _duration(seconds: float) -> str:
    """As OpenAI writes one: `6m0s`, `1.5s`."""
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}m{rest:g}s" if minutes else f"{rest:g}s"


_LIMITED = (429, "requests", "rate_limit_exceeded", "Rate limit reached for {model} on requests per min (RPM).")
_INVALID = "invalid_request_error"
_ERRORS: dict[Failure, tuple[int, str, str | None, str]] = {
    Failure.RATE_LIMIT_LIGHT: _LIMITED,
    Failure.RATE_LIMIT_MEDIUM: _LIMITED,
    Failure.RATE_LIMIT_HEAVY: _LIMITED,
    Failure.QUOTA_DAILY: (
        429,
        "requests",
        "rate_limit_exceeded",
        "Rate limit reached for {model} on requests per day (RPD): Limit 200, Used 200, Requested 1.",
    ),
    Failure.QUOTA_BILLING: (
        429,
        "insufficient_quota",
        "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    Failure.QUOTA_MODEL: (
        429,
        "insufficient_quota",
        "model_quota_exceeded",
        "You have used up the quota of the model {model}.",
    ),
    Failure.AUTH_INVALID: (401, _INVALID, "invalid_api_key", "Incorrect API key provided: sk-****abcd."),
    Failure.AUTH_EXPIRED: (401, _INVALID, "token_expired", "Provided authentication token is expired."),
    Failure.AUTH_PERMISSION: (
        403,
        _INVALID,
        "insufficient_permissions",
        "You have insufficient permissions for this operation. Missing scopes: model.request.",
    ),
    Failure.OVERLOAD_LIGHT: (503, "server_error", None, "The server is busy. Retry your request."),
    Failure.OVERLOAD_HIGH: (
        503,
        "server_error",
        "model_overloaded",
        "That model is currently overloaded with other requests.",
    ),
    Failure.OVERLOAD_OVERLOADED: (529, "overloaded_error", "overloaded", "The service is overloaded."),
    Failure.CONTENT_SAFETY: (
        400,
        _INVALID,
        "content_filter",
        "The response was filtered due to the prompt triggering the content management policy.",
    ),
    Failure.CONTENT_POLICY: (
        400,
        _INVALID,
        "invalid_prompt",
        "Invalid prompt: your prompt was flagged as potentially violating our usage policy.",
    ),
    Failure.CONTENT_LENGTH: (
        400,
        _INVALID,
        "context_length_exceeded",
        "This model's maximum context length is 128000 tokens. However, your messages resulted in 130001 tokens.",
    ),
    Failure.UNKNOWN: (500, "server_error", None, "The server had an error while processing your request. Sorry!"),
}
