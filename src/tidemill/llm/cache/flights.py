"""Single flight: equal requests that come while one is being answered wait for that answer.

The asking is a task of its own, in nobody's request. Whoever waits for it may go; when all have gone it is cancelled.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from tidemill.core.chat import ChatChunk, ChatCompletion
from tidemill.core.context import InferenceContext
from tidemill.core.errors import BudgetExceeded, DeadlineExceeded, TidemillError, Unavailable
from tidemill.core.served import Served
from tidemill.llm.cache.answer import replayed, shared

FLIGHT = "flight"
"""The tier of an answer that another request was waiting for already."""


class AskAnew(Exception):
    """What came of the flight is of whoever began it alone, and nothing of it was passed on: others ask themselves.

    That is an error for a reason of theirs, or a fallback's answer: it may come of their budget, is in their language,
    and may show what was retrieved for them.
    """


@dataclass(frozen=True, slots=True)
class Landed:
    """The answer of a flight. `kept` says that a tier had it, so that no model was asked."""

    answer: ChatCompletion
    kept: bool


class Flight:
    """One asking, for all who wait for it.

    Args:
        beginner: the context of whoever began it.
        ended: called when nobody can join any more: at its end, or when all have gone.

    Attributes:
        waiting: how many requests wait for it.
    """

    def __init__(self, beginner: InferenceContext, ended: Callable[[], None]) -> None:
        self._beginner = beginner
        self._ended = ended
        self.waiting = 0
        self._task: asyncio.Task[Landed] | None = None
        self._chunks: list[ChatChunk] = []
        self._changed = asyncio.Event()
        self._landed: Landed | None = None
        self._error: BaseException | None = None
        self._beginner_left = False
        self._payer: InferenceContext | None = None

    def begin(self, asking: Awaitable[Landed]) -> None:
        """Starts the asking."""
        self._task = asyncio.ensure_future(asking)
        self._task.add_done_callback(self._end)

    def takes(self, context: InferenceContext) -> bool:
        """Whether this request may wait for it: one that is more urgent goes its own way."""
        return self._beginner.priority <= context.priority

    def pass_on(self, chunk: ChatChunk) -> None:
        """A chunk has come."""
        self._chunks.append(chunk)
        self._wake()

    async def whole(self, context: InferenceContext) -> ChatCompletion:
        """The whole answer, for the request of this context.

        Raises:
            AskAnew: see there.
            DeadlineExceeded: it did not come in this request's time.
            TidemillError: whatever ended the asking.
        """
        async with self._seat(context):
            while self._landed is None:
                self._check(context, passed_on=False)
                await self._change(context)
            answer, kept = self._landed.answer, self._landed.kept
            self._refuse_fallback(answer.served, context)
            if kept or self._pays(context):
                return answer
            return replace(answer, served=shared(answer.served, context, FLIGHT))

    async def chunks(self, context: InferenceContext) -> AsyncGenerator[ChatChunk, None]:
        """What has come so far, and then what comes. Raises as `whole` does, also after some chunks."""
        sent = 0
        async with self._seat(context):
            while True:
                while sent < len(self._chunks):
                    chunk = self._chunks[sent]
                    if not sent:
                        self._refuse_fallback(chunk.served, context)
                    sent += 1
                    yield self._seen_by(context, chunk)
                if self._landed is not None:
                    break
                self._check(context, passed_on=sent > 0)
                await self._change(context)
        if not self._chunks:
            answer = self._landed.answer
            self._refuse_fallback(answer.served, context)
            if not (self._landed.kept or self._pays(context)):
                answer = replace(answer, served=shared(answer.served, context, FLIGHT))
            for chunk in replayed(answer):
                yield chunk

    @asynccontextmanager
    async def _seat(self, context: InferenceContext) -> AsyncIterator[None]:
        """Waits for the flight in the block. The last one to leave before the end ends it."""
        assert self._task is not None  # noqa: S101 - whoever made the flight began it
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1
            self._beginner_left = self._beginner_left or (context is self._beginner and not self._task.done())
            if not self.waiting and not self._task.done():
                self._ended()
                self._task.cancel()
                await asyncio.gather(self._task, return_exceptions=True)

    def _pays(self, context: InferenceContext) -> bool:
        """Whether its cost stands in this request's row: the beginner's, or that of the first who is left then."""
        if self._payer is None and (context is self._beginner or self._beginner_left):
            self._payer = context
        return self._payer is context

    def _seen_by(self, context: InferenceContext, chunk: ChatChunk) -> ChatChunk:
        if chunk.served is None:
            return chunk
        as_it_is = context is self._beginner or (chunk.usage is not None and self._pays(context))
        return chunk if as_it_is else replace(chunk, served=shared(chunk.served, context, FLIGHT))

    def _check(self, context: InferenceContext, *, passed_on: bool) -> None:
        """Raises what ended the flight, where something did."""
        if self._error is None:
            return
        if not passed_on and context is not self._beginner and self._is_of_the_beginner(self._error, context):
            raise AskAnew
        raise self._error if self._pays(context) else _for_others(self._error, context)

    def _refuse_fallback(self, served: Served | None, context: InferenceContext) -> None:
        if served is not None and served.fallback is not None and context is not self._beginner:
            raise AskAnew

    def _is_of_the_beginner(self, error: BaseException, context: InferenceContext) -> bool:
        """Whether who began it failed for what does not hold for this request: its budget, or its shorter deadline."""
        beginner = self._beginner
        if isinstance(error, BudgetExceeded):
            return _payer(context) != _payer(beginner)
        if isinstance(error, DeadlineExceeded):
            own, its = context.deadline, beginner.deadline
            return its is not None and (own is None or own > its)
        return False

    async def _change(self, context: InferenceContext) -> None:
        """Returns when something has come; who waits for another's request has an own deadline."""
        if context.deadline is None or context is self._beginner:
            await self._changed.wait()
            return
        try:
            await asyncio.wait_for(self._changed.wait(), max(0.0, context.deadline - time.monotonic()))
        except TimeoutError as error:
            raise DeadlineExceeded(
                "An equal request is being answered, and its answer did not come before this one's deadline. "
                "Give it more time."
            ) from error

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _end(self, task: "asyncio.Task[Landed]") -> None:
        if task.cancelled():
            self._error = Unavailable("The request that was being answered was ended. Try again.")
        elif (error := task.exception()) is not None:
            self._error = error
        else:
            self._landed = task.result()
        self._ended()
        self._wake()


