"""One request's way along the recovery tree: which model is asked next, how, and what is said in the end."""

import logging
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from tidemill.core.chat import ChatCompletion, ModelRequest
from tidemill.core.context import Attempt, InferenceContext
from tidemill.core.deployment import Fallback
from tidemill.core.errors import (
    BudgetExceeded,
    Configuration,
    DeadlineExceeded,
    InvalidInput,
    ModelFailed,
    ModelNotFound,
    NotPermitted,
    PriceUnknown,
    StreamInterrupted,
    TidemillError,
    TooManyRequests,
    Unavailable,
)
from tidemill.core.failure import Failure
from tidemill.core.provider import ModelFacts
from tidemill.core.served import Served
from tidemill.llm.prompts.recovery import SAFER
from tidemill.llm.recovery.breaker import next_day, spot_of
from tidemill.llm.recovery.changes import safer, shorter
from tidemill.llm.recovery.fallbacks import said_instead, whole
from tidemill.llm.recovery.means import Means
from tidemill.llm.recovery.strategies import Choice, expected_cost
from tidemill.llm.recovery.tally import Tally
from tidemill.llm.recovery.tree import Blame, Recovery, Rest, Retry, Then

log = logging.getLogger(__name__)

GRACE_SECONDS = 0.5
"""How long after its timeout an adapter may take to say so."""
PASSED_OVER = (NotPermitted, BudgetExceeded, ModelNotFound)
"""What keeps a request from one target, and perhaps not from the next."""
PERHAPS_ELSEWHERE = (Unavailable, ModelFailed, TooManyRequests, Configuration)
"""Failures of a model of one's own, which have no leaf: what went wrong there need not go wrong elsewhere."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One try.

    Attributes:
        request: with the model and the attempt in it.
        facts: the model's.
        limit: seconds until it must have answered, or begun to.
        began: when, by the clock.
        started: when, by the timer.
        fair: the model had as long as it needs, so that a timeout is its own fault.
        fallback: whether it is the route's local fallback.
    """

    request: ModelRequest
    facts: ModelFacts
    limit: float
    began: datetime
    started: float
    fair: bool
    fallback: bool = False


@dataclass(slots=True)
class _Target:
    """The target that is being asked, and what was tried with it."""

    facts: ModelFacts
    tries: int = 0
    used: set[Retry] = field(default_factory=set)
    endpoint: int = 0
    timeout: float | None = None


