"""The items of OpenAI's responses as the messages of a chat, and its fields as a chat's options.

Reference: https://platform.openai.com/docs/api-reference/responses.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tidemill.core.errors import InvalidInput
from tidemill.core.ids import new_id
from tidemill.core.json import Json, JsonObject

PREFIXES = {"message": "msg", "function_call": "fc", "function_call_output": "fco", "reasoning": "rs"}
SAME = ("temperature", "top_p", "parallel_tool_calls")
"""Fields that a chat has under the same name."""


def item_id(kind: str) -> str:
    """A new item's id, which says what it is."""
    return f"{PREFIXES[kind]}_{new_id().hex}"


def whole_items(given: str | Sequence[JsonObject]) -> list[dict[str, Any]]:
    """The input as items in their full form: with a type, an id, and a message's content in parts."""
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    return [_whole(item) for item in given]


def _whole(item: JsonObject) -> dict[str, Any]:
    kind = str(item.get("type") or "message")
    given = {name: value for name, value in item.items() if value is not None}
    whole: dict[str, Any] = {"id": item_id(kind), "status": "completed", **given, "type": kind}
    content = item.get("content")
    if kind == "message" and isinstance(content, str):
        part: dict[str, Json] = {"type": "input_text", "text": content}
        if item["role"] == "assistant":
            part = {"type": "output_text", "text": content, "annotations": []}
        whole["content"] = [part]
    return whole


def to_messages(items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The chat that the items are. Reasoning is left out: no model is shown what another one thought.

    Raises:
        InvalidInput: a tool's output belongs to no call before it, or a call has no output.
    """
    messages: list[dict[str, Any]] = []
    called: set[str] = set()
    for item in items:
        match item["type"]:
            case "message":
                role = "system" if item["role"] == "developer" else item["role"]
                messages.append({"role": role, "content": _content(item["content"])})
            case "function_call":
                called.add(item["call_id"])
                _add_call(messages, item)
            case "function_call_output":
                if item["call_id"] not in called:
                    raise InvalidInput(
                        f"`input` has an output of the function call {item['call_id']}, and no such call before it.",
                        param="input",
                    )
                called.discard(item["call_id"])
                content = item["output"] if isinstance(item["output"], str) else _content(item["output"])
                messages.append({"role": "tool", "tool_call_id": item["call_id"], "content": content})
    if called:
        raise InvalidInput(
            f"The function call {min(called)} has no output. Give it as an item of the type `function_call_output`.",
            param="input",
        )
    return messages


def _add_call(messages: list[dict[str, Any]], item: Mapping[str, Any]) -> None:
    """Calls that follow each other, or the text before them, are one message."""
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": None})
    messages[-1].setdefault("tool_calls", []).append(
        {
            "id": item["call_id"],
            "type": "function",
            "function": {"name": item["name"], "arguments": item["arguments"]},
        }
    )


def _content(parts: Sequence[Mapping[str, Any]]) -> Json:
    """A chat's content: texts in one piece where there are texts alone."""
    said = [_part(part) for part in parts]
    if all(part["type"] == "text" for part in said):
        return "".join(str(part["text"]) for part in said)
    return said


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    match part["type"]:
        case "input_image":
            image = {"url": part["image_url"], **({"detail": part["detail"]} if part.get("detail") else {})}
            return {"type": "image_url", "image_url": image}
        case "input_audio":
            return {"type": "input_audio", "input_audio": dict(part["input_audio"])}
        case "refusal":
            return {"type": "text", "text": part["refusal"]}
    return {"type": "text", "text": part["text"]}


def chat_options(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a request for a response, as a chat's options."""
    options = {name: fields[name] for name in SAME if fields.get(name) is not None}
    if (limit := fields.get("max_output_tokens")) is not None:
        options["max_tokens"] = limit
    if effort := (fields.get("reasoning") or {}).get("effort"):
        options["reasoning_effort"] = effort
    form = (fields.get("text") or {}).get("format") or {"type": "text"}
    if form["type"] == "json_schema":
        named = {name: value for name, value in form.items() if name != "type" and value is not None}
        options["response_format"] = {"type": "json_schema", "json_schema": named}
    elif form["type"] == "json_object":
        options["response_format"] = {"type": "json_object"}
    if tools := fields.get("tools"):
        options["tools"] = [
            {"type": "function", "function": {name: value for name, value in tool.items() if name != "type"}}
            for tool in tools
        ]
        choice = fields.get("tool_choice")
        if choice is not None:
            options["tool_choice"] = (
                choice if isinstance(choice, str) else {"type": "function", "function": {"name": choice["name"]}}
            )
    else:
        options.pop("parallel_tool_calls", None)
    return options
