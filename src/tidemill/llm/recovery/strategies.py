"""In which order the targets of a route are asked."""

import math
from collections.abc import Mapping, Sequence

from tidemill.core.chat import ModelRequest, Usage
from tidemill.core.deployment import Route, Strategy, Target
from tidemill.core.provider import ModelFacts
from tidemill.llm.classified import said_in
from tidemill.llm.recovery.breaker import Breaker
from tidemill.llm.recovery.complexity import complexity

CHARACTERS_PER_TOKEN = 4
"""Of English and of code; a rough figure, which only compares prices."""
USUAL_ANSWER = 1000
"""Tokens of an answer whose length nothing bounds."""

Choice = tuple[Target, ModelFacts]
"""A target, and what is known of its model."""


def expected_use(request: ModelRequest, facts: ModelFacts) -> Usage:
    """About how many tokens a request takes at most: a token for four characters, and the longest answer allowed."""
    prompt = sum(map(len, said_in(request))) // CHARACTERS_PER_TOKEN + 1
    limit = next(
        (v for n in ("max_completion_tokens", "max_tokens") if isinstance(v := request.options.get(n), int)), 0
    )
    answers = request.options.get("n")
    answer = limit or min(USUAL_ANSWER, facts.max_output_tokens or USUAL_ANSWER)
    return Usage(prompt_tokens=prompt, completion_tokens=answer * (answers if isinstance(answers, int) else 1))


def expected_cost(request: ModelRequest, facts: ModelFacts) -> float | None:
    """US dollars that a request costs about at most; `None` where the price is not known."""
    return None if facts.price is None else facts.price.of(expected_use(request, facts))


class Strategies:
    """Orders the targets of routes. Remembers whose turn it is under `round_robin`.

    Args:
        breaker: knows the latencies.
    """

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker
        self._turns: dict[tuple[str, tuple[Target, ...]], list[int]] = {}

    def ordered(
        self, route: Route, choices: Sequence[Choice], request: ModelRequest, max_cost_usd: float | None
    ) -> list[Choice]:
        """The targets in the order in which they are to be asked; some are left out under `by_complexity`.

        Args:
            route: whose targets they are.
            choices: those that can be asked now.
            request: what is asked.
            max_cost_usd: what it may cost, where something is said of that.
        """
        match route.strategy:
            case Strategy.ROUND_ROBIN:
                return self._round(route, choices)
            case Strategy.LEAST_COST:
                costs = {facts.name: expected_cost(request, facts) for _, facts in choices}
                return sorted(choices, key=lambda choice: _last_if_unknown(costs, choice[1].name))
            case Strategy.FASTEST:
                return self._fastest(choices)
            case Strategy.BY_COMPLEXITY:
                return by_complexity(choices, complexity(request), max_cost_usd)
            case Strategy.ORDERED:
                return list(choices)

    def _round(self, route: Route, choices: Sequence[Choice]) -> list[Choice]:
        """Weighted and smooth, as nginx does it: each gains its weight, and the one that is taken pays for all.

        With weights 5, 1, 1 this gives a a b a c a a, and not a a a a a b c. Only targets that can be asked take part.
        """
        gained = self._turns.setdefault((route.name, route.targets), [0] * len(route.targets))
        places = [route.targets.index(target) for target, _ in choices]
        for place in places:
            gained[place] += route.targets[place].weight
        order = sorted(range(len(choices)), key=lambda i: -gained[places[i]])
        if order:
            gained[places[order[0]]] -= sum(route.targets[place].weight for place in places)
        return [choices[i] for i in order]

    def _fastest(self, choices: Sequence[Choice]) -> list[Choice]:
        """The one that answered fastest lately; before it, one that has not been measured for a while."""
        latencies = [self._breaker.latency(facts) for _, facts in choices]
        order = sorted(range(len(choices)), key=lambda i: -1.0 if (known := latencies[i]) is None else known)
        if order and latencies[order[0]] is None:
            self._breaker.measuring(choices[order[0]][1])
        return [choices[i] for i in order]


def by_complexity(choices: Sequence[Choice], hard: float, max_cost_usd: float | None) -> list[Choice]:
    """Those that are up to a request first, in the route's order; then the others, the most capable first.

    A target that wants a larger budget than there is, is left out.
    """
    budget = math.inf if max_cost_usd is None else max_cost_usd
    fitting = [choice for choice in choices if choice[0].min_budget_usd <= budget]
    able = [choice for choice in fitting if hard <= choice[0].max_complexity]
    others = [choice for choice in fitting if hard > choice[0].max_complexity]
    return able + sorted(others, key=lambda choice: -choice[0].max_complexity)


def _last_if_unknown(costs: Mapping[str, float | None], name: str) -> float:
    cost = costs[name]
    return math.inf if cost is None else cost
