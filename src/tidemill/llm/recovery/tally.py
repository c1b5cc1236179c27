"""What one request has tried, what it has spent, and what its asker is told of that."""

import logging
from collections.abc import Iterator
from dataclasses import replace

from tidemill.core.deployment import Deployment, Fallback
from tidemill.core.errors import AllFailed, Configuration, DeadlineExceeded, ModelNotFound, TidemillError, Unavailable
from tidemill.core.failure import Failure
from tidemill.core.provider import ModelFacts
from tidemill.core.served import Served
from tidemill.llm.recovery.breaker import Blocked
from tidemill.llm.recovery.means import Means

log = logging.getLogger(__name__)


class Tally:
    """Keeps count of one request's tries.

    Args:
        means: what all requests share.
        model: what was asked for.
        deployment: what serves it.

    Attributes:
        asked: whom, in order; who was asked twice is there twice.
        refusals: what kept the request from a target, without its being asked.
        cost: US dollars that the failed tries cost; `None` where nobody knows.
    """

    def __init__(self, means: Means, model: str, deployment: Deployment) -> None:
        self.asked: list[ModelFacts] = []
        self.refusals: list[TidemillError] = []
        self.cost: float | None = 0.0
        self._means = means
        self._model = model
        self._deployment = deployment
        self._tried: list[str] = []
        self._leaves: list[Failure] = []
        self._verdict: tuple[Failure, TidemillError] | None = None

    @property
    def was_tried(self) -> bool:
        """Whether a target failed, or is known to."""
        return bool(self._tried)

    @property
    def was_declined(self) -> bool:
        """Whether the last target was there, and would not answer this."""
        return self._verdict is not None and self._verdict[0].branch == "content"

    def spend(self, cost_usd: float | None) -> None:
        """Adds what a try cost."""
        self.cost = None if cost_usd is None or self.cost is None else self.cost + cost_usd

    def failed(self, facts: ModelFacts, leaf: Failure, error: TidemillError, *, fallback: bool) -> None:
        """Notes a failure. That of a fallback does not change why the targets failed."""
        self._leaves.append(leaf)
        self._tried.append(f"{facts.name}: {leaf.value}")
        if not fallback:
            self._verdict = (leaf, error)

    def passed_over(self, error: TidemillError) -> None:
        """Notes that the last one was not asked after all."""
        self.asked.pop()
        self.refusals.append(error)

    def blocked(self, facts: ModelFacts, blocked: Blocked) -> None:
        """Notes that a target was left alone."""
        self._tried.append(f"{facts.name}: {blocked.reason}")

    def served(self, facts: ModelFacts, inner: Served | None, *, fallback: bool) -> Served:
        """Who answered, and what it cost with all that failed before."""
        named = self._deployment.route is None and not facts.outside
        free = facts.price is not None and facts.price.is_nothing
        cost = inner.cost_usd if inner is not None else (0.0 if free else None)
        return self._so_far(
            Served(
                provider=facts.provider,
                model=facts.name,
                version=(inner.version if inner else "")
                or (self._deployment.model_version if named else facts.version),
                cost_usd=None if cost is None or self.cost is None else self.cost + cost,
                fallback=Fallback.LOCAL.value if fallback else None,
            )
        )

    def served_instead(self, fallback: Fallback, version: str) -> Served:
        """The hub itself, with a text that no model wrote; `version` is the prompt's."""
        name = fallback.value
        return self._so_far(Served(name, name, version, cost_usd=self.cost, fallback=name))

    def told(self, error: TidemillError) -> TidemillError:
        """The error with what was spent, and who was asked."""
        error.cost_usd = self.cost
        if self.asked:
            last = self.asked[-1]
            error.served = self._so_far(Served(last.provider, last.name, last.version, self.cost))
        return error

    def outcome(self, *, late: bool) -> TidemillError:
        """What the asker is told when nobody answered."""
        return self.told(self._late() if late else self._failed())

    def _late(self) -> TidemillError:
        return DeadlineExceeded(
            f"There was no answer of {self._model} before the request's deadline{self._told_of()}. "
            "Ask with a later one (`X-Tidemill-Timeout`), or for fewer tokens."
        )

    def _failed(self) -> TidemillError:
        route = self._deployment.route
        if self.refusals and not self._tried:
            return self.refusals[0]
        if route is None:
            return self._verdict[1] if self._verdict is not None else self._left_alone()
        if self._verdict is not None and self.was_declined:
            return self._verdict[1]
        log.error("No model of the route %s answered%s.", route.name, self._told_of())
        return AllFailed(
            f"No model of the route {route.name} answered{self._told_of()}. Try again later; "
            "`tidemill providers list` says how each provider is.",
            retry_after=self._soonest(),
        )

    def _left_alone(self) -> TidemillError:
        """The error for a model that was named, and is not asked now."""
        facts = self._means.facts(self._model)
        blocked = self._means.breaker.blocked(facts)
        why = blocked.reason if blocked else "being tried again by another request"
        if blocked is not None and blocked.until is None:
            return Configuration(
                f"The provider {facts.provider} is not asked for {facts.model}: it is {why}. When that is mended, an "
                f"admin puts it back with `tidemill providers enable {facts.provider}`."
            )
        return Unavailable(
            f"The provider {facts.provider} is not asked for {facts.model} now: it is {why}. Try again later.",
            retry_after=self._soonest(),
        )

    def _so_far(self, served: Served) -> Served:
        return replace(served, attempts=len(self.asked), recovery=tuple(leaf.value for leaf in self._leaves))

    def _told_of(self) -> str:
        """What was tried, in parentheses."""
        told = [*self._tried, *(f"passed over: {one.code}" for one in self.refusals)]
        return f" ({'; '.join(told)})" if told else ""

    def _soonest(self) -> float | None:
        """Seconds until the first of them may be asked again."""
        soonest = self._means.breaker.soonest(list(self._known()))
        return None if soonest is None else max(1.0, (soonest - self._means.clock()).total_seconds())

    def _known(self) -> Iterator[ModelFacts]:
        route = self._deployment.route
        for name in [target.model for target in route.targets] if route else [self._model]:
            try:
                yield self._means.facts(name)
            except ModelNotFound:
                continue
