"""A wrapper of the model port: several answers to one request from a model that gives one at a time.

llama-server takes `n` only up to its number of slots, and counts the tokens of one of the answers. So a local model is
asked once for each answer, several times at once. Endpoints are given `n` itself.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from tidemill.core.chat import ChatChunk, ChatCompletion, ModelRequest, Usage
from tidemill.core.served import Served
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
        prompt_once: whether its prompt counts once in the usage; for a provider's, it is billed each time.
    """

    def __init__(
        self,
        inner: ChatModel,
        *,
        one_by_one: Callable[[str], bool],
        prompt_once: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self._inner = inner
        self._one_by_one = one_by_one
        self._prompt_once = prompt_once

    async def complete(self, request: ModelRequest) -> ChatCompletion:
        """As the port says; where one answer fails, all do."""
        if wanted_choices(request) == 1 or not self._one_by_one(request.model):
            return await self._inner.complete(request)
        answers = await all_of([self._inner.complete(one) for one in _singly(request)])
        choices = [{**choice, "index": index} for index, answer in enumerate(answers) for choice in answer.choices[:1]]
        usage = total([answer.usage for answer in answers], prompt_once=self._prompt_once(request.model))
        return ChatCompletion(choices, usage, answers[0].served if answers else None)

    def stream(self, request: ModelRequest) -> AsyncGenerator[ChatChunk, None]:
        """As the port says. The answers come mixed; the `index` of a choice says to which one it belongs."""
        if wanted_choices(request) == 1 or not self._one_by_one(request.model):
            return self._inner.stream(request)
        return self._mixed(request)

    async def _mixed(self, request: ModelRequest) -> AsyncGenerator[ChatChunk, None]:
        usages: dict[int, Usage] = {}
        served: Served | None = None
        mixed = merged([self._inner.stream(one) for one in _singly(request)])
        try:
            async for index, chunk in mixed:
                if chunk.usage is not None:
                    usages[index] = chunk.usage
                first, served = served is None, served or chunk.served
                if chunk.choices:
                    numbered = [{**choice, "index": index} for choice in chunk.choices]
                    yield ChatChunk(numbered, served=served if first else None)
        finally:
            await mixed.aclose()
        prompt_once = self._prompt_once(request.model)
        yield ChatChunk([], total(list(usages.values()), prompt_once=prompt_once), served)


def _singly(request: ModelRequest) -> list[ModelRequest]:
    options = {name: value for name, value in request.options.items() if name != "n"}
    seed = options.get("seed")
    if not isinstance(seed, int):
        return [replace(request, options=options)] * wanted_choices(request)
    return [replace(request, options={**options, "seed": seed + i}) for i in range(wanted_choices(request))]


def total(usages: Sequence[Usage], *, prompt_once: bool = True) -> Usage:
    """What several answers to one prompt cost.

    Args:
        usages: of each.
        prompt_once: the prompt counts once, as OpenAI counts it; else as often as it was sent, as it is billed.
    """
    if not usages:
        return Usage()
    prompts = usages[:1] if prompt_once else usages
    return Usage(
        prompt_tokens=sum(usage.prompt_tokens for usage in prompts),
        completion_tokens=sum(usage.completion_tokens for usage in usages),
        cached_tokens=sum(usage.cached_tokens for usage in prompts),
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
