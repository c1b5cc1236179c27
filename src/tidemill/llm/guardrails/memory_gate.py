"""Holds the last words of a streamed answer back until it is known that they are no stored text of a higher level."""

import re
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from tidemill.core.json import JsonObject
from tidemill.llm.transcript import WORDS

WORD = re.compile(r"\w+")
EACH = 16
"""New words after which an answer is checked again."""
Check = Callable[[Sequence[str]], Awaitable[None]]
"""Raises where one of the texts repeats a stored one."""


class MemoryGate:
    """Lets pieces of an answer pass when so many words after them were checked as make up a passage.

    Args:
        check: raises for a text that repeats a stored one.
        min_words: the words in a row that make up a passage.
    """

    def __init__(self, check: Check, min_words: int) -> None:
        self._check = check
        self._min_words = min_words
        self._texts: dict[int, str] = {}
        self._words: dict[int, int] = {}
        self._in_word: dict[int, bool] = {}
        self._checked: dict[int, int] = {}
        self._waiting: deque[tuple[int, int, JsonObject]] = deque()

    async def add(self, pieces: Sequence[JsonObject]) -> list[JsonObject]:
        """Takes in the next pieces; returns those that may go on.

        Raises:
            ContentRefused: the answer repeats a stored text, of which less than a passage has gone on.
        """
        for piece in pieces:
            number = piece.get("index", 0)
            index = number if isinstance(number, int) else 0
            text = _text_in(piece)
            self._texts[index] = self._texts.get(index, "") + text
            self._words[index] = self._words.get(index, 0) + self._new_words(index, text)
            self._waiting.append((index, self._words[index], piece))
            ended = piece.get("finish_reason") is not None
            if ended or self._words[index] - self._checked.get(index, 0) >= EACH:
                await self._check_text(index, ended=ended)
        return self._passed()

    async def end(self) -> list[JsonObject]:
        """The answer is complete."""
        for index in self._texts:
            await self._check_text(index, ended=True)
        return self._passed()

    async def _check_text(self, index: int, *, ended: bool) -> None:
        await self._check([self._texts[index]])
        self._checked[index] = self._words[index]
        if ended:
            self._checked[index] += self._min_words
            return
        spans = [match.start() for match in WORD.finditer(self._texts[index])]
        keep = 2 * self._min_words + EACH
        if len(spans) > keep:
            self._texts[index] = self._texts[index][spans[-keep] :]

    def _new_words(self, index: int, text: str) -> int:
        """How many words begin in a piece: a model writes many a word in several."""
        begun = len(WORD.findall(text)) - (self._in_word.get(index, False) and WORD.match(text) is not None)
        if text:
            self._in_word[index] = WORD.match(text[-1]) is not None
        return begun

    def _passed(self) -> list[JsonObject]:
        out: list[JsonObject] = []
        while self._waiting:
            index, words, piece = self._waiting[0]
            if words and words + self._min_words > self._checked.get(index, 0):
                break
            out.append(piece)
            self._waiting.popleft()
        return out


def _text_in(piece: JsonObject) -> str:
    if isinstance(text := piece.get("text"), str):
        return text
    delta: Any = piece.get("delta") or {}
    words = [str(delta[name]) for name in WORDS if isinstance(delta.get(name), str)]
    calls = [call.get("function") or {} for call in delta.get("tool_calls") or ()]
    return "".join([*words, *(call["arguments"] for call in calls if isinstance(call.get("arguments"), str))])
