"""Wrappers of the model port and of the embedding port: what an attempt costs, and that budgets hold it.

They stand inside recovery, so that each sees one attempt at one target: a fallback can't break a budget either.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

from tidemill.core.chat import ChatChunk, ChatCompletion, ModelRequest, Usage
from tidemill.core.clock import Clock
from tidemill.core.context import InferenceContext
from tidemill.core.deployment import Deployment, Task
from tidemill.core.embedding import EmbeddingRequest, Embeddings
from tidemill.core.errors import (
    BudgetExceeded,
    Configuration,
    InvalidInput,
    ModelNotFound,
    NotFound,
    NotPermitted,
    PriceUnknown,
    TidemillError,
    TooManyRequests,
)
from tidemill.core.failure import Failure
from tidemill.core.ids import new_id
from tidemill.core.limits import Budget, BudgetState, LimitScope, Period
from tidemill.core.provider import ModelFacts, Price
from tidemill.core.served import Served
from tidemill.llm.embeddings import Embedder
from tidemill.llm.port import ChatModel
from tidemill.llm.remembered import Remembered
from tidemill.llm.upper_bound import bounded, texts_bound
from tidemill.store.budgets import BudgetRepository, Reservation, Reserved

log = logging.getLogger(__name__)

Facts = Callable[[str], ModelFacts]
"""What is known of a name that can be asked; raises `ModelNotFound`."""

RESERVED_FOR = timedelta(hours=1)
"""How long what a request may cost is held back where nobody says how it ended; after that it counts as spent."""
NOT_BILLED = frozenset(
    {
        Failure.RATE_LIMIT_LIGHT,
        Failure.RATE_LIMIT_MEDIUM,
        Failure.RATE_LIMIT_HEAVY,
        Failure.QUOTA_DAILY,
        Failure.QUOTA_BILLING,
        Failure.QUOTA_MODEL,
        Failure.AUTH_INVALID,
        Failure.AUTH_EXPIRED,
        Failure.AUTH_PERMISSION,
        Failure.NETWORK_DNS,
        Failure.OVERLOAD_LIGHT,
        Failure.OVERLOAD_HIGH,
        Failure.OVERLOAD_OVERLOADED,
        Failure.CONTENT_LENGTH,
    }
)
"""Refusals before a model began. Of the others nobody can say: a request that timed out may have been answered."""
NOT_SENT = (NotPermitted, Configuration, NotFound, BudgetExceeded, TooManyRequests)
"""What the hub itself refuses."""
NOT_CONNECTED = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout"})
"""The names of the transport's errors before anything was sent; each of the clients has classes of its own."""

MOST_USD = 900_000_000.0
"""More than any budget may be, and as much as a row can hold."""

WHOSE = {
    LimitScope.ALL: "everyone together",
    LimitScope.KEY: "this key",
    LimitScope.USER: "this person",
    LimitScope.TEAM: "the team",
    LimitScope.TASK: "the task",
}
PER = {Period.DAY: "a day", Period.MONTH: "a month", Period.TOTAL: "in all"}


@dataclass(frozen=True, slots=True)
class _Who:
    """Whose budgets apply to a request."""

    key_id: UUID | None
    user_id: UUID | None
    task: Task


