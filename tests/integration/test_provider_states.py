"""The circuit breaker over one database: what one process learns, the others know."""

from datetime import timedelta

import pytest

from tests.support.recovery import NOON, Time, asked, asking, facts_of, means_of, route, scripted
from tidemill.core.errors import Unavailable
from tidemill.core.failure import Failure
from tidemill.llm.recovery.breaker import MOST_MODELS, TRIAL_SECONDS, Breaker
from tidemill.llm.scripted import ScriptedAnswer
from tidemill.settings.recovery import RecoverySettings
from tidemill.store.database import make_pool
from tidemill.store.provider_states import ProviderStateRepository

ALPHA, OTHER = facts_of("alpha/a"), facts_of("alpha/b")


def two(pool, **settings):
    """Two processes' breakers over one database, and the time of both."""
    time = Time()
    chosen = RecoverySettings(**settings)
    return *(Breaker(ProviderStateRepository(pool), chosen, time.clock) for _ in range(2)), time


async def fail(breaker, spot=("alpha", ""), leaf=Failure.NETWORK_CONNECTION, rests_until=None, reason=None):
    await breaker.failed(spot, leaf, rests_until=rests_until, disabled_reason=reason)


async def test_a_rest_is_known_to_all_processes_and_ends(pool):
    one, other, time = two(pool)
    await fail(one, rests_until=time.clock() + timedelta(seconds=120))
    assert other.blocked(ALPHA) is None
    await other.tend()
    blocked = other.blocked(ALPHA)
    assert (blocked.reason, blocked.until) == ("resting after network.connection", NOON + timedelta(seconds=120))
    assert other.blocked(OTHER) is not None
    time.seconds += 121
    assert other.blocked(ALPHA) is None


async def test_failures_of_all_processes_add_up_and_open_the_circuit(pool):
    one, other, time = two(pool, breaker_failures=4)
    for breaker in (one, other, one):
        await fail(breaker, ("alpha", "a"), Failure.OVERLOAD_HIGH)
        assert breaker.blocked(ALPHA) is None
    await fail(other, ("alpha", "a"), Failure.OVERLOAD_HIGH)
    assert other.blocked(ALPHA).until == NOON + timedelta(seconds=30)
    assert other.blocked(OTHER) is None
    await one.tend()
    assert one.blocked(ALPHA) is not None
    assert time.slept == []


async def test_after_a_rest_one_request_of_one_process_tries(pool):
    one, other, time = two(pool)
    await fail(one, rests_until=time.clock() + timedelta(seconds=10))
    await other.tend()
    time.seconds += 11
    assert await one.admit(ALPHA) is None
    assert (await other.admit(ALPHA)).reason == "being tried again after network.connection"
    assert (await one.admit(ALPHA)) is not None
    time.seconds += TRIAL_SECONDS + 1  # whoever tried was killed
    await other.tend()
    assert await other.admit(ALPHA) is None


async def test_a_try_that_succeeds_closes_the_circuit_for_all(pool):
    one, other, time = two(pool)
    await fail(one, rests_until=time.clock() + timedelta(seconds=10))
    time.seconds += 11
    assert await one.admit(ALPHA) is None
    await one.succeeded(ALPHA, time.clock())
    await other.tend()
    assert await other.admit(ALPHA) is None
    assert [(state.failures, state.rests_until) for state in await ProviderStateRepository(pool).all()] == [(0, None)]


async def test_a_try_that_fails_opens_it_again(pool):
    one, other, time = two(pool)
    for _ in range(5):
        await fail(one)
    time.seconds += 31
    assert await one.admit(ALPHA) is None
    await fail(one)
    await other.tend()
    assert other.blocked(ALPHA) is not None


async def test_a_success_that_began_before_the_failure_does_not_end_a_rest(pool):
    one, _, time = two(pool)
    began = time.clock()
    time.seconds += 1
    await fail(one, rests_until=time.clock() + timedelta(seconds=600))
    await one.succeeded(ALPHA, began)
    assert one.blocked(ALPHA) is not None


async def test_a_disabled_provider_stays_so_until_a_person_enables_it(pool):
    one, other, time = two(pool)
    states = ProviderStateRepository(pool)
    await fail(one, leaf=Failure.AUTH_INVALID, reason="authentication.invalid at a")
    await one.succeeded(ALPHA, time.clock() + timedelta(seconds=1))
    time.seconds += 1e6
    await other.tend()
    assert other.blocked(ALPHA).reason == "disabled: authentication.invalid at a"
    assert await states.enable("alpha", time.clock())
    await other.tend()
    assert other.blocked(ALPHA) is None
    await states.disable("alpha", "a person said so", time.clock())
    await other.tend()
    assert other.blocked(OTHER).reason == "disabled: a person said so"


async def test_latencies_are_shared(pool):
    one, other, _ = two(pool)
    one.measured(ALPHA, 100.0)
    one.measured(ALPHA, 200.0)
    await one.tend()
    assert other.latency(ALPHA) is None
    await other.tend()
    assert other.latency(ALPHA) == pytest.approx(130.0)


