"""Work on pull requests: claimed once for each cause, done durably, put off while a forge is away."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from tidemill.core.errors import NotFound
from tidemill.core.feedback import CommentFeedback
from tidemill.core.ids import new_id
from tidemill.core.json import Json
from tidemill.core.placed_comment import PlacedComment
from tidemill.core.pull_request import PullRequestKey
from tidemill.flows.pull_request_check import close_check
from tidemill.flows.pull_request_parts import MOST_ATTEMPTS, PullRequestParts, Work, lasting, wait_after
from tidemill.flows.pull_request_run import PullRequestRun, ended, give_up
from tidemill.jobs.durable import forget_workflows
from tidemill.jobs.port import Jobs, Steps
from tidemill.store.database import Pool
from tidemill.store.pull_requests import (
    UNFINISHED,
    PullRequestRepository,
    PullRequestRow,
    RunKind,
    RunRow,
    RunState,
)

WORKFLOW = "pull_request"
CONCURRENCY = 3
"""Runs that one process works on at once."""
SETTLING = timedelta(seconds=30)
CLOSING = timedelta(days=1)
CLOSING_SECONDS = 30.0
"""How long the check of a review that ended without a verdict is tried to be closed."""
STRANDED = "Tidemill failed at this and could not record why. The hub's log says more. Ask for it again."

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PullRequestStatus:
    """A pull request as its reader sees it: the row, what was done for it, and what stands there."""

    row: PullRequestRow
    runs: tuple[RunRow, ...]
    placed: tuple[PlacedComment, ...]


class PullRequestFlow:
    """Does the work.

    Args:
        jobs: runs the workflow; this registers it there.
        parts: what it is done with.
    """

    def __init__(self, jobs: Jobs, parts: PullRequestParts) -> None:
        self._jobs = jobs
        self._parts = parts
        jobs.register(WORKFLOW, self.run, concurrency=CONCURRENCY)

    async def ask(
        self,
        key: PullRequestKey,
        kind: RunKind,
        cause: str,
        *,
        head: str = "",
        event: Mapping[str, Json] | None = None,
        asked_by: str | None = None,
    ) -> RunRow | None:
        """Claims a run for a cause; `None` where another has. It is not queued yet: see `submit`.

        A head that was reviewed, and is the newest again after another one, is looked at again.
        """
        row = await self._parts.rows.known(new_id(), key, self._parts.clock())
        run = RunRow(
            id=new_id(),
            pull_request_id=row.id,
            kind=kind,
            cause=cause,
            head=head,
            state=RunState.QUEUED,
            created_at=self._parts.clock(),
            event=event,
            asked_by=asked_by,
        )
        claimed = await self._parts.rows.claim(run)
        if claimed is None and kind is RunKind.REVIEW and head:
            latest = await self._parts.rows.latest_review(row.id)
            if latest is not None and latest.head not in {head, ""}:
                claimed = await self._parts.rows.claim(replace(run, cause=f"head:{head}:after:{latest.id}"))
        return claimed

    async def submit(self, run: RunRow) -> None:
        """Queues a run that was claimed; again does nothing."""
        await self._jobs.submit(WORKFLOW, run.subject)

    async def review(self, key: PullRequestKey) -> RunRow:
        """Has a pull request reviewed now, whatever its policy says of reviews that nobody asked for.

        Raises:
            NotFound: the settings have no such forge.
        """
        self._parts.forge(key)
        run = await self.ask(key, RunKind.REVIEW, f"hand:{new_id()}")
        assert run is not None  # noqa: S101 - nobody else has this cause
        await self.submit(run)
        return run

    async def run(self, steps: Steps, subject: str) -> None:
        """The workflow. `subject` is a run's id and its attempt."""
        parts = self._parts
        run_id, _, attempt = subject.partition(":")
        work = await lasting(lambda: self._work(UUID(run_id), int(attempt or 0)), parts.sleep)
        if work is not None:
            await PullRequestRun(parts, steps, work, self.ask, self.submit).run()

    async def _work(self, run_id: UUID, attempt: int) -> Work | None:
        """A run that begins, or goes on; `None` where there is nothing to do."""
        parts = self._parts
        run = await parts.rows.run(run_id)
        if run is None or run.state not in UNFINISHED or run.attempt != attempt:
            return None
        await parts.rows.start(run)
        row = await parts.rows.get(run.pull_request_id)
        assert row is not None  # noqa: S101 - a run goes with its pull request
        try:
            return Work(run, row, parts.forge(row.key))
        except NotFound as error:
            await ended(parts, run, RunState.FAILED, error.message)
            return None

    async def latest(self, *, limit: int, forge: str | None = None, project: str | None = None) -> list[PullRequestRow]:
        """The pull requests that something happened to last."""
        return await self._parts.rows.latest(limit=limit, forge=forge, project=project)

    async def status(self, key: PullRequestKey) -> PullRequestStatus:
        """One pull request.

        Raises:
            NotFound: nothing is known of it.
        """
        row = await self._parts.rows.find(key)
        if row is None:
            raise NotFound(f"Nothing is known of {key.project.forge}:{key.project.path}#{key.number}.")
        runs = await self._parts.rows.runs(row.id)
        return PullRequestStatus(row, tuple(runs), tuple(await self._parts.placed.of(row.id)))

    async def feedback(self, review_id: UUID) -> list[CommentFeedback]:
        """What became of a review's comments; ask first whether the caller may see the review."""
        return await self._parts.placed.feedback_of_review(review_id)

    def all_feedback(self, *, since: datetime | None) -> AsyncIterator[CommentFeedback]:
        """What became of all comments since a time, oldest first."""
        return self._parts.placed.all_feedback(since=since)

    async def forget_login(self, forge: str, login: str) -> int:
        """Takes a person's login out of all that is stored of a forge; returns how many rows had it."""
        return await self._parts.rows.forget_login(forge, login)

    async def settle(self) -> None:
        """Takes up what waited for its forge, what was stranded, what never got a workflow, and checks left running."""
        parts = self._parts
        now = parts.clock()
        for run in await parts.rows.due(now):
            await self.submit(run)
        await self._gather_strays(now)
        left = await parts.rows.unclosed_checks(now - CLOSING, now - SETTLING)
        closed = await asyncio.gather(*(self._close(run) for run in left), return_exceptions=True)
        for run, error in zip(left, closed, strict=True):
            if error is not None:  # whatever one forge does keeps nobody from the others
                log.error("The check of %s was left running.", run.id, exc_info=error)

    async def _gather_strays(self, now: datetime) -> None:
        """Takes up what was stranded, and what never got a workflow."""
        unfinished = await self._parts.rows.unfinished()
        if not unfinished:
            return
        strays = await self._jobs.strays(WORKFLOW, [run.subject for run in unfinished])
        for run in unfinished:
            if run.subject in strays.broken:
                await self._take_up(run, now)
            elif run.subject in strays.missing and run.created_at < now - SETTLING:
                await self.submit(run)

    async def _close(self, run: RunRow) -> None:
        """Closes the check of a review that ended without a verdict, which the review itself could not do."""
        parts = self._parts
        row = await parts.rows.get(run.pull_request_id)
        assert row is not None  # noqa: S101 - a run goes with its pull request
        try:
            work = Work(run, row, parts.forge(row.key))
        except NotFound:
            await parts.rows.check_closed(run.id)
            return
        try:
            async with asyncio.timeout(CLOSING_SECONDS):
                wanted = await close_check(parts, work, run.id, None, again=run.state is RunState.SUPERSEDED)
        except TimeoutError:
            log.warning("The check of %s on %s was left running: its forge takes too long.", run.id, work)
            return
        if wanted and (claimed := await self.ask(row.key, run.kind, run.cause, head=run.head)) is not None:
            await self.submit(claimed)

    async def _take_up(self, run: RunRow, now: datetime) -> None:
        """Has a run whose workflow broke begin again; after the last attempt it is given up."""
        parts = self._parts
        if run.attempt + 1 < MOST_ATTEMPTS:
            log.error("The run %s (%s) was stranded and begins again.", run.id, run.cause)
            until = now + timedelta(seconds=wait_after(run.attempt))
            await parts.rows.put_off(run.id, run.attempt + 1, until, STRANDED)
            return
        work = await self._work(run.id, run.attempt)
        if work is not None:
            await give_up(parts, work, STRANDED, head=run.head, outage=False)


async def forget_runs(pool: Pool, before: datetime) -> int:
    """Deletes the runs that ended before a time, of pull requests that are closed, and what durable work recorded."""
    rows = PullRequestRepository(pool)
    old = await rows.old_runs(before)
    async with pool.connection() as connection, connection.transaction():
        subjects = [f"{run.id}:{attempt}" for run in old for attempt in range(run.attempt + 1)]
        await forget_workflows(connection, WORKFLOW, subjects)
        await connection.execute("DELETE FROM pull_request_runs WHERE id = ANY(%s)", ([run.id for run in old],))
    return len(old)