class Course:
    """Says step by step what to do, is told how it went, and raises what the asker is to see.

    Args:
        means: what all requests share.
        request: what was asked.
    """

    def __init__(self, means: Means, request: ModelRequest) -> None:
        if request.context is None:
            raise TidemillError("A request reached recovery without saying who asks.")
        self._means = means
        self._context: InferenceContext = request.context
        self._request = request
        self._route = request.context.deployment.route
        now = means.timer()
        stated = request.context.deadline
        self._deadline = now + means.settings.deadline if stated is None else stated
        self._max_cost = _least(request.context.max_cost_usd, means.settings.max_cost_usd)
        self._fallbacks = list(self._route.fallbacks) if self._route else []
        self._target: _Target | None = None
        self._again: float | None = None
        self._tally = Tally(means, request.model, request.context.deployment)
        self._queue = self._targets()

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self._deadline - self._means.timer()

    @property
    def has_stated_deadline(self) -> bool:
        """Whether the request itself says until when an answer is of use."""
        return self._context.deadline is not None

    def bound(self, ask: Ask) -> float:
        """Seconds that are waited for this try."""
        return max(0.0, min(ask.limit + GRACE_SECONDS, self.left))

    async def step(self) -> Ask | ChatCompletion:
        """Whom to ask next, after the wait that has to come first; or a text that needs no model.

        Raises:
            TidemillError: nobody is left to ask.
        """
        while True:
            if self._again is not None:
                wait, self._again = self._again, None
                if wait > 0:
                    await self._means.sleep(wait)
            else:
                self._target = _Target(self._queue.pop(0)) if self._queue else None
            if self._target is None or self.left <= 0:
                self._queue.clear()
                return self._fallback()
            blocked = await self._means.breaker.admit(self._target.facts)
            if blocked is None:
                return self._ask(self._target)
            self._tally.blocked(self._target.facts, blocked)

    async def succeeded(self, ask: Ask) -> None:
        """Notes that the model answered, and how long that took."""
        breaker = self._means.breaker
        if self._route is not None or self._means.listed(ask.facts):
            breaker.measured(ask.facts, (self._means.timer() - ask.started) * 1000)
        await breaker.succeeded(ask.facts, ask.began)

    async def failed(self, ask: Ask, error: TidemillError) -> None:
        """Decides what follows from a failure.

        Raises:
            TidemillError: the error itself, where nobody else could do better.
        """
        self._tally.spend(error.cost_usd)
        if isinstance(error, PASSED_OVER) and error.failure is None:
            self._tally.passed_over(error)
            await self._means.breaker.released(ask.facts, ask.began)
            if self._route is None:
                raise self._told(error)
            return
        leaf = self._leaf(error)
        if leaf is None:
            if isinstance(error, InvalidInput):  # whoever says what is wrong with a request is well
                await self._means.breaker.succeeded(ask.facts, ask.began)
            raise self._told(error)
        if leaf is Failure.RATE_LIMIT_LIGHT and error.retry_after is None:
            leaf = self._means.breaker.graver(ask.facts, leaf, ask.began)
        recovery = self._means.tree[leaf]
        self._tally.failed(ask.facts, leaf, error, fallback=ask.fallback)
        log.log(
            logging.WARNING if leaf is Failure.UNKNOWN else logging.INFO,
            "%s failed (%s): %s", ask.facts.name, leaf.value, error.message,
        )  # fmt: skip
        if self._route is None and not self._provided(ask.facts):
            await self._blame(ask, error, leaf, recovery, final=True)
            raise self._told(error)
        retry = self._retry(ask, error, recovery)
        await self._blame(ask, error, leaf, recovery, final=retry is None)
        if retry is not None and self._means.breaker.blocked(ask.facts) is None:
            self._again = retry
        else:
            self._turn(ask, recovery.then)

    async def interrupted(self, ask: Ask, error: TidemillError) -> TidemillError:
        """The error that ends a stream of which something was passed on."""
        if isinstance(error, DeadlineExceeded):
            return self._told(error)
        self._tally.spend(error.cost_usd)
        leaf = error.failure or (Failure.UNKNOWN if isinstance(error, PERHAPS_ELSEWHERE) else None)
        if leaf is not None:
            await self._blame(ask, error, leaf, self._means.tree[leaf], final=True)
        facts = ask.facts
        interrupted = StreamInterrupted(
            f"The answer of {facts.model} at {facts.provider} broke off after it had begun "
            f"({leaf or error.code}), and what has come is all there is of it. {error.message}",
            failure=leaf,
            retry_after=error.retry_after,
        )
        interrupted.cost_usd = self._tally.cost
        return interrupted

    def served(self, ask: Ask, inner: Served | None) -> Served:
        """Who answered, and what it cost with all that failed before."""
        return self._tally.served(ask.facts, inner, fallback=ask.fallback)

    def overdue(self, ask: Ask) -> TidemillError:
        """The failure of a try that did not answer in time."""
        price = ask.facts.price
        late = Unavailable(
            f"The model {ask.facts.name} did not answer within {ask.limit:.0f} s. Ask for fewer tokens, or allow more.",
            failure=Failure.NETWORK_TIMEOUT,
        )
        late.cost_usd = 0.0 if price is not None and price.is_nothing else None  # it may have answered by then
        return late

    def _targets(self) -> list[ModelFacts]:
        """Whom to ask, in this order."""
        if self._route is None:
            facts = self._means.facts(self._request.model)
            return [facts] if self._affordable(facts) else []
        choices: list[Choice] = []
        for target in self._route.targets:
            try:
                facts = self._means.facts(target.model)
            except ModelNotFound as error:
                self._tally.refusals.append(error)
                continue
            if (blocked := self._means.breaker.blocked(facts)) is not None:
                self._tally.blocked(facts, blocked)
            elif self._affordable(facts):
                choices.append((target, facts))
        ordered = self._means.strategies.ordered(self._route, choices, self._request, self._max_cost)
        if choices and not ordered:
            self._tally.refusals.append(
                self._too_dear(f"every model of the route {self._route.name} wants a larger budget")
            )
        return sorted((facts for _, facts in ordered), key=self._means.cooling)

    def _affordable(self, facts: ModelFacts) -> bool:
        """Whether a request that may cost only so much is put to this model."""
        if self._max_cost is None:
            return True
        cost = expected_cost(self._request, facts)
        if cost is None:
            self._tally.refusals.append(
                PriceUnknown(
                    f"This request may cost {self._max_cost:g} US dollars, and the price of {facts.name} is not known. "
                    "Say its price under `providers`, or ask without a bound."
                )
            )
        elif cost > self._max_cost:
            self._tally.refusals.append(self._too_dear(f"{facts.name} may take {cost:.6f}"))
        return cost is not None and cost <= self._max_cost

    def _too_dear(self, why: str) -> BudgetExceeded:
        return BudgetExceeded(
            f"This request may cost {self._max_cost:g} US dollars, and {why}. Ask for fewer tokens, or allow more."
        )

    def _ask(self, target: _Target, *, fallback: bool = False) -> Ask:
        means, facts = self._means, target.facts
        own = means.timeout(facts.name)
        limit = self._limit(facts, target.timeout or own)
        target.tries += 1
        target.timeout = limit
        self._tally.asked.append(facts)
        context = replace(self._context, attempt=Attempt(target.endpoint, limit))
        return Ask(
            request=replace(self._request, model=facts.name, context=context),
            facts=facts,
            limit=limit,
            began=means.clock(),
            started=means.timer(),
            fair=self._context.deadline is None or (own is not None and limit >= own),
            fallback=fallback,
        )

    def _limit(self, facts: ModelFacts, usual: float | None) -> float:
        """Seconds for one try: what it usually has, within what is left, so that whoever is next has a chance, too."""
        left = self.left / 2 if self._alternatives(facts, Then.PROVIDER) else self.left
        return left if usual is None else min(usual, left)

    def _leaf(self, error: TidemillError) -> Failure | None:
        """How it failed; `None` for what no other model would mend."""
        if error.failure is not None:
            return error.failure
        return Failure.UNKNOWN if self._route is not None and isinstance(error, PERHAPS_ELSEWHERE) else None

    def _retry(self, ask: Ask, error: TidemillError, recovery: Recovery) -> float | None:
        """Seconds after which the same model is to be asked once more, made ready for that; `None` for not at all."""
        target, how = self._target, recovery.retry
        if target is None or ask.fallback or how is None or how in target.used:
            return None
        if target.tries >= self._means.settings.tries or self.left <= 0:
            return None
        wait = recovery.wait if error.retry_after is None or how is not Retry.SAME else error.retry_after
        if wait >= self.left or not self._worth_waiting(ask.facts, wait, recovery.then):
            return None
        if not self._prepare(target, ask, error, how):
            return None
        target.used.add(how)
        if wait > 0:
            self._means.cool(ask.facts, wait)
        return wait

    def _worth_waiting(self, facts: ModelFacts, wait: float, then: Then) -> bool:
        """Whether it is better to wait for this one than to ask another. One request waits; the others go on."""
        if wait <= 0 or not self._alternatives(facts, then):
            return True
        return wait <= self._means.settings.longest_wait and not self._means.cooling(facts)

    def _prepare(self, target: _Target, ask: Ask, error: TidemillError, how: Retry) -> bool:
        """Changes what the next try needs changed; false where there is nothing to change."""
        provider = self._means.provider(ask.facts.name)
        changed: ModelRequest | None = self._request
        match how:
            case Retry.LONGER:
                target.timeout = ask.limit * self._means.settings.timeout_growth
                return self._limit(ask.facts, target.timeout) > ask.limit
            case Retry.ENDPOINT:
                target.endpoint += 1
                return provider is not None and len(provider.base_urls) > 1
            case Retry.SAFER:
                prompt = self._means.prompts.current(SAFER, self._context.language)
                changed = safer(self._request, prompt) if self._route is not None else None
            case Retry.SHORTER:
                changed = shorter(self._request, error, ask.facts) if self._route is not None else None
        if changed is not None:
            self._request = changed
        return changed is not None

    async def _blame(self, ask: Ask, error: TidemillError, leaf: Failure, recovery: Recovery, *, final: bool) -> None:
        """Writes down whose failure it is, how long they rest, and whether they are out.

        Args:
            final: nothing is retried, so that what follows from the failure in the end follows now.
        """
        breaker, facts = self._means.breaker, ask.facts
        if recovery.blame is Blame.NOBODY:
            await breaker.succeeded(facts, ask.began)
            return
        if error.failure is None or (leaf is Failure.NETWORK_TIMEOUT and not ask.fair):
            return
        if isinstance(error, ModelNotFound):  # whoever names models that there are not would fill the table
            return
        provided = self._provided(facts)
        if leaf is Failure.AUTH_INVALID and provided and not await self._means.has_key(facts.name):
            return  # this process has no key to offer; others may have one
        theirs = self._route is None and leaf is Failure.AUTH_PERMISSION  # who asked has chosen what is not allowed
        whole_provider = recovery.blame is Blame.PROVIDER and not facts.local and not theirs
        named = self._route is not None or self._means.listed(facts)
        if not whole_provider and not named and not breaker.has_room(spot_of(facts)):
            return
        disabled = recovery.disable and final and whole_provider and provided  # nobody could put an endpoint back
        await breaker.failed(
            (facts.provider, "") if whole_provider else spot_of(facts),
            leaf,
            rests_until=self._rests_until(error, leaf, recovery, final=final),
            disabled_reason=f"{leaf.value} at {facts.model}" if disabled else None,
        )

    def _rests_until(self, error: TidemillError, leaf: Failure, recovery: Recovery, *, final: bool) -> datetime | None:
        """When whoever failed may be asked again."""
        now = self._means.clock()
        asked_for = None if error.retry_after is None else now + timedelta(seconds=error.retry_after)
        if recovery.rest is not None:
            if asked_for is not None:
                return asked_for
            if isinstance(recovery.rest, Rest):
                return next_day(now)
            return now + timedelta(seconds=recovery.rest)
        wants_rest = leaf.branch in ("rate_limit", "overload")
        return asked_for if final and wants_rest and self._route is not None else None

    def _turn(self, ask: Ask, then: Then) -> None:
        """Puts what is left of the targets into the order in which they are asked now."""
        place = _place(ask.facts)
        match then:
            case Then.FALLBACK:
                self._queue.clear()
            case Then.PROVIDER:
                self._queue = [facts for facts in self._queue if _place(facts) != place]
            case Then.MODEL:
                self._queue.sort(key=lambda facts: _place(facts) != place)

    def _alternatives(self, facts: ModelFacts, then: Then) -> bool:
        """Whether another target could be asked in its place."""
        others = (one for one in self._queue if then is Then.MODEL or _place(one) != _place(facts))
        return any(self._means.breaker.blocked(one) is None for one in others)

    def _fallback(self) -> Ask | ChatCompletion:
        """The next of the route's fallbacks that has something to say.

        Raises:
            TidemillError: there is none.
        """
        while self._fallbacks:
            fallback = self._fallbacks.pop(0)
            if fallback is Fallback.LOCAL:
                if (facts := self._local()) is not None:
                    self._target = _Target(facts)
                    return self._ask(self._target, fallback=True)
            elif (said := self._said(fallback)) is not None:
                text, version = said
                return whole(text, self._request, self._tally.served_instead(fallback, version))
        raise self._tally.outcome(late=self.left <= 0)

    def _said(self, fallback: Fallback) -> tuple[str, str] | None:
        """A text that needs no model, and its version; `None` where there is none, or the prompt for it is broken."""
        if not self._tally.was_tried:  # not in place of a refusal, which the asker has to know of
            return None
        refused = self._tally.was_declined
        try:
            return said_instead(fallback, self._request, self._context, self._means.prompts, refused=refused)
        except InvalidInput as error:  # of a team's own prompt, not of the request
            log.error("The fallback %s has nothing to say. %s", fallback.value, error.message)  # noqa: TRY400
            return None

    def _local(self) -> ModelFacts | None:
        """The default local model, where there is time for it and it was not asked yet."""
        name = self._means.local_model()
        if name is None or self.left <= 0 or any(facts.name == name for facts in self._tally.asked):
            return None
        return self._means.facts(name)

    def _told(self, error: TidemillError) -> TidemillError:
        """The error with what was spent, and who was asked."""
        return self._tally.told(error)

    def _provided(self, facts: ModelFacts) -> bool:
        return self._means.provider(facts.name) is not None


def _place(facts: ModelFacts) -> str:
    """What a switch of the provider leaves: each model of one's own is a place of its own."""
    return facts.name if facts.local else facts.provider


def _least(*bounds: float | None) -> float | None:
    return min((bound for bound in bounds if bound is not None), default=None)