def _payer(context: InferenceContext) -> tuple[object, ...]:
    """What a budget goes by."""
    return context.key_id, context.owner_id, context.user_id, context.max_cost_usd


def _for_others(error: BaseException, context: InferenceContext) -> BaseException:
    """The error for a request that waited for another's: that one was asked and paid for."""
    if not isinstance(error, TidemillError):
        return error
    same = type(error).__new__(type(error), *error.args)
    same.__dict__.update(error.__dict__)
    same.cost_usd = 0.0
    same.served = None if error.served is None else shared(error.served, context, FLIGHT)
    same.__cause__ = error
    return same


Ask = Callable[[Flight], Awaitable[Landed]]


class Flights:
    """The flights under way in this process, by the key of what they ask."""

    def __init__(self) -> None:
        self._flights: dict[bytes, Flight] = {}

    @property
    def waiting(self) -> int:
        """How many requests wait for the flights that can be joined."""
        return sum(flight.waiting for flight in self._flights.values())

    def join(self, key: bytes, context: InferenceContext) -> Flight | None:
        """The flight that this request may wait for."""
        flight = self._flights.get(key)
        return flight if flight is not None and flight.takes(context) else None

    def begin(self, key: bytes, context: InferenceContext, ask: Ask) -> Flight:
        """A new flight, which those who come after join."""

        def ended() -> None:
            if self._flights.get(key) is flight:
                del self._flights[key]

        flight = Flight(context, ended)
        self._flights[key] = flight
        flight.begin(ask(flight))
        return flight
