"""Gemini's contents, both ways: OpenAI's requests in their form, their answers in OpenAI's.

References: https://ai.google.dev/api/generate-content and https://ai.google.dev/gemini-api/docs/function-calling.
"""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tidemill.core.chat import ChatRequest, Usage
from tidemill.core.errors import InvalidInput, TidemillError
from tidemill.core.failure import Failure
from tidemill.core.ids import new_id
from tidemill.core.json import JsonObject
from tidemill.llm.openai_wire import MOST_TOKENS
from tidemill.llm.providers.answers import FILTERED
from tidemill.llm.providers.failures import Said, duration_seconds, error_of, refused, unusable
from tidemill.llm.providers.media import image_of, sound_of
from tidemill.llm.providers.options import Options, object_of, stop_texts
from tidemill.llm.providers.parts import object_in, objects_in, text_in

API = "Gemini's API"
SYSTEM = ("system", "developer")
SIGNATURE = ("extra_content", "google", "thought_signature")
"""Where Google's own OpenAI-compatible API puts what a call is to be sent back with."""
UNSIGNED = b"skip_thought_signature_validator"
"""What Google says a call has instead of a signature where another model made it."""
WITHOUT_SIGNATURES = re.compile(r"gemini-[12]\b")
SAFE = frozenset({"SAFETY", "IMAGE_SAFETY", "SPII", "RECITATION", "IMAGE_RECITATION", "JAILBREAK", "OTHER"})
AGAINST_POLICY = frozenset(
    {"BLOCKLIST", "PROHIBITED_CONTENT", "IMAGE_PROHIBITED_CONTENT", "MODEL_ARMOR", "PUP_LIMITED_DISABLED", "ESCALATION"}
)
"""Reasons that say the request is against the provider's rules; what is neither here nor above ends an answer."""
BROKEN = frozenset(
    {
        "MALFORMED_FUNCTION_CALL",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MISSING_THOUGHT_SIGNATURE",
        "MALFORMED_RESPONSE",
    }
)
NUMBERS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "seed": "seed",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
}


def contents_of(request: ChatRequest, model: str) -> list[dict[str, Any]]:
    """The turns of a conversation, without instructions; turns of one side that follow each other are one.

    Args:
        request: in OpenAI's form.
        model: its name there.

    Raises:
        InvalidInput: a part or a name has no counterpart, or there is nothing to answer.
    """
    turns: list[dict[str, Any]] = []
    names: dict[object, str] = {}
    for place, message in enumerate(request.messages):
        role, where = message.get("role"), f"messages.{place}"
        if role in SYSTEM:
            continue
        if message.get("name") and role != "tool":
            raise InvalidInput(f"`{where}.name` can't be given to this model: {API} has no names.", param=where)
        parts = _parts(message, where, names)
        if not WITHOUT_SIGNATURES.match(model):
            _sign(parts)
        side = "model" if role == "assistant" else "user"
        if turns and turns[-1]["role"] == side:
            turns[-1]["parts"] += parts
        elif parts:
            turns.append({"role": side, "parts": parts})
    if not turns:
        raise InvalidInput("`messages` has nothing for this model to answer beside instructions.", param="messages")
    return turns


def config_of(request: ChatRequest) -> dict[str, Any]:
    """What the SDK calls the configuration: everything beside the model and the contents.

    Raises:
        InvalidInput: an option has no counterpart.
    """
    options = Options(request, API)
    config: dict[str, Any] = {"automatic_function_calling": {"disable": True}}
    texts = [_text(one.get("content"), "messages") for one in request.messages if one.get("role") in SYSTEM]
    if system := "\n\n".join(text for text in texts if text):
        config["system_instruction"] = system
    for name, theirs in NUMBERS.items():
        if (value := options.take(name)) is not None:
            config[theirs] = value
    limits = [options.take(name) for name in ("max_completion_tokens", "max_tokens")]
    if limit := next(filter(None, limits), None):
        config["max_output_tokens"] = limit
    if stops := stop_texts(options.take("stop")):
        config["stop_sequences"] = stops
    if (effort := options.take("reasoning_effort")) is not None:
        if effort not in ("minimal", "low", "medium", "high", "xhigh"):
            raise options.refusal("reasoning_effort", "knows `minimal`, `low`, `medium`, `high` and `xhigh`")
        config["thinking_config"] = {"thinking_level": effort.upper()}
    config |= _tools(options) | _form(options)
    options.end()
    return config


