"""One piece of work for a pull request, on its way through the steps.

    review     pr:read ─ the steps of review_run ─ pr:place → done
    command    pr:command → done
    outcomes   pr:outcomes → done

A forge that is away, or wants fewer requests, puts the run off: its workflow ends, and a later one begins anew, with
the review that is made by then. A newer commit ends it before it writes.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, cast

from tidemill.analysis.diff import parse_diff
from tidemill.core.errors import Conflict, ModelNotFound, NotFound, Unavailable
from tidemill.core.json import Json
from tidemill.core.pull_request import ForgeComment, PullRequest, PullRequestState
from tidemill.core.review import ReviewState
from tidemill.core.review_brief import EarlierComment, EarlierState, ReviewBrief, Stated, brief_from_json, brief_json
from tidemill.core.review_policy import ReviewPolicy
from tidemill.flows.closed_issue import closed_issue
from tidemill.flows.pull_request_check import close_check
from tidemill.flows.pull_request_commands import Commands
from tidemill.flows.pull_request_outcomes import Outcomes
from tidemill.flows.pull_request_parts import (
    FIRST_WAIT,
    LAG,
    MOST_ATTEMPTS,
    PullRequestParts,
    Record,
    Skipped,
    Superseded,
    Work,
    lasting,
    steadily,
    wait_after,
)
from tidemill.flows.pull_request_placing import Placing, Reviewed
from tidemill.flows.pull_request_recognition import Recognition
from tidemill.flows.repository_policy import guidelines_of, policy_of
from tidemill.flows.review_run import stored_change
from tidemill.flows.surroundings import surrounded
from tidemill.jobs.port import Steps
from tidemill.review.markers import FINDING, own_marked
from tidemill.review.policy_filter import sift
from tidemill.review.pull_request_text import check_name, running_check
from tidemill.review.reports import result_from_json
from tidemill.store.pull_requests import UNFINISHED, RunKind, RunRow, RunState

NEWER = "A newer commit took its place."
_LONGEST_EARLIER = 2_000
_MOST_EARLIER = 100

log = logging.getLogger(__name__)

Submit = Callable[[RunRow], Awaitable[None]]
Ask = Callable[..., Awaitable[RunRow | None]]


class PullRequestRun:
    """One attempt at one run.

    Args:
        parts: what it is done with.
        steps: the workflow's.
        work: the run.
        ask: claims another run for the same pull request.
        submit: queues a run.
    """

    def __init__(self, parts: PullRequestParts, steps: Steps, work: Work, ask: Ask, submit: Submit) -> None:
        self._parts = parts
        self._steps = steps
        self._work = work
        self._ask = ask
        self._submit = submit
        self._placing = Placing(parts, work)

    async def run(self) -> None:
        """To its end, or until it is put off."""
        try:
            match self._work.run.kind:
                case RunKind.REVIEW:
                    await self._review()
                case RunKind.COMMAND:
                    commands = Commands(self._parts, self._work, self._ask)
                    await self._alone("pr:command", commands.obey)
                case RunKind.OUTCOMES:
                    await self._alone("pr:outcomes", self._outcomes)
        except Superseded:
            await lasting(self._supersede, self._parts.sleep)

    async def _review(self) -> None:
        run = self._work.run
        read = await self._step("pr:read", self._read)
        if await self._ended(read):
            return
        if read["review"]:
            await self._parts.reviews.run(_UntilSuperseded(self._parts, self._steps, run), str(run.id))
        placed = await self._step("pr:place", lambda: self._place(read))
        if await self._ended(placed, read):
            return
        state = RunState.FAILED if placed.get("failed") else RunState.DONE
        counts = {**placed.get("counts", {}), "checked": read.get("check")}
        await self._end(state, placed.get("reason"), counts)

    async def _alone(self, name: str, work: Callable[[], Awaitable[Record]]) -> None:
        """A run of one step, and what it asks for."""
        record = await self._step(name, work)
        if await self._ended(record):
            return
        for cause in record.get("submit", ()):
            row = self._work.row
            found = await lasting(partial(self._parts.rows.run_of, row.id, str(cause)), self._parts.sleep)
            if found is not None and found.state is RunState.QUEUED:
                await self._submit(found)
        await self._end(RunState.DONE, record.get("reason"), record.get("counts"))

    async def _step(self, name: str, work: Callable[[], Awaitable[Record]]) -> Record:
        async def recorded() -> Json:
            return cast(Json, await steadily(work, self._parts.sleep, f"the step {name} for {self._work}"))

        return cast(Record, await self._steps.run(name, recorded))

    async def _ended(self, record: Record, read: Record | None = None) -> bool:
        """Whether the step's record ends the run, and then ends it or puts it off."""
        return await lasting(lambda: self._concluded(record, read), self._parts.sleep)

    async def _concluded(self, record: Record, read: Record | None) -> bool:
        run = self._work.run
        if "wait" in record and run.attempt + 1 < MOST_ATTEMPTS:
            seconds = max(float(record["wait"]), wait_after(run.attempt))
            until = self._parts.clock() + timedelta(seconds=seconds)
            await self._parts.rows.put_off(run.id, run.attempt + 1, until, record["reason"])
            log.warning("%s waits %.0f s for its forge: %s", self._work, seconds, record["reason"])
        elif "wait" in record:
            await self._give_up(f"Given up after {MOST_ATTEMPTS} tries: {record['reason']}", read, outage=True)
        elif "superseded" in record:
            await self._supersede(record["superseded"], record.get("onto", ""), read)
        elif record.get("skipped"):
            if await ended(self._parts, run, RunState.SKIPPED, record["reason"]):
                await self._close(read)
        elif record.get("error"):
            await self._give_up(record["reason"], read, outage=bool(record.get("outage")))
        else:
            return False
        return True

    async def _give_up(self, reason: str, read: Record | None, *, outage: bool) -> None:
        """Ends the run as failed, and has the pull request say so if it can."""
        run = await self._parts.rows.run(self._work.run.id)  # which knows the head since the review began
        head = read["head"] if read is not None else run.head if run is not None else ""
        await give_up(self._parts, self._work, reason, head=head, language=_language(read), outage=outage)

    async def _supersede(self, head: str = "", onto: str = "", read: Record | None = None) -> None:
        """Ends the run; the newer head, or the same one for another branch, is reviewed, whoever tells of it."""
        run = self._work.run
        here = await self._parts.rows.run(run.id)
        if here is not None and here.attempt == run.attempt:
            await self._parts.review_rows.fail(run.id, NEWER, self._parts.clock())
            if await ended(self._parts, run, RunState.SUPERSEDED, NEWER):
                await self._close(read)
        if head:
            cause = f"head:{head}" + (f":onto:{onto}" if onto else "")
            newer = await self._ask(self._work.key, RunKind.REVIEW, cause, head=head)
            if newer is not None:
                await self._submit(newer)

    async def _close(self, read: Record | None) -> None:
        """Closes the check of a run that ended without a verdict; one that is wanted after all begins anew."""
        run = self._work.run
        wanted = await close_check(self._parts, self._work, run.id, _language(read))
        if wanted and read is not None:
            again = await self._ask(self._work.key, run.kind, run.cause, head=run.head)
            if again is not None:
                await self._submit(again)

    async def _end(self, state: RunState, reason: str | None, counts: Any = None) -> None:
        await lasting(lambda: ended(self._parts, self._work.run, state, reason, counts), self._parts.sleep)

    # What the steps do.

    async def _read(self) -> Record:
        """Reads what the review needs and stores it; says whether it is still to be made."""
        parts, work = self._parts, self._work
        run, forge = work.run, work.forge
        now = await self._seen()
        if now.state is not PullRequestState.OPEN:
            self._await_change("open")
            raise Skipped(f"The pull request is {now.state}.")
        if run.head and now.head != run.head:
            await self._await_head(now.head)
            raise Superseded(now.head)
        policy = await policy_of(forge, now)
        superseded = await parts.rows.begin(run, now.head, parts.clock())
        if superseded is None:
            raise Superseded
        for older in superseded:
            parts.observe(RunKind.REVIEW, RunState.SUPERSEDED)
            if await close_check(parts, work, older.id, policy.language):
                raise Superseded(older.head)  # the forge had shown an older commit than it does now
        unasked = run.cause.startswith("head:")  # who asks by a command or by hand gets a review all the same
        if unasked and not policy.enabled:
            raise Skipped("Reviews are off in `.tidemill.yml` (`enabled`); `/tidemill review` asks for one.")
        if unasked and now.draft and not policy.drafts:
            self._await_change("ready")
            raise Skipped("It is a draft, and drafts are not reviewed here (`drafts` in `.tidemill.yml`).")
        name = check_name(now)
        if not await parts.rows.checks(run, name):
            raise Superseded
        others = await parts.rows.others_of_check(work.key.project, run.id, now.head, name)
        if others <= UNFINISHED:  # a verdict stays until there is another one
            await self._placing.check(running_check(policy.language, now.head), now)
        known = await parts.review_rows.get(run.id)
        if known is None:
            await self._store(now, policy)
        elif known.state is ReviewState.FAILED:  # it was superseded, and its commit is the newest again
            await parts.review_rows.reopen(run.id)
        return {
            "head": now.head,
            "target": now.target,
            "check": name,
            "review": known is None or known.state is not ReviewState.DONE,
            "brief": brief_json(ReviewBrief(policy=policy)),
        }

    def _is_young(self) -> bool:
        """Whether the forge may not show yet what the run was asked for."""
        return self._parts.clock() - self._work.run.created_at < LAG

    def _await_change(self, what: str) -> None:
        """Has a run that was asked for again wait a little for its forge to show the pull request as open or ready."""
        run = self._work.run
        if run.attempt and self._is_young():
            raise Unavailable(f"The forge does not show the pull request as {what} yet.", retry_after=FIRST_WAIT)

    async def _await_head(self, shown: str) -> None:
        """Has the run wait a little where its forge shows an older commit than it has told of."""
        run, parts = self._work.run, self._parts
        if self._is_young() and await parts.rows.was_reviewed(run.pull_request_id, shown):
            raise Unavailable(f"The forge does not show the commit {run.head} yet.", retry_after=FIRST_WAIT)

    async def _seen(self) -> PullRequest:
        """The pull request as its forge has it now, which is stored."""
        asked_at = self._parts.clock()
        now = await self._work.forge.pull_request(self._work.key)
        await self._parts.rows.seen(self._work.row.id, now, asked_at)
        return now

    async def _store(self, now: PullRequest, policy: ReviewPolicy) -> None:
        """Stores the change for the review, with what the review is told beside it."""
        parts, work = self._parts, self._work
        try:
            change = await work.forge.change(now, parts.settings)
        except Conflict as moved:
            raise Unavailable(moved.message) from moved  # the next look at the pull request sees its new head
        change = await surrounded(change, work.forge, now)
        paths = [file.path for file in parse_diff(change.diff).files]
        quotes = {one.finding.fingerprint: one.finding.quote for one in await parts.placed.of(work.row.id)}
        brief = ReviewBrief(
            policy=policy,
            stated=Stated(now.title, now.body, await closed_issue(work.forge, now)),
            earlier=earlier_comments(await work.forge.comments(work.key), quotes),
            guidelines=await guidelines_of(work.forge, now, policy, paths),
        )
        try:
            await parts.reviews.add(work.run.id, change, with_model=True, caller=None, brief=brief)
        except ModelNotFound as error:
            log.warning("%s is reviewed without a model: %s", work, error.message)
            await parts.reviews.add(work.run.id, change, with_model=False, caller=None, brief=brief)

    async def _place(self, read: Record) -> Record:
        """Writes the review on the pull request, if its commit is still the newest."""
        parts, work = self._parts, self._work
        async with parts.rows.alone(work.row.id) as alone:
            if not alone:
                raise Unavailable("Another review is being written on this pull request.", retry_after=1)
            now = await self._seen()
            if now.head != read["head"]:
                raise Superseded(now.head)
            if now.target != read.get("target", now.target):
                raise Superseded(now.head, now.target)
            if now.state is not PullRequestState.OPEN:
                raise Skipped(f"The pull request is {now.state}.")
            policy = _policy(read)
            row = await parts.review_rows.get(work.run.id)
            if row is None:
                raise NotFound(f"The review {work.run.id} is gone.")
            if row.state is not ReviewState.DONE or row.result is None:
                reason = row.error or "It did not come to its end."
                events = await parts.review_rows.events(work.run.id)
                outage = any(one.kind == "failed" and one.data.get("outage") for one in events)
                await self._placing.say_failed(now, now.head, reason, policy.language, outage=outage)
                return {"failed": True, "reason": reason}
            data = await parts.blobs.get(row.change_digest)
            change, diff, brief = await asyncio.to_thread(stored_change, data)
            result = result_from_json(row.result)
            notes = tuple(note for note in result.notes if note not in policy.notes)  # the summary has a list of those
            result = replace(result, findings=sift(result.findings, policy).findings, notes=notes)
            same = await Recognition(parts, work).of((*result.findings, *result.folded), now, change, diff)
            count = len(result.findings)
            result = replace(result, findings=same[:count], folded=same[count:])
            ignored = await parts.rows.ignored(work.key)
            gates = None
            if parts.gates is not None:
                counted = [finding for finding in result.findings if finding.fingerprint not in ignored]
                gates = await parts.gates.judge(work.forge, now, change, counted, policy)
            owners = brief.guidelines.owners
            return await self._placing.place(Reviewed(now, result, change, diff, policy, owners, gates, ignored))

    async def _outcomes(self) -> Record:
        """What the end of a pull request makes of its comments."""
        parts, work = self._parts, self._work
        now = await self._seen()
        if now.state is PullRequestState.OPEN:
            if self._is_young():
                raise Unavailable("The forge does not show the end of the pull request yet.", retry_after=FIRST_WAIT)
            raise Skipped("The pull request is open again.")
        comments = await work.forge.comments(work.key)
        outcomes = Outcomes(parts, work)
        if now.state is PullRequestState.MERGED:
            new = await outcomes.of_merge(now, comments)
        else:
            new = await outcomes.of_reactions(await parts.placed.of(work.row.id), comments)
        return {"counts": {"outcomes": new}}


