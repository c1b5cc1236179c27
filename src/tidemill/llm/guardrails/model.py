"""A wrapper of the model port: what is asked and what is answered is read, masked, flagged or refused."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace

from tidemill.core.chat import ChatChunk, ChatCompletion, ModelRequest
from tidemill.core.clock import Clock
from tidemill.core.errors import TidemillError
from tidemill.core.guardrail import GuardrailEvent
from tidemill.core.served import Served
from tidemill.llm.guardrails.guards import Guards
from tidemill.llm.guardrails.watch import Watch
from tidemill.llm.port import ChatModel
from tidemill.store.guardrails import GuardrailRepository

log = logging.getLogger(__name__)


class GuardedModel:
    """Stands between whoever asks and every model, cached answers included.

    Args:
        inner: the model that answers.
        guards: the guardrails.
        events: where rows about findings go.
        clock: gives their time.
        observe: is told of each row; the metrics are one.
    """

    def __init__(
        self,
        inner: ChatModel,
        guards: Guards,
        events: GuardrailRepository,
        *,
        clock: Clock,
        observe: Callable[[GuardrailEvent], None] = lambda event: None,
    ) -> None:
        self._inner = inner
        self._guards = guards
        self._events = events
        self._clock = clock
        self._observe = observe

    async def complete(self, request: ModelRequest) -> ChatCompletion:
        """As the port says; raises `ContentRefused` for what a guardrail does not let pass."""
        watch = Watch(self._guards, request, self._clock)
        try:
            answer = await self._inner.complete(await watch.asked())
            watch.served = answer.served
            guarded = replace(answer, choices=await watch.answered(answer.choices))
            await watch.settle()
        except BaseException as error:
            await self._note(watch)
            _tell(error, watch.served)
            raise
        await self._write(watch)
        return guarded

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ChatChunk, None]:
        """As the port says; raises `ContentRefused`, also in the midst, for what a guardrail does not let pass.

        Nothing of what is masked or refused leaves before; a text is held back only as far as it may become a finding.
        """
        watch = Watch(self._guards, request, self._clock)
        try:
            guarded = await watch.asked()
            async with aclosing(self._inner.stream(guarded)) as chunks, aclosing(watch.passing(chunks)) as passing:
                async for chunk in passing:
                    yield chunk
            await watch.settle()
        except BaseException as error:
            await self._note(watch)
            _tell(error, watch.served)
            raise
        await self._write(watch)

    async def _write(self, watch: Watch) -> None:
        if events := watch.events():
            await self._events.add(events)
            for event in events:
                self._observe(event)

    async def _note(self, watch: Watch) -> None:
        """The rows of what ended with an error, which is raised also where the database takes no row."""
        try:
            await asyncio.shield(self._settle(watch))
        except TidemillError as unwritten:
            log.warning("What the guardrails found left no row: %s", unwritten.message)

    async def _settle(self, watch: Watch) -> None:
        await watch.settle()
        await self._write(watch)


def _tell(error: BaseException, served: Served | None) -> None:
    """An answer that was made and does not pass says by whom, and what it cost all the same."""
    if isinstance(error, TidemillError) and error.served is None and served is not None:
        error.served, error.cost_usd = served, served.cost_usd
