"""Anthropic's wire format from the server's side: messages, their events, and errors as Anthropic words them.

References: https://docs.anthropic.com/en/api/messages, https://docs.anthropic.com/en/api/messages-streaming and
https://docs.anthropic.com/en/api/errors.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from tidemill.core.failure import Failure
from tidemill.llm.providers.scripted import Answer, Asked, Refusal, seconds_text, words_of

PIECE = 8


class AnthropicWire:
    """`POST /v1/messages`."""

    name = "anthropic"

    def refusal(self, leaf: Failure, asked: Asked, wait: float | None) -> Refusal:
        """The error with which Anthropic says this."""
        status, kind, message = _ERRORS.get(leaf, _ERRORS[Failure.UNKNOWN])
        headers = {"request-id": "req_scripted"}
        if wait is not None:
            reset = datetime.now(UTC) + timedelta(seconds=wait)
            headers |= {
                "retry-after": seconds_text(wait),
                "anthropic-ratelimit-requests-remaining": "0",
                "anthropic-ratelimit-requests-reset": reset.isoformat(timespec="seconds").replace("+00:00", "Z"),
            }
        error = {"type": kind, "message": message.format(model=asked.model)}
        return Refusal(status, {"type": "error", "error": error, "request_id": "req_scripted"}, headers)

    def filtered(self, leaf: Failure) -> Answer | None:
        """What its classifiers stop is an answer that says so."""
        return Answer("", finish="refusal") if leaf == Failure.CONTENT_SAFETY else None

    def whole(self, asked: Asked, answer: Answer) -> Mapping[str, Any]:
        """A `message`."""
        return {
            **_head(asked),
            "content": _blocks(answer),
            "stop_reason": _finish(answer),
            "stop_sequence": None,
            "usage": _usage(asked, answer, _said(answer)),
        }

    def events(self, asked: Asked, answer: Answer) -> list[bytes]:
        """From `message_start` to `message_stop`, with a `ping` among them."""
        begun = {**_head(asked), "content": [], "stop_reason": None, "stop_sequence": None}
        begun["usage"] = _usage(asked, answer, 1)
        found = [_event("message_start", {"message": begun}), _event("ping", {})]
        for index, block in enumerate(_blocks(answer)):
            if block["type"] == "text":
                start: dict[str, Any] = {"type": "text", "text": ""}
                deltas = [{"type": "text_delta", "text": word} for word in words_of(block["text"])]
            else:
                start = {**block, "input": {}}
                said = json.dumps(block["input"])
                bits = [said[at : at + PIECE] for at in range(0, len(said), PIECE)]
                deltas = [{"type": "input_json_delta", "partial_json": bit} for bit in ["", *bits]]
            found.append(_event("content_block_start", {"index": index, "content_block": start}))
            found += [_event("content_block_delta", {"index": index, "delta": delta}) for delta in deltas]
            found.append(_event("content_block_stop", {"index": index}))
        delta = {"stop_reason": _finish(answer), "stop_sequence": None}
        found.append(_event("message_delta", {"delta": delta, "usage": {"output_tokens": _said(answer)}}))
        return [*found, _event("message_stop", {})]

    def error_event(self, refusal: Refusal) -> bytes:
        """An `error` event, as `overloaded_error` comes in the middle of a stream."""
        return b"event: error\ndata: " + json.dumps(refusal.body).encode() + b"\n\n"

    def embeddings(self, asked: Asked, vectors: Sequence[Sequence[float]]) -> Mapping[str, Any]:
        """Anthropic has none."""
        raise NotImplementedError


def read_anthropic(model: str, body: Mapping[str, Any], key: str) -> Asked:
    """A request for a message."""
    system = body.get("system") or ""
    texts = [system if isinstance(system, str) else _text(system)]
    texts += [_text(message.get("content") or "") for message in body.get("messages", [])]
    messages = body.get("messages") or [{}]
    content = messages[-1].get("content")
    returns = isinstance(content, list) and any(block.get("type") == "tool_result" for block in content)
    choice = (body.get("tool_choice") or {}).get("type")
    offers = bool(body.get("tools")) and choice != "none" and not returns
    form = (body.get("output_config") or {}).get("format") or {}
    return Asked("chat", model, key, bool(body.get("stream")), body, texts, offers, form.get("type") == "json_schema")


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return " ".join(str(block.get("text", "")) for block in content)


def _blocks(answer: Answer) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = [{"type": "text", "text": answer.text}] if answer.text else []
    for place, call in enumerate(answer.calls):
        blocks.append(
            {"type": "tool_use", "id": f"toolu_{place}", "name": call.name, "input": json.loads(call.arguments)}
        )
    return blocks


def _finish(answer: Answer) -> str:
    return answer.finish or ("tool_use" if answer.calls else "end_turn")


def _said(answer: Answer) -> int:
    return len(answer.text.split()) + sum(len(call.arguments.split()) for call in answer.calls)


def _head(asked: Asked) -> dict[str, Any]:
    return {"id": "msg_scripted", "type": "message", "role": "assistant", "model": f"{asked.model}-20260101"}


def _usage(asked: Asked, answer: Answer, said: int) -> dict[str, Any]:
    """`input_tokens` are those that neither came from the cache nor went into it."""
    cached = min(answer.cached_tokens, asked.tokens)
    return {
        "input_tokens": asked.tokens - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": said,
    }


def _event(name: str, value: Mapping[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **value})}\n\n".encode()


_LIMITED = (
    429,
    "rate_limit_error",
    "This request would exceed your organization's rate limit of 50 requests a minute.",
)
_INVALID = "invalid_request_error"
_ERRORS: dict[Failure, tuple[int, str, str]] = {
    Failure.RATE_LIMIT_LIGHT: _LIMITED,
    Failure.RATE_LIMIT_MEDIUM: _LIMITED,
    Failure.RATE_LIMIT_HEAVY: _LIMITED,
    Failure.QUOTA_DAILY: (
        429,
        "rate_limit_error",
        "This request would exceed your organization's daily rate limit of 1,000,000 tokens per day.",
    ),
    Failure.QUOTA_BILLING: (402, "billing_error", "Your credit balance is too low to access the Anthropic API."),
    Failure.QUOTA_MODEL: (429, "rate_limit_error", "Your quota of the model {model} is used up."),
    Failure.AUTH_INVALID: (401, "authentication_error", "invalid x-api-key"),
    Failure.AUTH_EXPIRED: (401, "authentication_error", "OAuth token has expired. Please obtain a new token."),
    Failure.AUTH_PERMISSION: (
        403,
        "permission_error",
        "Your API key does not have permission to use the specified resource.",
    ),
    Failure.OVERLOAD_LIGHT: (503, "api_error", "Service temporarily unavailable"),
    Failure.OVERLOAD_HIGH: (503, "api_error", "The model {model} is overloaded."),
    Failure.OVERLOAD_OVERLOADED: (529, "overloaded_error", "Overloaded"),
    Failure.CONTENT_POLICY: (400, _INVALID, "Output blocked by content filtering policy"),
    Failure.CONTENT_LENGTH: (400, _INVALID, "prompt is too long: 210001 tokens > 200000 maximum"),
    Failure.UNKNOWN: (500, "api_error", "Internal server error"),
}
