"""What a request meets on its way along the recovery tree, over scripted models and a clock that sleeping moves."""

import asyncio
from datetime import timedelta

import pytest

from tests.support.recovery import NOON, ROOT, Rows, Time, asked, asking, facts_of, means_of, route, scripted
from tidemill.core.context import Passage
from tidemill.core.deployment import Fallback, Target
from tidemill.core.errors import (
    AllFailed,
    BudgetExceeded,
    Configuration,
    ContentRefused,
    ContextTooLong,
    DeadlineExceeded,
    InvalidInput,
    ModelFailed,
    ModelNotFound,
    NotPermitted,
    StreamInterrupted,
    TidemillError,
    Unavailable,
)
from tidemill.core.failure import Failure
from tidemill.core.provider import ModelFacts
from tidemill.llm.prompts.shipped import ShippedPrompts
from tidemill.llm.prompts.template import parse_template
from tidemill.llm.recovery.tree import tree_of
from tidemill.llm.scripted import ScriptedAnswer
from tidemill.outbound import Refused
from tidemill.settings.recovery import RecoverySettings


def failing(leaf, retry_after=None, **more):
    return ScriptedAnswer(error=Unavailable(f"It failed with {leaf}.", failure=leaf, retry_after=retry_after), **more)


async def ask(answers, to, *, time=None, rows=None, settings=None, **context):
    """The answer, whom it was asked of, and how long was slept."""
    time = time or Time()
    model, inner = scripted(answers, means_of(time, rows, settings=settings))
    answer = await model.complete(asking(to, **context))
    return answer, asked(inner), time.slept


def test_each_leaf_has_one_row_in_the_tree_and_in_the_docs():
    tree = tree_of(RecoverySettings())
    page = (ROOT / "docs" / "providers.md").read_text("utf-8")
    assert set(tree) == set(Failure)
    assert [leaf for leaf in Failure if f"| `{leaf.value}` |" not in page] == []


@pytest.mark.parametrize(
    ("leaf", "slept"),
    [(Failure.RATE_LIMIT_LIGHT, [30.0]), (Failure.NETWORK_CONNECTION, [5.0]), (Failure.OVERLOAD_LIGHT, [10.0])],
)
async def test_what_passes_soon_is_waited_for_and_the_same_model_answers(leaf, slept):
    answer, models, waits = await ask(
        {"alpha/a": [failing(leaf), "Here."], "beta/b": ["No."]}, route("alpha/a", "beta/b")
    )
    assert (answer.text, models, waits) == ("Here.", ["alpha/a", "alpha/a"], slept)
    assert (answer.served.attempts, answer.served.recovery) == (2, (leaf.value,))


@pytest.mark.parametrize(
    "leaf",
    [
        Failure.RATE_LIMIT_MEDIUM,
        Failure.RATE_LIMIT_HEAVY,
        Failure.QUOTA_DAILY,
        Failure.QUOTA_BILLING,
        Failure.AUTH_INVALID,
        Failure.AUTH_PERMISSION,
        Failure.OVERLOAD_OVERLOADED,
        Failure.UNKNOWN,
    ],
)
async def test_what_does_not_pass_soon_goes_to_another_provider_at_once(leaf):
    answers = {"alpha/a": [failing(leaf)], "alpha/b": ["No."], "beta/b": ["Here."]}
    answer, models, waits = await ask(answers, route("alpha/a", "alpha/b", "beta/b"))
    assert (answer.text, models, waits) == ("Here.", ["alpha/a", "beta/b"], [])


@pytest.mark.parametrize("leaf", [Failure.QUOTA_MODEL, Failure.OVERLOAD_HIGH])
async def test_what_is_the_models_alone_goes_to_another_model_of_the_provider(leaf):
    answers = {"alpha/a": [failing(leaf)], "alpha/b": ["Here."], "beta/b": ["No."]}
    answer, models, _ = await ask(answers, route("alpha/a", "beta/b", "alpha/b"))
    assert (answer.text, models) == ("Here.", ["alpha/a", "alpha/b"])


