"""The scripted adapter of the model port: answers from a script, at once and always alike. Never wired by itself."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass

from tidemill.core.chat import ChatChunk, ChatCompletion, ModelRequest, TextRequest, Usage
from tidemill.core.errors import ModelFailed, TidemillError
from tidemill.core.json import Json, JsonObject
from tidemill.llm.openai_wire import wanted_choices

Match = Callable[[ModelRequest], bool]
PIECE = 8
"""Characters of a tool call's arguments in one chunk of a stream."""


@dataclass(frozen=True, slots=True)
class ScriptedCall:
    """A tool call of a scripted answer; `arguments` is the text that the model wrote."""

    name: str
    arguments: str = "{}"


@dataclass(frozen=True, slots=True)
class ScriptedAnswer:
    """One answer of the script.

    Attributes:
        text: the content of the message, or the text that continues a prompt.
        calls: the tools that the message calls.
        finish_reason: why the answer ends; `stop`, or with calls `tool_calls`, where absent.
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
    calls: Sequence[ScriptedCall] = ()
    finish_reason: str | None = None

    @property
    def ending(self) -> str:
        """The reason why the answer ends."""
        return self.finish_reason or ("tool_calls" if self.calls else "stop")


Script = Sequence[ScriptedAnswer | str] | Callable[[ModelRequest], ScriptedAnswer | str]


class ScriptedModel:
    """Gives each request the first answer of the script that matches it, and remembers what it was asked.

    Args:
        script: answers in order, each given once unless it repeats; or a function of the request.

    Attributes:
        requests: every request, in order.
    """

    def __init__(self, script: Script) -> None:
        self._script = script if callable(script) else [_answer(one) for one in script]
        self.requests: list[ModelRequest] = []

    @property
    def calls(self) -> int:
        """How many requests there were."""
        return len(self.requests)

    async def complete(self, request: ModelRequest) -> ChatCompletion:
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
        choices = [{"index": index, **_whole(request, answer)} for index in range(wanted_choices(request))]
        return ChatCompletion(choices, _usage(request, answer))

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ChatChunk, None]:
        """The next answer, word by word; raises as `complete` does."""
        answer = self._next(request)
        pieces = _pieces(request, answer)
        pause = answer.delay / max(1, len(pieces))
        indexes = range(wanted_choices(request))
        if not isinstance(request, TextRequest):
            first = {"role": "assistant", "content": None if answer.calls else ""}
            for index in indexes:
                yield ChatChunk([{"index": index, "delta": first, "finish_reason": None}])
        for piece in pieces:
            if pause:
                await asyncio.sleep(pause)
            for index in indexes:
                yield ChatChunk([{"index": index, **piece, "finish_reason": None}])
        if answer.error is not None:
            raise answer.error
        last: JsonObject = {"text": ""} if isinstance(request, TextRequest) else {"delta": {}}
        for index in indexes:
            yield ChatChunk([{"index": index, **last, "finish_reason": answer.ending}])
        yield ChatChunk([], _usage(request, answer))

    def _next(self, request: ModelRequest) -> ScriptedAnswer:
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


def _whole(request: ModelRequest, answer: ScriptedAnswer) -> JsonObject:
    if isinstance(request, TextRequest):
        return {"text": answer.text, "logprobs": None, "finish_reason": answer.ending}
    message: dict[str, Json] = {"role": "assistant", "content": answer.text}
    if answer.calls:
        message |= {"content": answer.text or None, "tool_calls": [_call(n, c) for n, c in enumerate(answer.calls)]}
    return {"message": message, "finish_reason": answer.ending}


def _call(number: int, call: ScriptedCall) -> JsonObject:
    return {
        "id": f"call_{number}",
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }


def _pieces(request: ModelRequest, answer: ScriptedAnswer) -> list[JsonObject]:
    """What a stream brings of an answer: its words, then each call's name, then its arguments bit by bit."""
    words = _words(answer.text)
    if isinstance(request, TextRequest):
        return [{"text": word} for word in words]
    pieces: list[JsonObject] = [{"delta": {"content": word}} for word in words]
    for number, call in enumerate(answer.calls):
        head = {**_call(number, ScriptedCall(call.name, "")), "index": number}
        pieces.append({"delta": {"tool_calls": [head]}})
        for start in range(0, len(call.arguments), PIECE):
            bit: JsonObject = {"index": number, "function": {"arguments": call.arguments[start : start + PIECE]}}
            pieces.append({"delta": {"tool_calls": [bit]}})
    return pieces


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


def prompt_tokens(request: ModelRequest) -> int:
    """The tokens that the scripted model counts in a request: what stands between white space."""
    if isinstance(request, TextRequest):
        return len(request.prompt.split())
    return sum(len(str(message.get("content", "")).split()) for message in request.messages)


def _usage(request: ModelRequest, answer: ScriptedAnswer) -> Usage:
    """Tokens are what stands between white space; a tool call's arguments are among them."""
    words = len(answer.text.split()) + sum(len(call.arguments.split()) for call in answer.calls)
    return Usage(prompt_tokens=prompt_tokens(request), completion_tokens=words * wanted_choices(request))