class Spending:
    """Reserves what an attempt may cost, and settles what it did.

    Args:
        rows: the budgets.
        facts: the models' prices.
        clock: gives the time.
    """

    def __init__(self, rows: BudgetRepository, facts: Facts, *, clock: Clock) -> None:
        self.facts = facts
        self._rows = rows
        self._clock = clock
        self._budgets = Remembered[_Who, list[Budget]](
            lambda who: rows.applicable(key_id=who.key_id, user_id=who.user_id, task=who.task)
        )

    def is_free(self, deployment: Deployment) -> bool:
        """Whether nothing that may be asked for it costs anything."""
        names = [target.model for target in deployment.route.targets] if deployment.route else [deployment.model]
        try:
            return all(_free(self.facts(name).price) for name in names)
        except ModelNotFound:
            return False  # it was taken away meanwhile, and nobody knows its price any more

    async def budgets(self, context: InferenceContext | None) -> list[Budget]:
        """The budgets that a request counts towards, as they were a second ago at most."""
        if context is None:
            raise TidemillError("A request reached the budgets without saying who asks.")
        return await self._budgets.get(_Who(context.key_id, context.user_id, context.deployment.task))

    async def reserve(self, budgets: list[Budget], facts: ModelFacts, usage: Usage) -> Reservation:
        """Holds back from each budget what this use costs.

        A budget that does not hold it is looked at again when this process has settled whatever it had left for later.

        Raises:
            BudgetExceeded: one of them does not hold it.
            PriceUnknown: nobody can say what it costs.
        """
        now = self._clock()
        if facts.price is None:
            raise _unknown_price(facts, budgets[0])
        reserved = Reservation(
            id=new_id(),
            periods={budget.id: budget.period.start(now) for budget in budgets},
            amount_usd=min(facts.price.of(usage), MOST_USD),
            expires_at=now + RESERVED_FOR,
        )
        found = await self._hold(reserved)
        if found.short and await self._rows.settled():
            found = await self._hold(reserved)
        if short := found.short:
            state = min(short, key=lambda one: one.left_usd)
            renews_at = state.budget.period.renews_at(now)
            raise _exceeded(
                state, reserved.amount_usd, None if renews_at is None else f"{renews_at:%Y-%m-%d %H:%M} UTC"
            )
        return replace(reserved, settled_at_once=found.nearly_used_up)

    async def _hold(self, reserved: Reservation) -> Reserved:
        reserving = asyncio.ensure_future(self._rows.reserve(reserved))
        try:
            return await asyncio.shield(reserving)
        except asyncio.CancelledError:
            await asyncio.shield(self._release(reserving, reserved))
            raise

    async def settle(self, reserved: Reservation | None, cost_usd: float | None) -> None:
        """Puts the real cost in the place of what was reserved; what is not known costs all of that.

        Nobody waits for it, save where a budget is nearly used up: there the next request may need what is left over.
        Goes on where the caller is cancelled. Where the database does not take it, or the process is killed before,
        the reservation stays, and counts as spent.
        """
        if reserved is None:
            return
        cost = reserved.amount_usd if cost_usd is None else cost_usd
        if not reserved.settled_at_once:
            await self._rows.settle_later(reserved, cost)
            return
        try:
            await asyncio.shield(self._rows.settle(reserved, cost))
        except TidemillError as error:
            log.warning("What a request really cost is not in its budgets, which count what was reserved: %s", error)

    async def settled(self) -> None:
        """Settles at once what was left for later."""
        await self._rows.settled()

    async def _release(self, reserving: "asyncio.Future[Reserved]", reserved: Reservation) -> None:
        """Gives back what was reserved for a request that ended before it was sent."""
        try:
            found = await reserving
        except TidemillError:
            return  # nothing was reserved
        if not found.short:
            await self.settle(reserved, 0.0)


class BudgetedModel:
    """Says what each answer cost, and sends nothing that a budget of the asker's does not hold.

    A model of one's own costs nothing, and no budget is asked about it. Where nobody says what an answer cost, such
    as one that broke off, its cost is unknown, and its budgets count what was reserved.

    Args:
        inner: the model that answers.
        spending: the budgets and the prices.
    """

    def __init__(self, inner: ChatModel, spending: Spending) -> None:
        self._inner = inner
        self._spending = spending

    async def complete(self, request: ModelRequest) -> ChatCompletion:
        """As the port says; raises `BudgetExceeded` where a budget does not hold the attempt."""
        facts = self._spending.facts(request.model)
        request, reserved = await self._reserved(request, facts)
        cost: float | None = None
        try:
            answer = await self._inner.complete(request)
            cost = _cost(facts.price, answer.usage)
            return replace(answer, served=_served(answer.served, facts, cost))
        except TidemillError as error:
            error.cost_usd = cost = _cost_of_failure(error, facts.price)
            raise
        finally:
            await self._spending.settle(reserved, cost)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ChatChunk, None]:
        """As the port says. The chunk with the usage says what it cost."""
        facts = self._spending.facts(request.model)
        request, reserved = await self._reserved(request, facts)
        cost = 0.0 if _free(facts.price) else None
        began = ended = False
        try:
            async with aclosing(self._inner.stream(request)) as chunks:
                async for chunk in chunks:
                    ended = ended or any(choice.get("finish_reason") for choice in chunk.choices)
                    # What some servers say with each word is what was used so far, and not what the answer cost.
                    if chunk.usage is not None and (ended or not chunk.choices):
                        cost = _cost(facts.price, chunk.usage)
                    if chunk.usage is not None or chunk.served is not None or not began:
                        chunk = replace(chunk, served=_served(chunk.served, facts, cost))
                    began = True
                    yield chunk
        except TidemillError as error:
            if not began:
                cost = _cost_of_failure(error, facts.price)
            error.cost_usd = cost
            raise
        finally:
            await self._spending.settle(reserved, cost)

    async def _reserved(self, request: ModelRequest, facts: ModelFacts) -> tuple[ModelRequest, Reservation | None]:
        """The request as it is to be sent, and what is held back for it."""
        if _free(facts.price) or not (budgets := await self._spending.budgets(request.context)):
            return request, None
        limited = bounded(request, facts)
        return limited.request, await self._spending.reserve(budgets, facts, limited.usage)


