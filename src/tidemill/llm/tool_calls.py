"""A wrapper of the model port: tools for local models, also where llama-server leaves a call in the text.

llama-server offers the tools by the model's chat template, and reads calls that are written just as the template says.
Small models often leave out the tags around a call, and `tool_choice` is no more than a hint there. So here a call that
is demanded is held to its form by a grammar, and a text that consists of calls, and of nothing else, is read as calls.
"""

import json
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from tidemill.core.chat import ChatChunk, ChatCompletion, ChatRequest, ModelRequest
from tidemill.core.ids import new_id
from tidemill.core.json import Json, JsonObject
from tidemill.llm.port import ChatModel

TAGGED = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL)
FENCED = re.compile(r"```(?:json)?(.*?)```", re.DOTALL)
BETWEEN = re.compile(r"[ \t\r\n,;]*")
STARTS = ("<tool_call>", "{", "```json", "```\n{")
"""How a text begins that may be a call."""
TOOL_FIELDS = frozenset({"tools", "tool_choice", "parallel_tool_calls"})
CALL_FIELDS = frozenset({"name", "arguments", "parameters"})
ANY_OBJECT: JsonObject = {"type": "object"}


@dataclass(frozen=True, slots=True)
class _Offer:
    """The tools of a request: their names, and which of them must be called, if any must."""

    names: frozenset[str]
    demanded: Sequence[JsonObject]


class ToolCalls:
    """Sees to the tools of requests to local models; everything else passes untouched.

    Args:
        inner: the model that answers.
        local: whether the model of this name is a local one.
    """

    def __init__(self, inner: ChatModel, *, local: Callable[[str], bool]) -> None:
        self._inner = inner
        self._local = local

    async def complete(self, request: ModelRequest) -> ChatCompletion:
        """As the port says."""
        offer = self._offer(request)
        if offer is None:
            return await self._inner.complete(self._without_refused(request))
        answer = await self._inner.complete(_demanding(request, offer))
        return replace(answer, choices=[_read_choice(choice, offer) for choice in answer.choices])

    def stream(self, request: ModelRequest) -> AsyncGenerator[ChatChunk, None]:
        """As the port says. A text that begins as a call is held back until it shows whether it is one."""
        offer = self._offer(request)
        if offer is None:
            return self._inner.stream(self._without_refused(request))
        return self._read_stream(_demanding(request, offer), offer)

    def _offer(self, request: ModelRequest) -> _Offer | None:
        tools = request.options.get("tools")
        choice = request.options.get("tool_choice")
        if not isinstance(request, ChatRequest) or not isinstance(tools, list) or choice == "none":
            return None
        if not self._local(request.model):
            return None
        functions = [tool["function"] for tool in tools]
        names = frozenset(function["name"] for function in functions)
        if choice == "required":
            return _Offer(names, functions)
        if isinstance(choice, dict):
            wanted = choice["function"]["name"]
            return _Offer(names, [function for function in functions if function["name"] == wanted])
        return _Offer(names, ())

    def _without_refused(self, request: ModelRequest) -> ModelRequest:
        """Tools that may not be called are not shown to a local model, which would call them all the same."""
        if request.options.get("tool_choice") != "none" or not self._local(request.model):
            return request
        return replace(request, options={n: value for n, value in request.options.items() if n not in TOOL_FIELDS})

    async def _read_stream(self, request: ModelRequest, offer: _Offer) -> AsyncGenerator[ChatChunk, None]:
        held: dict[int, _Held] = {}
        async with aclosing(self._inner.stream(request)) as chunks:
            async for chunk in chunks:
                choices: list[JsonObject] = []
                for choice in chunk.choices:
                    index = choice.get("index", 0)
                    mine = held.setdefault(index if isinstance(index, int) else 0, _Held(offer))
                    choices += mine.pass_on(choice)
                if choices or chunk.usage is not None:
                    yield ChatChunk(choices, chunk.usage)


