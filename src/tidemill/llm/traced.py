"""Wrappers of the model port that let see what the others do, so that none of those says it itself.

`TracedModel` stands around any of them and leaves a span. `ToldModel` stands around all of them and logs what came
in and went out; `ToldAttempts` stands within recovery and logs and counts each try.
"""

import json
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Protocol

from tidemill.core.chat import ChatChunk, ChatCompletion, ModelRequest, TextRequest, Usage
from tidemill.core.embedding import EmbeddingRequest, Embeddings
from tidemill.core.errors import AllFailed, TidemillError
from tidemill.core.served import Served
from tidemill.llm.asked import asked_of
from tidemill.llm.embeddings import Embedder
from tidemill.llm.port import ChatModel
from tidemill.llm.transcript import Transcript
from tidemill.telemetry.logs import log_event
from tidemill.telemetry.spans import Attribute, NoSpan, Span, current_span, span

log = logging.getLogger(__name__)

SAMPLING = {
    "max_tokens": "gen_ai.request.max_tokens",
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "seed": "gen_ai.request.seed",
}
"""OpenTelemetry's names: https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/."""


LONGEST = 20_000
"""Characters of what was said that a span holds, where it holds any: 500 traces must not fill the memory."""


class AttemptObserver(Protocol):
    """Is told of every try at a model; the metrics are one."""

    def __call__(self, *, provider: str, model: str, outcome: str, seconds: float) -> None:
        """One try that ended: `ok`, `cancelled`, a leaf of the recovery tree, or an error's code."""
        ...


class TracedModel:
    """Leaves a span for each request, from its first byte to its last.

    Args:
        name: what the inner wrapper does.
        inner: the wrapper that it stands around.
        detailed: whether the span says which model was asked how, what it cost, and when its first token came.
        names: whether it says for which task and inference; of the outermost one alone.
        content: whether it holds what was asked and answered.
    """

    def __init__(
        self, name: str, inner: ChatModel, *, detailed: bool = False, names: bool = False, content: bool = False
    ) -> None:
        self._name = name
        self._inner = inner
        self._detailed = detailed
        self._names = names
        self._content = content

    async def complete(self, request: ModelRequest) -> ChatCompletion:
        """As the port says."""
        with span(self._name) as here:
            self._begin(here, request)
            answer = await self._inner.complete(request)
            self._answered(here, answer.served, answer.usage)
            if self._content:
                here.set({"gen_ai.output.messages": _said(list(answer.choices))})
            return answer

    def stream(self, request: ModelRequest) -> AsyncGenerator[ChatChunk, None]:
        """As the port says. The span is the parent of what is done for a chunk, and not of what its reader does."""
        parent = current_span()
        return self._inner.stream(request) if parent is None else self._traced(request, parent)

    async def _traced(self, request: ModelRequest, parent: Span) -> AsyncGenerator[ChatChunk, None]:
        here = parent.child(self._name)
        served, usage, transcript = None, None, Transcript() if self._content else None
        self._begin(here, request)
        token = here.enter()
        chunks = self._inner.stream(request)  # its wrapper may be traced, too, and asks now whose child it is
        here.leave(token)
        try:
            token = here.enter()
            try:
                chunk = await anext(chunks, None)
            finally:
                here.leave(token)
            if self._detailed and chunk is not None:
                here.event("first_token")
            while chunk is not None:
                served, usage = chunk.served or served, chunk.usage or usage
                if transcript is not None:
                    transcript.add(chunk)
                yield chunk
                token = here.enter()
                try:
                    chunk = await anext(chunks, None)
                finally:
                    here.leave(token)
            self._answered(here, served, usage)
            if transcript is not None:
                here.set({"gen_ai.output.messages": _said(transcript.choices())})
        except BaseException as error:
            here.fail(error)
            raise
        finally:
            await chunks.aclose()
            here.end()

    def _begin(self, here: Span | NoSpan, request: ModelRequest) -> None:
        if self._detailed:
            here.set(_asked(request))
        if self._names and request.context is not None:
            here.set({"tidemill.task": str(request.context.deployment.task)})
            here.set({"tidemill.inference_id": str(request.context.inference_id)})
        if self._content:
            here.set({"gen_ai.input.messages": _said(asked_of(request))})

    def _answered(self, here: Span | NoSpan, served: Served | None, usage: Usage | None) -> None:
        if served is not None and served.cache_tier is not None:
            here.set({"tidemill.cache_tier": served.cache_tier})
        if self._detailed:
            here.set(_served(served))
            here.set(_used(usage))