async def test_a_model_that_stays_busy_is_left_for_another_of_its_provider():
    answers = {"alpha/a": [failing(Failure.OVERLOAD_LIGHT)], "alpha/b": ["Here."], "beta/b": ["No."]}
    answer, models, waits = await ask(answers, route("alpha/a", "beta/b", "alpha/b"))
    assert (models, waits) == (["alpha/a", "alpha/a", "alpha/b"], [10.0])
    assert answer.served.recovery == ("overload.light", "overload.light")


async def test_a_timeout_is_tried_again_with_twice_the_time():
    time = Time()
    model, inner = scripted({"alpha/a": [failing(Failure.NETWORK_TIMEOUT), "Here."]}, means_of(time))
    answer = await model.complete(asking(route("alpha/a")))
    assert answer.text == "Here."
    assert [request.context.attempt.timeout for request in inner.requests] == [60.0, 120.0]


async def test_a_name_that_cannot_be_resolved_is_tried_at_the_next_address():
    time = Time()
    model, inner = scripted({"alpha/a": [failing(Failure.NETWORK_DNS), "Here."]}, means_of(time))
    assert (await model.complete(asking(route("alpha/a")))).text == "Here."
    assert [request.context.attempt.endpoint for request in inner.requests] == [0, 1]


async def test_an_expired_key_is_read_anew_and_then_the_provider_is_out():
    rows = Rows()
    answers = {"alpha/a": [failing(Failure.AUTH_EXPIRED)], "beta/b": ["Here."]}
    _, models, waits = await ask(answers, route("alpha/a", "beta/b"), rows=rows)
    assert (models, waits) == (["alpha/a", "alpha/a", "beta/b"], [])
    assert rows.states["alpha", ""].disabled_reason == "authentication.expired at a"


async def test_a_key_that_was_renewed_in_time_keeps_its_provider_in_the_pool():
    rows = Rows()
    answer, _, _ = await ask({"alpha/a": [failing(Failure.AUTH_EXPIRED), "Here."]}, route("alpha/a"), rows=rows)
    assert (answer.text, rows.states) == ("Here.", {})


@pytest.mark.parametrize("leaf", [Failure.QUOTA_BILLING, Failure.AUTH_INVALID, Failure.AUTH_PERMISSION])
async def test_a_provider_that_a_person_must_mend_is_not_asked_again(leaf):
    time = Time()
    model, inner = scripted({"alpha/a": [failing(leaf)], "beta/b": ["Here."]}, means_of(time))
    for _ in range(2):
        await model.complete(asking(route("alpha/a", "beta/b")))
    assert asked(inner) == ["alpha/a", "beta/b", "beta/b"]
    with pytest.raises(Configuration, match="tidemill providers enable alpha"):
        await model.complete(asking("alpha/other"))


async def test_a_model_that_a_person_may_not_use_is_no_reason_to_disable_its_provider():
    rows = Rows()
    with pytest.raises(Unavailable):
        await ask({"alpha/secret": [failing(Failure.AUTH_PERMISSION)]}, "alpha/secret", rows=rows)
    assert {spot: state.disabled_at for spot, state in rows.states.items()} == {("alpha", "secret"): None}


async def test_a_key_that_one_process_lacks_disables_its_provider_for_nobody():
    time, rows = Time(), Rows()
    means = means_of(time, rows)

    async def no_key(provider):
        raise Configuration("The environment variable K is not set.")

    means._book.key = no_key
    missing = ScriptedAnswer(error=Configuration("No key.", failure=Failure.AUTH_INVALID))
    model, _ = scripted({"alpha/a": [missing], "beta/b": ["Here."]}, means)
    assert (await model.complete(asking(route("alpha/a", "beta/b")))).text == "Here."
    assert rows.states == {}


async def test_asking_for_models_that_there_are_not_leaves_no_rows():
    rows = Rows()
    unknown = ScriptedAnswer(error=ModelNotFound("The server does not know it.", failure=Failure.UNKNOWN))
    with pytest.raises(ModelNotFound):
        await ask({"alpha/nonsense": [unknown]}, "alpha/nonsense", rows=rows)
    assert rows.states == {}


