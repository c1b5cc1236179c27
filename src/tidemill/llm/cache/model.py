"""A wrapper of the model port: an answer that is there already is given again, and equal requests wait for one."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from tidemill.core.chat import ChatChunk, ChatCompletion, ModelRequest, Usage
from tidemill.core.context import CacheUse, InferenceContext
from tidemill.core.served import Served
from tidemill.llm.cache.answer import decoded, encoded, may_be_kept, replayed
from tidemill.llm.cache.flights import AskAnew, Flight, Flights, Landed
from tidemill.llm.cache.key import access_of, is_deterministic, key_of
from tidemill.llm.cache.semantic import SemanticTier
from tidemill.llm.cache.tiers import Answers, Found
from tidemill.llm.port import ChatModel
from tidemill.llm.recording import TextPolicy
from tidemill.llm.transcript import Transcript
from tidemill.store.answer_cache import KeptAnswer, Meaning


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A request whose answer may be there."""

    request: ModelRequest
    context: InferenceContext
    key: bytes

    @property
    def may_be_old(self) -> bool:
        return self.context.cache is CacheUse.ALLOWED


class CachedModel:
    """Gives kept answers again, and keeps those of `inner`. What is not to be kept passes it by.

    Args:
        inner: the model that answers.
        answers: the tiers.
        texts: says whether what was said may be stored; what may not stays in memory.
        semantic: finds similar questions.
        sampled: whether answers that chance had a part in are kept, too.
    """

    def __init__(
        self,
        inner: ChatModel,
        answers: Answers,
        *,
        texts: TextPolicy,
        semantic: SemanticTier,
        sampled: bool = False,
    ) -> None:
        self._inner = inner
        self._answers = answers
        self._texts = texts
        self._semantic = semantic
        self._sampled = sampled
        self._flights = Flights()

    @property
    def waiting(self) -> int:
        """How many requests wait for answers that are being made."""
        return self._flights.waiting

    async def complete(self, request: ModelRequest) -> ChatCompletion:
        """As the port says."""
        wanted = self._wanted(request)
        if wanted is None:
            return await self._inner.complete(request)
        if (answer := self._kept(wanted)) is not None:
            return answer
        tier: str | None = None
        let_down = 0
        try:
            while True:
                try:
                    answer = await self._flight(wanted, let_down, streamed=False).whole(wanted.context)
                except AskAnew:
                    let_down += 1
                    continue
                tier = answer.served.cache_tier if answer.served is not None else None
                return answer
        finally:
            self._answers.count(wanted.key, tier)

    def stream(self, request: ModelRequest) -> AsyncGenerator[ChatChunk, None]:
        """As the port says; a kept answer comes as chunks, too."""
        wanted = self._wanted(request)
        return self._inner.stream(request) if wanted is None else self._streamed(wanted)

    async def _streamed(self, wanted: _Wanted) -> AsyncGenerator[ChatChunk, None]:
        if (answer := self._kept(wanted)) is not None:
            for chunk in replayed(answer):
                yield chunk
            return
        tier: str | None = None
        let_down = 0
        try:
            while True:
                try:
                    flight = self._flight(wanted, let_down, streamed=True)
                    async with aclosing(flight.chunks(wanted.context)) as chunks:
                        async for chunk in chunks:
                            tier = chunk.served.cache_tier if chunk.served is not None else tier
                            yield chunk
                except AskAnew:
                    let_down += 1
                    continue
                return
        finally:
            self._answers.count(wanted.key, tier)

    def _wanted(self, request: ModelRequest) -> _Wanted | None:
        """The request where its answer may be kept; `None` where it passes by."""
        context = request.context
        if context is None or context.cache is CacheUse.NONE:
            return None
        if not (self._sampled or is_deterministic(request, context)):
            return None
        return _Wanted(request, context, key_of(request, context))

    def _kept(self, wanted: _Wanted) -> ChatCompletion | None:
        """The answer where memory has it."""
        found = self._answers.look(wanted.key) if wanted.may_be_old else None
        if found is None or (answer := _read(found)) is None:
            return None
        self._answers.count(wanted.key, found.tier)
        return answer

    def _flight(self, wanted: _Wanted, let_down: int, *, streamed: bool) -> Flight:
        """The flight that is under way for an equal request, else a new one; that, too, for who was let down twice."""
        joins = wanted.may_be_old and let_down < 2
        flight = self._flights.join(wanted.key, wanted.context) if joins else None
        if flight is not None:
            return flight
        return self._flights.begin(
            wanted.key, wanted.context, lambda begun: self._land(wanted, begun if streamed else None)
        )

    async def _land(self, wanted: _Wanted, flight: Flight | None) -> Landed:
        """The answer from the first tier that has it, else from the model, whose chunks the flight passes on."""
        if wanted.may_be_old:
            found = self._answers.look(wanted.key) or await self._answers.find(wanted.key)
            if (answer := _read(found)) is not None:
                return Landed(answer, kept=True)
        meaning = await self._semantic.meaning(wanted.request, wanted.context)
        if meaning is not None and wanted.may_be_old:
            found = await self._answers.find_like(meaning, self._semantic.threshold)
            if (answer := _read(found)) is not None:
                return Landed(answer, kept=True)
        if flight is None:
            answer = await self._inner.complete(wanted.request)
        else:
            answer = await self._passed_on(wanted.request, flight)
        await self._keep(wanted, answer, meaning)
        return Landed(answer, kept=False)

    async def _passed_on(self, request: ModelRequest, flight: Flight) -> ChatCompletion:
        transcript, usage = Transcript(), Usage()
        served: Served | None = None
        async with aclosing(self._inner.stream(request)) as chunks:
            async for chunk in chunks:
                transcript.add(chunk)
                usage, served = chunk.usage or usage, chunk.served or served
                flight.pass_on(chunk)
        return ChatCompletion(transcript.choices(), usage, served)  # type: ignore[arg-type]

    async def _keep(self, wanted: _Wanted, answer: ChatCompletion, meaning: Meaning | None) -> None:
        if not may_be_kept(answer):
            return
        context = wanted.context
        kept = KeptAnswer(
            key=wanted.key,
            value=encoded(answer, context),
            task=context.deployment.task,
            config_hash=context.deployment.config_hash,
            access=access_of(context),
            owner_id=context.owner_id,
            meaning=meaning,
        )

        async def storable() -> bool:
            return await self._texts.level(wanted.request, answer.choices) is not None

        await self._answers.keep(kept, storable)


def _read(found: Found | None) -> ChatCompletion | None:
    """The answer that a tier has, where it has one that can be read."""
    return decoded(found.value, found.tier) if found is not None else None
