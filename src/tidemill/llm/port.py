"""The one port through which a chat model is asked. Wrappers and adapters all have this shape."""

from collections.abc import AsyncIterator
from typing import Protocol

from tidemill.core.chat import ChatChunk, ChatCompletion, ChatRequest


class ChatModel(Protocol):
    """Answers chat requests."""

    async def complete(self, request: ChatRequest) -> ChatCompletion:
        """The whole answer.

        Raises:
            ContextTooLong: the prompt does not fit; nothing was decoded.
            InvalidInput: the model's server refused the request, and says why.
            ModelFailed: the answer can't be used.
            Unavailable: the server can't be reached or is overloaded; trying later may work.
        """
        ...

    def stream(self, request: ChatRequest) -> AsyncIterator[ChatChunk]:
        """The answer as it is decoded; the last chunk carries the usage.

        Closing the iterator stops the decoding. Raises as `complete` does, on the first or any later chunk.
        """
        ...
