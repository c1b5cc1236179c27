"""Gemini's wire format from the server's side: contents, embeddings, and errors as Google words them.

References: https://ai.google.dev/api/generate-content, https://ai.google.dev/api/embeddings and
https://cloud.google.com/apis/design/errors.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tidemill.core.failure import Failure
from tidemill.llm.providers.scripted import Answer, Asked, Refusal, words_of

TYPES = "type.googleapis.com/google.rpc"
PER_MINUTE = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"
PER_DAY = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"


class GeminiWire:
    """`generateContent`, `streamGenerateContent?alt=sse`, `embedContent` and `batchEmbedContents`."""

    name = "gemini"

    def refusal(self, leaf: Failure, asked: Asked, wait: float | None) -> Refusal:
        """The error with which Google says this; how long to wait stands in its details."""
        code, status, message, details = _ERRORS.get(leaf, _ERRORS[Failure.UNKNOWN])
        told = [dict(one) for one in details]
        if wait is not None:
            told.append({"@type": f"{TYPES}.RetryInfo", "retryDelay": f"{wait:g}s"})
            message = f"{message} Please retry in {wait:g}s."
        error = {"code": code, "message": message.format(model=asked.model), "status": status}
        return Refusal(code, {"error": {**error, "details": told} if told else error})

    def filtered(self, leaf: Failure) -> Answer | None:
        """What its filters stop is an answer without content."""
        reasons = {Failure.CONTENT_SAFETY: "SAFETY", Failure.CONTENT_POLICY: "PROHIBITED_CONTENT"}
        return Answer("", finish=reasons[leaf]) if leaf in reasons else None

    def whole(self, asked: Asked, answer: Answer) -> Mapping[str, Any]:
        """A `GenerateContentResponse`."""
        return _response(asked, answer, _parts(answer), finish=True)

    def events(self, asked: Asked, answer: Answer) -> list[bytes]:
        """The same in pieces; the last one has why it ends, and each the usage so far."""
        parts = [{"text": word} for word in words_of(answer.text)] + _parts(Answer("", answer.calls))
        pieces = [[part] for part in parts] or [[]]
        last = len(pieces) - 1
        return [_event(_response(asked, answer, piece, finish=at == last)) for at, piece in enumerate(pieces)]

    def error_event(self, refusal: Refusal) -> bytes:
        """Google's error object as an event."""
        return _event(refusal.body)

    def embeddings(self, asked: Asked, vectors: Sequence[Sequence[float]]) -> Mapping[str, Any]:
        """One `embedding`, or the `embeddings` of a batch."""
        values = [{"values": list(one)} for one in vectors]
        found = {"embeddings": values} if "requests" in asked.body else {"embedding": values[0]}
        return {**found, "usageMetadata": {"promptTokenCount": asked.tokens, "totalTokenCount": asked.tokens}}


def read_gemini(method: str, model: str, body: Mapping[str, Any], key: str) -> Asked:
    """A request of one of Gemini's methods."""
    if method in ("embedContent", "batchEmbedContents"):
        asked = body.get("requests") or [body]
        return Asked("embed", model, key, False, body, [_text(one.get("content") or {}) for one in asked])
    contents = body.get("contents") or [{}]
    system = body.get("systemInstruction") or body.get("system_instruction") or {}
    texts = [_text(one) for one in (system, *contents)]
    config = body.get("generationConfig") or {}
    calling = ((body.get("toolConfig") or {}).get("functionCallingConfig") or {}).get("mode")
    returns = any(part.keys() & {"functionResponse", "function_response"} for part in contents[-1].get("parts", []))
    offers = bool(body.get("tools")) and calling != "NONE" and not returns
    wants_json = config.get("responseMimeType") == "application/json"
    return Asked("chat", model, key, method == "streamGenerateContent", body, texts, offers, wants_json)


def _text(content: Mapping[str, Any]) -> str:
    return " ".join(str(part.get("text", "")) for part in content.get("parts", []))


def _parts(answer: Answer) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [{"text": answer.text}] if answer.text else []
    for place, call in enumerate(answer.calls):
        part: dict[str, Any] = {"functionCall": {"name": call.name, "args": json.loads(call.arguments)}}
        if place == 0:
            part["thoughtSignature"] = "c2lnbmF0dXJl"
        parts.append(part)
    return parts


