"""A wrapper of the model port: chooses who answers, and does what the recovery tree says when that fails."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from tidemill.core.chat import ChatChunk, ChatCompletion, ModelRequest
from tidemill.core.errors import DeadlineExceeded, TidemillError
from tidemill.llm.port import ChatModel
from tidemill.llm.recovery.course import Ask, Course
from tidemill.llm.recovery.fallbacks import streamed
from tidemill.llm.recovery.means import Means

SILENT = frozenset({"role", "refusal"})
"""Fields of a delta that nobody reads while no text is there."""


class RoutedModel:
    """Asks the targets of a route, or the one model that was named, until one answers.

    Who named a model gets an answer of that one or an error: it is asked again where the tree says so, and nobody else
    is. Only a route switches, changes what was asked, and falls back.

    Args:
        inner: asks the model that `request.model` names, as `request.context.attempt` says.
        means: what all requests share.
    """

    def __init__(self, inner: ChatModel, means: Means) -> None:
        self._inner = inner
        self._means = means

    async def complete(self, request: ModelRequest) -> ChatCompletion:
        """As the port says. `served` has who answered, and what failed before.

        Raises:
            AllFailed: no target of the route answered, and no fallback did.
            DeadlineExceeded: the request's deadline came first.
            TidemillError: what was wrong with the request; of a named model, how it failed.
        """
        course = Course(self._means, request)
        while True:
            step = await course.step()
            if isinstance(step, ChatCompletion):
                return step
            try:
                answer = await self._completed(course, step)
            except TidemillError as error:
                await course.failed(step, error)
                continue
            await course.succeeded(step)
            return replace(answer, served=course.served(step, answer.served))

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ChatChunk, None]:
        """As the port says. Another model answers only as long as nothing was passed on.

        Raises:
            StreamInterrupted: the answer broke off after it had begun.
            TidemillError: as `complete` does.
        """
        course = Course(self._means, request)
        while True:
            step = await course.step()
            if isinstance(step, ChatCompletion):
                async with aclosing(streamed(step)) as said:
                    async for chunk in said:
                        yield chunk
                return
            begun = False
            try:
                async with aclosing(self._chunks(course, step)) as chunks:
                    async for chunk in chunks:
                        begun = True
                        yield chunk
            except TidemillError as error:
                if begun:
                    raise await course.interrupted(step, error) from error
                await course.failed(step, error)
                continue
            await course.succeeded(step)
            return

    async def _completed(self, course: Course, ask: Ask) -> ChatCompletion:
        try:
            async with asyncio.timeout(course.bound(ask)):
                return await self._inner.complete(ask.request)
        except TimeoutError as error:
            raise course.overdue(ask) from error

    async def _chunks(self, course: Course, ask: Ask) -> AsyncGenerator[ChatChunk, None]:
        """One try's chunks; those that say nothing yet come with the first that does."""
        held: list[ChatChunk] = []
        begun = False
        async with aclosing(self._inner.stream(ask.request)) as chunks:
            while (chunk := await self._next(course, ask, chunks, begun=begun)) is not None:
                if not begun:
                    held.append(chunk)
                    if not _says_something(chunk):
                        continue
                    begun, chunk = True, replace(held[0], served=course.served(ask, held[0].served))
                    yield chunk
                    for chunk in held[1:]:
                        yield self._passed(course, ask, chunk)
                    held.clear()
                    continue
                yield self._passed(course, ask, chunk)
        for chunk in held:  # an answer without a word
            yield replace(chunk, served=course.served(ask, chunk.served))

    def _passed(self, course: Course, ask: Ask, chunk: ChatChunk) -> ChatChunk:
        if chunk.served is None and chunk.usage is None:
            return chunk
        return replace(chunk, served=course.served(ask, chunk.served))

    async def _next(
        self, course: Course, ask: Ask, chunks: AsyncGenerator[ChatChunk, None], *, begun: bool
    ) -> ChatChunk | None:
        """The next chunk. The first has to come within the try's time, the others within what the asker allows."""
        if begun and not course.has_stated_deadline:
            return await anext(chunks, None)
        try:
            async with asyncio.timeout(course.left if begun else course.bound(ask)):
                return await anext(chunks, None)
        except TimeoutError as error:
            if begun:
                raise DeadlineExceeded(
                    f"The request's deadline came in the middle of the answer of {ask.facts.name}."
                ) from error
            raise course.overdue(ask) from error


def _says_something(chunk: ChatChunk) -> bool:
    """Whether a chunk brings more than the announcement that an answer begins."""
    for choice in chunk.choices:
        delta = choice.get("delta")
        if choice.get("text") or choice.get("finish_reason"):
            return True
        if isinstance(delta, dict) and any(value for name, value in delta.items() if name not in SILENT):
            return True
    return False
