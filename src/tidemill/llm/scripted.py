"""The scripted adapter of the model port: answers from a script, at once and always alike. Never wired by itself."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass

from tidemill.core.chat import ChatChunk, ChatCompletion, ChatRequest, Usage
from tidemill.core.errors import ModelFailed, TidemillError

Match = Callable[[ChatRequest], bool]


@dataclass(frozen=True, slots=True)
class ScriptedAnswer:
    """One answer of the script.

    Attributes:
        text: the content of the message.
        delay: seconds before the answer; in a stream, spread over its words.
        error: raised instead, after the delay; in a stream, after the words of `text`.
        match: takes this answer only for requests for which it is true; for any when absent.
        repeat: keeps the answer in the script after it was given.
    """

    text: str = ""
    delay: float = 0.0
    error: TidemillError | None = None
    match: Match | None = None
    repeat: bool = False


Script = Sequence[ScriptedAnswer | str] | Callable[[ChatRequest], ScriptedAnswer | str]


class ScriptedModel:
    """Gives each request the first answer of the script that matches it, and remembers what it was asked.

    Args:
        script: answers in order, each given once unless it repeats; or a function of the request.

    Attributes:
        requests: every request, in order.
    """

    def __init__(self, script: Script) -> None:
        self._script = script if callable(script) else [_answer(one) for one in script]
        self.requests: list[ChatRequest] = []

    @property
    def calls(self) -> int:
        """How many requests there were."""
        return len(self.requests)

    async def complete(self, request: ChatRequest) -> ChatCompletion:
        """The next answer.

        Raises:
            TidemillError: the one in the script.
            ModelFailed: no answer is left for this request.
        """
        answer = self._next(request)
        if answer.delay:
            await asyncio.sleep(answer.delay)
        if answer.error is not None:
            raise answer.error
        message = {"role": "assistant", "content": answer.text}
        return ChatCompletion([{"index": 0, "message": message, "finish_reason": "stop"}], _usage(request, answer.text))

    async def stream(self, request: ChatRequest) -> AsyncGenerator[ChatChunk, None]:
        """The next answer, word by word; raises as `complete` does."""
        answer = self._next(request)
        words = _words(answer.text)
        pause = answer.delay / max(1, len(words))
        yield ChatChunk([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])
        for word in words:
            if pause:
                await asyncio.sleep(pause)
            yield ChatChunk([{"index": 0, "delta": {"content": word}, "finish_reason": None}])
        if answer.error is not None:
            raise answer.error
        yield ChatChunk([{"index": 0, "delta": {}, "finish_reason": "stop"}])
        yield ChatChunk([], _usage(request, answer.text))

    def _next(self, request: ChatRequest) -> ScriptedAnswer:
        self.requests.append(request)
        if callable(self._script):
            return _answer(self._script(request))
        for index, answer in enumerate(self._script):
            if answer.match is None or answer.match(request):
                if not answer.repeat:
                    del self._script[index]
                return answer
        raise ModelFailed(f"The script has no answer left for request {self.calls} to the model {request.model}.")


def _answer(one: ScriptedAnswer | str) -> ScriptedAnswer:
    return ScriptedAnswer(one) if isinstance(one, str) else one


def _words(text: str) -> list[str]:
    """Words with the white space that follows them; joined they are the text."""
    words: list[str] = []
    start = 0
    for position in range(1, len(text)):
        if text[position - 1].isspace() and not text[position].isspace():
            words.append(text[start:position])
            start = position
    if text:
        words.append(text[start:])
    return words


def _usage(request: ChatRequest, text: str) -> Usage:
    """Tokens are what stands between white space."""
    prompt = sum(len(str(message.get("content", "")).split()) for message in request.messages)
    return Usage(prompt_tokens=prompt, completion_tokens=len(text.split()))
