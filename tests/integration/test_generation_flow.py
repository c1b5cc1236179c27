"""A job's course when what it needs is away for a moment, run step by step."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

import pytest

from tests.conftest import NOON
from tidemill.core.accounts import RIGHTS, Caller, Role
from tidemill.core.classification import Level
from tidemill.core.context import Asker, Priority
from tidemill.core.errors import TidemillError, TooManyRequests, Unavailable
from tidemill.core.generation import JobState, Maker
from tidemill.core.ids import new_id
from tidemill.flows import asking, generation
from tidemill.flows.callbacks import Callbacks
from tidemill.flows.generation import GenerationFlow, GenerationParts, NewJob
from tidemill.jobs.direct import DirectJobs
from tidemill.outbound import Outbound
from tidemill.settings import JobSettings
from tidemill.store.database import Pool
from tidemill.store.generation_jobs import GenerationJobRepository
from tidemill.telemetry.spans import Traces


class Away(GenerationJobRepository):
    """The database is away at the first look at whether a job is still wanted."""

    looks = 0

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self.back = asyncio.Event()

    async def state(self, job_id: UUID) -> JobState | None:
        self.looks += 1
        if self.looks == 1:
            raise Unavailable("The database does not answer.")
        self.back.set()
        return await super().state(job_id)


class Slow:
    """Answers when `until` says so."""

    def __init__(self, until: Callable[[], Awaitable[None]]) -> None:
        self._until = until

    async def check(self, endpoint: str, body: bytes) -> None:
        pass

    async def answer(self, endpoint: str, body: bytes, asker: Asker) -> bytes:
        await self._until()
        return b'{"object": "chat.completion"}'

    def refusal(self, error: TidemillError) -> bytes:
        return b'{"error": {}}'


class Makers:
    async def caller(self, *, key_id: UUID | None, user_id: UUID | None) -> Caller:
        return Caller(new_id(), Role.MEMBER, RIGHTS[Role.MEMBER], Level.INTERNAL, key_id=new_id())


async def test_a_job_does_not_fail_because_the_database_was_away_for_a_moment(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(asking, "PAUSES", (0.01,))
    rows = Away(pool)

    async def looked_twice() -> None:
        await rows.back.wait()

    callbacks = Callbacks(rows, Outbound([]), derive=lambda _: "", settings=JobSettings(), clock=lambda: NOON)
    parts = GenerationParts(rows, Slow(looked_twice), Makers(), callbacks, JobSettings(), Traces(10), lambda: NOON)
    flow = GenerationFlow(DirectJobs(), parts)
    maker = Maker(new_id(), new_id(), None, Level.INTERNAL, None, "0" * 32)
    job = await flow.submit(NewJob("/v1/chat/completions", b"{}"), maker)
    found = await rows.find(job.id)
    assert found is not None
    assert (found.state, found.result) == (JobState.DONE, '{"object": "chat.completion"}')


class Counting(DirectJobs):
    """Notes what is submitted."""

    def __init__(self) -> None:
        super().__init__()
        self.submitted: list[str] = []

    async def submit(self, name: str, subject: str, *, priority: Priority = Priority.INTERACTIVE) -> None:
        self.submitted.append(subject)
        await super().submit(name, subject, priority=priority)


class Answering:
    """A flow whose clock is set by hand, over a model that is away while `away`."""

    def __init__(self, pool: Pool) -> None:
        self.now = NOON
        self.away = True
        self.asked = 0
        self.jobs = Counting()
        self.rows = GenerationJobRepository(pool)
        callbacks = Callbacks(
            self.rows, Outbound([]), derive=lambda _: "", settings=JobSettings(), clock=lambda: self.now
        )
        parts = GenerationParts(
            self.rows, Slow(self.answer), Makers(), callbacks, JobSettings(), Traces(10), lambda: self.now
        )
        self.flow = GenerationFlow(self.jobs, parts)
        self.maker = Maker(new_id(), new_id(), None, Level.INTERNAL, None, "0" * 32)

    async def answer(self) -> None:
        self.asked += 1
        if self.away:
            raise Unavailable("The model is away.", retry_after=45.0)

    async def submit(self, body: bytes = b"{}") -> UUID:
        return (await self.flow.submit(NewJob("/v1/chat/completions", body), self.maker)).id

    async def state(self, job: UUID) -> JobState | None:
        return await self.rows.state(job)


async def test_a_job_that_waits_for_a_model_gives_its_place_to_others_and_is_tried_again_when_it_is_due(
    pool: Pool,
) -> None:
    one = Answering(pool)
    job = await one.submit()
    assert (await one.state(job), one.asked) == (JobState.QUEUED, 1)
    one.now += timedelta(seconds=44)
    await one.flow.settle()
    assert one.asked == 1
    one.now += timedelta(seconds=1)
    await one.flow.settle()
    assert (await one.state(job), one.asked) == (JobState.QUEUED, 2)
    one.away = False
    one.now += timedelta(seconds=60)
    await one.flow.settle()
    assert (await one.state(job), one.asked) == (JobState.DONE, 3)
    await one.flow.settle()
    assert one.jobs.submitted == [str(job), f"{job}:1", f"{job}:2"]


async def test_a_job_whose_model_stays_away_fails_after_an_hour(pool: Pool) -> None:
    one = Answering(pool)
    job = await one.submit()
    while await one.state(job) is JobState.QUEUED:
        one.now += timedelta(minutes=5)
        await one.flow.settle()
    assert (await one.state(job), one.now) == (JobState.FAILED, NOON + timedelta(hours=1))


async def test_a_job_that_is_cancelled_while_it_is_put_off_is_not_tried_again(pool: Pool) -> None:
    one = Answering(pool)
    job = await one.submit()
    assert await one.rows.cancel(job, one.now)
    one.now += timedelta(minutes=5)
    await one.flow.settle()
    assert (await one.state(job), one.asked) == (JobState.CANCELLED, 1)


async def test_a_try_that_a_kill_left_behind_does_not_ask_once_more(pool: Pool) -> None:
    one = Answering(pool)
    job = await one.submit()
    one.jobs.results.clear()  # it was put off, and killed before that was recorded
    await one.jobs.submit("generation", str(job))
    assert (await one.state(job), one.asked) == (JobState.QUEUED, 1)


async def test_a_job_that_waits_for_its_workflow_is_not_queued_again_and_again(pool: Pool) -> None:
    one = Answering(pool)
    job = await one.submit()
    async with pool.connection() as connection:
        await connection.execute("UPDATE generation_jobs SET tries = 0, due_at = NULL")
    one.now += timedelta(minutes=5)
    await one.flow.settle()
    assert one.jobs.submitted == [str(job)]


async def test_an_owner_can_not_fill_the_disk_with_jobs_that_wait(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "MOST_BYTES", 1000)
    one = Answering(pool)
    first = await one.submit(b'"%s"' % (b"x" * 1200))  # one is taken, however large it is
    with pytest.raises(TooManyRequests, match="hold more than"):
        await one.submit()
    await one.rows.cancel(first, one.now)
    await one.submit(b'"%s"' % (b"x" * 600))
    with pytest.raises(TooManyRequests, match="hold more than"):
        await one.submit(b'"%s"' % (b"x" * 600))