class BudgetedEmbedder:
    """The same for embeddings.

    Args:
        inner: the model that answers.
        spending: the budgets and the prices.
    """

    def __init__(self, inner: Embedder, spending: Spending) -> None:
        self._inner = inner
        self._spending = spending

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        """As the port says; raises `BudgetExceeded` where a budget does not hold the request."""
        facts = self._spending.facts(request.model)
        reserved = None
        if not _free(facts.price) and (budgets := await self._spending.budgets(request.context)):
            reserved = await self._spending.reserve(budgets, facts, texts_bound(request))
        cost: float | None = None
        try:
            embeddings = await self._inner.embed(request)
            cost = _cost(facts.price, Usage(prompt_tokens=sum(embeddings.tokens)))
            return replace(embeddings, served=_served(embeddings.served, facts, cost))
        except TidemillError as error:
            error.cost_usd = cost = _cost_of_failure(error, facts.price)
            raise
        finally:
            await self._spending.settle(reserved, cost)


def _free(price: Price | None) -> bool:
    return price is not None and price.is_nothing


def _cost(price: Price | None, usage: Usage) -> float | None:
    """What a use costs. A server that counts no tokens of a prompt says nothing of its cost."""
    if _free(price):
        return 0.0
    return None if price is None or usage == Usage() else price.of(usage)


def _cost_of_failure(error: TidemillError, price: Price | None) -> float | None:
    """What an attempt that failed cost; `None` where nobody can say."""
    free = _free(price) or isinstance(error, NOT_SENT) or error.failure in NOT_BILLED or _never_sent(error)
    refused = isinstance(error, InvalidInput) and error.failure is None
    return 0.0 if free or refused else None


def _never_sent(error: BaseException) -> bool:
    """Whether no connection came about."""
    cause: BaseException | None = error
    while cause is not None:
        if type(cause).__name__ in NOT_CONNECTED:
            return True
        cause = cause.__cause__
    return False


def _served(served: Served | None, facts: ModelFacts, cost_usd: float | None) -> Served:
    if served is None:
        return Served(facts.provider, facts.name, facts.version, cost_usd=cost_usd)
    return replace(served, cost_usd=cost_usd)


def _exceeded(state: BudgetState, amount_usd: float, renews_at: str | None) -> BudgetExceeded:
    budget = state.budget
    held = "" if not state.reserved_usd else f"; requests under way may still use {_dollars(state.reserved_usd)}"
    renewal = "It is never renewed." if renews_at is None else f"It is renewed at {renews_at}."
    return BudgetExceeded(
        f"The budget of {_whose(budget)}, {_dollars(budget.limit_usd)} {PER[budget.period]}, has "
        f"{_dollars(state.left_usd)} left{held}, and this request may cost {_dollars(amount_usd)}. Nothing was sent. "
        f"{renewal} A smaller `max_tokens` makes a request cost less; an admin can raise the budget."
    )


def _unknown_price(facts: ModelFacts, budget: Budget) -> PriceUnknown:
    return PriceUnknown(
        f"What {facts.name} costs is not known, and the budget of {_whose(budget)} has to hold it. Nothing was sent. "
        f"Set the price of the model {facts.model!r} of {facts.provider} (docs/limits.md), or ask another model."
    )


def _whose(budget: Budget) -> str:
    return f"{WHOSE[budget.scope]} {budget.subject}".strip()


def _dollars(amount: float) -> str:
    return f"${amount:.2f}" if amount >= 1 or amount == 0 else f"${amount:.6f}"