class Candidate:
    """One answer as it comes, whole or in pieces."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls = 0
        self._said = False

    def choices(self, answer: Mapping[str, Any], part: str) -> list[JsonObject]:
        """What an answer, or an event of one, holds, in OpenAI's form.

        Args:
            answer: in Google's form.
            part: `message` or `delta`.

        Raises:
            ContentRefused: a filter held back all of it.
            ModelFailed: it can't be read, or the model said that its call can't be.
            TidemillError: it is an error.
        """
        if "error" in answer:
            raise gemini_error(answer, 200, self._name)
        if blocked := text_in(object_in(answer, "promptFeedback"), "blockReason"):
            raise refused(_leaf(blocked), self._name)
        candidates = objects_in(answer, "candidates")
        if not candidates:
            if answer.get("usageMetadata") and part == "delta":
                return []
            raise unusable(self._name, "answered without a candidate")
        return self._choice(candidates[0], part)

    def _choice(self, candidate: Mapping[str, Any], part: str) -> list[JsonObject]:
        parts = objects_in(object_in(candidate, "content"), "parts")
        texts = [text_in(p, "text") for p in parts if not p.get("thought")]
        calls = [self._call(p) for p in parts if isinstance(p.get("functionCall"), Mapping)]
        said: dict[str, Any] = {"role": "assistant"} if part == "message" or not (self._said or self._calls) else {}
        if part == "message" or any(texts):
            said["content"] = "".join(texts) or (None if calls else "")
        if calls:
            said["tool_calls"] = [
                {"index": self._calls + at, **call} if part == "delta" else call for at, call in enumerate(calls)
            ]
        self._calls += len(calls)
        self._said = self._said or any(texts)
        finish = self._finish(text_in(candidate, "finishReason"))
        return [{"index": 0, part: said, "logprobs": None, "finish_reason": finish}] if said or finish else []

    def _call(self, part: Mapping[str, Any]) -> dict[str, Any]:
        found = part["functionCall"]
        function = {
            "name": str(found.get("name")),
            "arguments": json.dumps(found.get("args") or {}, ensure_ascii=False),
        }
        call: dict[str, Any] = {"id": str(found.get("id") or f"call_{new_id().hex}"), "type": "function"}
        if part.get("thoughtSignature"):
            call["extra_content"] = {"google": {"thought_signature": part["thoughtSignature"]}}
        return {**call, "function": function}

    def _finish(self, reason: str) -> str | None:
        if not reason or reason == "FINISH_REASON_UNSPECIFIED":
            return None
        if reason == "MAX_TOKENS":
            return "length"
        if reason in BROKEN:
            raise unusable(self._name, f"could not finish its answer ({reason}). Ask again")
        if reason in (SAFE | AGAINST_POLICY) - {"OTHER"}:
            if not self._said and not self._calls:
                raise refused(_leaf(reason), self._name)
            return FILTERED
        return "tool_calls" if self._calls else "stop"


def decode_usage(answer: Mapping[str, Any]) -> Usage | None:
    """What an answer cost: thoughts are among what was written, tools' results among what was read."""
    found = object_in(answer, "usageMetadata")
    if not found:
        return None
    prompt, tools, said, thought, cached = (
        value if isinstance(value := found.get(name), int) and 0 < value <= MOST_TOKENS else 0
        for name in (
            "promptTokenCount",
            "toolUsePromptTokenCount",
            "candidatesTokenCount",
            "thoughtsTokenCount",
            "cachedContentTokenCount",
        )
    )
    return Usage(prompt + tools, said + thought, cached)


def gemini_error(answer: Any, status: int, name: str, headers: Mapping[str, str] | None = None) -> TidemillError:
    """What Google's error object means: its status, its reasons, the quotas that it names, and how long to wait."""
    error = object_in(answer[0] if isinstance(answer, list) and answer else answer, "error")
    code = error.get("code")
    if status == 200:
        status = code if isinstance(code, int) and 400 <= code < 600 else 500
    details = objects_in(error, "details")
    names = {text_in(error, "status"), *(text_in(one, "reason") for one in details)}
    broken = [
        violation
        for detail in details
        if text_in(detail, "@type").endswith("QuotaFailure")
        for violation in objects_in(detail, "violations")
    ]
    quotas = [f"{one.get('quotaId', '')}{'=0' if str(one.get('quotaValue')) == '0' else ''}" for one in broken]
    delays = [duration_seconds(str(one["retryDelay"])) for one in details if "retryDelay" in one]
    said = Said(
        status,
        frozenset(one.lower() for one in names if one),
        text_in(error, "message"),
        headers or {},
        quotas=quotas,
        delay=max((delay for delay in delays if delay is not None), default=None),
    )
    return error_of(said, name)


