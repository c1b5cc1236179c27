"""Anthropic's messages, both ways: OpenAI's requests in their form, their answers and events in OpenAI's.

References: https://docs.anthropic.com/en/api/messages and https://docs.anthropic.com/en/api/messages-streaming.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tidemill.core.chat import ChatChunk, ChatCompletion, ChatRequest, Usage
from tidemill.core.errors import InvalidInput, TidemillError
from tidemill.core.json import JsonObject
from tidemill.llm.openai_wire import MOST_TOKENS
from tidemill.llm.providers.answers import FILTERED
from tidemill.llm.providers.failures import Said, error_of, unusable
from tidemill.llm.providers.media import image_of
from tidemill.llm.providers.options import Options, object_of, stop_texts
from tidemill.llm.providers.parts import object_in, objects_in, text_in

MAX_TOKENS = 8_192
"""The API wants to be told how long an answer may be; this is for a model of which nothing is known."""
API = "Anthropic's API"
SYSTEM = ("system", "developer")
FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": FILTERED,
}
STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""The status of each type of error, for one that comes with 200."""


def message_body(request: ChatRequest, model: str, most_tokens: int | None) -> dict[str, Any]:
    """The body of `POST /v1/messages`.

    Args:
        request: in OpenAI's form.
        model: its name there.
        most_tokens: the longest answer that it gives, where that is known.

    Raises:
        InvalidInput: something in it has no counterpart.
    """
    options = Options(request, API)
    limits = [options.take(name) for name in ("max_completion_tokens", "max_tokens")]
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": next(filter(None, limits), None) or most_tokens or MAX_TOKENS,
        "messages": _messages(request.messages),
    }
    if system := _system(request.messages):
        body["system"] = system
    for name in ("temperature", "top_p"):
        if (value := options.take_wish(name)) is not None:
            if value > 1:
                raise options.refusal(name, "takes at most 1")
            body[name] = value
    if stops := stop_texts(options.take("stop")):
        body["stop_sequences"] = stops
    if (user := options.take("user")) is not None:
        body["metadata"] = {"user_id": user}
    body |= _tools(options) | _output(options)
    options.end()
    return body


def decode_message(answer: Mapping[str, Any], name: str) -> ChatCompletion:
    """A whole answer. What the model thought is left out.

    Raises:
        ModelFailed: it is no message.
        TidemillError: it is an error.
    """
    if answer.get("type") == "error" or "error" in answer:
        raise anthropic_error(answer, 200, name)
    if not isinstance(answer.get("content"), list):
        raise unusable(name, "answered without content")
    blocks = objects_in(answer, "content")
    texts = [text_in(block, "text") for block in blocks if block.get("type") == "text"]
    calls = [_call(block) for block in blocks if block.get("type") == "tool_use"]
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) or None}
    if calls:
        message["tool_calls"] = calls
    elif message["content"] is None:
        message["content"] = ""
    finish = FINISH.get(str(answer.get("stop_reason")), "stop")
    choice: JsonObject = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
    return ChatCompletion([choice], decode_usage(answer.get("usage")))


def decode_usage(usage: object) -> Usage:
    """`input_tokens` leaves out what came from the cache and what went into it; OpenAI's count holds both."""
    if not isinstance(usage, Mapping):
        return Usage()
    fresh, written, read, said = (
        value if isinstance(value := usage.get(name), int) and 0 < value <= MOST_TOKENS else 0
        for name in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
    )
    return Usage(fresh + written + read, said, read)