@pytest.mark.parametrize(
    ("leaf", "retry_after", "seconds"),
    [
        (Failure.RATE_LIMIT_MEDIUM, None, 120),
        (Failure.RATE_LIMIT_HEAVY, None, 600),
        (Failure.RATE_LIMIT_MEDIUM, 45.0, 45),
        (Failure.QUOTA_DAILY, None, 12 * 3600),
        (Failure.QUOTA_DAILY, 90.0, 90),
    ],
)
async def test_a_provider_rests_as_long_as_it_says_or_the_tree_does(leaf, retry_after, seconds):
    rows = Rows()
    answers = {"alpha/a": [failing(leaf, retry_after)], "beta/b": ["Here."]}
    await ask(answers, route("alpha/a", "beta/b"), rows=rows)
    assert rows.states["alpha", ""].rests_until == NOON + timedelta(seconds=seconds)


async def test_a_filter_is_asked_once_more_with_a_note_and_then_the_fallbacks_answer():
    time = Time()
    refused = ScriptedAnswer(error=ContentRefused("Held back.", failure=Failure.CONTENT_SAFETY))
    model, inner = scripted({"alpha/a": [refused], "beta/b": ["No."]}, means_of(time))
    answer = await model.complete(asking(route("alpha/a", "beta/b", fallbacks=(Fallback.TEMPLATE,))))
    assert asked(inner) == ["alpha/a", "alpha/a"]
    note = inner.requests[1].messages[0]
    assert (note["role"], note["content"][:30]) == ("system", "Your provider's safety filter ")
    assert (answer.served.fallback, answer.served.provider) == ("template", "template")
    assert answer.served.version == ShippedPrompts().current("recovery.declined").version
    assert "as it was asked" in answer.text


async def test_a_policy_goes_to_the_fallbacks_and_without_any_is_said():
    refused = ScriptedAnswer(error=ContentRefused("Not allowed.", failure=Failure.CONTENT_POLICY))
    answers = {"alpha/a": [refused], "beta/b": ["No."], "local-default": ["Here."]}
    answer, models, _ = await ask(answers, route("alpha/a", "beta/b", fallbacks=(Fallback.LOCAL,)))
    assert (answer.text, models, answer.served.fallback) == ("Here.", ["alpha/a", "local-default"], "local")
    with pytest.raises(ContentRefused, match="Not allowed"):
        await ask(answers, route("alpha/a", "beta/b"))


async def test_what_is_too_long_loses_its_middle_and_is_asked_again():
    time = Time()
    long = "begin " + "word " * 2000 + "end"
    refused = ScriptedAnswer(error=ContextTooLong(prompt_tokens=3000, context_tokens=2000))
    model, inner = scripted({"alpha/a": [refused, "Here."]}, means_of(time))
    assert (await model.complete(asking(route("alpha/a"), long, options={"max_tokens": 100}))).text == "Here."
    shortened = inner.requests[1].messages[0]["content"]
    assert shortened.startswith("begin")
    assert shortened.endswith("end")
    assert "left out" in shortened
    assert len(shortened) < len(long) * 2 / 3


async def test_who_names_a_model_gets_that_one_or_its_error():
    time = Time()
    model, inner = scripted({"alpha/a": [failing(Failure.OVERLOAD_LIGHT)], "local-default": ["No."]}, means_of(time))
    with pytest.raises(Unavailable, match=r"overload\.light"):
        await model.complete(asking("alpha/a"))
    assert asked(inner) == ["alpha/a", "alpha/a"]


async def test_a_named_model_is_asked_what_was_said_and_nothing_else():
    time = Time()
    refused = ScriptedAnswer(error=ContextTooLong(prompt_tokens=3000, context_tokens=2000))
    model, inner = scripted({"alpha/a": [refused]}, means_of(time))
    with pytest.raises(ContextTooLong):
        await model.complete(asking("alpha/a"))
    assert len(inner.requests) == 1


async def test_a_model_of_ones_own_that_is_named_fails_at_once():
    time = Time()
    model, inner = scripted({"local-a": [failing(Failure.NETWORK_CONNECTION)]}, means_of(time))
    with pytest.raises(Unavailable, match=r"network\.connection"):
        await model.complete(asking("local-a"))
    assert (len(inner.requests), time.slept) == (1, [])


async def test_a_request_that_is_wrong_is_wrong_everywhere():
    time = Time()
    wrong = ScriptedAnswer(error=InvalidInput("`temperature` is too high."))
    model, inner = scripted({"alpha/a": [wrong], "beta/b": ["No."]}, means_of(time))
    with pytest.raises(InvalidInput, match="temperature"):
        await model.complete(asking(route("alpha/a", "beta/b", fallbacks=(Fallback.TEMPLATE,))))
    assert asked(inner) == ["alpha/a"]


