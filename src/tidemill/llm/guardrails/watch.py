"""What the guardrails do for one request and its answer."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

from tidemill.analysis.plain import plain
from tidemill.core.chat import ChatChunk, ModelRequest
from tidemill.core.clock import Clock
from tidemill.core.errors import TidemillError
from tidemill.core.guardrail import Action, Direction, Guardrail, GuardrailEvent
from tidemill.core.json import JsonObject
from tidemill.core.served import Served
from tidemill.llm.guardrails.answer_passing import AnswerInPassing
from tidemill.llm.guardrails.finding import Finder, Found, PlaceholderFinder
from tidemill.llm.guardrails.guards import Guards
from tidemill.llm.guardrails.ledger import Ledger
from tidemill.llm.guardrails.length import request_tokens, shortened, with_answer_limit
from tidemill.llm.guardrails.masks import Masks
from tidemill.llm.guardrails.memory_gate import MemoryGate
from tidemill.llm.guardrails.passing import TextInPassing, edited, find_all, together
from tidemill.llm.guardrails.request_texts import (
    Asked,
    answered_texts,
    texts_of,
    with_answered_texts,
    with_texts,
)
from tidemill.llm.guardrails.toxicity import RULE as TOXIC
from tidemill.llm.transcript import Transcript

IN, OUT = Direction.INPUT, Direction.OUTPUT
LARGE = 50_000
"""Characters from which on texts are read in a thread, so that no other request waits."""
REPEATS = "stored-text"
TOO_LONG = "too-long"
PLACEHOLDER = "placeholder"
SHORT = 200
"""Characters up to which a text is read again as quickly as it is looked up."""
T = TypeVar("T")
_NOT_WORD = re.compile(r"\W")


class Watch:
    """Reads one request and its answer, and keeps the findings until they are rows.

    Args:
        guards: the guardrails.
        request: what is asked; it says who asks.
        clock: gives the rows' time.
    """

    def __init__(self, guards: Guards, request: ModelRequest, clock: Clock) -> None:
        if request.context is None:
            raise TidemillError("A request reached the guardrails without saying who asks.")
        self._guards = guards
        self._request = request
        self._context = request.context
        self._task = request.context.deployment.task
        self._plan = guards.plan(self._task)
        self._clock = clock
        self._ledger = Ledger(request.context, guards.policy)
        self._masks = Masks()
        self._asked: list[Asked] = []
        self._said: str | None = None
        self._beside: list[asyncio.Task[None]] = []
        self.served: Served | None = None
        """Who gave the answer that is read, as far as it has come."""

    def events(self) -> list[GuardrailEvent]:
        """The rows of what was found."""
        return self._ledger.events(self._clock)

    async def settle(self) -> None:
        """Waits for what is only flagged, and so is looked for while the model answers."""
        beside, self._beside = self._beside, []
        for task in beside:
            await task

    # What is asked

    async def asked(self) -> ModelRequest:
        """The request as the model may see it.

        Raises:
            ContentRefused: a guardrail does not let it pass.
        """
        request = self._fitted()
        self._asked = texts_of(request)
        extra = await self._injected()
        await self._judged_input()
        texts: list[str] = []
        for at, one in enumerate(self._asked):
            found = [*await self._found(one, self._plan.asked, IN), *await self._presidio(one, IN), *extra.get(at, ())]
            texts.append(self._edited(one.text, one.of_json, found, IN))
        if _same(texts, self._asked):
            return request
        return with_texts(request, texts)

    def _fitted(self) -> ModelRequest:
        settings = self._guards.settings.length
        request = with_answer_limit(self._request, settings)
        most = settings.max_input_tokens
        if most is None or request_tokens(request) <= most:
            return request
        fitted = shortened(request, most) if settings.too_long == "truncate" else None
        self._ledger.note(Guardrail.LENGTH, IN, Action.REFUSE if fitted is None else Action.MASK, TOO_LONG)
        assert fitted is not None  # noqa: S101 - a refusal was raised
        return fitted

    async def _injected(self) -> dict[int, tuple[Found, ...]]:
        """Prompt injection by the number of the text; where it is only flagged, it is looked for beside the model."""
        action = self._plan.injection
        if action is Action.ALLOW:
            return {}
        places = [at for at, one in enumerate(self._asked) if one.untrusted and one.text]
        if not places:
            return {}
        texts = [self._asked[at].text for at in places]
        if action is Action.FLAG and self._guards.injection.is_quick(texts):
            await self._flag_injection(texts)
            return {}
        if action is Action.FLAG:
            self._beside.append(asyncio.create_task(self._flag_injection(texts)))
            return {}
        return dict(zip(places, await self._guards.injection.find(texts), strict=True))

    async def _flag_injection(self, texts: Sequence[str]) -> None:
        for found in await self._guards.injection.find(texts):
            for one in found:
                self._ledger.note(Guardrail.INJECTION, IN, Action.FLAG, one.rule)

    async def _judged_input(self) -> None:
        action = self._plan.toxicity[IN]
        if action is Action.ALLOW:
            return
        texts = [one.text for one in self._asked if one.untrusted]
        if action is Action.FLAG:
            self._beside.append(asyncio.create_task(self._judge(texts, IN)))
        elif action is Action.REFUSE:
            await self._judge(texts, IN)

    async def _judge(self, texts: Sequence[str], direction: Direction) -> None:
        guard, action = self._guards.toxicity, self._plan.toxicity[direction]
        if guard is not None and action is not Action.ALLOW and await guard.is_toxic(texts):
            self._ledger.note(Guardrail.TOXICITY, direction, action, TOXIC)

    # What is answered

    async def answered(self, choices: Sequence[JsonObject]) -> list[JsonObject]:
        """A whole answer as the asker may see it.

        Raises:
            ContentRefused: a guardrail does not let it pass.
        """
        finders = self._with_placeholders(self._plan.answered)
        out: list[JsonObject] = []
        for choice in choices:
            texts = answered_texts(choice)
            await self._check_memory([one.text for one in texts])
            new = []
            for one in texts:
                found = [*await self._found(one, finders, OUT), *await self._presidio(one, OUT)]
                new.append(self._edited(one.text, one.of_json, found, OUT))
            if _same(new, texts):
                out.append(choice)
            else:
                left = iter(new)
                out.append(with_answered_texts(choice, lambda text, of_json, left=left: next(left)))  # type: ignore[misc]
            await self._judge([one.text for one in texts], OUT)
        return out

    async def passing(self, chunks: AsyncGenerator[ChatChunk, None]) -> AsyncGenerator[ChatChunk, None]:
        """A streamed answer as the asker may see it; see `GuardedModel.stream`."""
        holding = self._with_placeholders(self._plan.holding)
        reader = AnswerInPassing(lambda of_json: self._text(holding, of_json, OUT)) if holding else None
        gate = await self._gate()
        flagging = self._plan.flagging
        transcript = Transcript() if flagging or self._reads_late() else None
        served: Served | None = None
        async for chunk in chunks:
            pieces: Sequence[JsonObject] = chunk.choices
            if reader is not None:
                pieces = [piece for choice in chunk.choices for piece in reader.add(choice)]
            if gate is not None:
                pieces = await gate.add(pieces)
            served = chunk.served or served
            self.served = served or self.served
            for one in _chunks(chunk, pieces, served):
                served = None
                if transcript is not None:
                    transcript.add(one)
                yield one
        pieces = reader.end() if reader is not None else []
        if gate is not None:
            pieces = [*await gate.add(pieces), *await gate.end()]
        for one in _chunks(ChatChunk([]), pieces, served):
            if transcript is not None:
                transcript.add(one)
            yield one
        if transcript is not None:
            await self._read_late(transcript, flagging)

    def _reads_late(self) -> bool:
        toxicity = self._plan.toxicity[OUT] is not Action.ALLOW
        presidio = self._guards.presidio is not None and self._plan.privacy[OUT] is not Action.ALLOW
        memory = self._plan.memorised is Action.FLAG
        return toxicity or presidio or memory

    async def _read_late(self, transcript: Transcript, finders: Sequence[Finder]) -> None:
        """What is only flagged, or can be judged from the whole alone, when all of a stream has passed."""
        for choice in transcript.choices():
            texts = answered_texts(cast(JsonObject, choice))
            for one in texts:
                self._edited(one.text, one.of_json, await self._found(one, finders, OUT), OUT)
                for found in await self._presidio(one, OUT):
                    action = self._plan.privacy[OUT]
                    late = Action.REFUSE if action is Action.REFUSE else Action.FLAG  # a mask would come too late
                    self._ledger.note(Guardrail.PRIVACY, OUT, late, found.rule)
            if self._plan.memorised is Action.FLAG:
                await self._check_memory([one.text for one in texts])
            await self._judge([one.text for one in texts], OUT)

    async def _check_memory(self, texts: Sequence[str]) -> None:
        memory, action = self._guards.memory, self._plan.memorised
        context = self._context
        if memory is None or action is Action.ALLOW or not await memory.holds_above(context.level):
            return
        said = [one.text for one in self._asked]
        for text in texts:
            if await memory.repeats(text, said, context.level, context.owner_id):
                self._ledger.note(Guardrail.MEMORISED, OUT, action, REPEATS)

    async def _gate(self) -> MemoryGate | None:
        memory = self._guards.memory
        refuses = self._plan.memorised is Action.REFUSE
        if memory is None or not refuses or not await memory.holds_above(self._context.level):
            return None
        return MemoryGate(self._check_memory, memory.min_words)

    # Both

    def _with_placeholders(self, finders: Sequence[Finder]) -> Sequence[Finder]:
        """With the one that puts back what was masked in the request."""
        restores = self._guards.settings.unmask and len(self._masks)
        return [*finders, PlaceholderFinder()] if restores else finders

    async def _found(self, one: Asked, finders: Sequence[Finder], direction: Direction) -> Sequence[Found]:
        """What stands in a text; known at once where it was read before, and read in a thread where it is long."""
        if not finders or not one.text:
            return []

        def read() -> Sequence[Found]:
            return find_all(plain(one.text, of_json=one.of_json), finders, self._weigh(direction))

        if len(one.text) <= SHORT:
            return read()
        # The number tells the finders of one direction apart: those that flag are some of all, and one may be added.
        key = self._guards.seen.key(one.text, f"{direction}.{self._task}.{one.of_json}.{len(finders)}")
        found = self._guards.seen.known(key)
        if found is None:
            found = await _off_loop(one.text, read)
            self._guards.seen.keep(key, found)
        return found

    async def _presidio(self, one: Asked, direction: Direction) -> Sequence[Found]:
        presidio = self._guards.presidio
        if presidio is None or self._plan.privacy[direction] is Action.ALLOW:
            return []
        return await presidio.find(plain(one.text, of_json=one.of_json).text)

    def _edited(self, text: str, of_json: bool, found: Sequence[Found], direction: Direction) -> str:
        if not found:
            return text
        reading = self._text((), of_json, direction)
        return edited(text, reading.end(text, together(found, self._weigh(direction))))

    def _text(self, finders: Sequence[Finder], of_json: bool, direction: Direction) -> TextInPassing:
        decide = self._decide_input if direction is IN else self._decide_output
        return TextInPassing(finders, decide, weigh=self._weigh(direction), of_json=of_json)

    def _weigh(self, direction: Direction) -> Any:
        weight = self._ledger.weight(direction)
        return lambda found: weight(found.guardrail)

    def _decide_input(self, found: Found, value: str) -> str | None:
        action = self._ledger.action(found.guardrail, IN)
        self._ledger.note(found.guardrail, IN, action, found.rule)
        return self._masks.placeholder(found, value) if action is Action.MASK else None

    def _decide_output(self, found: Found, value: str) -> str | None:
        if found.rule == PLACEHOLDER:
            return self._masks.original(value)
        action = self._ledger.action(found.guardrail, OUT)
        if action is Action.ALLOW or (found.guardrail is not Guardrail.TOPICS and self._was_said(value)):
            return None
        self._ledger.note(found.guardrail, OUT, action, found.rule)
        return self._masks.placeholder(found, value) if action is Action.MASK else None

    def _was_said(self, value: str) -> bool:
        """Whether it stood in the request: then it is the asker's own, and no leak."""
        if self._said is None:
            self._said = "\n".join(_NOT_WORD.sub("", plain(one.text).text).casefold() for one in self._asked)
        return _NOT_WORD.sub("", value).casefold() in self._said


async def _off_loop(text: str, read: Callable[[], T]) -> T:
    return read() if len(text) <= LARGE else await asyncio.to_thread(read)


def _same(texts: Sequence[str], before: Sequence[Asked]) -> bool:
    return all(new == one.text for new, one in zip(texts, before, strict=True))


def _chunks(chunk: ChatChunk, pieces: Sequence[JsonObject], served: Served | None) -> list[ChatChunk]:
    """The chunk where it is as it came, else one for each piece; who answers and what it took stand on the last."""
    if len(pieces) == len(chunk.choices) and all(a is b for a, b in zip(pieces, chunk.choices, strict=True)):
        same = chunk if chunk.served is served else replace(chunk, served=served)
        return [same] if chunk.choices or chunk.usage is not None or served is not None else []
    if not pieces:
        return [ChatChunk([], chunk.usage, served)] if chunk.usage is not None else []
    return [*(ChatChunk([piece]) for piece in pieces[:-1]), ChatChunk(pieces[-1:], chunk.usage, served)]