async def test_a_shorter_rest_does_not_shorten_a_longer_one(pool):
    one, _, time = two(pool)
    await fail(one, rests_until=time.clock() + timedelta(seconds=600))
    await fail(one, rests_until=time.clock() + timedelta(seconds=30))
    (state,) = await ProviderStateRepository(pool).all()
    assert (state.rests_until, state.failures) == (NOON + timedelta(seconds=600), 2)


async def test_a_request_in_one_process_spares_those_in_another_its_failure(pool):
    time = Time()
    rows = ProviderStateRepository(pool)
    down = ScriptedAnswer(error=Unavailable("Full.", failure=Failure.RATE_LIMIT_HEAVY))
    first, _ = scripted({"alpha/a": [down], "beta/b": ["Here."]}, means_of(time, rows))
    others = means_of(time, rows)
    second, inner = scripted({"alpha/a": [down], "beta/b": ["Here."]}, others)
    await first.complete(asking(route("alpha/a", "beta/b")))
    await others.breaker.tend()
    await second.complete(asking(route("alpha/a", "beta/b")))
    assert asked(inner) == ["beta/b"]


async def test_without_the_database_a_failure_still_counts_here(pool, caplog):
    time = Time()
    closed = make_pool("postgresql://nobody@127.0.0.1:1/none", size=1)
    breaker = Breaker(ProviderStateRepository(closed), RecoverySettings(), time.clock)
    closed.timeout = 0.1
    await closed.open()
    await fail(breaker, rests_until=time.clock() + timedelta(seconds=60))
    await closed.close()
    assert breaker.blocked(ALPHA) is not None
    assert "known to this process alone" in caplog.text


async def test_a_try_of_which_nothing_was_sent_is_given_back(pool):
    one, other, time = two(pool)
    await fail(one, rests_until=time.clock() + timedelta(seconds=10))
    await other.tend()
    time.seconds += 11
    assert await one.admit(ALPHA) is None
    await one.released(ALPHA, time.clock())
    await other.tend()
    assert await other.admit(ALPHA) is None


async def test_a_request_that_was_not_sent_does_not_end_a_rest_that_began_meanwhile(pool):
    one, other, time = two(pool)
    await fail(one, ("alpha", "b"))  # so that there is something to admit past
    assert await one.admit(ALPHA) is None
    await fail(one, rests_until=time.clock() + timedelta(seconds=600))
    await one.released(ALPHA, time.clock())
    await other.tend()
    assert one.blocked(ALPHA).until == other.blocked(ALPHA).until == NOON + timedelta(seconds=600)


class Passing(Time):
    """Time that passes while it is looked at."""

    def timer(self) -> float:
        self.seconds += 0.01
        return self.seconds


async def test_names_that_an_asker_makes_up_leave_no_rows(pool):
    rows = ProviderStateRepository(pool)
    means = means_of(Passing(), rows)
    named, _ = scripted({f"alpha/{n}": ["Here."] for n in range(3)}, means)
    for n in range(3):
        await named.complete(asking(f"alpha/{n}"))
    await means.breaker.tend()
    assert await rows.all() == []
    routed, _ = scripted({"alpha/a": ["Here."]}, means)
    await routed.complete(asking(route("alpha/a")))
    await means.breaker.tend()
    assert [(one.provider, one.model) for one in await rows.all()] == [("alpha", "a")]


async def test_names_that_an_asker_makes_up_leave_few_rows_where_a_provider_fails_for_them(pool):
    rows = ProviderStateRepository(pool)
    means = means_of(Passing(), rows)
    overloaded = Unavailable("Too much to do.", failure=Failure.OVERLOAD_HIGH)
    names = [f"alpha/{n}" for n in range(MOST_MODELS + 5)]
    model, _ = scripted({name: [ScriptedAnswer(error=overloaded)] * 2 for name in names}, means)
    for name in names:
        with pytest.raises(Unavailable):
            await model.complete(asking(name))
    assert len(await rows.all()) == MOST_MODELS
    with pytest.raises(Unavailable):
        await model.complete(asking(names[0]))
    assert {one.model: one.failures for one in await rows.all()}["0"] == 2
    with pytest.raises(Unavailable):
        await model.complete(asking(route(names[-1])))
    assert names[-1].removeprefix("alpha/") in {one.model for one in await rows.all()}


async def test_a_model_that_nobody_asked_for_a_day_is_forgotten_and_what_is_disabled_is_not(pool):
    one, other, time = two(pool)
    for spot in (("alpha", "made-up"), ("alpha", "rests"), ("alpha", "asked"), ("beta", "")):
        await fail(one, spot)
    await fail(one, ("alpha", "rests"), rests_until=time.clock() + timedelta(days=3))
    await fail(one, ("gamma", ""), reason="auth.invalid at g")
    time.seconds += 20 * 3600
    one.measured(facts_of("alpha/asked"), 12.0)
    await one.tend()
    time.seconds += 20 * 3600
    await other.tend()
    left = {(state.provider, state.model) for state in await ProviderStateRepository(pool).all()}
    assert left == {("alpha", "rests"), ("alpha", "asked"), ("beta", ""), ("gamma", "")}
