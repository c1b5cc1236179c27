"""Every text of a request that a guardrail reads, and the request with those texts changed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tidemill.core.chat import ModelRequest, TextRequest
from tidemill.core.json import Json, JsonObject

ORDERS = ("system", "developer", "assistant")
"""Whose texts are no injection: they give orders, or have been answered."""
BESIDE = ("reasoning_content", "name")
"""The texts of a message beside its content."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One text of a request or of an answer.

    Attributes:
        text: as it stands there.
        of_json: whether it is a JSON document: the arguments of a call.
        untrusted: whether orders in it are nobody's who may give them: a user's message, a tool's result.
    """

    text: str
    of_json: bool = False
    untrusted: bool = True


def texts_of(request: ModelRequest) -> list[Asked]:
    """The texts of the messages and of the calls in them, or prompt and suffix, in their order."""
    if isinstance(request, TextRequest):
        return [Asked(request.prompt), *([] if request.suffix is None else [Asked(request.suffix)])]
    found: list[Asked] = []

    def note(text: str, of_json: bool, role: str) -> str:
        found.append(Asked(text, of_json, not of_json and role not in ORDERS))
        return text

    for message in request.messages:
        _mapped(message, note)
    return found


def with_texts(request: ModelRequest, texts: Sequence[str]) -> ModelRequest:
    """The request with other texts, one for each of `texts_of`."""
    left = iter(texts)
    if isinstance(request, TextRequest):
        return replace(request, prompt=next(left), suffix=None if request.suffix is None else next(left))
    messages = [_mapped(message, lambda text, of_json, role: next(left)) for message in request.messages]
    return replace(request, messages=messages)


Change = Callable[[str, bool, str], str]


def _mapped(message: JsonObject, change: Change) -> JsonObject:
    role = str(message.get("role"))
    new = dict(message)
    content = message.get("content")
    if isinstance(content, str):
        new["content"] = change(content, False, role)
    elif isinstance(content, list | tuple):
        new["content"] = [_mapped_part(part, change, role) for part in content]
    for field in BESIDE:
        if isinstance(text := message.get(field), str):
            new[field] = change(text, False, role)
    calls = message.get("tool_calls")
    if isinstance(calls, list | tuple):
        new["tool_calls"] = [_mapped_call(call, change, role) for call in calls]
    return new


def _mapped_part(part: Json, change: Change, role: str) -> Json:
    if isinstance(part, Mapping) and isinstance(text := part.get("text"), str):
        return {**part, "text": change(text, False, role)}
    return part


def _mapped_call(call: Json, change: Change, role: str) -> Json:
    function = call.get("function") if isinstance(call, Mapping) else None
    if isinstance(call, Mapping) and isinstance(function, Mapping):
        arguments = function.get("arguments")
        if isinstance(arguments, str):
            return {**call, "function": {**function, "arguments": change(arguments, True, role)}}
    return call


WORDS = ("content", "refusal", "reasoning_content")
Read = Callable[[str, bool], str]


def answered_texts(choice: JsonObject) -> list[Asked]:
    """The texts of one choice of a whole answer."""
    found: list[Asked] = []

    def note(text: str, of_json: bool) -> str:
        found.append(Asked(text, of_json))
        return text

    with_answered_texts(choice, note)
    return found


def with_answered_texts(choice: JsonObject, change: Read) -> JsonObject:
    """One choice of a whole answer with its texts changed; without the probabilities of tokens where one was."""
    new: dict[str, Any] = dict(choice)
    changed = False

    def changing(text: str, of_json: bool) -> str:
        nonlocal changed
        other = change(text, of_json)
        changed = changed or other != text
        return other

    if isinstance(choice.get("text"), str):
        new["text"] = changing(str(choice["text"]), False)
    message = choice.get("message")
    if isinstance(message, Mapping):
        words = {name: changing(str(message[name]), False) for name in WORDS if isinstance(message.get(name), str)}
        calls = message.get("tool_calls")
        if isinstance(calls, list | tuple):
            words |= {"tool_calls": [_mapped_call(call, lambda text, j, _: changing(text, j), "") for call in calls]}  # type: ignore[dict-item]
        new["message"] = {**message, **words}
    if not changed:
        return choice
    new.pop("logprobs", None)
    return new