def _leaf(reason: str) -> Failure:
    return Failure.CONTENT_POLICY if reason in AGAINST_POLICY else Failure.CONTENT_SAFETY


def _parts(message: JsonObject, where: str, names: dict[object, str]) -> list[dict[str, Any]]:
    content: Any = message.get("content")
    if message.get("role") == "tool":
        call = message.get("tool_call_id")
        if call not in names:
            raise InvalidInput(f"`{where}` answers a tool call that is not in `messages`.", param=where)
        return [{"function_response": {"name": names[call], "response": {"result": _text(content, where)}}}]
    given = [{"type": "text", "text": content}] if isinstance(content, str) else list(content or ())
    parts = [found for part in given if (found := _part(part, where)) is not None]
    calls: Any = message.get("tool_calls") or ()
    for call in calls:
        function = call["function"]
        names[call["id"]] = function["name"]
        args = object_of(function.get("arguments"), f"{where}.tool_calls")
        part: dict[str, Any] = {"function_call": {"name": function["name"], "args": args}}
        if (signature := _signature(call)) is not None:
            part["thought_signature"] = signature
        parts.append(part)
    return parts


def _sign(parts: list[dict[str, Any]]) -> None:
    """Sees to it that the first of a turn's calls has a signature; the others need none."""
    calls = [part for part in parts if "function_call" in part]
    if calls and not any("thought_signature" in call for call in calls):
        calls[0]["thought_signature"] = UNSIGNED


def _part(part: Mapping[str, Any], where: str) -> dict[str, Any] | None:
    kind = part.get("type")
    if kind in ("text", "refusal"):
        return {"text": part[kind]} if part.get(kind) else None
    if kind not in ("image_url", "input_audio"):
        raise InvalidInput(f"`{where}.content` has a part of type `{kind}`, which {API} does not take.", param=where)
    medium = image_of(part, where) if kind == "image_url" else sound_of(part, where)
    return {"inline_data": {"mime_type": medium.type, "data": medium.data}}


def _signature(call: Mapping[str, Any]) -> bytes | None:
    found: Any = call
    for name in SIGNATURE:
        found = found.get(name) if isinstance(found, Mapping) else None
    if not isinstance(found, str):
        return None
    return base64.b64decode(found.replace("-", "+").replace("_", "/") + "==")


def _text(content: Any, where: str) -> str:
    if isinstance(content, str) or content is None:
        return content or ""
    if any(part.get("type") != "text" for part in content):
        raise InvalidInput(f"`{where}.content` may hold nothing but texts here.", param=where)
    return "".join(part["text"] for part in content)


def _tools(options: Options) -> dict[str, Any]:
    tools: Sequence[Any] = options.take("tools") or ()
    choice = options.take("tool_choice")
    if not tools:
        return {}
    declared = [_tool(tool["function"]) for tool in tools]
    calling: dict[str, Any] = {}
    if isinstance(choice, dict):
        if choice.get("type") != "function":
            raise options.refusal("tool_choice", "knows `auto`, `none`, `required` and one function")
        calling = {"mode": "ANY", "allowed_function_names": [choice["function"]["name"]]}
    elif choice is not None:
        calling = {"mode": {"required": "ANY", "none": "NONE"}.get(choice, "AUTO")}
    found: dict[str, Any] = {"tools": [{"function_declarations": declared}]}
    return {**found, "tool_config": {"function_calling_config": calling}} if calling else found


def _tool(function: Mapping[str, Any]) -> dict[str, Any]:
    tool = {"name": function["name"], "description": function.get("description") or function["name"]}
    schema = function.get("parameters")
    return {**tool, "parameters_json_schema": schema} if schema else tool


def _form(options: Options) -> dict[str, Any]:
    form = options.take("response_format") or {"type": "text"}
    if form["type"] == "text":
        return {}
    found: dict[str, Any] = {"response_mime_type": "application/json"}
    if form["type"] == "json_schema":
        found["response_json_schema"] = form["json_schema"].get("schema") or {}
    return found