def _response(asked: Asked, answer: Answer, parts: list[dict[str, Any]], *, finish: bool) -> dict[str, Any]:
    candidate: dict[str, Any] = {"index": 0}
    if parts:
        candidate["content"] = {"role": "model", "parts": parts}
    if finish:
        candidate["finishReason"] = answer.finish or "STOP"
    if answer.finish == "SAFETY":
        candidate["safetyRatings"] = [
            {"category": "HARM_CATEGORY_DANGEROUS_CONTENT", "probability": "HIGH", "blocked": True}
        ]
    said = len(answer.text.split()) + sum(len(call.arguments.split()) for call in answer.calls)
    usage = {
        "promptTokenCount": asked.tokens,
        "candidatesTokenCount": said,
        "totalTokenCount": asked.tokens + said,
        "cachedContentTokenCount": min(answer.cached_tokens, asked.tokens),
    }
    return {
        "candidates": [candidate],
        "usageMetadata": usage,
        "modelVersion": f"{asked.model}-001",
        "responseId": "scripted",
    }


def _event(value: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\r\n\r\n"


def _quota(name: str) -> Mapping[str, Any]:
    violation = {"quotaMetric": "generativelanguage.googleapis.com/generate_requests", "quotaId": name}
    return {"@type": f"{TYPES}.QuotaFailure", "violations": [violation]}


def _reason(name: str) -> Mapping[str, Any]:
    return {"@type": f"{TYPES}.ErrorInfo", "reason": name, "domain": "googleapis.com"}


_EXHAUSTED = "You exceeded your current quota, please check your plan and billing details."
_LIMITED = (429, "RESOURCE_EXHAUSTED", _EXHAUSTED, (_quota(PER_MINUTE),))
_ZERO = {**_quota(PER_DAY)["violations"][0], "quotaValue": "0"}
_ERRORS: dict[Failure, tuple[int, str, str, Sequence[Mapping[str, Any]]]] = {
    Failure.RATE_LIMIT_LIGHT: _LIMITED,
    Failure.RATE_LIMIT_MEDIUM: _LIMITED,
    Failure.RATE_LIMIT_HEAVY: _LIMITED,
    Failure.QUOTA_DAILY: (429, "RESOURCE_EXHAUSTED", _EXHAUSTED, (_quota(PER_DAY),)),
    Failure.QUOTA_BILLING: (
        403,
        "PERMISSION_DENIED",
        "This API method requires billing to be enabled.",
        (_reason("BILLING_DISABLED"),),
    ),
    Failure.QUOTA_MODEL: (
        429,
        "RESOURCE_EXHAUSTED",
        _EXHAUSTED,
        ({"@type": f"{TYPES}.QuotaFailure", "violations": [_ZERO]},),
    ),
    Failure.AUTH_INVALID: (
        400,
        "INVALID_ARGUMENT",
        "API key not valid. Please pass a valid API key.",
        (_reason("API_KEY_INVALID"),),
    ),
    Failure.AUTH_EXPIRED: (
        400,
        "INVALID_ARGUMENT",
        "API key expired. Please renew the API key.",
        (_reason("API_KEY_INVALID"),),
    ),
    Failure.AUTH_PERMISSION: (403, "PERMISSION_DENIED", "The caller does not have permission.", ()),
    Failure.OVERLOAD_LIGHT: (503, "UNAVAILABLE", "The service is currently unavailable.", ()),
    Failure.OVERLOAD_HIGH: (503, "UNAVAILABLE", "The model is overloaded. Please try again later.", ()),
    Failure.OVERLOAD_OVERLOADED: (529, "UNAVAILABLE", "The service is overloaded.", ()),
    Failure.CONTENT_LENGTH: (
        400,
        "INVALID_ARGUMENT",
        "The input token count (1048600) exceeds the maximum number of tokens allowed (1048576).",
        (),
    ),
    Failure.UNKNOWN: (500, "INTERNAL", "An internal error has occurred. Please retry or report.", ()),
}
