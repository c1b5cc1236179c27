"""Writes a response from the pieces of a chat's answer: the events of its stream, and the whole at the end.

Reference: https://platform.openai.com/docs/api-reference/responses-streaming.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tidemill.core.chat import ChatChunk, ChatCompletion, Usage
from tidemill.core.errors import TidemillError, TooManyRequests
from tidemill.flows.response_items import item_id

Event = dict[str, Any]

PARTS = {
    "reasoning_content": ("reasoning", "reasoning_text", "text"),
    "content": ("message", "output_text", "text"),
    "refusal": ("message", "refusal", "refusal"),
}
"""For each text of a chat's delta: the item that it belongs to, the type of its part, and the part's field."""
INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


@dataclass
class _Open:
    """A part that is being written: its item, the item's place, and the field that grows."""

    item: dict[str, Any]
    place: int
    part: dict[str, Any]
    field: str


class ResponseWriter:
    """One response on its way. Events are numbered in order.

    Args:
        response: the response object with all that is known before the answer.
    """

    def __init__(self, response: Mapping[str, Any]) -> None:
        self.response: dict[str, Any] = {**response, "status": "in_progress", "output": []}
        self._events = 0
        self._text: _Open | None = None
        self._calls: dict[int, tuple[int, dict[str, Any]]] = {}
        self._finish: object = None
        self._usage = Usage()

    def start(self) -> Iterator[Event]:
        """The first events."""
        yield self._event("response.created", response=self._shown())
        yield self._event("response.in_progress", response=self._shown())

    def add(self, chunk: ChatChunk) -> Iterator[Event]:
        """The events that a piece of the answer makes."""
        self._usage = chunk.usage or self._usage
        for choice in chunk.choices[:1]:
            self._finish = choice.get("finish_reason") or self._finish
            delta = choice.get("delta")
            if not isinstance(delta, Mapping):
                continue
            for name, (kind, part, field) in PARTS.items():
                if isinstance(text := delta.get(name), str) and text:
                    yield from self._write(kind, part, field, text)
            calls = delta.get("tool_calls")
            for call in calls if isinstance(calls, list) else ():
                if isinstance(call, Mapping):
                    yield from self._call(call)

    def finish(self, completed_at: int) -> Iterator[Event]:
        """The events that close what is open, and the state of the whole. `last` has the one after them."""
        yield from self._close_text()
        reason = INCOMPLETE.get(str(self._finish))
        for place, item in self._calls.values():
            yield self._event(
                "response.function_call_arguments.done",
                item_id=item["id"],
                output_index=place,
                name=item["name"],
                arguments=item["arguments"],
            )
            item["status"] = "incomplete" if reason else "completed"
            yield self._event("response.output_item.done", output_index=place, item={**item})
        self.response["usage"] = usage_json(self._usage)
        self.response["status"] = "incomplete" if reason else "completed"
        if reason:
            self.response["incomplete_details"] = {"reason": reason}
        else:
            self.response["completed_at"] = completed_at

    def last(self) -> Event:
        """The last event, which has the whole response."""
        return self._event(f"response.{self.response['status']}", response=self._shown())

    def fail(self, error: TidemillError) -> Event:
        """The last event of a response that failed in the middle."""
        code = "rate_limit_exceeded" if isinstance(error, TooManyRequests) else "server_error"
        self.response |= {"status": "failed", "error": {"code": code, "message": error.message}}
        return self.last()

    def whole(self, answer: ChatCompletion, completed_at: int) -> dict[str, Any]:
        """The response of an answer that came in one piece."""
        for choice in answer.choices[:1]:
            message = choice.get("message")
            calls = message.get("tool_calls") if isinstance(message, Mapping) else None
            numbered = [{**call, "index": n} for n, call in enumerate(calls)] if isinstance(calls, list) else []
            delta: Any = {**message, "tool_calls": numbered} if isinstance(message, Mapping) else {}
            piece = ChatChunk([{"delta": delta, "finish_reason": choice.get("finish_reason")}], answer.usage)
            list(self.add(piece))
        list(self.finish(completed_at))
        return self.response

    def _write(self, kind: str, part_type: str, field: str, text: str) -> Iterator[Event]:
        if self._text is not None and self._text.part["type"] != part_type:
            yield from self._close_text()
        if self._text is None:
            yield from self._open_text(kind, part_type, field)
        opened = self._text
        assert opened is not None  # noqa: S101 - opened above
        opened.part[field] += text
        yield self._event(f"response.{part_type}.delta", **_place(opened), delta=text, **_logprobs(part_type))

    def _open_text(self, kind: str, part_type: str, field: str) -> Iterator[Event]:
        item: dict[str, Any] = {"id": item_id(kind), "type": kind, "status": "in_progress", "content": []}
        item |= {"role": "assistant"} if kind == "message" else {"summary": list[object]()}
        place = self._add_item(item)
        yield self._event("response.output_item.added", output_index=place, item={**item, "content": []})
        part: dict[str, Any] = {"type": part_type, field: ""}
        if part_type == "output_text":
            part |= {"annotations": [], "logprobs": []}
        item["content"].append(part)
        self._text = _Open(item, place, part, field)
        yield self._event("response.content_part.added", **_place(self._text), part={**part})

    def _close_text(self) -> Iterator[Event]:
        opened, self._text = self._text, None
        if opened is None:
            return
        kind = opened.part["type"]
        said = {opened.field: opened.part[opened.field]}
        yield self._event(f"response.{kind}.done", **_place(opened), **said, **_logprobs(kind))
        yield self._event("response.content_part.done", **_place(opened), part={**opened.part})
        opened.item["status"] = "incomplete" if str(self._finish) in INCOMPLETE else "completed"
        yield self._event("response.output_item.done", output_index=opened.place, item={**opened.item})

    def _call(self, piece: Mapping[str, Any]) -> Iterator[Event]:
        number = piece.get("index", 0)
        function = piece.get("function") or {}
        if number not in self._calls:
            yield from self._close_text()
            item = {
                "id": item_id("function_call"),
                "type": "function_call",
                "status": "in_progress",
                "call_id": piece.get("id") or item_id("function_call"),
                "name": function.get("name") or "",
                "arguments": "",
            }
            self._calls[number] = (self._add_item(item), item)
            yield self._event("response.output_item.added", output_index=self._calls[number][0], item={**item})
        place, item = self._calls[number]
        if arguments := function.get("arguments"):
            item["arguments"] += arguments
            yield self._event(
                "response.function_call_arguments.delta", item_id=item["id"], output_index=place, delta=arguments
            )

    def _add_item(self, item: dict[str, Any]) -> int:
        self.response["output"].append(item)
        return len(self.response["output"]) - 1

    def _event(self, kind: str, **fields: object) -> Event:
        event = {"type": kind, "sequence_number": self._events, **fields}
        self._events += 1
        return event

    def _shown(self) -> dict[str, Any]:
        return {**self.response, "output": list(self.response["output"])}


def usage_json(usage: Usage) -> dict[str, Any]:
    """The `usage` of a response."""
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def _place(opened: _Open) -> dict[str, Any]:
    return {"item_id": opened.item["id"], "output_index": opened.place, "content_index": 0}


def _logprobs(part_type: str) -> dict[str, Any]:
    """Events about text have a list of log probabilities, which is empty where none were asked for."""
    return {"logprobs": []} if part_type == "output_text" else {}
