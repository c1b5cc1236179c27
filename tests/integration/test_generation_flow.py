"""A job's course when what it needs is away for a moment, run step by step."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest

from tests.conftest import NOON
from tidemill.core.accounts import RIGHTS, Caller, Role
from tidemill.core.classification import Level
from tidemill.core.context import Asker
from tidemill.core.errors import TidemillError, Unavailable
from tidemill.core.generation import JobState, Maker
from tidemill.core.ids import new_id
from tidemill.flows import asking
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
