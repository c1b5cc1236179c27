"""A streamed answer that is read while it passes: each piece goes on, whole or changed, when its text may."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tidemill.core.json import JsonObject
from tidemill.llm.guardrails.passing import Edit, TextInPassing, edited
from tidemill.llm.transcript import WORDS

Key = tuple[str, int]
"""A field of a delta, or a call by its number."""
OpenText = Callable[[bool], TextInPassing]
"""Begins to read a text, which is a JSON document or not."""


@dataclass(frozen=True, slots=True)
class _Piece:
    choice: JsonObject
    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


@dataclass(slots=True)
class _Field:
    """One text of a choice, and the pieces of it that wait."""

    passing: TextInPassing
    waiting: deque[_Piece] = field(default_factory=deque)
    edits: list[Edit] = field(default_factory=list)
    length: int = 0


class AnswerInPassing:
    """Reads all texts of a streamed answer, each by itself.

    A text is taken to be complete when another of its choice begins, or the choice ends.

    Args:
        open_text: begins to read one text.
    """

    def __init__(self, open_text: OpenText) -> None:
        self._open_text = open_text
        self._choices: dict[int, dict[Key, _Field]] = {}
        self._current: dict[int, Key] = {}

    def add(self, choice: JsonObject) -> list[JsonObject]:
        """Takes in a piece of one choice; returns the pieces that may go on by it."""
        number = choice.get("index", 0)
        index = number if isinstance(number, int) else 0
        out: list[JsonObject] = []
        pieces = _split(choice)
        for key, text, piece in pieces:
            fields = self._choices.setdefault(index, {})
            if self._current.get(index, key) != key:
                out += self._end(fields[self._current[index]], self._current[index])
            self._current[index] = key
            if key not in fields:
                fields[key] = _Field(self._open_text(key[0] == CALL))
            out += self._feed(fields[key], key, text, piece)
        if choice.get("finish_reason"):
            out += self._end_choice(index)
        return out if pieces else [*out, choice]

    def end(self) -> list[JsonObject]:
        """The answer is complete: what still waits goes on."""
        return [piece for index in self._choices for piece in self._end_choice(index)]

    def _end_choice(self, index: int) -> list[JsonObject]:
        fields = self._choices.get(index, {})
        return [piece for key, one in fields.items() for piece in self._end(one, key)]

    def _feed(self, one: _Field, key: Key, text: str, piece: JsonObject) -> list[JsonObject]:
        one.waiting.append(_Piece(piece, text, one.length))
        one.length += len(text)
        one.edits += one.passing.feed(text)
        return self._passed(one, key)

    def _end(self, one: _Field, key: Key) -> list[JsonObject]:
        one.edits += one.passing.end()
        return self._passed(one, key)

    def _passed(self, one: _Field, key: Key) -> list[JsonObject]:
        out: list[JsonObject] = []
        while one.waiting and one.waiting[0].end <= one.passing.done:
            piece = one.waiting.popleft()
            edits = [edit for edit in one.edits if edit.start < piece.end and edit.end > piece.start]
            one.edits = [edit for edit in one.edits if edit.end > piece.end]
            if not edits:
                out.append(piece.choice)
                continue
            text = edited(piece.text, [_within(edit, piece) for edit in edits], piece.start)
            if text or piece.choice.get("finish_reason") or _names_call(piece.choice):
                out.append(_with_text(piece.choice, key, text))
        return out


CALL = "call"


def _within(edit: Edit, piece: _Piece) -> Edit:
    """The part of an edit that is in the piece; what is new stands in the piece in which the edit begins."""
    new = edit.new if piece.start <= edit.start else ""
    return Edit(max(edit.start, piece.start), min(edit.end, piece.end), new)


def _split(choice: JsonObject) -> list[tuple[Key, str, JsonObject]]:
    """A piece for each text of a piece, mostly one; none where it has no text."""
    if isinstance(text := choice.get("text"), str):
        return [(("text", 0), text, choice)]
    delta = choice.get("delta")
    if not isinstance(delta, Mapping):
        return []
    texts: list[tuple[Key, str]] = [((name, 0), words) for name in WORDS if isinstance(words := delta.get(name), str)]
    calls: Any = delta.get("tool_calls")
    calls = calls if isinstance(calls, list | tuple) else []
    for call in calls:
        texts.append(((CALL, int(call.get("index", 0))), str((call.get("function") or {}).get("arguments") or "")))
    texts = [one for one in texts if one[1] or one[0][0] == CALL] or texts[:1]
    if len(texts) == 1:
        return [(*texts[0], choice)]
    pieces: list[tuple[Key, str, JsonObject]] = []
    for at, (key, text) in enumerate(texts):
        kept = {name: value for name, value in delta.items() if name not in (*WORDS, "tool_calls")} if at == 0 else {}
        part = {CALL: "tool_calls"}.get(key[0], key[0])
        one = [call for call in calls if int(call.get("index", 0)) == key[1]] if key[0] == CALL else text
        last = at == len(texts) - 1
        ending = {"finish_reason": choice.get("finish_reason") if last else None}
        pieces.append((key, text, {**choice, "delta": {**kept, part: one}, **ending}))
    return pieces


def _with_text(choice: JsonObject, key: Key, text: str) -> JsonObject:
    """The piece with another text, and without the probabilities of what it was."""
    rest = {name: value for name, value in choice.items() if name != "logprobs"}
    if key[0] == "text":
        return {**rest, "text": text}
    delta: Any = choice["delta"]
    if key[0] != CALL:
        return {**rest, "delta": {**delta, key[0]: text}}
    call = delta["tool_calls"][0]
    return {**rest, "delta": {**delta, "tool_calls": [{**call, "function": {**call["function"], "arguments": text}}]}}


def _names_call(choice: JsonObject) -> bool:
    delta: Any = choice.get("delta") or {}
    return any(call.get("id") or (call.get("function") or {}).get("name") for call in delta.get("tool_calls") or ())
