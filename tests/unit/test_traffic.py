"""Who waits for a local model: the bound on the queue, honest advice, turns of adapters, and what a child counts."""

import asyncio
from contextlib import ExitStack

import pytest

from tidemill.core.context import Priority
from tidemill.core.errors import TooManyRequests
from tidemill.llm.runtime.metrics import Counters, Pace, parse
from tidemill.llm.runtime.traffic import Traffic
from tidemill.llm.runtime.turns import AGING_SECONDS, PLACE_SECONDS, TURN_SECONDS, Turns


class Clock:
    """A clock that a test moves."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_requests_beyond_slots_and_queue_are_refused_and_counted_no_more(clock):
    traffic = Traffic("tiny", slots=2, max_queue=1, now=clock)
    with ExitStack() as inside:
        for _ in range(3):
            inside.enter_context(traffic.admit())
        assert (traffic.busy, traffic.waiting, traffic.admitted, traffic.idle_seconds) == (2, 1, 3, 0.0)
        with pytest.raises(TooManyRequests, match="answers 2 requests, and 1 wait"), traffic.admit():
            pass
        assert traffic.admitted == 3
    clock.now += 7
    assert (traffic.admitted, traffic.idle_seconds) == (0, 7.0)


def test_the_advice_follows_from_recent_answers_and_the_queue(clock):
    traffic = Traffic("tiny", slots=2, max_queue=4, now=clock)
    for _ in range(3):
        with traffic.admit():
            clock.now += 6
    with ExitStack() as inside:
        for _ in range(6):
            inside.enter_context(traffic.admit())
        assert traffic.waiting == 4
        assert traffic.retry_after() == 15  # five answers of 6 s each, two at a time


def test_an_answer_that_waited_for_others_does_not_count_as_slow(clock):
    traffic = Traffic("tiny", slots=1, max_queue=4, now=clock)
    first, second = traffic.admit(), traffic.admit()
    first.__enter__()
    second.__enter__()
    clock.now += 4
    first.__exit__(None, None, None)
    clock.now += 4
    second.__exit__(None, None, None)
    assert traffic.retry_after() == 4


def test_without_an_answer_to_learn_from_the_oldest_request_says_the_least(clock):
    traffic = Traffic("tiny", slots=1, max_queue=0, now=clock)
    assert traffic.retry_after() == 1
    with traffic.admit():
        clock.now += 8.5
        assert traffic.retry_after() == 9
        clock.now += 1000
        assert traffic.retry_after() == 60


def test_a_failed_answer_teaches_nothing(clock):
    traffic = Traffic("tiny", slots=1, max_queue=0, now=clock)
    broken = traffic.admit()
    broken.__enter__()
    clock.now += 50
    broken.__exit__(ValueError, ValueError("gone"), None)
    assert traffic.retry_after() == 1


async def test_an_adapter_gets_its_turn_however_many_ask_for_another(clock):
    turns, order = Turns(4, clock), []

    async def request(adapter, until):
        async with turns.turn(adapter):
            order.append(adapter)
            await until.wait()

    ends = [asyncio.Event() for _ in range(5)]
    tasks = [asyncio.create_task(request("a", ends[0]))]
    await asyncio.sleep(0)
    tasks.append(asyncio.create_task(request("b", ends[1])))
    await asyncio.sleep(0)
    tasks.append(asyncio.create_task(request("a", ends[2])))  # still a's turn
    await asyncio.sleep(0)
    clock.now += TURN_SECONDS
    tasks += [asyncio.create_task(request("a", ends[3])), asyncio.create_task(request("b", ends[4]))]
    await asyncio.sleep(0)
    assert order == ["a", "a"]
    ends[0].set()
    ends[2].set()
    await asyncio.gather(tasks[0], tasks[2])
    await asyncio.sleep(0)
    assert order == ["a", "a", "b", "b"]
    ends[1].set()
    ends[4].set()
    ends[3].set()
    await asyncio.gather(*tasks)
    assert order == ["a", "a", "b", "b", "a"]


async def test_who_goes_while_waiting_for_a_turn_holds_up_nobody(clock):
    turns, got = Turns(4, clock), []

    async def request(adapter):
        async with turns.turn(adapter):
            got.append(adapter)

    async with turns.turn("a"):
        gone, late, last = (asyncio.create_task(request(name)) for name in ("b", "b", "c"))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait([gone])
    late.cancel()  # let in, and gone before it could go on
    await asyncio.wait([late])
    await last
    assert got == ["c"]


TEXT = """# HELP llamacpp:prompt_tokens_total Number of prompt tokens processed
# TYPE llamacpp:prompt_tokens_total counter
llamacpp:prompt_tokens_total 31
llamacpp:prompt_seconds_total 0.125
llamacpp:tokens_predicted_total 8
llamacpp:tokens_predicted_seconds_total 0.5
llamacpp:requests_processing 1
llamacpp:requests_deferred 2
"""


def test_a_childs_counters_become_its_pace():
    first = parse(TEXT)
    assert first == Counters(31, 0.125, 8, 0.5, 3)
    pace = Pace().after(None, first)
    assert (pace.prefill, pace.decode) == (248.0, 16.0)
    assert pace.after(first, first) == pace
    assert pace.after(first, Counters(31, 0.125, 28, 1.0, 0)) == Pace(248.0, 40.0)


@pytest.mark.parametrize("text", ["", "llamacpp:prompt_tokens_total 1\n", TEXT.replace(" 31", " many")])
def test_counters_that_are_not_all_there_are_none(text):
    assert parse(text) is None


async def waiting_for(turns, order, waits):
    """A task for each (name, adapter, priority), begun in this order."""

    async def request(name, adapter, priority, until):
        async with turns.turn(adapter, priority):
            order.append(name)
            await until.wait()

    begun = {}
    for name, adapter, priority in waits:
        end = asyncio.Event()
        begun[name] = (asyncio.create_task(request(name, adapter, priority, end)), end)
        await asyncio.sleep(0)
    return begun


async def ended(begun, *names):
    for name in names:
        task, end = begun[name]
        end.set()
        await task
        await asyncio.sleep(0)


async def test_interactive_requests_go_before_reviews_and_those_before_batches(clock):
    turns, order = Turns(1, clock), []
    waits = [
        ("running", None, Priority.BATCH),
        ("batch 1", None, Priority.BATCH),
        ("review", None, Priority.REVIEW),
        ("batch 2", None, Priority.BATCH),
        ("person 1", None, Priority.INTERACTIVE),
        ("person 2", None, Priority.INTERACTIVE),
    ]
    begun = await waiting_for(turns, order, waits)
    assert order == ["running"]
    await ended(begun, "running", "person 1", "person 2", "review", "batch 1", "batch 2")
    assert order == ["running", "person 1", "person 2", "review", "batch 1", "batch 2"]


async def test_a_batch_that_waited_long_enough_goes_before_a_person_who_comes_later(clock):
    turns, order = Turns(1, clock), []
    begun = await waiting_for(turns, order, [("running", None, Priority.INTERACTIVE), ("batch", None, Priority.BATCH)])
    clock.now += 2 * AGING_SECONDS
    begun |= await waiting_for(turns, order, [("person", None, Priority.INTERACTIVE)])
    await ended(begun, "running", "batch", "person")
    assert order == ["running", "batch", "person"]


async def test_as_many_are_let_in_as_the_child_has_slots(clock):
    turns, order = Turns(2, clock), []
    begun = await waiting_for(turns, order, [(name, None, Priority.INTERACTIVE) for name in "abc"])
    assert order == ["a", "b"]
    await ended(begun, "b", "a", "c")
    assert order == ["a", "b", "c"]


async def test_a_persons_request_for_another_adapter_ends_the_turn_of_a_batch(clock):
    turns, order = Turns(2, clock), []
    waits = [("batch 1", "a", Priority.BATCH), ("person", "b", Priority.INTERACTIVE), ("batch 2", "a", Priority.BATCH)]
    begun = await waiting_for(turns, order, waits)
    assert order == ["batch 1"]
    await ended(begun, "batch 1", "person", "batch 2")
    assert order == ["batch 1", "person", "batch 2"]


async def test_who_reads_slowly_holds_no_slot_for_ever(clock):
    turns, order = Turns(1, clock), []
    begun = await waiting_for(turns, order, [("slow", None, Priority.INTERACTIVE)])
    clock.now += PLACE_SECONDS
    begun |= await waiting_for(turns, order, [("next", None, Priority.INTERACTIVE)])
    assert order == ["slow", "next"]
    await ended(begun, "slow", "next")


async def test_who_reads_slowly_keeps_no_other_adapter_out_for_ever(clock):
    turns, order = Turns(2, clock), []
    begun = await waiting_for(turns, order, [("slow", "one", Priority.INTERACTIVE)])
    begun |= await waiting_for(turns, order, [("next", "two", Priority.INTERACTIVE)])
    assert order == ["slow"]
    clock.now += PLACE_SECONDS
    begun |= await waiting_for(turns, order, [("last", "two", Priority.INTERACTIVE)])
    await asyncio.sleep(0)
    assert set(order) == {"slow", "next", "last"}
    await ended(begun, "slow", "next", "last")


def test_reviews_and_batches_leave_half_of_the_queue_to_people(clock):
    traffic = Traffic("tiny", slots=1, max_queue=4, now=clock)
    with ExitStack() as inside:
        for priority in (Priority.BATCH, Priority.REVIEW, Priority.BATCH):
            inside.enter_context(traffic.admit(priority))
        with pytest.raises(TooManyRequests, match="their half"), traffic.admit(Priority.BATCH):
            pass
        for _ in range(2):
            inside.enter_context(traffic.admit(Priority.INTERACTIVE))
        with pytest.raises(TooManyRequests, match="all that may"), traffic.admit(Priority.INTERACTIVE):
            pass
    with traffic.admit(Priority.BATCH):
        assert traffic.admitted == 1
