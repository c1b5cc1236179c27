"""Jobs: requests that are answered durably, without a connection, and whose answers are kept.

submit → queued → one step: ask, and keep the answer → done, failed or cancelled → the callback

A job that was killed is asked again under the same name, by which an answer that the model had committed is found.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from tidemill.core.accounts import Caller
from tidemill.core.clock import Clock
from tidemill.core.context import Priority
from tidemill.core.errors import Conflict, InvalidInput, NotFound, TidemillError, TooManyRequests
from tidemill.core.generation import Callback, GenerationJob, JobState, Maker
from tidemill.core.ids import new_id
from tidemill.core.json import Json
from tidemill.flows.asking import (
    LONGEST_PAUSE,
    UNEXPECTED,
    Answers,
    Makers,
    Stopped,
    patiently,
    standing_of,
    surely,
    unless,
)
from tidemill.flows.callbacks import Callbacks
from tidemill.jobs.durable import forget_ended
from tidemill.jobs.port import Jobs, Steps
from tidemill.settings import JobSettings
from tidemill.store.database import Pool
from tidemill.store.generation_jobs import GenerationJobRepository
from tidemill.telemetry.request import on_behalf_of
from tidemill.telemetry.spans import Traces

WORKFLOW = "generation"
ENDPOINTS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")
MOST_UNFINISHED = 10_000
"""Jobs of one owner that may be queued or running."""
MOST_BYTES = 512 * 1024 * 1024
"""Of their requests."""
PATIENCE = timedelta(hours=1)
"""For so long a job is tried again that fails in a way that may pass."""
HELD_SECONDS = 5.0
"""For so long it keeps its place meanwhile; then it is put off, and others go on in its place."""
PUT_OFF = (5.0, 10.0, 30.0, 60.0)
"""Seconds, each time that it is put off; the last one again and again."""
SETTLING = timedelta(seconds=30)
"""A job that is queued for longer without a workflow lost it between two writes, and gets it again."""
STRANDED = TidemillError(
    "Tidemill failed at this job and could not record why. The hub's log says more. Ask for it again."
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job as its maker wants it; `body` is the JSON of the endpoint's request."""

    endpoint: str
    body: bytes
    priority: Priority = Priority.INTERACTIVE
    callback_url: str | None = None


@dataclass(frozen=True, slots=True)
class GenerationParts:
    """What jobs are answered with.

    Attributes:
        rows: the jobs.
        answers: answers a request.
        makers: knows what the maker of a job may do when it runs.
        callbacks: tells whoever wants to know of a job's end.
        settings: how many at once, and how long they are kept.
        traces: keeps what was done for a job.
        clock: gives times.
    """

    rows: GenerationJobRepository
    answers: Answers
    makers: Makers
    callbacks: Callbacks
    settings: JobSettings
    traces: Traces
    clock: Clock


