"""A change is reviewed, durably: engines, then the plan, then the model hunk by hunk, then the result.

    submit → queued ─ begin ─ engine:<name>… ─ plan ─ comment:<n>… ─ finish → done
                                                       any step's error ─ fail → failed

Each box is a step: its result is recorded, and a review that was killed goes on after the last recorded one.
A step that was killed before that runs again, so each can run twice: findings have fingerprints, events are unique
for each step, and an answer that the model had already committed is looked up and not asked for again.
"""

import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast
from uuid import UUID

from tidemill.analysis.diff import parse_diff
from tidemill.core.accounts import Caller, Role
from tidemill.core.change import ChangeSet, Diff, Hunk
from tidemill.core.clock import Clock
from tidemill.core.deployment import Deployment
from tidemill.core.errors import NotFound, TidemillError, TooLarge
from tidemill.core.finding import Finding, Necessity
from tidemill.core.ids import new_id
from tidemill.core.json import Json
from tidemill.core.review import ReadHunk, Rejected, ReviewResult, ReviewState, SkippedFile, by_weight
from tidemill.core.text import storable
from tidemill.jobs.port import Jobs, Steps
from tidemill.review.commenter import Commenter
from tidemill.review.engines import Engine
from tidemill.review.reports import result_json
from tidemill.review.selection import plan
from tidemill.settings import ReviewSettings
from tidemill.store.blobs import BlobStore
from tidemill.store.reviews import ReviewEvent, ReviewRepository, ReviewRow

WORKFLOW = "review"
SHOWN_TITLE = 300

log = logging.getLogger(__name__)

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ReviewStatus:
    """A review as its reader sees it: the row, and the findings so far (worst first)."""

    row: ReviewRow
    findings: tuple[Finding, ...]


class ReviewFlow:
    """Takes changes in, reviews them durably, and shows how far each has come.

    Args:
        jobs: runs the workflow; this registers it there.
        reviews: the rows.
        blobs: holds each change, so that a review no longer depends on its repository.
        engines: run in this order, before the model.
        commenter: asks the model about one hunk.
        deployment: gives the deployment that comments now.
        settings: limits and budget.
        clock: gives times.
        observe: is told the state in which a review ended.
    """

    def __init__(
        self,
        *,
        jobs: Jobs,
        reviews: ReviewRepository,
        blobs: BlobStore,
        engines: Sequence[Engine],
        commenter: Commenter,
        deployment: Callable[[], Awaitable[Deployment]],
        settings: ReviewSettings,
        clock: Clock,
        observe: Callable[[str], None],
    ) -> None:
        self._jobs = jobs
        self._reviews = reviews
        self._blobs = blobs
        self._engines = engines
        self._commenter = commenter
        self._deployment = deployment
        self._settings = settings
        self._clock = clock
        self._observe = observe
        jobs.register(WORKFLOW, self.run)

    async def submit(self, change: ChangeSet, *, with_model: bool, caller: Caller) -> ReviewRow:
        """Stores a change and queues its review.

        Raises:
            InvalidInput: the diff can't be parsed.
            TooLarge: the diff is over `review.max_diff_bytes`.
            ModelNotFound: a model is wanted and none is there.
        """
        change = _storable(change)
        size = len(change.diff.encode())
        if size > self._settings.max_diff_bytes:
            raise TooLarge(
                f"The diff has {size:,} bytes, and a review reads {self._settings.max_diff_bytes:,} at most "
                "(setting `review.max_diff_bytes`). Review a smaller range."
            )
        parse_diff(change.diff)
        if with_model:
            await self._deployment()
        row = ReviewRow(
            id=new_id(),
            key_id=caller.key_id,
            state=ReviewState.QUEUED,
            title=change.title[:SHOWN_TITLE],
            base=change.base,
            head=change.head,
            change_digest=await self._blobs.put(json.dumps(asdict(change)).encode()),
            with_model=with_model,
            created_at=self._clock(),
        )
        await self._reviews.add(row)
        await self._jobs.submit(WORKFLOW, str(row.id))
        return row

    async def status(self, review_id: UUID, caller: Caller) -> ReviewStatus:
        """A review that the caller may see.

        Raises:
            NotFound: there is none, or it is another member's.
        """
        row = await self._reviews.get(review_id)
        if row is None or (caller.role is not Role.ADMIN and row.key_id != caller.key_id):
            raise NotFound(f"There is no review {review_id}.")
        return ReviewStatus(row, by_weight(await self._reviews.findings(review_id)))

    async def latest(self, caller: Caller, *, limit: int) -> list[ReviewRow]:
        """The newest reviews that the caller may see."""
        return await self._reviews.latest(key_id=None if caller.role is Role.ADMIN else caller.key_id, limit=limit)

    async def events(self, review_id: UUID, *, after: int) -> list[ReviewEvent]:
        """A review's events after a sequence number; ask `status` first whether the caller may see it."""
        return await self._reviews.events(review_id, after=after)

    async def ended(self, review_id: UUID) -> bool:
        """Whether a review has come to its end, good or bad."""
        row = await self._reviews.get(review_id)
        return row is None or row.state in {ReviewState.DONE, ReviewState.FAILED}

    async def run(self, steps: Steps, subject: str) -> None:
        """The workflow. `subject` is the review's id."""
        await _Run(self, steps, UUID(subject)).run()


