"""Every leaf of the recovery tree, over real HTTP: a server that fails on command, and the providers' own clients.

`alpha` speaks OpenAI's format and `beta` Anthropic's. The clock moves when something is waited for, so that no test
waits; only a timeout is real, and a fraction of a second long.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from tests.conftest import fresh_database
from tests.support.failing_provider import TwoProviders, asked_over_http, failing_server
from tests.support.recovery import NOON, Time, asking, route
from tidemill.core.deployment import Fallback
from tidemill.core.errors import AllFailed, ContentRefused, StreamInterrupted, TidemillError
from tidemill.core.failure import Failure
from tidemill.llm.prompts.shipped import ShippedPrompts
from tidemill.llm.providers.scripted import Script
from tidemill.llm.recovery.breaker import Breaker
from tidemill.llm.recovery.means import Means
from tidemill.llm.recovery.routed import RoutedModel
from tidemill.settings.recovery import RecoverySettings
from tidemill.store.database import make_pool
from tidemill.store.provider_states import ProviderStateRepository


@dataclass
class Hub:
    """What the tests need of a hub with two providers."""

    model: RoutedModel
    script: Script
    book: TwoProviders
    states: ProviderStateRepository
    time: Time = field(default_factory=Time)

    async def ask(self, *models, text="What is a lease?", fallbacks=(), **context):
        """The answer of a route over these models."""
        return await self.model.complete(asking(route(*models, fallbacks=fallbacks), text, **context))

    def asked(self):
        """Whom the server was asked for, in order."""
        wires = {"openai": "alpha", "anthropic": "beta"}
        return [f"{wires[one['wire']]}/{one['model']}" for one in self.script.noted]

    async def state(self, provider, model=""):
        """The row of a provider, or of a model of it."""
        return {(one.provider, one.model): one for one in await self.states.all()}.get((provider, model))


@pytest.fixture(scope="module")
def shared_url(postgres) -> Iterator[str]:
    """One database for all of these tests, since making one takes longer than most of them."""
    with fresh_database(postgres) as url:
        yield url


@pytest.fixture
async def hub(shared_url) -> AsyncIterator[Hub]:
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(make_pool(shared_url, size=2))
        async with pool.connection() as connection:
            await connection.execute("DELETE FROM provider_states")
        script, url = await stack.enter_async_context(failing_server())
        book, time, states = TwoProviders(url), Time(), ProviderStateRepository(pool)
        settings = RecoverySettings()
        means = Means(
            facts=book.facts,
            book=book,
            breaker=Breaker(states, settings, time.clock),
            settings=settings,
            request_timeout=30.0,
            local_model=lambda: "local-default",
            prompts=ShippedPrompts(),
            clock=time.clock,
            timer=time.timer,
            sleep=time.sleep,
        )
        inner = await stack.enter_async_context(asked_over_http(book))
        yield Hub(RoutedModel(inner, means), script, book, states, time)


@pytest.mark.parametrize(
    ("leaf", "waits"),
    [
        (Failure.RATE_LIMIT_LIGHT, [5.0]),  # as the server's Retry-After says
        (Failure.NETWORK_CONNECTION, [5.0]),
        (Failure.OVERLOAD_LIGHT, [10.0]),
    ],
)
async def test_after_a_wait_the_same_provider_answers(hub, leaf, waits):
    hub.script.add({"leaf": leaf.value, "model": "a"})
    answer = await hub.ask("alpha/a", "beta/b")
    assert (hub.asked(), hub.time.slept) == (["alpha/a", "alpha/a"], waits)
    assert (answer.served.model, answer.served.attempts, answer.served.recovery) == ("alpha/a", 2, (leaf.value,))
    assert (await hub.state("alpha", "a") or await hub.state("alpha")).failures == 0


@pytest.mark.parametrize("leaf", [Failure.RATE_LIMIT_LIGHT, Failure.NETWORK_CONNECTION])
async def test_what_does_not_pass_in_the_wait_is_left_for_another_provider(hub, leaf):
    hub.script.add({"leaf": leaf.value, "model": "a", "times": 0})
    answer = await hub.ask("alpha/a", "alpha/other", "beta/b")
    assert hub.asked() == ["alpha/a", "alpha/a", "beta/b"]
    assert (answer.served.model, answer.served.recovery) == ("beta/b", (leaf.value, leaf.value))


@pytest.mark.parametrize(
    ("leaf", "rests"),
    [
        (Failure.RATE_LIMIT_MEDIUM, 60),  # as the server's Retry-After says
        (Failure.RATE_LIMIT_HEAVY, 600),
        (Failure.QUOTA_DAILY, 12 * 3600),
    ],
)
async def test_a_provider_rests_and_another_answers_at_once(hub, leaf, rests):
    hub.script.add({"leaf": leaf.value, "model": "a", "times": 0})
    answer = await hub.ask("alpha/a", "alpha/other", "beta/b")
    assert (hub.asked(), hub.time.slept) == (["alpha/a", "beta/b"], [])
    assert answer.served.recovery == (leaf.value,)
    assert (await hub.state("alpha")).rests_until == NOON + timedelta(seconds=rests)
    await hub.ask("alpha/a", "beta/b")
    assert hub.asked()[2:] == ["beta/b"]


@pytest.mark.parametrize("leaf", [Failure.QUOTA_BILLING, Failure.AUTH_INVALID, Failure.AUTH_PERMISSION])
async def test_a_provider_that_a_person_must_mend_is_disabled_and_another_answers(hub, leaf):
    hub.script.add({"leaf": leaf.value, "model": "a", "times": 0})
    answer = await hub.ask("alpha/a", "alpha/other", "beta/b")
    assert (hub.asked(), answer.served.recovery) == (["alpha/a", "beta/b"], (leaf.value,))
    assert (await hub.state("alpha")).disabled_reason == f"{leaf.value} at a"


async def test_a_used_up_model_is_left_for_another_of_its_provider(hub):
    hub.script.add({"leaf": "quota.model", "model": "a", "times": 0})
    answer = await hub.ask("alpha/a", "beta/b", "alpha/other")
    assert hub.asked() == ["alpha/a", "alpha/other"]
    assert answer.served.recovery == ("quota.model",)
    assert (await hub.state("alpha", "a")).rests_until == NOON + timedelta(hours=12)


async def test_an_expired_key_is_read_anew_and_the_provider_answers(hub):
    hub.script.add({"accept_key": "new", "leaf": "authentication.expired"})
    real_key = hub.book.key

    async def renewed_after_the_first(provider):
        key = await real_key(provider)
        hub.book.keys = {"alpha": "new", "beta": "new"}
        return key

    hub.book.key = renewed_after_the_first
    answer = await hub.ask("alpha/a", "beta/b")
    assert (hub.asked(), answer.served.recovery) == (["alpha/a", "alpha/a"], ("authentication.expired",))
    assert (await hub.state("alpha")).disabled_at is None


async def test_a_key_that_stays_expired_disables_its_provider(hub):
    hub.script.add({"leaf": "authentication.expired", "model": "a", "times": 0})
    answer = await hub.ask("alpha/a", "beta/b")
    assert (hub.asked(), answer.served.model) == (["alpha/a", "alpha/a", "beta/b"], "beta/b")
    assert (await hub.state("alpha")).disabled_reason == "authentication.expired at a"


async def test_after_a_timeout_the_provider_has_twice_the_time(hub):
    hub.book.providers = {**hub.book.providers, "alpha": with_timeout(hub.book.providers["alpha"], 0.1)}
    hub.script.add({"leaf": "network.timeout", "model": "a"})
    answer = await hub.ask("alpha/a", "beta/b")
    assert (hub.asked(), answer.served.recovery) == (["alpha/a", "alpha/a"], ("network.timeout",))


async def test_a_provider_that_hangs_twice_is_left_for_another(hub):
    hub.book.providers = {**hub.book.providers, "alpha": with_timeout(hub.book.providers["alpha"], 0.1)}
    hub.script.add({"leaf": "network.timeout", "model": "a", "times": 0})
    answer = await hub.ask("alpha/a", "beta/b")
    assert hub.asked() == ["alpha/a", "alpha/a", "beta/b"]
    assert answer.served.recovery == ("network.timeout", "network.timeout")


async def test_a_host_that_is_not_found_is_asked_at_its_next_address(hub):
    answer = await hub.ask("gamma/c", "beta/b")
    assert (answer.served.model, answer.served.recovery, hub.time.slept) == ("gamma/c", ("network.dns",), [])


async def test_a_busy_model_is_left_for_another_of_its_provider(hub):
    hub.script.add({"leaf": "overload.light", "model": "a", "times": 0})
    await hub.ask("alpha/a", "beta/b", "alpha/other")
    assert (hub.asked(), hub.time.slept) == (["alpha/a", "alpha/a", "alpha/other"], [10.0])


async def test_a_very_busy_model_is_left_for_another_of_its_provider_at_once(hub):
    hub.script.add({"leaf": "overload.high", "model": "a", "times": 0})
    answer = await hub.ask("alpha/a", "beta/b", "alpha/other")
    assert (hub.asked(), answer.served.recovery) == (["alpha/a", "alpha/other"], ("overload.high",))


async def test_an_overloaded_provider_is_left_for_another(hub):
    hub.script.add({"leaf": "overload.overloaded", "model": "b", "times": 0})
    answer = await hub.ask("beta/b", "beta/other", "alpha/a")
    assert (hub.asked(), answer.served.recovery) == (["beta/b", "alpha/a"], ("overload.overloaded",))


async def test_a_safety_filter_is_asked_once_more_with_a_note(hub):
    hub.script.add({"leaf": "content.safety", "model": "a"})
    answer = await hub.ask("alpha/a", "beta/b")
    assert (hub.asked(), answer.served.recovery) == (["alpha/a", "alpha/a"], ("content.safety",))
    note = hub.script.noted[1]["body"]["messages"][0]
    assert (note["role"], note["content"][:30]) == ("system", "Your provider's safety filter ")


async def test_a_safety_filter_that_stays_leads_to_the_fallbacks(hub):
    hub.script.add({"leaf": "content.safety", "model": "a", "times": 0})
    answer = await hub.ask("alpha/a", "beta/b", fallbacks=(Fallback.LOCAL,))
    assert (answer.text, answer.served.fallback) == ("From the local model.", "local")
    with pytest.raises(ContentRefused):
        await hub.ask("alpha/a", "beta/b")
    assert "beta/b" not in hub.asked()


async def test_what_is_too_long_is_asked_again_without_its_middle(hub):
    hub.script.add({"leaf": "content.length", "model": "a"})
    text = "begin " + "word " * 3000 + "end"
    answer = await hub.ask("alpha/a", "beta/b", text=text, options={"max_tokens": 100})
    assert (hub.asked(), answer.served.recovery) == (["alpha/a", "alpha/a"], ("content.length",))
    sent = hub.script.noted[1]["body"]["messages"][0]["content"]
    assert sent.startswith("begin")
    assert sent.endswith("end")
    assert len(sent) < len(text)


async def test_what_the_policy_forbids_leads_to_the_fallbacks(hub):
    hub.script.add({"leaf": "content.policy", "model": "a", "times": 0})
    answer = await hub.ask("alpha/a", "beta/b", fallbacks=(Fallback.TEMPLATE,))
    assert (hub.asked(), answer.served.fallback) == (["alpha/a"], "template")
    assert (answer.served.provider, answer.served.recovery) == ("template", ("content.policy",))


async def test_what_nobody_knows_is_logged_and_another_provider_answers(hub, caplog):
    hub.script.add({"leaf": "unknown", "model": "a", "times": 0})
    answer = await hub.ask("alpha/a", "beta/b")
    assert (hub.asked(), answer.served.recovery) == (["alpha/a", "beta/b"], ("unknown",))
    assert "alpha/a failed (unknown)" in caplog.text


async def test_when_all_fail_and_no_fallback_is_there_one_error_says_what_was_tried(hub):
    hub.script.add([{"leaf": "rate_limit.heavy", "model": "a"}, {"leaf": "overload.overloaded", "model": "b"}])
    with pytest.raises(AllFailed, match=r"alpha/a: rate_limit\.heavy; beta/b: overload\.overloaded"):
        await hub.ask("alpha/a", "beta/b")


async def streamed(hub, *models):
    said, served, error = "", [], None
    try:
        async for chunk in hub.model.stream(asking(route(*models))):
            served.append(chunk.served)
            said += "".join(str(one["delta"].get("content") or "") for one in chunk.choices)
    except TidemillError as raised:
        error = raised
    return said, [one for one in served if one is not None], error


@pytest.mark.parametrize("leaf", [Failure.RATE_LIMIT_HEAVY, Failure.OVERLOAD_OVERLOADED, Failure.AUTH_INVALID])
async def test_a_stream_that_fails_before_its_first_word_comes_from_another_provider(hub, leaf):
    hub.script.add({"leaf": leaf.value, "model": "a"})
    said, served, error = await streamed(hub, "alpha/a", "beta/b")
    assert (error, served[0].model, served[0].recovery) == (None, "beta/b", (leaf.value,))
    assert said.startswith("This is a scripted answer")


@pytest.mark.parametrize("fault", ["break_off", "error_in_ok", "malformed", "no_end"])
async def test_a_stream_that_breaks_off_says_so_and_is_not_answered_twice(hub, fault):
    hub.script.add({"leaf": fault, "model": "a"})
    said, _, error = await streamed(hub, "alpha/a", "beta/b")
    assert (hub.asked(), isinstance(error, StreamInterrupted)) == (["alpha/a"], True)
    assert 0 < len(said) < len("This is a scripted answer, and it says the same every time.")


def with_timeout(provider, seconds):
    return replace(provider, timeout=seconds)
