"""Asking for whoever does not wait: tried again where that helps, stopped when unwanted, refused to who may not."""

import asyncio

import pytest

from tests.conftest import NOON
from tidemill.core.accounts import RIGHTS, Caller, Role
from tidemill.core.classification import Level
from tidemill.core.context import CacheUse, Priority
from tidemill.core.errors import InvalidInput, NotPermitted, TooManyRequests, Unavailable
from tidemill.core.generation import Callback, GenerationJob, JobState, Maker
from tidemill.core.ids import new_id
from tidemill.flows import asking
from tidemill.flows.asking import Stopped, patiently, standing_of, unless
from tidemill.flows.callbacks import job_json, pause_after, signature


@pytest.fixture
def slept(monkeypatch):
    """How long was slept, without sleeping."""
    seconds = []

    async def sleep(pause):
        seconds.append(pause)

    monkeypatch.setattr(asking.asyncio, "sleep", sleep)
    return seconds


def failing(*errors):
    left = list(errors)

    async def work():
        if left:
            raise left.pop(0)
        return "done"

    return work


async def test_what_may_pass_is_tried_again_and_who_says_when_is_believed(slept):
    work = failing(Unavailable("away"), TooManyRequests("full", retry_after=40), Unavailable("away", retry_after=9e9))
    assert await patiently(work, seconds=3600) == "done"
    assert slept == [0.5, 40, 300.0]


async def test_what_does_not_pass_is_told_at_once_and_patience_ends(slept):
    with pytest.raises(InvalidInput):
        await patiently(failing(InvalidInput("no")), seconds=3600)
    with pytest.raises(Unavailable):
        await patiently(failing(Unavailable("away", retry_after=20)), seconds=10)
    assert slept == []


async def test_work_that_is_no_longer_wanted_is_cancelled(monkeypatch):
    monkeypatch.setattr(asking, "LOOK_SECONDS", 0.01)
    ended = asyncio.Event()

    async def work():
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def stopped():
        return True

    with pytest.raises(Stopped):
        await unless(stopped, work())
    assert ended.is_set()


class Makers:
    """One who is what the test says."""

    def __init__(self, role, level):
        self.now = Caller(new_id(), role, RIGHTS[role], level, key_id=new_id())

    async def caller(self, *, key_id, user_id):
        return self.now


def maker(level=Level.CONFIDENTIAL):
    return Maker(new_id(), new_id(), None, level, "request", "0" * 32, CacheUse.NONE, "vi", 0.5)


@pytest.mark.parametrize(
    ("then", "now", "seen"),
    [
        (Level.INTERNAL, Level.SECRET, Level.INTERNAL),
        (Level.SECRET, Level.PUBLIC, Level.PUBLIC),
    ],
)
async def test_nothing_is_asked_at_a_higher_level_than_the_maker_had_then_and_has_now(then, now, seen):
    makers = Makers(Role.MEMBER, now)
    asker = (await standing_of(maker(then), makers)).asker("job:1", Priority.BATCH)
    assert (asker.level, asker.priority, asker.request_id) == (seen, Priority.BATCH, "request")
    assert asker.key_id == makers.now.key_id
    assert (asker.cache, asker.language, asker.max_cost_usd) == (CacheUse.NONE, "vi", 0.5)
    assert [asker.part(number).job for number in (0, 1)] == ["job:1:0", "job:1:1"]


async def test_who_may_ask_models_no_longer_is_refused():
    with pytest.raises(NotPermitted):
        await standing_of(maker(), Makers(Role.VIEWER, Level.INTERNAL))


def test_a_callback_is_signed_over_time_and_body():
    # `printf '1700000000.{"id":1}' | openssl dgst -sha256 -hmac whsec_abc`
    right = "18c046f8eef45b069779eaa1dca0fd321afacde38b5c7b2b9d1a88a11cd9dc5e"
    assert signature("whsec_abc", 1_700_000_000, b'{"id":1}') == f"t=1700000000,v1={right}"


def test_pauses_between_callbacks_grow_to_an_hour():
    assert [pause_after(attempts).total_seconds() for attempts in (1, 2, 3, 7, 20)] == [1, 4, 16, 3600, 3600]


def test_a_job_is_shown_with_what_its_endpoint_answered():
    job = GenerationJob(new_id(), maker(), "/v1/completions", Priority.BATCH, JobState.FAILED, "{}", NOON, NOON,
                        Callback("https://a.example", new_id()), error='{"error": {"code": "x"}}')  # fmt: skip
    shown = job_json(job)
    assert (shown["status"], shown["priority"], shown["error"], shown["result"]) == (
        "failed",
        "batch",
        {"code": "x"},
        None,
    )