class TracedEmbedder:
    """Leaves a span for each request to an embedding model: which one, how many texts, how many tokens."""

    def __init__(self, name: str, inner: Embedder) -> None:
        self._name = name
        self._inner = inner

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        """As the port says."""
        with span(self._name) as here:
            here.set({"gen_ai.operation.name": "embeddings", "gen_ai.request.model": request.model})
            found = await self._inner.embed(request)
            here.set({"tidemill.texts": len(request.texts), "tidemill.texts_cached": len(found.cached)})
            here.set({"gen_ai.usage.input_tokens": sum(found.tokens)} | _served(found.served))
            return found


class ToldModel:
    """Logs each request and its answer, by their lengths and never by their texts."""

    def __init__(self, inner: ChatModel) -> None:
        self._inner = inner

    async def complete(self, request: ModelRequest) -> ChatCompletion:
        """As the port says."""
        _log_request(request)
        try:
            answer = await self._inner.complete(request)
        except TidemillError as error:
            _log_error(request, error)
            raise
        _log_answer(request, answer.served, answer.usage, _length(answer.choices, "message"))
        return answer

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ChatChunk, None]:
        """As the port says."""
        _log_request(request)
        served, usage, length = None, None, 0
        try:
            async with aclosing(self._inner.stream(request)) as chunks:
                async for chunk in chunks:
                    served, usage = chunk.served or served, chunk.usage or usage
                    length += _length(chunk.choices, "delta")
                    yield chunk
        except TidemillError as error:
            _log_error(request, error)
            raise
        _log_answer(request, served, usage or Usage(), length)


class ToldAttempts:
    """Logs and counts each try at a model.

    Args:
        inner: the model that is tried.
        provider_of: who serves a model, by the name that requests have for it.
        observe: is told of each try.
    """

    def __init__(
        self,
        inner: ChatModel,
        *,
        provider_of: Callable[[str], str],
        observe: AttemptObserver,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._inner = inner
        self._provider_of = provider_of
        self._observe = observe
        self._timer = timer

    async def complete(self, request: ModelRequest) -> ChatCompletion:
        """As the port says."""
        begun = self._begin(request)
        try:
            answer = await self._inner.complete(request)
        except BaseException as error:
            self._failed(request, begun, error)
            raise
        self._answered(request, begun, answer.usage)
        return answer

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ChatChunk, None]:
        """As the port says."""
        begun, usage = self._begin(request), Usage()
        try:
            async with aclosing(self._inner.stream(request)) as chunks:
                async for chunk in chunks:
                    usage = chunk.usage or usage
                    yield chunk
        except BaseException as error:
            self._failed(request, begun, error)
            raise
        self._answered(request, begun, usage)

    def _begin(self, request: ModelRequest) -> float:
        route = request.context.deployment.route if request.context else None
        log_event(
            log,
            logging.INFO,
            "provider_selected",
            provider=self._provider_of(request.model),
            model=request.model,
            selection_reason="requested" if route is None else str(route.strategy),
        )
        return self._timer()

    def _answered(self, request: ModelRequest, begun: float, usage: Usage) -> None:
        provider, seconds = self._provider_of(request.model), self._timer() - begun
        self._observe(provider=provider, model=request.model, outcome="ok", seconds=seconds)
        log_event(
            log,
            logging.INFO,
            "llm_call_completed",
            provider=provider,
            model=request.model,
            input_tokens=usage.prompt_tokens,
            output_tokens=usage.completion_tokens,
            processing_time_seconds=round(seconds, 6),
        )

    def _failed(self, request: ModelRequest, begun: float, error: BaseException) -> None:
        outcome = "cancelled"
        if isinstance(error, TidemillError):
            outcome = str(error.failure or error.code)
        elif isinstance(error, Exception):
            outcome = "unexpected"
        provider = self._provider_of(request.model)
        self._observe(provider=provider, model=request.model, outcome=outcome, seconds=self._timer() - begun)
        log_event(log, logging.INFO, "llm_call_failed", provider=provider, model=request.model, outcome=outcome)