@pytest.mark.parametrize("error", [NotPermitted("It may not leave."), BudgetExceeded("Too dear.")])
async def test_a_target_that_may_not_be_asked_is_passed_over(error):
    answers = {"alpha/a": [ScriptedAnswer(error=error)], "local-a": ["Here."]}
    answer, models, _ = await ask(answers, route("alpha/a", "local-a"))
    assert (answer.text, answer.served.attempts, models) == ("Here.", 1, ["alpha/a", "local-a"])
    with pytest.raises(type(error)):
        await ask(answers, route("alpha/a", fallbacks=(Fallback.TEMPLATE,)))


async def test_a_failure_without_a_leaf_goes_to_the_next_target():
    answers = {"local-a": [ScriptedAnswer(error=ModelFailed("It crashed."))], "local-b": ["Here."]}
    answer, _, _ = await ask(answers, route("local-a", "local-b"))
    assert (answer.text, answer.served.recovery) == ("Here.", ("unknown",))


async def test_a_retry_after_takes_the_place_of_the_wait():
    answers = {"alpha/a": [failing(Failure.RATE_LIMIT_LIGHT, 7.0), "Here."]}
    _, _, waits = await ask(answers, route("alpha/a", "beta/b"))
    assert waits == [7.0]


async def test_a_long_wait_becomes_a_switch_where_another_could_answer():
    answers = {"alpha/a": [failing(Failure.RATE_LIMIT_LIGHT, 50.0), "Here."], "beta/b": ["There."]}
    answer, _, waits = await ask(answers, route("alpha/a", "beta/b"))
    assert (answer.text, waits) == ("There.", [])
    answer, _, waits = await ask(answers, route("alpha/a"))
    assert (answer.text, waits) == ("Here.", [50.0])


async def test_a_wait_beyond_the_deadline_becomes_a_switch_now():
    time = Time()
    answers = {"alpha/a": [failing(Failure.RATE_LIMIT_LIGHT)], "beta/b": ["There."]}
    to = route("alpha/a", "beta/b")
    answer, _, waits = await ask(answers, to, time=time, deadline=time.seconds + 20)
    assert (answer.text, waits) == ("There.", [])


async def test_without_time_for_the_wait_and_without_another_the_failure_is_told_now():
    time = Time()
    with pytest.raises(AllFailed, match=r"alpha/a: rate_limit\.light"):
        await ask({"alpha/a": [failing(Failure.RATE_LIMIT_LIGHT)]}, route("alpha/a"), time=time, deadline=1020.0)
    assert time.slept == []


async def test_a_deadline_that_passes_is_told_with_what_was_tried():
    time = Time()

    def slow(request):
        time.seconds += 15
        return failing(Failure.NETWORK_TIMEOUT)

    model, inner = scripted({"alpha/a": ["-"]}, means_of(time))
    inner._script = slow
    with pytest.raises(DeadlineExceeded, match=r"alpha/a: network\.timeout"):
        await model.complete(asking(route("alpha/a", "beta/b", "gamma/c"), deadline=1020.0))
    assert asked(inner) == ["alpha/a", "beta/b"]


async def test_a_model_that_hangs_is_left_in_time_for_the_next():
    time = Time()
    means = means_of(time)
    model, _ = scripted({"alpha/a": [ScriptedAnswer("Never.", delay=30)], "beta/b": ["Here."]}, means)
    request = asking(route("alpha/a", "beta/b"), deadline=time.seconds + 0.2)
    answer = await model.complete(request)  # half of a fifth of a second, and what an adapter has to say so
    assert (answer.text, answer.served.recovery) == ("Here.", ("network.timeout",))


async def test_a_short_deadline_is_no_failure_of_the_provider():
    time, rows = Time(), Rows()
    to = route("alpha/a", fallbacks=(Fallback.TEMPLATE,))
    await ask({"alpha/a": [failing(Failure.NETWORK_TIMEOUT)]}, to, time=time, rows=rows, deadline=1000.5)
    assert rows.states == {}


