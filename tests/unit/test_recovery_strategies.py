"""In which order a route's targets are asked, and how hard a request looks."""

from collections import Counter

import pytest

from tests.support.recovery import Rows, Time, asking, facts_of, route
from tidemill.core.chat import TextRequest
from tidemill.core.deployment import Strategy, Target
from tidemill.core.provider import Price
from tidemill.llm.recovery.breaker import Breaker
from tidemill.llm.recovery.complexity import complexity, nesting
from tidemill.llm.recovery.strategies import Strategies, by_complexity, expected_cost
from tidemill.settings.recovery import RecoverySettings

PRICES = {"alpha/a": Price(10.0, 30.0), "beta/b": Price(1.0, 2.0), "gamma/c": None}
NESTED = (
    "def f(x):\n" + "".join(f"{'    ' * depth}if x > {depth}:\n" for depth in range(1, 9)) + "    " * 9 + "return x"
)


def strategies(time=None):
    breaker = Breaker(Rows(), RecoverySettings(), (time or Time()).clock)
    return Strategies(breaker), breaker


def choices_of(to):
    return [(target, facts_of(target.model, PRICES)) for target in to.targets]


def names(choices):
    return [facts.name for _, facts in choices]


def order(chosen, to, request=None, **more):
    return names(chosen.ordered(to, choices_of(to), request or asking(to), more.get("max_cost_usd")))


def test_an_ordered_route_keeps_its_order():
    chosen, _ = strategies()
    assert order(chosen, route("gamma/c", "alpha/a", "beta/b")) == ["gamma/c", "alpha/a", "beta/b"]


def test_turns_follow_the_weights_and_are_mixed():
    chosen, _ = strategies()
    targets = (Target("alpha/a", weight=5), Target("beta/b"), Target("gamma/c"))
    to = route(*targets, strategy=Strategy.ROUND_ROBIN)
    first = [order(chosen, to)[0] for _ in range(14)]
    assert Counter(first) == {"alpha/a": 10, "beta/b": 2, "gamma/c": 2}
    assert first[:7] == ["alpha/a", "alpha/a", "beta/b", "alpha/a", "gamma/c", "alpha/a", "alpha/a"]
    assert set(order(chosen, to)) == {"alpha/a", "beta/b", "gamma/c"}


def test_turns_of_a_target_that_rests_go_to_the_others():
    chosen, _ = strategies()
    to = route("alpha/a", "beta/b", "gamma/c", strategy=Strategy.ROUND_ROBIN)
    there = choices_of(to)[1:]
    first = [names(chosen.ordered(to, there, asking(to), None))[0] for _ in range(4)]
    assert Counter(first) == {"beta/b": 2, "gamma/c": 2}


def test_the_cheapest_is_asked_first_and_an_unknown_price_last():
    chosen, _ = strategies()
    to = route("gamma/c", "alpha/a", "local-a", "beta/b", strategy=Strategy.LEAST_COST)
    assert order(chosen, to) == ["local-a", "beta/b", "alpha/a", "gamma/c"]


def test_the_cheapest_depends_on_how_long_prompt_and_answer_are():
    prices = {"alpha/a": Price(1.0, 100.0), "beta/b": Price(50.0, 10.0)}
    long, short = (
        asking("x", "word " * 20000, options={"max_tokens": 10}),
        asking("x", "Hi", options={"max_tokens": 4000}),
    )
    for request, cheapest in ((long, "alpha/a"), (short, "beta/b")):
        costs = {name: expected_cost(request, facts_of(name, prices)) for name in prices}
        assert min(costs, key=costs.get) == cheapest


def test_the_fastest_is_asked_first_once_all_are_measured():
    chosen, breaker = strategies()
    to = route("alpha/a", "beta/b", "gamma/c", strategy=Strategy.FASTEST)
    seen = []
    for latency in (900.0, 100.0, 500.0):
        seen.append(order(chosen, to)[0])
        breaker.measured(facts_of(seen[-1]), latency)
    assert seen == ["alpha/a", "beta/b", "gamma/c"]
    assert order(chosen, to) == ["beta/b", "gamma/c", "alpha/a"]
    for _ in range(10):
        breaker.measured(facts_of("beta/b"), 2000.0)
    assert order(chosen, to)[0] == "gamma/c"


def test_one_request_measures_a_model_and_the_others_do_not_wait_for_it():
    chosen, breaker = strategies()
    to = route("alpha/a", "beta/b", strategy=Strategy.FASTEST)
    breaker.measured(facts_of("beta/b"), 100.0)
    assert [order(chosen, to)[0] for _ in range(3)] == ["alpha/a", "beta/b", "beta/b"]


def test_a_model_that_was_slow_gets_another_chance_after_a_while():
    time = Time()
    chosen, breaker = strategies(time)
    to = route("alpha/a", "beta/b", strategy=Strategy.FASTEST)
    for name, latency in (("alpha/a", 900.0), ("beta/b", 100.0)):
        breaker.measured(facts_of(name), latency)
    assert order(chosen, to)[0] == "beta/b"
    time.seconds += 301
    breaker.measured(facts_of("beta/b"), 100.0)
    assert order(chosen, to)[0] == "alpha/a"


def small_middle_large():
    small = Target("local-a", max_complexity=0.3)
    middle = Target("beta/b", max_complexity=0.7, min_budget_usd=0.01)
    return route(small, middle, Target("alpha/a", min_budget_usd=0.1), strategy=Strategy.BY_COMPLEXITY)


@pytest.mark.parametrize(
    ("hard", "budget", "expected"),
    [
        (0.1, None, ["local-a", "beta/b", "alpha/a"]),
        (0.5, None, ["beta/b", "alpha/a", "local-a"]),
        (0.9, None, ["alpha/a", "beta/b", "local-a"]),
        (0.9, 0.05, ["beta/b", "local-a"]),
        (0.9, 0.001, ["local-a"]),
    ],
)
def test_a_hard_request_goes_to_the_most_capable_that_its_budget_allows(hard, budget, expected):
    assert names(by_complexity(choices_of(small_middle_large()), hard, budget)) == expected


def test_routing_by_complexity_reads_the_request():
    chosen, _ = strategies()
    to = small_middle_large()
    assert order(chosen, to, asking(to, "Hello!"))[0] == "local-a"
    assert order(chosen, to, asking(to, f"Mend this:\n{NESTED}"))[0] == "beta/b"


def test_complexity_grows_with_length_nesting_and_constructs_and_stays_between_0_and_1():
    hello, prose = complexity(asking("x", "Hello!")), complexity(asking("x", "A sentence of prose. " * 400))
    flat, nested = complexity(asking("x", "x = 1\n" * 60)), complexity(asking("x", NESTED))
    worst = complexity(asking("x", NESTED * 300))
    assert 0 <= hello < 0.01 < flat < prose < 0.3 < nested < worst <= 1
    assert complexity(TextRequest("x", NESTED)) == pytest.approx(nested, abs=0.001)


@pytest.mark.parametrize(
    ("text", "depth"),
    [("", 0), ("flat", 0), ("f(g(h[1]))", 3), (")))(", 1), ("a\n    b\n        c", 2), ("a\n\tb", 1)],
)
def test_nesting_is_the_deeper_of_brackets_and_indentation(text, depth):
    assert nesting(text) == depth
