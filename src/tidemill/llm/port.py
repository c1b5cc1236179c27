"""The one port through which a model is asked for text. Wrappers and adapters all have this shape."""

from collections.abc import AsyncGenerator
from typing import Protocol

from tidemill.core.chat import ChatChunk, ChatCompletion, ModelRequest


class ChatModel(Protocol):
    """Answers chats, and continues texts. What comes has the form of what was asked: messages, or texts."""

    async def complete(self, request: ModelRequest) -> ChatCompletion:
        """The whole answer.

        Raises:
            ContextTooLong: the prompt does not fit; nothing was decoded.
            InvalidInput: the model's server refused the request, and says why.
            ModelFailed: the answer can't be used.
            Unavailable: the server can't be reached or is overloaded; trying later may work.
        """
        ...

    def stream(self, request: ModelRequest) -> AsyncGenerator[ChatChunk, None]:
        """The answer as it is decoded; the last chunk carries the usage.

        Closing the generator stops the decoding. Raises as `complete` does, on the first or any later chunk.
        """
        ...
