"""Asks a model with as much of a conversation as its context holds."""

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from tidemill.conversations.fitting import Room, bounded, measured, newest_that_fit, weight, weight_of
from tidemill.conversations.summaries import Summaries, summary_tokens
from tidemill.conversations.turn import Draft, Turn
from tidemill.core.chat import ChatRequest
from tidemill.core.conversation import History
from tidemill.core.errors import ContextTooLong
from tidemill.core.ids import new_id
from tidemill.core.json import JsonObject
from tidemill.llm.port import ChatModel
from tidemill.llm.prompts.conversation import HISTORY, with_summary
from tidemill.llm.prompts.shipped import Prompts

TRIES = 4
MEMORY_SECONDS = 600.0
"""How long a context that a server's refusal has told is believed: it may come back with a larger one."""
KEPT_BESIDE_A_SUMMARY = 0.5
"""How much of the room the newest messages fill when older ones are summed up: the rest is for those to come, so that
not every question costs a summary."""

ContextOf = Callable[[str], int | None]
"""The tokens that a model's context holds, by its name; `None` where only its server knows."""


class Answering:
    """Fits, asks, and where the server says that the prompt is too long, fits by its figures and asks again.

    Args:
        chat: the model port.
        summaries: sums up what does not fit, for conversations that want it.
        context_of: what is known of a model's context.
        prompts: has what stands before a history that is summed up.
        timer: monotonic seconds.
    """

    def __init__(
        self,
        chat: ChatModel,
        summaries: Summaries,
        context_of: ContextOf,
        prompts: Prompts,
        *,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._chat = chat
        self._summaries = summaries
        self._context_of = context_of
        self._prompts = prompts
        self._timer = timer
        self._told: dict[str, tuple[float, int]] = {}

    async def stream(self, turn: Turn, draft: Draft) -> AsyncGenerator[str, None]:
        """The answer's text in pieces; `draft` holds what has come, whatever happens to the stream.

        Raises:
            ContextTooLong: the question, with the system message, is longer than the context; with both numbers.
            TidemillError: as `ChatModel.stream` does.
        """
        context_tokens, rate = self._known(turn.deployment.model), measured(turn.path)
        for left in reversed(range(TRIES)):
            messages = await self._fitted(turn, context_tokens, rate)
            draft.inference_id, draft.prompt_bytes = new_id(), weight_of(messages)
            try:
                async with aclosing(self._pieces(turn, messages, draft)) as pieces:
                    async for piece in pieces:
                        yield piece
            except ContextTooLong as refused:
                self._told[turn.deployment.model] = (self._timer(), refused.context_tokens)
                if not left or _is_bare(messages):
                    raise
                context_tokens = refused.context_tokens
                rate = bounded(refused.prompt_tokens / draft.prompt_bytes)
            else:
                return

    async def _pieces(self, turn: Turn, messages: list[JsonObject], draft: Draft) -> AsyncGenerator[str, None]:
        assert draft.inference_id is not None  # noqa: S101 - stream has set it
        context = turn.context(draft.inference_id)
        asked = ChatRequest(turn.deployment.model, messages, turn.options, context)
        async with aclosing(self._chat.stream(asked)) as chunks:
            async for chunk in chunks:
                if text := draft.add(chunk):
                    yield text

    async def _fitted(self, turn: Turn, context_tokens: int | None, rate: float) -> list[JsonObject]:
        """The messages that the model is given; all of them where nothing is known of its context."""
        system, path = turn.conversation.system, turn.path
        whole = _messages(system, turn, 0)
        if context_tokens is None:
            return whole
        room = Room(context_tokens, turn.max_tokens, rate)
        budget = room.prompt_bytes - (weight(system) if system else 0)
        if weight_of(whole) <= room.prompt_bytes or len(path) == 1:
            return whole
        if turn.conversation.history is History.WINDOW:
            return _messages(system, turn, newest_that_fit(path, budget))
        covered, summary = await self._summaries.latest(path[:-1])
        if summary is not None:
            messages = _messages(self._with_summary(turn, system, summary), turn, covered)
            if weight_of(messages) <= room.prompt_bytes:
                return messages
        spared = int(summary_tokens(context_tokens) / rate)
        start = newest_that_fit(path, int((budget - spared) * KEPT_BESIDE_A_SUMMARY))
        if start > covered:
            summary = await self._summaries.extend(turn, covered, start, summary, room)
        return _messages(self._with_summary(turn, system, summary) if summary else system, turn, max(start, covered))

    def _with_summary(self, turn: Turn, system: str | None, summary: str) -> str:
        return with_summary(self._prompts.current(HISTORY, turn.asker.language), system, summary)

    def _known(self, model: str) -> int | None:
        at, tokens = self._told.get(model, (0.0, None))
        fresh = tokens is not None and self._timer() - at < MEMORY_SECONDS
        return tokens if fresh else self._context_of(model)


def _messages(system: str | None, turn: Turn, start: int) -> list[JsonObject]:
    told: list[JsonObject] = [{"role": "system", "content": system}] if system else []
    return told + [{"role": message.role.value, "content": message.told} for message in turn.path[start:]]


def _is_bare(messages: list[JsonObject]) -> bool:
    """Whether there is nothing left but the system message and the question."""
    return sum(message["role"] != "system" for message in messages) == 1