async def test_the_fallbacks_answer_in_the_order_of_the_route():
    broken = {"alpha/a": [failing(Failure.QUOTA_DAILY)], "local-default": [failing(Failure.UNKNOWN)]}
    order = (Fallback.LOCAL, Fallback.SEARCH, Fallback.TEMPLATE)
    passages = (Passage("A lease is a hold.", "glossary.md:3"),)
    answer, models, _ = await ask(broken, route("alpha/a", fallbacks=order), passages=passages)
    assert (models, answer.served.fallback) == (["alpha/a", "local-default"], "search")
    assert "[1] glossary.md:3\nA lease is a hold." in answer.text
    answer, _, _ = await ask(broken, route("alpha/a", fallbacks=order), language="vi")
    assert (answer.served.fallback, answer.choices[0]["finish_reason"]) == ("template", "stop")
    assert answer.text.startswith("Xin lỗi")
    assert answer.served.recovery == ("quota.daily", "unknown")


async def test_a_text_in_place_of_json_is_never_given():
    to = route("alpha/a", fallbacks=(Fallback.TEMPLATE,))
    options = {"response_format": {"type": "json_schema", "json_schema": {}}}
    with pytest.raises(AllFailed):
        await ask({"alpha/a": [failing(Failure.QUOTA_DAILY)]}, to, options=options)


async def test_one_clear_failure_names_every_target_and_reaches_the_log(caplog):
    answers = {"alpha/a": [failing(Failure.RATE_LIMIT_HEAVY)], "beta/b": [failing(Failure.OVERLOAD_OVERLOADED)]}
    with pytest.raises(AllFailed) as raised:
        await ask(answers, route("alpha/a", "beta/b"))
    assert "alpha/a: rate_limit.heavy; beta/b: overload.overloaded" in raised.value.message
    assert raised.value.served.recovery == ("rate_limit.heavy", "overload.overloaded")
    assert raised.value.retry_after == 600.0
    assert [record.levelname for record in caplog.records if "No model of the route smart" in record.message] == [
        "ERROR"
    ]


async def test_what_failed_tries_cost_is_added():
    spent = Unavailable("Late.", failure=Failure.OVERLOAD_OVERLOADED)
    spent.cost_usd = 0.25
    unknown = Unavailable("Late.", failure=Failure.OVERLOAD_OVERLOADED)
    unknown.cost_usd = None
    to = route("alpha/a", "local-a")
    answer, _, _ = await ask({"alpha/a": [ScriptedAnswer(error=spent)], "local-a": ["Here."]}, to)
    assert answer.served.cost_usd == 0.25
    answer, _, _ = await ask({"alpha/a": [ScriptedAnswer(error=unknown)], "local-a": ["Here."]}, to)
    assert answer.served.cost_usd is None


async def test_a_request_that_may_cost_so_much_goes_where_it_fits():
    answers = {"alpha/a": ["Dear."], "local-a": ["Free."]}
    to = route("alpha/a", "local-a")
    assert (await ask(answers, to, max_cost_usd=0.000001))[0].text == "Free."
    assert (await ask(answers, to, max_cost_usd=1.0))[0].text == "Dear."
    with pytest.raises(BudgetExceeded, match="1e-06 US dollars"):
        await ask(answers, route("alpha/a"), max_cost_usd=0.000001)
    with pytest.raises(BudgetExceeded):
        await ask(answers, "alpha/a", max_cost_usd=0.000001)


async def test_a_target_that_is_not_there_is_passed_over():
    assert (await ask({"local-a": ["Here."]}, route("nowhere", "local-a")))[0].text == "Here."


async def test_a_rate_limit_of_which_nobody_says_how_long_is_graver_each_time():
    time, rows = Time(), Rows()
    means = means_of(time, rows)
    model, inner = scripted({"alpha/a": [failing(Failure.RATE_LIMIT_LIGHT)]}, means)
    with pytest.raises(AllFailed, match=r"light; alpha/a: rate_limit\.medium"):
        await model.complete(asking(route("alpha/a")))
    assert time.slept == [30.0]
    time.seconds += 121
    with pytest.raises(AllFailed, match=r"heavy"):
        await model.complete(asking(route("alpha/a")))
    assert rows.states["alpha", ""].rests_until == time.clock() + timedelta(seconds=600)
    assert len(inner.requests) == 3