class _UntilSuperseded:
    """The steps of a review, as long as no newer commit has taken its place."""

    def __init__(self, parts: PullRequestParts, steps: Steps, run: RunRow) -> None:
        self._parts = parts
        self._steps = steps
        self._run = run

    async def run(self, name: str, step: Callable[[], Awaitable[Json]]) -> Json:
        now = await lasting(lambda: self._parts.rows.run(self._run.id), self._parts.sleep)
        if now is None or now.state not in UNFINISHED or now.attempt != self._run.attempt:
            raise Superseded
        return await self._steps.run(name, step)


async def give_up(
    parts: PullRequestParts, work: Work, reason: str, *, head: str, language: str = "en", outage: bool
) -> None:
    """Ends a run as failed, and has the pull request say so if it can."""
    run = work.run
    log.error("Nothing more is done for %s (%s): %s", work, run.cause, reason)
    if run.kind is RunKind.REVIEW:
        await parts.review_rows.fail(run.id, reason, parts.clock())

        async def say() -> Record:
            now = await work.forge.pull_request(work.key)
            await Placing(parts, work).say_failed(now, head, reason, language, outage=outage)
            return {}

        told = await steadily(say, parts.sleep, "telling") if head else {}
        if told.get("reason"):
            log.warning("%s could not be told so: %s", work, told["reason"])
    await ended(parts, run, RunState.FAILED, reason)


