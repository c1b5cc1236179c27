"""A wrapper of the model port: every inference leaves a committed row, and an answer that may be reused is."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from datetime import timedelta
from typing import Any, Protocol, cast
from uuid import UUID

from tidemill.analysis.classification import classify_all, texts_in
from tidemill.core.chat import ChatChunk, ChatCompletion, ModelRequest, Usage
from tidemill.core.classification import Level, Use, UseLimits
from tidemill.core.clock import Clock
from tidemill.core.context import InferenceContext
from tidemill.core.deployment import Deployment, Fallback
from tidemill.core.errors import TidemillError
from tidemill.core.ids import digest
from tidemill.core.inference import Inference, InferenceStatus, InferenceText
from tidemill.core.json import Json
from tidemill.core.served import Served
from tidemill.llm.asked import asked_of
from tidemill.llm.classified import said_in
from tidemill.llm.outside import Classify, classified
from tidemill.llm.port import ChatModel
from tidemill.llm.transcript import Transcript
from tidemill.store.inferences import InferenceRepository
from tidemill.telemetry.spans import span

log = logging.getLogger(__name__)

COMMITTED = "committed"
"""The cache tier of an answer that an earlier inference had committed."""

TEXTS_OF_THE_HUB = frozenset({Fallback.TEMPLATE, Fallback.SEARCH})
"""Fallbacks that ask no model."""


class Observer(Protocol):
    """Is told of every inference; the metrics are one."""

    def __call__(self, inference: Inference, /) -> None:
        """Called after the row is committed."""
        ...


@dataclass(frozen=True, slots=True)
class TextPolicy:
    """How long requests and answers are kept, and of which levels.

    Zero days keep none, and a level over the limit is not kept. What is not kept can't be reused.
    """

    days: float
    limits: UseLimits = dataclass_field(default_factory=UseLimits)
    classify: Classify = classify_all

    async def level(self, request: ModelRequest, choices: object) -> Level | None:
        """The level as which a request and its answer are to be kept; `None` where they are not."""
        if self.days <= 0:
            return None
        found = await classified([*said_in(request), *texts_in(cast(Json, choices))], self.classify)
        return found.level if self.limits.allow(found.level, Use.LOGGING) else None


class Remember(Protocol):
    """Has what stored texts are known by kept, so that they are not repeated to who may not see them."""

    def __call__(self) -> None:
        """Called after a text above internal is committed."""
        ...


class RecordedModel:
    """Commits one row for each inference before its answer ends, whether it went well, failed or was cancelled.

    Args:
        inner: the model that answers.
        inferences: where the rows go.
        clock: gives their time.
        texts: how long what was said is kept.
        observe: is told of each inference after its row is committed.
        remember: is told of each text that not everyone may see, after its row is committed.
        is_free: whether a deployment's answers cost nothing, also those that nobody waited for.
    """

    def __init__(
        self,
        inner: ChatModel,
        inferences: InferenceRepository,
        *,
        clock: Clock,
        texts: TextPolicy,
        observe: Observer,
        remember: Remember | None = None,
        is_free: Callable[[Deployment], bool] = lambda deployment: False,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._inner = inner
        self._inferences = inferences
        self._clock = clock
        self._texts = texts
        self._observe = observe
        self._remember = remember
        self._is_free = is_free
        self._timer = timer

    async def complete(self, request: ModelRequest) -> ChatCompletion:
        """As the port says. With `context.reuse`, a committed answer to the same request is given again.

        With `context.reuse_own`, only one that was committed for the same subject.
        """
        entry = _Entry(self, request, streamed=False)
        reuse = entry.context.reuse or entry.context.reuse_own
        if reuse and (answer := await self._committed(entry)) is not None:
            entry.served = answer.served
            await entry.succeed(answer.choices, Usage())
            return answer
        try:
            answer = await self._inner.complete(request)
        except BaseException as error:
            await entry.fail(error)
            raise
        entry.first_token_ms = entry.elapsed_ms()
        entry.served = answer.served
        await entry.succeed(answer.choices, answer.usage)
        return answer

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ChatChunk, None]:
        """As the port says. The row is committed before the last chunk is passed on."""
        entry = _Entry(self, request, streamed=True)
        transcript = Transcript()
        usage = Usage()
        held: ChatChunk | None = None
        chunks = self._inner.stream(request)
        try:
            async for chunk in chunks:
                if entry.first_token_ms is None:
                    entry.first_token_ms = entry.elapsed_ms()
                transcript.add(chunk)
                entry.served = chunk.served or entry.served
                usage = chunk.usage or usage
                if held is not None:
                    yield held
                held = chunk
        except BaseException as error:
            await chunks.aclose()
            await entry.fail(error, transcript.choices(), usage)
            raise
        await entry.succeed(transcript.choices(), usage)
        if held is not None:
            yield held

    async def _committed(self, entry: "_Entry") -> ChatCompletion | None:
        found = await self._inferences.find_answer(
            config_hash=entry.context.deployment.config_hash,
            request_hash=entry.request_hash,
            now=self._clock(),
            subject=entry.context.subject if entry.context.reuse_own else None,
        )
        if found is None:
            return None
        deployment = entry.context.deployment
        served = Served(
            COMMITTED, deployment.model, deployment.model_version, cost_usd=0.0, attempts=0, cache_tier=COMMITTED
        )
        return ChatCompletion(choices=json.loads(found)["choices"], usage=Usage(), served=served)


class _Entry:
    """One inference on its way to becoming a row."""

    def __init__(self, model: RecordedModel, request: ModelRequest, *, streamed: bool) -> None:
        if request.context is None:
            raise TidemillError("A request reached the recorder without saying who asks.")
        self.context: InferenceContext = request.context
        self.first_token_ms: float | None = None
        self.served: Served | None = None
        self.spent_on_failure: float | None = None
        self._model = model
        self._streamed = streamed
        self._started = model._timer()
        self._asked = request
        self._request = json.dumps(asked_of(request), ensure_ascii=True, separators=(",", ":"), sort_keys=True)
        self.request_hash = digest(self._request)

    def elapsed_ms(self) -> float:
        return (self._model._timer() - self._started) * 1000

    async def succeed(self, choices: object, usage: Usage) -> None:
        own_text = self.served is not None and self.served.fallback in TEXTS_OF_THE_HUB
        await self._write(InferenceStatus.PARTIAL if own_text else InferenceStatus.OK, choices, usage, None)

    async def fail(self, error: BaseException, choices: object = (), usage: Usage | None = None) -> None:
        """Records how it ended. The caller raises `error`."""
        if self.served is None and isinstance(error, TidemillError):
            self.served = error.served
        if isinstance(error, TidemillError):
            self.spent_on_failure = error.cost_usd
        elif self._model._is_free(self.context.deployment):
            self.spent_on_failure = 0.0
        await record_failure(
            error,
            lambda status, code: self._write(status, choices, usage or Usage(), code),
            self.context.inference_id,
            what="An inference",
        )

    async def _write(self, status: InferenceStatus, choices: object, usage: Usage, error_code: str | None) -> None:
        model = self._model
        now = model._clock()
        inference = Inference(
            context=self.context,
            request_hash=self.request_hash,
            status=status,
            usage=usage,
            latency_ms=self.elapsed_ms(),
            first_token_ms=self.first_token_ms,
            streamed=self._streamed,
            finish_reason=_finish_reason(choices),
            error_code=error_code,
            cost_usd=self.served.cost_usd if self.served else self.spent_on_failure,
            cache_tier=self.served.cache_tier if self.served else None,
            created_at=now,
            served=self.served,
        )
        with span("record"):
            level = await model._texts.level(self._asked, choices)
            text = InferenceText(self._request, json.dumps({"choices": choices}), level) if level else None
            expires_at = now + timedelta(days=model._texts.days)
            await model._inferences.add(inference, text, expires_at if text else None)
            if level is not None and level.rank > Level.INTERNAL.rank and model._remember is not None:
                model._remember()
        model._observe(inference)


async def record_failure(
    error: BaseException,
    write: Callable[[InferenceStatus, str | None], Coroutine[Any, Any, None]],
    inference_id: UUID,
    *,
    what: str,
) -> None:
    """Commits the row of what ended with `error`, which the caller raises, also where the database takes no row.

    Args:
        error: an error, or that nobody waits for the answer any more.
        write: commits the row, given its status and the error's code. It goes on where the caller is cancelled.
        inference_id: the row's; the error names it from then on.
        what: what ended, for the log.
    """
    gone = isinstance(error, asyncio.CancelledError | GeneratorExit)
    status = InferenceStatus.CANCELLED if gone else InferenceStatus.ERROR
    code = error.code if isinstance(error, TidemillError) else type(error).__name__
    try:
        await asyncio.shield(write(status, None if gone else code))
    except TidemillError as unrecorded:
        log.warning("%s that ended as %s left no row: %s", what, status, unrecorded.message)
        return
    if isinstance(error, TidemillError):
        error.inference_id = inference_id


def _finish_reason(choices: object) -> str | None:
    if isinstance(choices, list | tuple) and choices and isinstance(choices[0], dict):
        reason = choices[0].get("finish_reason")
        return reason if isinstance(reason, str) else None
    return None