async def test_fifty_requests_at_once_on_a_dead_provider_do_not_each_wait():
    time = Time()
    held = asyncio.Event()

    async def sleep(seconds):
        time.slept.append(seconds)
        await held.wait()

    means = means_of(time)
    means.sleep = sleep
    dead = ScriptedAnswer(error=Unavailable("Refused.", failure=Failure.NETWORK_CONNECTION), delay=0.001)
    model, _ = scripted({"alpha/a": [dead], "beta/b": ["Here."]}, means)
    work = [asyncio.create_task(model.complete(asking(route("alpha/a", "beta/b")))) for _ in range(50)]
    done, waiting = await asyncio.wait(work, timeout=5, return_when=asyncio.FIRST_COMPLETED)
    while len(done) < 49:
        done, waiting = await asyncio.wait(work, timeout=0.05)
    assert (len(waiting), time.slept) == (1, [5.0])
    held.set()
    assert {(await one).text for one in work} == {"Here."}


async def test_after_some_failures_in_a_row_a_named_model_is_refused_at_once():
    time = Time()
    model, inner = scripted({"alpha/a": [failing(Failure.NETWORK_CONNECTION)]}, means_of(time))
    for _ in range(3):
        with pytest.raises(Unavailable):
            await model.complete(asking("alpha/a"))
    assert (len(inner.requests), time.slept) == (5, [5.0, 5.0])
    with pytest.raises(Unavailable, match=r"resting after network\.connection") as refused:
        await model.complete(asking("alpha/a"))
    assert (len(inner.requests), refused.value.retry_after) == (5, 30.0)


async def stream(answers, to, **context):
    time = Time()
    model, inner = scripted(answers, means_of(time))
    chunks = []
    error = None
    try:
        async for chunk in model.stream(asking(to, **context)):
            chunks.append(chunk)
    except TidemillError as raised:
        error = raised
    said = "".join(one["delta"].get("content") or "" for chunk in chunks for one in chunk.choices)
    return chunks, said, error, asked(inner)


async def test_a_stream_that_fails_before_its_first_word_is_answered_by_another():
    chunks, said, error, models = await stream(
        {"alpha/a": [failing(Failure.OVERLOAD_OVERLOADED)], "local-a": ["It is a hold."]}, route("alpha/a", "local-a")
    )
    assert (said, error, models) == ("It is a hold.", None, ["alpha/a", "local-a"])
    first, last = chunks[0].served, chunks[-1].served
    assert (first.provider, first.model, first.recovery) == ("local", "local-a", ("overload.overloaded",))
    assert (last.cost_usd, last.attempts) == (0.0, 2)
    assert sum("role" in one["delta"] for chunk in chunks for one in chunk.choices) == 1


async def test_a_stream_that_fails_after_its_first_word_ends_with_an_error_that_says_so():
    broken = failing(Failure.NETWORK_CONNECTION, text="It is ")
    _, said, error, models = await stream({"alpha/a": [broken], "local-a": ["No."]}, route("alpha/a", "local-a"))
    assert (said, models) == ("It is ", ["alpha/a"])
    assert isinstance(error, StreamInterrupted)
    assert (error.code, error.failure) == ("stream_interrupted", Failure.NETWORK_CONNECTION)
    assert "a at alpha broke off" in error.message


async def test_a_stream_that_nobody_answers_is_the_template():
    to = route("alpha/a", fallbacks=(Fallback.TEMPLATE,))
    chunks, said, error, _ = await stream({"alpha/a": [failing(Failure.QUOTA_DAILY)]}, to)
    assert (error, chunks[0].served.fallback) == (None, "template")
    assert said.startswith("I am sorry")
    assert chunks[-1].choices[0]["finish_reason"] == "stop"


async def test_a_stream_of_a_target_that_rests_begins_at_the_next(caplog):
    time, rows = Time(), Rows()
    means = means_of(time, rows)
    model, inner = scripted({"alpha/a": [failing(Failure.RATE_LIMIT_HEAVY)], "beta/b": ["Here."]}, means)
    for _ in range(2):
        assert [chunk async for chunk in model.stream(asking(route("alpha/a", "beta/b")))]
    assert asked(inner) == ["alpha/a", "beta/b", "beta/b"]