async def ended(parts: PullRequestParts, run: RunRow, state: RunState, reason: str | None, counts: Any = None) -> bool:
    """Ends a run, and counts that once; false where it had ended."""
    now_ended = await parts.rows.end(run.id, state, parts.clock(), reason=reason, counts=counts)
    if now_ended:
        parts.observe(run.kind, state)
    return now_ended


def _policy(read: Record) -> ReviewPolicy:
    return brief_from_json(read["brief"]).policy


def _language(read: Record | None) -> str:
    return "en" if read is None else _policy(read).language


def earlier_comments(comments: Sequence[ForgeComment], quotes: Mapping[str, str]) -> tuple[EarlierComment, ...]:
    """What stands on the pull request, for a review to know. `quotes` are the lines of placed findings."""
    fingerprints = {comment.id: name for name, comment in own_marked(comments, FINDING).items()}
    found = []
    for comment in comments[-_MOST_EARLIER:]:
        fingerprint = fingerprints.get(comment.id, "")
        if comment.own and not fingerprint:
            continue
        state = EarlierState.OPEN
        if comment.resolved:
            state = EarlierState.RESOLVED
        elif comment.own and comment.reactions.get("-1", 0) > comment.reactions.get("+1", 0):
            state = EarlierState.DISMISSED
        text = comment.body.rpartition("\n\n<!-- tidemill:")[0] if fingerprint else comment.body
        found.append(
            EarlierComment(
                path=comment.path or "",
                text=text[:_LONGEST_EARLIER],
                quote=quotes.get(fingerprint, ""),
                state=state,
                own=comment.own,
                fingerprint=fingerprint,
            )
        )
    return tuple(found)
