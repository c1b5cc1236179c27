"""A wrapper of the model port: several answers to one request from a model that gives one at a time.

llama-server takes `n` only up to its number of slots, and counts the tokens of one of the answers. So a local model is
asked once for each answer, several times at once. Endpoints are given `n` itself.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from tidemill.core.chat import ChatChunk, ChatCompletion, ModelRequest, Usage
from tidemill.llm.openai_wire import wanted_choices
from tidemill.llm.port import ChatModel

T = TypeVar("T")

AT_ONCE = 8
"""Requests that one client's request may become at a time, so that it does not fill a model's queue."""


class SeveralChoices:
    """Asks `inner` as often as `n` says where a model gives one answer at a time.

    With a `seed` the answers get that seed, the next one, and so on: they differ, and come again when asked again.

    Args:
        inner: the model that answers.
        one_by_one: whether the model of this name gives one answer at a time.
    """

    def __init__(self, inner: ChatModel, *, one_by_one: Callable[[str], bool]) -> None:
        self._inner = inner
        self._one_by_one = one_by_one

    async def complete(self, request: ModelRequest) -> ChatCompletion:
        """As the port says; where one answer fails, all do."""
        if wanted_choices(request) == 1 or not self._one_by_one(request.model):
            return await self._inner.complete(request)
        answers = await all_of([self._inner.complete(one) for one in _singly(request)])
        choices = [{**choice, "index": index} for index, answer in enumerate(answers) for choice in answer.choices[:1]]
        return ChatCompletion(choices, total([answer.usage for answer in answers]))

    def stream(self, request: ModelRequest) -> AsyncGenerator[ChatChunk, None]:
        """As the port says. The answers come mixed; the `index` of a choice says to which one it belongs."""
        if wanted_choices(request) == 1 or not self._one_by_one(request.model):
            return self._inner.stream(request)
        return self._mixed(request)

    async def _mixed(self, request: ModelRequest) -> AsyncGenerator[ChatChunk, None]:
        usages: dict[int, Usage] = {}
        mixed = merged([self._inner.stream(one) for one in _singly(request)])
        try:
            async for index, chunk in mixed:
                if chunk.usage is not None:
                    usages[index] = chunk.usage
                if chunk.choices:
                    yield ChatChunk([{**choice, "index": index} for choice in chunk.choices])
        finally:
            await mixed.aclose()
        yield ChatChunk([], total(list(usages.values())))


def _singly(request: ModelRequest) -> list[ModelRequest]:
    options = {name: value for name, value in request.options.items() if name != "n"}
    seed = options.get("seed")
    if not isinstance(seed, int):
        return [replace(request, options=options)] * wanted_choices(request)
    return [replace(request, options={**options, "seed": seed + i}) for i in range(wanted_choices(request))]


def total(usages: Sequence[Usage]) -> Usage:
    """What several answers to one prompt cost: the prompt counts once, as OpenAI counts it."""
    if not usages:
        return Usage()
    return Usage(
        prompt_tokens=usages[0].prompt_tokens,
        completion_tokens=sum(usage.completion_tokens for usage in usages),
        cached_tokens=usages[0].cached_tokens,
    )


async def all_of(work: Sequence[Coroutine[Any, Any, T]], *, at_once: int = AT_ONCE) -> list[T]:
    """The results in order. The first failure cancels the others, and is raised."""
    limit = asyncio.Semaphore(at_once)

    async def limited(one: Coroutine[Any, Any, T]) -> T:
        try:
            async with limit:
                return await one
        finally:
            one.close()

    tasks = [asyncio.create_task(limited(one)) for one in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        await _end(tasks)


async def merged(
    streams: Sequence[AsyncGenerator[ChatChunk, None]], *, at_once: int = AT_ONCE
) -> AsyncGenerator[tuple[int, ChatChunk], None]:
    """The chunks of several streams as they come, each with its stream's number. The first failure ends them all."""
    limit = asyncio.Semaphore(at_once)
    found: asyncio.Queue[tuple[int, ChatChunk | None]] = asyncio.Queue()

    async def pump(index: int, stream: AsyncGenerator[ChatChunk, None]) -> None:
        try:
            async with limit:
                async for chunk in stream:
                    found.put_nowait((index, chunk))
        finally:
            await stream.aclose()
            found.put_nowait((index, None))

    tasks = [asyncio.create_task(pump(index, stream)) for index, stream in enumerate(streams)]
    try:
        running = len(tasks)
        while running:
            index, chunk = await found.get()
            if chunk is not None:
                yield index, chunk
            else:
                running -= 1
                await tasks[index]
    finally:
        await _end(tasks)


async def _end(tasks: Sequence["asyncio.Task[Any]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