class GenerationFlow:
    """Takes jobs in, answers them durably, and shows them to their owners.

    Args:
        jobs: runs the workflow; this registers it there.
        parts: what jobs are answered with.
    """

    def __init__(self, jobs: Jobs, parts: GenerationParts) -> None:
        self._jobs = jobs
        self._parts = parts
        jobs.register(WORKFLOW, self.run, concurrency=parts.settings.concurrency)

    async def submit(self, new: NewJob, maker: Maker) -> GenerationJob:
        """Stores a job and queues it.

        Raises:
            InvalidInput: the body can't be used, or the callback's address may not be asked.
            TooManyRequests: too many jobs of the owner have not ended.
        """
        parts = self._parts
        if new.endpoint not in ENDPOINTS:
            raise InvalidInput(f"`endpoint` is one of {', '.join(ENDPOINTS)}.", param="endpoint")
        await parts.answers.check(new.endpoint, new.body)
        if new.callback_url is not None:
            await parts.callbacks.check(new.callback_url)
        jobs, size = await parts.rows.unfinished(maker.owner_id)
        if jobs >= MOST_UNFINISHED:
            raise TooManyRequests(f"{MOST_UNFINISHED:,} of your jobs have not ended. Wait for some, or cancel them.")
        if jobs and size + len(new.body) > MOST_BYTES:
            raise TooManyRequests(
                f"Your jobs that have not ended, and this one, hold more than {MOST_BYTES // 1024**2} MiB. Wait for "
                "some, or cancel them."
            )
        now = parts.clock()
        job = GenerationJob(
            id=new_id(),
            maker=maker,
            endpoint=new.endpoint,
            priority=new.priority,
            state=JobState.QUEUED,
            request=new.body.decode(),
            created_at=now,
            expires_at=now + timedelta(days=parts.settings.result_days),
            callback=None if new.callback_url is None else Callback(new.callback_url, new_id()),
        )
        await parts.rows.add(job)
        await self._jobs.submit(WORKFLOW, str(job.id), priority=job.priority)
        return job

    async def get(self, job_id: UUID, caller: Caller) -> GenerationJob:
        """One of the caller's jobs.

        Raises:
            NotFound: there is none, or it is another's.
        """
        job = await self._parts.rows.find(job_id)
        if job is None or job.maker.owner_id != caller.owner_id:
            raise NotFound(f"There is no job {job_id}.")
        return job

    async def page(self, caller: Caller, *, limit: int, after: UUID | None) -> Sequence[GenerationJob]:
        """The caller's jobs, newest first, from the one after `after` on."""
        return await self._parts.rows.page(caller.owner_id, limit=limit, after=after)

    async def cancel(self, job_id: UUID, caller: Caller) -> GenerationJob:
        """Ends one of the caller's jobs; one that runs stops decoding within a second.

        Raises:
            NotFound: there is none, or it is another's.
            Conflict: it ended before.
        """
        job = await self.get(job_id, caller)
        if not await self._parts.rows.cancel(job_id, self._parts.clock()):
            job = await self.get(job_id, caller)
            if job.state is not JobState.CANCELLED:
                raise Conflict(f"The job {job_id} ended before, as {job.state}.")
        return await self.get(job_id, caller)

    async def delete(self, job_id: UUID, caller: Caller) -> None:
        """Deletes one of the caller's jobs with its answer; one that runs is stopped.

        Raises:
            NotFound: there is none, or it is another's.
        """
        await self.get(job_id, caller)
        await self._parts.rows.delete([job_id])

    async def run(self, steps: Steps, subject: str) -> None:
        """The workflow. `subject` is the job's id, and which try it is."""
        job_id, _, tries = subject.partition(":")

        async def answered() -> Json:
            await surely(lambda: self._answer(UUID(job_id), int(tries or 0)))
            return None

        await steps.run("answer", answered)

    async def settle(self) -> None:
        """Ends jobs whose workflow ended without them, and gives one to those that have none, or are due again."""
        rows, now = self._parts.rows, self._parts.clock()
        jobs = {job.subject: job for job in await rows.open(now, now - SETTLING)}
        if not jobs:
            return
        strays = await self._jobs.strays(WORKFLOW, [*jobs])
        for subject in strays.broken:
            await rows.fail(jobs[subject].id, self._refusal(STRANDED), now)
            log.error("The job %s was stranded and is now marked as failed.", jobs[subject].id)
        for subject in strays.missing - strays.broken:
            await self._jobs.submit(WORKFLOW, subject, priority=jobs[subject].priority)

    async def _answer(self, job_id: UUID, tries: int) -> None:
        """Brings a job to its end, or puts it off. What it raises is that the database is away."""
        parts = self._parts
        if not await parts.rows.begin(job_id, tries, parts.clock()):
            return
        job = await parts.rows.find(job_id)
        if job is None:
            return

        async def ended() -> bool:
            return await surely(lambda: parts.rows.state(job_id)) is not JobState.RUNNING

        try:
            trace = parts.traces.begin("job", trace_id=job.maker.trace_id)
            with on_behalf_of(job.maker.request_id), trace:
                trace.set({"tidemill.job_id": str(job_id)})
                held = 0.0 if tries else HELD_SECONDS
                result = await unless(ended, patiently(lambda: self._ask(job), seconds=held))
        except Stopped:
            return
        except TidemillError as error:
            now = parts.clock()
            if (due_at := _next_try(job, error, now)) is None:
                await parts.rows.fail(job_id, self._refusal(error), now)
            else:
                log.info("The job %s is tried again from %s on: %s", job_id, due_at.isoformat(), error.message)
                await parts.rows.postpone(job_id, tries, due_at, now)
        except Exception:
            log.exception("The job %s failed.", job_id)
            await parts.rows.fail(job_id, self._refusal(UNEXPECTED), parts.clock())
        else:
            await parts.rows.finish(job_id, result.decode(), parts.clock())

    async def _ask(self, job: GenerationJob) -> bytes:
        standing = await standing_of(job.maker, self._parts.makers)
        asker = standing.asker(f"job:{job.id}", job.priority)
        return await self._parts.answers.answer(job.endpoint, job.request.encode(), asker)

    def _refusal(self, error: TidemillError) -> str:
        return self._parts.answers.refusal(error).decode()


def _next_try(job: GenerationJob, error: TidemillError, now: datetime) -> datetime | None:
    """When a job that failed is tried again; `None` for not at all."""
    pause = PUT_OFF[min(job.tries, len(PUT_OFF) - 1)]
    due_at = now + timedelta(seconds=min(max(pause, error.retry_after or 0.0), LONGEST_PAUSE))
    given_up = (job.failing_since or now) + PATIENCE
    return due_at if error.transient and due_at <= given_up else None


async def forget_jobs(pool: Pool, rows: GenerationJobRepository, before: datetime) -> int:
    """Deletes the jobs whose time is over, and what durable work has recorded of them."""
    jobs = await rows.expired(before)
    deleted = await rows.delete(jobs)
    async with pool.connection() as connection, connection.transaction():
        await forget_ended(connection, WORKFLOW, "generation_jobs")
    return deleted