class MessageEvents:
    """The events of one streamed message, turned into chunks.

    Attributes:
        model: the model that says it answers.
        ended: whether `message_stop` came.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._usage: dict[str, Any] = {}
        self._calls: dict[int, int] = {}
        self._begun: set[int] = set()
        self.model: object = None
        self.ended = False

    def chunk(self, event: Mapping[str, Any]) -> ChatChunk | None:
        """What an event brings; `None` where that is nothing.

        Raises:
            TidemillError: it is an error, such as that of a server that has too much to do.
            ModelFailed: it can't be read.
        """
        kind = event.get("type")
        if kind == "error":
            raise anthropic_error(event, 200, self._name)
        if kind == "message_start":
            message = _part(event, "message", self._name)
            self.model = message.get("model")
            self._usage = dict(object_in(message, "usage"))
            return _delta({"role": "assistant", "content": ""})
        if kind == "content_block_start":
            return self._start(_index(event), _part(event, "content_block", self._name))
        if kind == "content_block_delta":
            return self._continued(_index(event), _part(event, "delta", self._name))
        if kind == "content_block_stop":
            return self._stopped(_index(event))
        if kind == "message_delta":
            return self._end(event)
        self.ended = self.ended or kind == "message_stop"
        return None

    def _start(self, index: int, block: Mapping[str, Any]) -> ChatChunk | None:
        if block.get("type") == "tool_use":
            place = self._calls[index] = len(self._calls)
            call = {"id": str(block.get("id")), "type": "function"}
            function = {"name": str(block.get("name")), "arguments": ""}
            return _delta({"tool_calls": [{"index": place, **call, "function": function}]})
        text = text_in(block, "text")
        return _delta({"content": text}) if block.get("type") == "text" and text else None

    def _continued(self, index: int, delta: Mapping[str, Any]) -> ChatChunk | None:
        if delta.get("type") == "text_delta":
            return _delta({"content": str(delta.get("text", ""))})
        if delta.get("type") == "input_json_delta" and index in self._calls and delta.get("partial_json"):
            self._begun.add(index)
            return self._arguments(index, str(delta["partial_json"]))
        return None

    def _stopped(self, index: int) -> ChatChunk | None:
        """A tool without arguments gets no piece of them, and OpenAI's clients read an object."""
        return self._arguments(index, "{}") if index in self._calls and index not in self._begun else None

    def _arguments(self, index: int, text: str) -> ChatChunk:
        return _delta({"tool_calls": [{"index": self._calls[index], "function": {"arguments": text}}]})

    def _end(self, event: Mapping[str, Any]) -> ChatChunk:
        counted = object_in(event, "usage")
        self._usage |= {name: value for name, value in counted.items() if value is not None}
        reason = _part(event, "delta", self._name).get("stop_reason")
        finish = FINISH.get(str(reason), "stop") if reason else None
        return ChatChunk([{"index": 0, "delta": {}, "finish_reason": finish}], decode_usage(self._usage))


def anthropic_error(
    answer: Mapping[str, Any], status: int, name: str, headers: Mapping[str, str] | None = None
) -> TidemillError:
    """What Anthropic's error object means; with status 200, by its type."""
    error = object_in(answer, "error")
    kind, code = text_in(error, "type"), text_in(object_in(error, "details"), "error_code")
    if status == 200:
        status = STATUS.get(kind, 500)
    names = frozenset(name.lower() for name in (kind, code) if name)
    return error_of(Said(status, names, text_in(error, "message"), headers or {}), name)


