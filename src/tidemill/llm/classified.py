"""A wrapper of the model port: no model outside is sent a text whose level may not leave."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from tidemill.analysis.classification import texts_in
from tidemill.core.chat import ChatChunk, ChatCompletion, ModelRequest, TextRequest
from tidemill.llm.outside import OutsideLimit
from tidemill.llm.port import ChatModel


class ClassifiedModel:
    """Refuses a request to a model outside that holds more than may leave. Others pass untouched and unread.

    Args:
        inner: the model that answers.
        limit: says what may leave.
    """

    def __init__(self, inner: ChatModel, limit: OutsideLimit) -> None:
        self._inner = inner
        self._limit = limit

    async def complete(self, request: ModelRequest) -> ChatCompletion:
        """As the port says; raises `NotPermitted` for a text that may not leave."""
        await self._check(request)
        return await self._inner.complete(request)

    def stream(self, request: ModelRequest) -> AsyncGenerator[ChatChunk, None]:
        """As the port says; raises `NotPermitted` for a text that may not leave."""
        return self._checked(request) if self._limit.covers(request.model) else self._inner.stream(request)

    async def _checked(self, request: ModelRequest) -> AsyncGenerator[ChatChunk, None]:
        await self._check(request)
        async with aclosing(self._inner.stream(request)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _check(self, request: ModelRequest) -> None:
        if self._limit.covers(request.model):
            await self._limit.check(request.model, said_in(request))


def said_in(request: ModelRequest) -> list[str]:
    """Every text of a request: messages and the calls in them, or prompt and suffix; tools and formats."""
    options = texts_in(request.options)
    if isinstance(request, TextRequest):
        return [request.prompt, request.suffix or "", *options]
    return [*(text for message in request.messages for text in texts_in(message)), *options]