async def test_a_weighted_target_that_fails_is_followed_by_the_others():
    to = route(Target("alpha/a", weight=3), Target("beta/b", weight=1))
    answer, _, _ = await ask({"alpha/a": [failing(Failure.UNKNOWN)], "beta/b": ["Here."]}, to)
    assert answer.served.provider == facts_of("beta/b").provider


async def test_an_address_that_may_not_be_asked_leads_to_the_next_one_and_counts():
    rows, time = Rows(), Time()
    refused = ScriptedAnswer(error=Refused("The host alpha.test has a private address."))
    model, inner = scripted({"alpha/a": [refused], "beta/b": ["Here."]}, means_of(time, rows))
    answer = await model.complete(asking(route("alpha/a", "beta/b")))
    assert (answer.text, asked(inner)) == ("Here.", ["alpha/a", "alpha/a", "beta/b"])
    assert [request.context.attempt.endpoint for request in inner.requests] == [0, 1, 0]
    assert answer.served.recovery == ("network.dns", "network.dns")
    assert rows.states["alpha", ""].failures == 2


def with_an_endpoint(name):
    return ModelFacts(name, name, name, "v1", outside=True) if name == "box" else facts_of(name)


@pytest.mark.parametrize("leaf", [Failure.QUOTA_BILLING, Failure.AUTH_EXPIRED, Failure.AUTH_INVALID])
@pytest.mark.parametrize("named", [True, False])
async def test_an_endpoint_that_a_person_must_mend_is_counted_and_never_disabled_for_good(leaf, named):
    rows, time = Rows(), Time()
    means = means_of(time, rows, facts=with_an_endpoint)
    model, inner = scripted({"box": [failing(leaf)]}, means)
    for _ in range(6):
        with pytest.raises(TidemillError):
            await model.complete(asking("box" if named else route("box")))
    [state] = rows.states.values()
    assert state.disabled_at is None
    assert len(inner.requests) == state.failures == 5


class OwnPrompts(ShippedPrompts):
    """A team's own prompts in the place of some that ship."""

    def __init__(self, **bodies):
        self.bodies = {f"recovery.{name}": body for name, body in bodies.items()}

    def current(self, name, language="en"):
        ships = super().current(name, language)
        head = ships.source.partition("=== ")[0]
        return parse_template(name, language, head + self.bodies[name], 1) if name in self.bodies else ships


async def test_what_a_team_has_set_is_what_the_hub_says_and_the_row_names_its_version():
    own = OwnPrompts(safer="=== system ===\nMind the rules.", declined="=== assistant ===\nAsk Mai.")
    refused = ScriptedAnswer(error=ContentRefused("Held back.", failure=Failure.CONTENT_SAFETY))
    model, inner = scripted({"alpha/a": [refused]}, means_of(Time(), prompts=own))
    answer = await model.complete(asking(route("alpha/a", fallbacks=(Fallback.TEMPLATE,))))
    assert inner.requests[1].messages[0] == {"role": "system", "content": "Mind the rules."}
    assert (answer.text, answer.served.version) == ("Ask Mai.", own.current("recovery.declined").version)
    assert answer.served.version.startswith("recovery.declined/en/1@")


async def test_a_prompt_that_cannot_be_filled_in_leads_to_the_next_fallback(caplog):
    own = OwnPrompts(found="=== assistant ===\n{{ passages[0].text[100000] or 1 // (passages | length - 2) }}")
    order = (Fallback.SEARCH, Fallback.TEMPLATE)
    passages = (Passage("One.", "a.md:1"), Passage("Two.", "b.md:1"))
    model, _ = scripted({"alpha/a": [failing(Failure.QUOTA_DAILY)]}, means_of(Time(), prompts=own))
    answer = await model.complete(asking(route("alpha/a", fallbacks=order), passages=passages))
    assert answer.served.fallback == "template"
    assert "The fallback search has nothing to say. The prompt recovery.found can't be filled in" in caplog.text


@pytest.mark.parametrize(("slow", "cost"), [("alpha/a", None), ("local-slow", 0.0)])
async def test_nobody_can_say_what_a_try_cost_that_was_given_up(slow, cost):
    answers = {slow: [ScriptedAnswer(delay=60)], "local-default": ["Here."]}
    answer, models, _ = await ask(answers, route(slow, "local-default"), deadline=1000.05)
    assert (models, answer.served.cost_usd) == ([slow, "local-default"], cost)
