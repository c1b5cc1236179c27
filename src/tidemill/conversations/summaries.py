"""Summaries of the older part of a path: made once, stored under the last message that they cover, and extended."""

from collections.abc import Sequence

from tidemill.conversations.fitting import Room, bounded, weight, weight_of
from tidemill.conversations.turn import Turn
from tidemill.core.chat import ChatRequest
from tidemill.core.clock import Clock
from tidemill.core.conversation import Message, Summary
from tidemill.core.deployment import Task
from tidemill.core.errors import ContextTooLong, ModelFailed
from tidemill.core.json import Json
from tidemill.core.text import storable
from tidemill.llm.port import ChatModel
from tidemill.llm.prompts.conversation import SUMMARY, summary_messages
from tidemill.llm.prompts.shipped import Prompts
from tidemill.store.conversations import ConversationRepository

TRIES = 3
MOST_TOKENS = 512
PART_OF_CONTEXT = 8
"""A summary has at most an eighth of the context."""
FILL = 0.8
"""How much of the room a transcript fills: a refusal costs a round trip, and a model reads no faster at the brim."""
LEAST_BYTES = 200


class Summaries:
    """Sums up by asking the conversation's own model."""

    def __init__(self, chat: ChatModel, conversations: ConversationRepository, clock: Clock, prompts: Prompts) -> None:
        self._chat = chat
        self._conversations = conversations
        self._clock = clock
        self._prompts = prompts

    async def latest(self, path: Sequence[Message]) -> tuple[int, str | None]:
        """How many messages from the first one on are summed up, and the summary; 0 and `None` where there is none."""
        stored = {one.message_id: one.content for one in await self._conversations.summaries([m.id for m in path])}
        for index in range(len(path) - 1, -1, -1):
            if path[index].id in stored:
                return index + 1, stored[path[index].id]
        return 0, None

    async def extend(self, turn: Turn, start: int, end: int, earlier: str | None, room: Room) -> str:
        """The summary of the first `end` messages, given the one of the first `start`.

        As many messages at once as the context holds; each step is stored, and so is never done again.

        Raises:
            ContextTooLong: the context does not even hold the task itself.
            ModelFailed: the model says nothing, or fails.
            Unavailable: the model can't be asked now.
        """
        text, rate = earlier, room.tokens_per_byte
        while start < end:
            text, start, rate = await self._step(turn, start, end, text, room.context_tokens, rate)
        return text or ""

    async def _step(
        self, turn: Turn, start: int, end: int, earlier: str | None, context_tokens: int, rate: float
    ) -> tuple[str, int, float]:
        tokens = summary_tokens(context_tokens)
        prompt = self._prompts.current(SUMMARY, turn.asker.language)
        task = weight_of(prompt.render({"transcript": "", "words": tokens // 2}))
        for left in reversed(range(TRIES)):
            free = int((context_tokens - tokens) / rate * FILL) - task - weight(earlier or "")
            free = max(free, LEAST_BYTES)
            stop = _as_many_as_fit(turn.path, start, end, free)
            asked = summary_messages(prompt, earlier, turn.path[start:stop], words=tokens // 2, limit=free)
            options: dict[str, Json] = {"max_tokens": tokens, "temperature": 0.0}
            context = turn.side_context(Task.CONVERSATION_SUMMARY, options, prompt)
            try:
                answer = await self._chat.complete(ChatRequest(context.deployment.model, asked, options, context))
            except ContextTooLong as refused:
                rate = bounded(refused.prompt_tokens / weight_of(asked))
                context_tokens = refused.context_tokens
                if not left:
                    raise
                continue
            text = storable(answer.text.strip())
            if not text:
                raise ModelFailed(
                    f"The model {context.deployment.model} was asked to sum up the older messages and said nothing. "
                    "Try again, or set the conversation's `history` to `window`."
                )
            last = turn.path[stop - 1].id
            await self._conversations.add_summary(Summary(last, text, context.inference_id, self._clock()))
            return text, stop, rate
        raise AssertionError  # the last try has raised or returned


def summary_tokens(context_tokens: int) -> int:
    """The longest summary for a context of this size."""
    return max(1, min(MOST_TOKENS, context_tokens // PART_OF_CONTEXT))


def _as_many_as_fit(path: Sequence[Message], start: int, end: int, free: int) -> int:
    """The end of the longest part from `start` on that fits; at least one message, which is then cut."""
    stop = start + 1
    free -= weight(path[start].content)
    while stop < end and (free := free - weight(path[stop].content)) >= 0:
        stop += 1
    return stop