class _Held:
    """The text of one streamed choice, for as long as it may be a call."""

    def __init__(self, offer: _Offer) -> None:
        self._offer = offer
        self._text = ""
        self._holds = True

    def pass_on(self, choice: JsonObject) -> list[JsonObject]:
        """What of this piece, and of those that were held back, may go on."""
        delta: Any = choice.get("delta") or {}
        text = delta.get("content")
        if delta.get("tool_calls"):
            return [*self._release(choice), choice]
        if self._holds and isinstance(text, str) and text:
            self._text += text
            if _may_be_call(self._text):
                return self._end(choice) if choice.get("finish_reason") else []
            return self._release(choice, rest={**choice, "delta": {**delta, "content": self._text}})
        if self._holds and choice.get("finish_reason"):
            return self._end(choice)
        return [choice]

    def _release(self, choice: JsonObject, rest: JsonObject | None = None) -> list[JsonObject]:
        """The text that was held back is no call."""
        text, self._text, self._holds = self._text, "", False
        if rest is not None:
            return [rest]
        return [{"index": choice.get("index", 0), "delta": {"content": text}, "finish_reason": None}] if text else []

    def _end(self, choice: JsonObject) -> list[JsonObject]:
        text = self._text
        calls = read_calls(text, self._offer.names)
        if not calls:
            rest = {**choice, "delta": {"content": text} if text else choice.get("delta")}
            return self._release(choice, rest=rest)
        self._holds = False
        pieces: list[Json] = [{"index": number, **call} for number, call in enumerate(calls)]
        index = choice.get("index", 0)
        return [
            {"index": index, "delta": {"tool_calls": pieces}, "finish_reason": None},
            {"index": index, "delta": {}, "finish_reason": "tool_calls"},
        ]


def read_calls(text: str, names: frozenset[str]) -> list[JsonObject]:
    """The calls of which a text consists; none where it holds anything else, or a function that was not offered."""
    stripped = text.strip()
    if stripped.startswith("<tool_call>"):
        bodies = [found[1] for found in TAGGED.finditer(stripped)]
        rest = TAGGED.sub("", stripped)
    elif stripped.startswith("```"):
        bodies = [found[1] for found in FENCED.finditer(stripped)]
        rest = FENCED.sub("", stripped)
    else:
        bodies, rest = [stripped], ""
    if rest.strip():
        return []
    calls: list[JsonObject] = []
    for body in bodies:
        objects = _objects(body)
        if objects is None:
            return []
        for found in objects:
            name, arguments = found.get("name"), found.get("arguments", found.get("parameters", {}))
            if name not in names or not isinstance(arguments, dict) or not set(found) <= CALL_FIELDS:
                return []
            calls.append(_call(str(name), arguments))
    return calls


def _objects(text: str) -> list[dict[str, Any]] | None:
    """The JSON objects that stand one after another in a text; `None` where there is anything else."""
    decoder = json.JSONDecoder()
    found: list[dict[str, Any]] = []
    position = 0
    text = text.strip()
    while position < len(text):
        try:
            value, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            return None
        if not isinstance(value, dict):
            return None
        found.append(value)
        between = BETWEEN.match(text, end)
        position = between.end() if between else end
    return found or None


def _call(name: str, arguments: dict[str, Any]) -> JsonObject:
    function: JsonObject = {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}
    return {"id": f"call_{new_id().hex}", "type": "function", "function": function}


def _may_be_call(text: str) -> bool:
    begun = text.lstrip()
    return any(begun.startswith(start) or start.startswith(begun) for start in STARTS)


def _read_choice(choice: JsonObject, offer: _Offer) -> JsonObject:
    message = choice.get("message")
    if not isinstance(message, dict) or message.get("tool_calls") or not isinstance(message.get("content"), str):
        return choice
    calls = read_calls(message["content"], offer.names)
    if not calls:
        return choice
    return {**choice, "message": {**message, "content": None, "tool_calls": calls}, "finish_reason": "tool_calls"}


def _demanding(request: ModelRequest, offer: _Offer) -> ModelRequest:
    """The request, where a call is demanded held to the form of one by a grammar."""
    if not offer.demanded:
        return request
    options = {
        name: value
        for name, value in request.options.items()
        if name not in {"tool_choice", "parallel_tool_calls", "response_format"}
    }
    forms: list[Json] = [
        {
            "type": "object",
            "properties": {"name": {"const": function["name"]}, "arguments": function.get("parameters") or ANY_OBJECT},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for function in offer.demanded
    ]
    schema: Json = forms[0] if len(forms) == 1 else {"anyOf": forms}
    form: JsonObject = {"type": "json_schema", "json_schema": {"name": "call", "schema": schema}}
    return replace(request, options={**options, "response_format": form})
