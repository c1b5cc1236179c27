"""The whole answer that the pieces of a stream add up to."""

from collections.abc import Mapping
from typing import Any

from tidemill.core.chat import ChatChunk
from tidemill.core.json import JsonObject

WORDS = ("content", "refusal", "reasoning_content")
"""The texts of a message, of which a stream brings pieces."""


class Transcript:
    """Puts the pieces of a stream together again, as `choices` of the whole answer."""

    def __init__(self) -> None:
        self._choices: dict[int, _Choice] = {}

    def add(self, chunk: ChatChunk) -> None:
        """Takes in the next piece."""
        for piece in chunk.choices:
            index = piece.get("index", 0)
            if isinstance(index, int):
                self._choices.setdefault(index, _Choice()).add(piece)

    def choices(self) -> list[dict[str, object]]:
        """The choices so far."""
        return [{"index": index, **choice.whole()} for index, choice in sorted(self._choices.items())]


class _Choice:
    """One choice on its way to being whole."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._is_text = False
        self._words: dict[str, list[str]] = {}
        self._calls: dict[int, dict[str, Any]] = {}
        self._logprobs: dict[str, list[Any]] = {}
        self._finish: object = None

    def add(self, piece: JsonObject) -> None:
        delta = piece.get("delta")
        text = piece.get("text")
        if isinstance(text, str):
            self._is_text = True
            self._text.append(text)
        elif isinstance(delta, Mapping):
            for name in WORDS:
                if isinstance(words := delta.get(name), str):
                    self._words.setdefault(name, []).append(words)
            self._add_calls(delta.get("tool_calls"))
        if isinstance(logprobs := piece.get("logprobs"), Mapping):
            for name, tokens in logprobs.items():
                if isinstance(tokens, list):
                    self._logprobs.setdefault(name, []).extend(tokens)
        self._finish = piece.get("finish_reason") or self._finish

    def _add_calls(self, pieces: object) -> None:
        for piece in pieces if isinstance(pieces, list) else ():
            if not isinstance(piece, Mapping):
                continue
            index = piece.get("index", 0)
            call = self._calls.setdefault(
                index if isinstance(index, int) else 0,
                {"id": None, "type": "function", "function": {"name": "", "arguments": ""}},
            )
            call["id"] = piece.get("id") or call["id"]
            function = piece.get("function")
            for name in ("name", "arguments"):
                if isinstance(function, Mapping) and isinstance(words := function.get(name), str):
                    call["function"][name] += words

    def whole(self) -> dict[str, object]:
        finish: dict[str, object] = {"finish_reason": self._finish}
        if self._logprobs:
            finish["logprobs"] = self._logprobs
        if self._is_text:
            return {"text": "".join(self._text), **finish}
        words: dict[str, object] = {name: "".join(pieces) for name, pieces in self._words.items()}
        calls = [call for _, call in sorted(self._calls.items())]
        content = words.pop("content", "")
        message: dict[str, object] = {"role": "assistant", "content": None if calls and not content else content}
        return {"message": {**message, **words, **({"tool_calls": calls} if calls else {})}, **finish}
