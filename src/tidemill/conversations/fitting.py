"""How much of a history fits into a model's context.

Nobody but the model's own server can count its tokens, and asking it costs a round trip for every message. So tokens
are estimated from bytes: at first with a figure that fits most texts, then with what the server has counted for this
very conversation. Where the estimate is too low, the server refuses and says by how much, and the history is fitted
again with its figure.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tidemill.core.conversation import Message, Speaker
from tidemill.core.json import JsonObject

BYTES_OF_A_MESSAGE = 16
"""What a chat template writes around each message, as bytes of text."""
TOKENS_PER_BYTE = 1 / 3
"""Of most tokenizers, for prose in most scripts and for code; English prose has about 1 / 4."""
LEAST_TOKENS_PER_BYTE, MOST_TOKENS_PER_BYTE = 1 / 50, 2.0
MOST_OF_CONTEXT = 3 / 4
"""The largest part of a context that is kept for an answer, however many tokens were asked for."""


def weight(text: str) -> int:
    """The bytes that a message with this text counts."""
    return len(text.encode("utf-8", "surrogatepass")) + BYTES_OF_A_MESSAGE


def weight_of(messages: Sequence[JsonObject]) -> int:
    """The bytes that messages in OpenAI's form count."""
    return sum(weight(str(message["content"])) for message in messages)


def measured(path: Sequence[Message]) -> float:
    """Tokens per byte: as the server counted them for the last answer of the path, else as texts have them mostly."""
    for message in reversed(path):
        if message.prompt_tokens and message.prompt_bytes:
            return bounded(message.prompt_tokens / message.prompt_bytes)
    return TOKENS_PER_BYTE


def bounded(tokens_per_byte: float) -> float:
    """The figure, within what a tokenizer can do."""
    return min(max(tokens_per_byte, LEAST_TOKENS_PER_BYTE), MOST_TOKENS_PER_BYTE)


@dataclass(frozen=True, slots=True)
class Room:
    """How much of a context is there for a prompt.

    Attributes:
        context_tokens: what the model's context holds, prompt and answer together.
        max_tokens: the longest answer that was asked for; `None` where none was named.
        tokens_per_byte: see `measured`.
    """

    context_tokens: int
    max_tokens: int | None
    tokens_per_byte: float

    @property
    def answer_tokens(self) -> int:
        """What is kept for the answer: as much as was asked for within reason, or a quarter."""
        asked = self.context_tokens // 4 if self.max_tokens is None else self.max_tokens
        return min(asked, int(self.context_tokens * MOST_OF_CONTEXT))

    @property
    def prompt_bytes(self) -> int:
        """The bytes of prompt that fit beside the answer."""
        return int((self.context_tokens - self.answer_tokens) / self.tokens_per_byte)


def newest_that_fit(path: Sequence[Message], budget: int) -> int:
    """Where the newest part of the path begins that fits into so many bytes, and begins with a question.

    The last message is kept even where it does not fit by itself.

    Returns:
        The index of the first message that is kept; 0 keeps all.
    """
    start = len(path) - 1
    left = budget - weight(path[start].content)
    while start > 0:
        left -= weight(path[start - 1].content)
        if left < 0:
            break
        start -= 1
    while start > 0 and path[start].role is not Speaker.USER:
        start += 1
    return start