def decode_anthropic_error(body: bytes, status: int, name: str, headers: Mapping[str, str]) -> TidemillError:
    """What an answer with an error status means; its body may be anything."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    return anthropic_error(answer if isinstance(answer, dict) else {}, status, name, headers)


def _system(messages: Sequence[JsonObject]) -> str:
    """The texts of all system messages: the API has one place for them."""
    texts = [_text(message.get("content"), "messages") for message in messages if message.get("role") in SYSTEM]
    return "\n\n".join(text for text in texts if text)


def _messages(messages: Sequence[JsonObject]) -> list[dict[str, Any]]:
    """Turns of user and assistant, in which messages of one side that follow each other are one."""
    turns: list[dict[str, Any]] = []
    for place, message in enumerate(messages):
        role, where = message.get("role"), f"messages.{place}"
        if role in SYSTEM:
            continue
        if message.get("name") and role != "tool":
            raise InvalidInput(f"`{where}.name` can't be given to this model: {API} has no names.", param=where)
        side = "assistant" if role == "assistant" else "user"
        blocks = _blocks(message, where)
        if turns and turns[-1]["role"] == side:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": side, "content": blocks})
    if not turns:
        raise InvalidInput("`messages` has nothing for this model to answer beside instructions.", param="messages")
    return turns


def _blocks(message: JsonObject, where: str) -> list[dict[str, Any]]:
    content = message.get("content")
    if message.get("role") == "tool":
        result = {"type": "tool_result", "tool_use_id": message.get("tool_call_id"), "content": _text(content, where)}
        return [result]
    parts: list[Any] = [{"type": "text", "text": content}] if isinstance(content, str) else list(content or ())  # type: ignore[arg-type]
    blocks = [block for part in parts if (block := _block(part, where)) is not None]
    calls: Any = message.get("tool_calls") or ()
    for call in calls:
        function = call["function"]
        given = object_of(function.get("arguments"), f"{where}.tool_calls")
        blocks.append({"type": "tool_use", "id": call["id"], "name": function["name"], "input": given})
    return blocks


def _block(part: Mapping[str, Any], where: str) -> dict[str, Any] | None:
    kind = part.get("type")
    if kind in ("text", "refusal"):
        text = part.get(kind)
        return {"type": "text", "text": text} if text else None  # the API refuses an empty one
    if kind == "image_url":
        image = image_of(part, where)
        return {"type": "image", "source": {"type": "base64", "media_type": image.type, "data": image.base64}}
    raise InvalidInput(f"`{where}.content` has a part of type `{kind}`, which {API} does not take.", param=where)


def _text(content: Any, where: str) -> str:
    if isinstance(content, str) or content is None:
        return content or ""
    if any(part.get("type") != "text" for part in content):
        raise InvalidInput(f"`{where}.content` may hold nothing but texts here.", param=where)
    return "".join(part["text"] for part in content)


def _tools(options: Options) -> dict[str, Any]:
    tools, choice, several = (options.take(name) for name in ("tools", "tool_choice", "parallel_tool_calls"))
    if not tools:
        return {}
    found: dict[str, Any] = {"tools": [_tool(tool["function"]) for tool in tools]}
    if isinstance(choice, dict):
        if choice.get("type") != "function":
            raise options.refusal("tool_choice", "knows `auto`, `none`, `required` and one function")
        chosen: dict[str, Any] = {"type": "tool", "name": choice["function"]["name"]}
    else:
        chosen = {"type": {"required": "any", "none": "none"}.get(choice or "auto", "auto")}
    if several is False and chosen["type"] != "none":
        chosen["disable_parallel_tool_use"] = True
    if choice is not None or len(chosen) > 1:
        found["tool_choice"] = chosen
    return found


def _tool(function: Mapping[str, Any]) -> dict[str, Any]:
    tool: dict[str, Any] = {
        "name": function["name"],
        "input_schema": function.get("parameters") or {"type": "object", "properties": {}},
    }
    if function.get("description"):
        tool["description"] = function["description"]
    if function.get("strict"):
        tool["strict"] = True
    return tool


def _output(options: Options) -> dict[str, Any]:
    form, effort = options.take("response_format") or {"type": "text"}, options.take("reasoning_effort")
    config: dict[str, Any] = {}
    if form["type"] == "json_schema":
        config["format"] = {"type": "json_schema", "schema": form["json_schema"].get("schema") or {}}
    elif form["type"] != "text":
        raise options.refusal("response_format", "knows `json_schema` alone")
    if effort is not None:
        if effort not in ("low", "medium", "high", "xhigh", "max"):
            raise options.refusal("reasoning_effort", "knows `low`, `medium`, `high`, `xhigh` and `max`")
        config["effort"] = effort
    return {"output_config": config} if config else {}


def _call(block: Mapping[str, Any]) -> dict[str, Any]:
    function = {"name": str(block.get("name")), "arguments": json.dumps(block.get("input") or {}, ensure_ascii=False)}
    return {"id": str(block.get("id")), "type": "function", "function": function}


def _delta(delta: dict[str, Any]) -> ChatChunk:
    return ChatChunk([{"index": 0, "delta": delta, "finish_reason": None}])


def _index(event: Mapping[str, Any]) -> int:
    index = event.get("index")
    return index if isinstance(index, int) else 0


def _part(event: Mapping[str, Any], name: str, model: str) -> Mapping[str, Any]:
    part = event.get(name)
    if not isinstance(part, Mapping):
        raise unusable(model, "streamed an event that can't be read")
    return part