def _log_request(request: ModelRequest) -> None:
    if not log.isEnabledFor(logging.INFO):
        return
    context = request.context
    log_event(
        log,
        logging.INFO,
        "generation_request_received",
        query_length=_asked_length(request),
        model=request.model,
        task=str(context.deployment.task) if context else None,
        inference_id=str(context.inference_id) if context else None,
        user_id=str(context.user_id) if context and context.user_id else None,
        key_id=str(context.key_id) if context and context.key_id else None,
        access_level=str(context.level) if context else None,
    )


def _log_answer(request: ModelRequest, served: Served | None, usage: Usage, length: int) -> None:
    provider = served.provider if served else None
    if served is not None and (served.fallback is not None or served.recovery):
        log_event(
            log,
            logging.WARNING,
            "fallback_triggered",
            original_provider=request.model,
            fallback_strategy=served.fallback or "provider",
            fallback_success=True,
            failures=list(served.recovery),
        )
    log_event(
        log,
        logging.INFO,
        "generation_response_created",
        provider=provider,
        model=served.model if served else request.model,
        response_length=length,
        output_tokens=usage.completion_tokens,
    )


def _log_error(request: ModelRequest, error: TidemillError) -> None:
    """Of the request's own faults the code alone: their sentences may repeat what was asked."""
    route = request.context.deployment.route if request.context else None
    log_event(
        log,
        logging.ERROR if error.status >= 500 else logging.WARNING,
        "generation_error",
        error_type=error.code,
        error_message=error.message if error.status >= 500 else None,
        model=request.model,
        failure=str(error.failure) if error.failure else None,
    )
    if route is not None and route.fallbacks and error.code == AllFailed.code:
        log_event(
            log,
            logging.WARNING,
            "fallback_triggered",
            original_provider=request.model,
            fallback_strategy=",".join(route.fallbacks),
            fallback_success=False,
        )


def _asked_length(request: ModelRequest) -> int:
    """Characters of what was said, images and sounds left out."""
    if isinstance(request, TextRequest):
        return len(request.prompt) + len(request.suffix or "")
    length = 0
    for message in request.messages:
        content = message.get("content")
        if isinstance(content, str):
            length += len(content)
        elif isinstance(content, list):
            length += sum(len(part["text"]) for part in content if isinstance(part.get("text"), str))
    return length


def _length(choices: object, kind: str) -> int:
    """Characters of an answer's text."""
    length = 0
    for choice in choices if isinstance(choices, list | tuple) else ():
        said = choice.get(kind)
        text = said.get("content") if isinstance(said, dict) else choice.get("text")
        length += len(text) if isinstance(text, str) else 0
    return length


def _asked(request: ModelRequest) -> dict[str, Attribute]:
    asked: dict[str, Attribute] = {
        "gen_ai.operation.name": "text_completion" if isinstance(request, TextRequest) else "chat",
        "gen_ai.request.model": request.model,
    }
    for option, name in SAMPLING.items():
        value = request.options.get(option)
        if isinstance(value, int | float):
            asked[name] = value
    return asked


def _said(said: object) -> str:
    text = json.dumps(said, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"


def _served(served: Served | None) -> dict[str, Attribute]:
    if served is None:
        return {}
    said: dict[str, Attribute | None] = {
        "gen_ai.provider.name": served.provider,
        "gen_ai.response.model": served.model,
        "tidemill.attempts": served.attempts,
        "tidemill.cost_usd": served.cost_usd,
        "tidemill.recovery": served.recovery or None,
        "tidemill.fallback": served.fallback,
    }
    return {name: value for name, value in said.items() if value is not None}


def _used(usage: Usage | None) -> dict[str, Attribute]:
    if usage is None:
        return {}
    return {
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.output_tokens": usage.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
    }