class _StepFailed(Exception):
    """A step recorded that it failed, with the sentence for the person."""


class _Run:
    """One review on its way through the workflow."""

    def __init__(self, flow: ReviewFlow, steps: Steps, review_id: UUID) -> None:
        self._flow = flow
        self._steps = steps
        self._id = review_id

    async def run(self) -> None:
        try:
            begun = await self._step("begin", "started", self._begin)
            reports: dict[str, Record] = {}
            for engine in self._flow._engines:
                reports[engine.name] = await self._step(
                    f"engine:{engine.name}",
                    "engine",
                    lambda engine=engine: self._engine(engine),  # type: ignore[misc]
                )
            planned = await self._step("plan", "planned", self._plan)
            comments = await self._comments(planned) if begun["with_model"] else []
            await self._step("finish", "finished", lambda: self._finish(begun, reports, planned, comments))
        except _StepFailed as failure:
            message = str(failure)
            await self._step("fail", "failed", lambda: self._fail(message))

    async def _comments(self, planned: Record) -> list[Record]:
        """Asks about the planned hunks in turn, until the time budget, which counts recorded seconds, is spent."""
        answers: list[Record] = []
        asked = [index for index, hunk in enumerate(planned["hunks"]) if hunk["asked"]]
        asked.sort(key=lambda index: -planned["hunks"][index]["necessity"]["score"])
        for index in asked:
            if sum(answer["seconds"] for answer in answers) >= self._flow._settings.max_seconds:
                break
            answers.append(await self._step(f"comment:{index}", "comment", lambda index=index: self._comment(index)))  # type: ignore[misc]
        return answers

    async def _step(self, name: str, kind: str, work: Callable[[], Awaitable[Record]]) -> Record:
        """Runs a step and tells of it in an event. An error is recorded, and ends the review."""

        async def recorded() -> Json:
            try:
                result = await work()
            except TidemillError as error:
                return {"error": error.message}
            except Exception:
                log.exception("The step %s of review %s failed.", name, self._id)
                return {"error": f"Tidemill failed at the step {name} of this review. The hub's log says why."}
            shown = {key: value for key, value in result.items() if key != "details"}
            await self._flow._reviews.add_event(self._id, name, kind, shown, self._flow._clock())
            return cast(Json, result)

        result = cast(Record, await self._steps.run(name, recorded))
        if "error" in result:
            raise _StepFailed(result["error"])
        return result

    async def _change(self) -> tuple[ReviewRow, ChangeSet, Diff]:
        row = await self._flow._reviews.get(self._id)
        if row is None:
            raise NotFound(f"There is no review {self._id}.")
        change = ChangeSet(**json.loads(await self._flow._blobs.get(row.change_digest)))
        return row, change, parse_diff(change.diff)

    async def _begin(self) -> Record:
        row, _, diff = await self._change()
        await self._flow._reviews.begin(self._id)
        deployment = asdict(await self._flow._deployment()) if row.with_model else None
        return {
            "title": row.title,
            "files": len(diff.files),
            "hunks": len(diff.hunks),
            "with_model": row.with_model,
            "deployment": deployment,
            "engines": {engine.name: engine.version for engine in self._flow._engines},
        }

    async def _engine(self, engine: Engine) -> Record:
        started = time.perf_counter()
        _, change, diff = await self._change()
        result = await engine.run(change, diff)
        await self._flow._reviews.add_findings(self._id, result.findings)
        return {
            "engine": engine.name,
            "findings": len(result.findings),
            "notes": list(result.notes),
            "seconds": round(time.perf_counter() - started, 3),
        }

    async def _plan(self) -> Record:
        row, change, diff = await self._change()
        found = await self._flow._reviews.findings(self._id)
        chosen = plan(change, diff, found, self._flow._settings, with_model=row.with_model)
        return {
            "asked": sum(hunk.asked for hunk in chosen.hunks),
            "hunks": [asdict(hunk) for hunk in chosen.hunks],
            "skipped": [asdict(file) for file in chosen.skipped],
        }

    async def _comment(self, index: int) -> Record:
        started = time.perf_counter()
        _, change, diff = await self._change()
        hunk: Hunk = diff.hunks[index]
        found = await self._flow._reviews.findings(self._id)
        answer = await self._flow._commenter.comment(change, hunk, found, review_id=self._id)
        await self._flow._reviews.add_findings(self._id, answer.findings)
        return {
            "index": index,
            "path": hunk.path,
            "line": hunk.new_start,
            "comments": len(answer.findings),
            "rejected": [asdict(one) for one in answer.rejected],
            "failure": answer.failure,
            "seconds": round(time.perf_counter() - started, 3),
        }

    async def _finish(
        self, begun: Record, reports: Mapping[str, Record], planned: Record, comments: Sequence[Record]
    ) -> Record:
        row, _, _ = await self._change()
        now = self._flow._clock()
        result = ReviewResult(
            id=str(row.id),
            title=row.title,
            base=row.base,
            head=row.head,
            state=ReviewState.DONE,
            findings=by_weight(await self._flow._reviews.findings(self._id)),
            hunks=_hunks(planned, comments, with_model=row.with_model),
            skipped=tuple(SkippedFile(**file) for file in planned["skipped"]),
            notes=tuple(note for report in reports.values() for note in report["notes"]),
            rejected=tuple(Rejected(**one) for answer in comments for one in answer["rejected"]),
            timings={
                **{name: report["seconds"] for name, report in reports.items()},
                "model": round(sum(answer["seconds"] for answer in comments), 3),
                "total": round((now - row.created_at).total_seconds(), 3),
            },
            engines=begun["engines"],
            deployment=Deployment(**begun["deployment"]) if begun["deployment"] else None,
        )
        await self._flow._reviews.finish(self._id, result_json(result), now)
        self._flow._observe(ReviewState.DONE)
        worst = result.worst_severity
        return {"findings": len(result.findings), "worst": worst, "seconds": result.timings["total"]}

    async def _fail(self, message: str) -> Record:
        await self._flow._reviews.fail(self._id, message, self._flow._clock())
        self._flow._observe(ReviewState.FAILED)
        return {"message": message}


def _storable(change: ChangeSet) -> ChangeSet:
    return ChangeSet(
        title=storable(change.title),
        base=storable(change.base) if change.base else None,
        head=storable(change.head) if change.head else None,
        diff=storable(change.diff),
        files={storable(path): storable(text) for path, text in change.files.items()},
    )


def _hunks(planned: Record, comments: Sequence[Record], *, with_model: bool) -> tuple[ReadHunk, ...]:
    """What became of each hunk: asked, or why not."""
    answers = {answer["index"]: answer for answer in comments}
    hunks = []
    for index, record in enumerate(planned["hunks"]):
        hunk = ReadHunk(**{**record, "necessity": Necessity(**record["necessity"]) if record["necessity"] else None})
        if hunk.asked:
            answer = answers.get(index)
            reason = "the time budget was spent" if answer is None else answer["failure"]
            hunk = ReadHunk(hunk.path, hunk.index, hunk.start, hunk.end, hunk.necessity, reason is None, reason)
        hunks.append(hunk)
    return tuple(hunks)
