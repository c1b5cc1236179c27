"""Wrappers of the model port and of the embedding port: nobody asks faster than a rate limit allows.

A limit is a token bucket: it holds `burst` requests, or a minute's tokens, and fills at an even pace. Buckets are rows
that all processes share. Tokens are taken by an estimate before a request is sent, and corrected by what was really
used, below nothing where need be: who used more than was thought waits longer the next time.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from uuid import UUID

from tidemill.core.chat import ChatChunk, ChatCompletion, ModelRequest, Usage
from tidemill.core.clock import Clock
from tidemill.core.context import InferenceContext
from tidemill.core.embedding import EmbeddingRequest, Embeddings
from tidemill.core.errors import ContentRefused, RateLimited, TidemillError
from tidemill.core.limits import Allowance, LimitScope, RateLimit, RateStanding
from tidemill.llm.embeddings import Embedder
from tidemill.llm.port import ChatModel
from tidemill.llm.rate_shares import Shares
from tidemill.llm.remembered import Remembered
from tidemill.llm.upper_bound import prompt_bound, text_bound
from tidemill.settings.limits import LimitSettings
from tidemill.store.rate_limits import Draw, RateLimitRepository

log = logging.getLogger(__name__)

MINUTE = 60.0
BYTES_PER_TOKEN = 4
"""Of English text and of code, about; what was wrong is corrected."""
REQUESTS = "requests"
TOKENS = "tokens"
WHOSE = {
    LimitScope.ALL: "everyone together",
    LimitScope.KEY: "this key",
    LimitScope.USER: "this person",
}

Levels = Mapping[tuple[str, str], float]


@dataclass(frozen=True, slots=True)
class _Limit:
    """One limit of an asker, with the name of its buckets."""

    subject: str
    whose: str
    requests_per_minute: int | None
    tokens_per_minute: int | None
    burst: int | None

    def draws(self, tokens: int) -> Iterable[Draw]:
        """What one request takes: of the tokens no more than the bucket holds, so that a large one comes through."""
        if self.requests_per_minute is not None:
            capacity = float(self.burst or self.requests_per_minute)
            yield Draw(self.subject, REQUESTS, capacity, self.requests_per_minute / MINUTE, 1.0)
        if self.tokens_per_minute is not None:
            capacity = float(self.tokens_per_minute)
            yield Draw(self.subject, TOKENS, capacity, capacity / MINUTE, min(float(tokens), capacity))


@dataclass(frozen=True, slots=True)
class Taken:
    """What a request took, and how its asker stands since."""

    draws: Sequence[Draw]
    standing: RateStanding


NOTHING = Taken((), RateStanding())


class Pace:
    """Takes from an asker's buckets.

    Args:
        rows: the limits and the buckets.
        settings: the limits of keys and people for whom none were set.
        clock: gives the time.
    """

    def __init__(self, rows: RateLimitRepository, settings: LimitSettings, *, clock: Clock) -> None:
        self._rows = rows
        self._settings = settings
        self._shares = Shares(rows, clock=clock)
        self._limits = Remembered[tuple[UUID | None, UUID | None], list[_Limit]](self._look_up)

    async def take(self, context: InferenceContext | None, estimate: Callable[[], int]) -> Taken:
        """Takes a request and its tokens from each bucket of the asker, or nothing from any.

        Raises:
            RateLimited: one does not hold them; it says when it will.
        """
        if context is None:
            raise TidemillError("A request reached the rate limits without saying who asks.")
        limits = await self._limits.get((context.key_id, context.user_id))
        if not any(limit.requests_per_minute or limit.tokens_per_minute for limit in limits):
            return NOTHING
        tokens = estimate()
        draws = [draw for limit in limits for draw in limit.draws(tokens)]
        taken, levels = await self._shares.take(draws)
        if not taken:
            raise _refused(limits, draws, levels)
        return Taken(draws, _standing(draws, levels))

    async def correct(self, taken: Taken, tokens: int) -> None:
        """Puts the tokens that were really used in the place of the estimate. Goes on where the caller is cancelled."""
        changes = [replace(draw, amount=tokens - draw.amount) for draw in taken.draws if draw.kind == TOKENS]
        if not any(draw.amount for draw in changes):
            return
        try:
            await asyncio.shield(self._shares.correct(changes))
        except TidemillError as error:
            log.warning("The tokens that a request really used are not in its rate limit: %s", error.message)

    async def aclose(self) -> None:
        """Gives back what was taken in advance."""
        await self._shares.aclose()

    async def _look_up(self, asker: tuple[UUID | None, UUID | None]) -> list[_Limit]:
        key_id, user_id = asker
        first_key, set_ones = await self._rows.applicable(key_id=key_id, user_id=user_id)
        limits = [_limit(one) for one in set_ones]
        own = LimitScope.USER if first_key is None else LimitScope.KEY
        subject = user_id if first_key is None else first_key
        if subject is not None and not any(one.scope is own for one in set_ones):
            chosen = self._settings
            limits.append(
                _Limit(
                    f"{own}:{subject}",
                    WHOSE[own],
                    chosen.requests_per_minute,
                    chosen.tokens_per_minute,
                    chosen.burst,
                )
            )
        return limits


class RateLimitedModel:
    """Refuses what comes faster than its asker may ask, before anyone is asked.

    Args:
        inner: the model that answers.
        pace: the buckets.
    """

    def __init__(self, inner: ChatModel, pace: Pace) -> None:
        self._inner = inner
        self._pace = pace

    async def complete(self, request: ModelRequest) -> ChatCompletion:
        """As the port says; raises `RateLimited` where the asker has to wait."""
        taken = await self._pace.take(request.context, lambda: _estimate(request))
        if taken is NOTHING:
            return await self._inner.complete(request)
        try:
            answer = await self._inner.complete(request)
        except TidemillError as error:
            if not _was_answered(error):
                await self._pace.correct(taken, 0)
            raise
        await self._pace.correct(taken, _used(answer.usage))
        return answer if answer.served is None else replace(answer, served=replace(answer.served, rate=taken.standing))

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ChatChunk, None]:
        """As the port says; raises `RateLimited` where the asker has to wait."""
        taken = await self._pace.take(request.context, lambda: _estimate(request))
        used: int | None = None
        began = False
        try:
            async with aclosing(self._inner.stream(request)) as chunks:
                async for chunk in chunks:
                    if chunk.usage is not None:
                        used = _used(chunk.usage)
                    if chunk.served is not None and taken is not NOTHING:
                        chunk = replace(chunk, served=replace(chunk.served, rate=taken.standing))
                    began = True
                    yield chunk
        except TidemillError as error:
            used = used if began or _was_answered(error) else 0
            raise
        finally:
            if used is not None:
                await self._pace.correct(taken, used)


class RateLimitedEmbedder:
    """The same for embeddings.

    Args:
        inner: the model that answers.
        pace: the buckets.
    """

    def __init__(self, inner: Embedder, pace: Pace) -> None:
        self._inner = inner
        self._pace = pace

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        """As the port says; raises `RateLimited` where the asker has to wait."""
        taken = await self._pace.take(
            request.context, lambda: -(-sum(map(text_bound, request.texts)) // BYTES_PER_TOKEN)
        )
        try:
            embeddings = await self._inner.embed(request)
        except TidemillError:
            await self._pace.correct(taken, 0)
            raise
        computed = sum(count for place, count in enumerate(embeddings.tokens) if place not in embeddings.cached)
        await self._pace.correct(taken, computed)
        if embeddings.served is None or taken is NOTHING:
            return embeddings
        return replace(embeddings, served=replace(embeddings.served, rate=taken.standing))


def _estimate(request: ModelRequest) -> int:
    """The tokens that a request is thought to use, its answer as long as it may be where it says so."""
    limit = request.options.get("max_tokens")
    return -(-prompt_bound(request) // BYTES_PER_TOKEN) + (limit if isinstance(limit, int) and limit > 0 else 0)


def _was_answered(error: TidemillError) -> bool:
    """Whether tokens were used all the same, nobody knows how many: an answer was made, and was not let pass."""
    return isinstance(error, ContentRefused) and error.served is not None


def _used(usage: Usage) -> int:
    return usage.prompt_tokens + usage.completion_tokens


def _limit(limit: RateLimit) -> _Limit:
    subject = f"{limit.scope}:{limit.subject}"
    return _Limit(subject, WHOSE[limit.scope], limit.requests_per_minute, limit.tokens_per_minute, limit.burst)


def _standing(draws: Sequence[Draw], levels: Levels) -> RateStanding:
    return RateStanding(_allowance(draws, levels, REQUESTS), _allowance(draws, levels, TOKENS))


def _allowance(draws: Sequence[Draw], levels: Levels, kind: str) -> Allowance | None:
    """Of the buckets of a kind, the one in which the least is left."""
    of_kind = [draw for draw in draws if draw.kind == kind]
    if not of_kind:
        return None
    least = min(of_kind, key=lambda draw: levels[draw.bucket])
    level = levels[least.bucket]
    return Allowance(round(least.rate * MINUTE), max(0, int(level)), max(0.0, (least.capacity - level) / least.rate))


def _refused(limits: Sequence[_Limit], draws: Sequence[Draw], levels: Levels) -> RateLimited:
    """Says what has to be waited for longest."""

    def wait(draw: Draw) -> float:
        return (draw.amount - levels[draw.bucket]) / draw.rate

    longest = max(draws, key=wait)
    seconds = max(wait(longest), 0.001)
    [whose] = {limit.whose for limit in limits if limit.subject == longest.subject}
    return RateLimited(
        f"The rate limit of {whose}, {round(longest.rate * MINUTE):,} {longest.kind} a minute, is used up. Nothing was "
        f"asked. Try again in {seconds:.1f} s; an admin can raise the limit.",
        retry_after=seconds,
        standing=_standing(draws, levels),
    )
