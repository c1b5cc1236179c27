"""The steps of one review.

    begin ─ engine:<name>… ─ plan ─ comment:<n> ─ doubt:<n>… ─ rank ─ refine:<n>… ─ finish → done
                any step's error ─ fail → failed

Each is recorded when it ends. The order follows from what is recorded alone: the engines, the budget and the
deployment are those of `begin`, whatever the settings say after a restart. A step that was killed before its end
runs again, so each can run twice: findings have fingerprints, events are unique for each step, and an answer that
the model had committed is looked up and not asked for again.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast
from uuid import UUID

from tidemill.analysis.diff import parse_diff
from tidemill.analysis.necessity import NecessityModel
from tidemill.core.change import ChangeSet, Diff, change_from_json
from tidemill.core.clock import Clock
from tidemill.core.deployment import deployment_from_json, deployment_json
from tidemill.core.errors import (
    Configuration,
    ModelNotFound,
    NotAuthenticated,
    NotFound,
    NotPermitted,
    TidemillError,
)
from tidemill.core.finding import Finding, Necessity
from tidemill.core.hunk_context import HunkContext
from tidemill.core.json import Json
from tidemill.core.review import (
    ReadHunk,
    Rejected,
    ReviewDeployments,
    ReviewResult,
    ReviewState,
    SkippedFile,
)
from tidemill.core.review_brief import ReviewBrief, brief_from_json
from tidemill.flows.review_engines import EngineRuns
from tidemill.flows.review_model import ModelSteps
from tidemill.jobs.port import Steps
from tidemill.review.commenter import Commenter
from tidemill.review.context import Symbols, hunk_context, symbols_of
from tidemill.review.duplicates import unsaid
from tidemill.review.engines import Engine, EngineFailed, EngineMemory
from tidemill.review.necessity import shipped_model
from tidemill.review.policy_filter import sift, without_ignored
from tidemill.review.ranking import rank
from tidemill.review.refiner import Refiner
from tidemill.review.reports import result_json
from tidemill.review.selection import plan
from tidemill.settings import ReviewSettings
from tidemill.store.blobs import BlobStore
from tidemill.store.reviews import ReviewRepository, ReviewRow
from tidemill.telemetry.request import on_behalf_of
from tidemill.telemetry.spans import Traces, span

log = logging.getLogger(__name__)

Record = Mapping[str, Any]

PAUSES = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Seconds before a step is tried again whose failure may pass by itself, such as a database that is restarted."""

BUDGET_SPENT = "the time budget was spent"


@dataclass(frozen=True, slots=True)
class ReviewParts:
    """What a review is made with.

    Attributes:
        reviews: the rows.
        blobs: holds each change, so that a review no longer depends on its repository.
        engines: run in this order, before the model.
        commenter: asks the model about one hunk.
        deployments: gives what a model's questions are put to now; its prompts are in the language `en` or `vi`, or in
            that of the settings for `None`.
        settings: limits and budget.
        refiner: mends findings; `None` where nothing does.
        necessity: gives the model that scores hunks now.
        memory: what the engines found of the latest changes.
        clock: gives times.
        observe: is told the state in which a review ended.
        observe_failure: is told the name of an engine that failed.
        traces: keeps what was done for a review.
    """

    reviews: ReviewRepository
    blobs: BlobStore
    engines: Sequence[Engine]
    commenter: Commenter
    deployments: Callable[[str | None], Awaitable[ReviewDeployments]]
    settings: ReviewSettings
    clock: Clock
    observe: Callable[[str], None]
    traces: Traces
    refiner: Refiner | None = None
    necessity: Callable[[], NecessityModel] = shipped_model
    observe_failure: Callable[[str], None] = lambda engine: None
    memory: EngineMemory = field(default_factory=EngineMemory)


class StepFailed(Exception):
    """A step recorded that it failed, with the sentence for the person. `outage`: as `is_outage` says."""

    def __init__(self, message: str, *, outage: bool) -> None:
        super().__init__(message)
        self.outage = outage


def is_outage(error: TidemillError) -> bool:
    """Whether the hub or what it needs is at fault. The rest can be brought about by whoever wrote what is read."""
    return error.transient or isinstance(error, Configuration | NotAuthenticated | NotPermitted | ModelNotFound)


class ReviewRun:
    """One review on its way through the steps."""

    def __init__(self, parts: ReviewParts, steps: Steps, review_id: UUID) -> None:
        self._parts = parts
        self._steps = steps
        self._id = review_id
        self._engines = EngineRuns(parts.engines, parts.memory)
        self._read: tuple[ChangeSet, Diff, ReviewBrief] | None = None
        self._symbols: Symbols | None = None
        self._model = ModelSteps(
            review_id, parts.commenter, parts.reviews, self, self._step, parts.refiner, self._context
        )

    async def run(self) -> None:
        """All steps, to the review's end, on behalf of the request that asked for it, in a trace of the review's id."""
        with self._parts.traces.begin("review", trace_id=self._id.hex) as here:
            here.set({"tidemill.review_id": str(self._id)})
            await self._run()

    async def _run(self) -> None:
        try:
            begun = await self._step("begin", "started", self._begin)
            with on_behalf_of(begun.get("request_id")):
                await self._after(begun)
        except StepFailed as failure:
            await self._step("fail", "failed", _bound(self._fail, failure))

    async def _after(self, begun: Record) -> None:
        """What comes after the first step."""
        reports: dict[str, Record] = {}
        try:
            for name in begun["engines"]:
                reports[name] = await self._step(f"engine:{name}", "engine", _bound(self._engine, name))
        finally:
            await self._engines.close()
        planned = await self._step("plan", "planned", self._plan)
        comments = await self._comments(begun, planned) if begun["with_model"] else []
        ranked = await self._step("rank", "ranked", self._rank)
        comments_seconds = sum(answer["seconds"] for answer in comments)
        refined = await self._refinements(begun, ranked, begun["max_seconds"] - comments_seconds)
        await self._step("finish", "finished", lambda: self._finish(begun, reports, planned, comments, ranked, refined))

    async def _comments(self, begun: Record, planned: Record) -> list[Record]:
        """What a model says of the planned hunks, most necessary first, within the time budget."""
        asked = [index for index, hunk in enumerate(planned["hunks"]) if hunk["asked"]]
        asked.sort(key=lambda index: -planned["hunks"][index]["necessity"]["score"])
        others = {name: deployment_from_json(one) for name, one in begun.get("deployments", {}).items()}
        return await self._model.comments(
            asked,
            comment=deployment_from_json(begun["deployment"]),
            doubt=others.get("doubt"),
            opinion=others.get("necessity"),
            max_seconds=begun["max_seconds"],
        )

    async def _refinements(self, begun: Record, ranked: Record, seconds: float) -> list[Record]:
        """Lines that mend what matters most; without a model, those that the engines have themselves."""
        refine = begun.get("deployments", {}).get("refine")
        return await self._model.refinements(
            ranked["order"],
            deployment_from_json(refine) if refine else None,
            most=begun.get("max_refinements", 0),
            seconds=seconds,
        )

    async def _step(self, name: str, kind: str, work: Callable[[], Awaitable[Record]]) -> Record:
        """Runs a step and tells of it in an event. What may pass is tried again; any other error ends the review."""

        async def recorded() -> Json:
            for pause in (*PAUSES, None):
                try:
                    result = await work()
                    await self._parts.reviews.add_event(self._id, name, kind, result, self._parts.clock())
                except TidemillError as error:
                    if not error.transient or pause is None:
                        return {"error": error.message, "outage": is_outage(error)}
                    await asyncio.sleep(pause)
                except Exception:
                    log.exception("The step %s of review %s failed.", name, self._id)
                    return {"error": f"Tidemill failed at the step {name} of this review. The hub's log says why."}
                else:
                    return cast(Json, result)
            return None

        with span(name):
            result = cast(Record, await self._steps.run(name, recorded))
        if "error" in result:
            raise StepFailed(result["error"], outage=bool(result.get("outage")))
        return result

    async def _row(self) -> ReviewRow:
        row = await self._parts.reviews.get(self._id)
        if row is None:
            raise NotFound(f"There is no review {self._id}.")
        return row

    async def read(self) -> tuple[ChangeSet, Diff, ReviewBrief]:
        """The change, its diff, and what the review is told beside it: read once in a run, and off the event loop,
        since all of it can be large."""
        if self._read is None:
            data = await self._parts.blobs.get((await self._row()).change_digest)
            self._read = await asyncio.to_thread(stored_change, data)
        return self._read

    async def findings(self) -> tuple[Finding, ...]:
        """What was found so far and the policy lets be reported, with its severities."""
        _, _, brief = await self.read()
        return sift(await self._parts.reviews.findings(self._id), brief.policy).findings

    async def _change(self) -> tuple[ChangeSet, Diff]:
        change, diff, _ = await self.read()
        return change, diff

    async def _begin(self) -> Record:
        row = await self._row()
        _, diff, brief = await self.read()
        await self._parts.reviews.begin(self._id)
        language = brief.policy.language if brief != ReviewBrief() else None
        asked = await self._parts.deployments(language) if row.with_model else None
        others = {"doubt": asked.doubt, "refine": asked.refine, "necessity": asked.necessity} if asked else {}
        return {
            "title": row.title,
            "files": len(diff.files),
            "hunks": len(diff.hunks),
            "with_model": row.with_model,
            "request_id": row.request_id,
            "max_seconds": self._parts.settings.max_seconds,
            "max_refinements": self._parts.settings.max_refinements,
            "deployment": deployment_json(asked.comment) if asked else None,
            "deployments": {name: deployment_json(one) for name, one in others.items() if one is not None},
            "engines": {engine.name: engine.version for engine in self._parts.engines},
        }

    async def _engine(self, name: str) -> Record:
        change, diff, brief = await self.read()
        try:
            result, seconds = await self._engines.result(name, change, without_ignored(diff, brief.policy))
        except EngineFailed as error:
            log.warning("The review %s lacks what %s would have found: %s", self._id, name, error.message)
            return {"engine": name, "findings": 0, "notes": [], "unread": [], "seconds": 0.0, "failed": error.message}
        findings = unsaid(result.findings, await self.findings())
        await self._parts.reviews.add_findings(self._id, findings)
        return {
            "engine": name,
            "findings": len(findings),
            "notes": list(result.notes),
            "unread": list(result.unread),
            "seconds": seconds,
        }

    async def _plan(self) -> Record:
        row = await self._row()
        change, diff, brief = await self.read()
        found = await self.findings()
        settings = self._parts.settings
        necessity = await asyncio.to_thread(self._parts.necessity)
        chosen = await asyncio.to_thread(
            lambda: plan(
                change,
                diff,
                found,
                settings,
                with_model=row.with_model,
                policy=brief.policy,
                necessity=necessity,
            )
        )
        return {
            "necessity": necessity.version,
            "asked": sum(hunk.asked for hunk in chosen.hunks),
            "hunks": [asdict(hunk) for hunk in chosen.hunks],
            "skipped": [asdict(file) for file in chosen.skipped],
        }

    async def _context(self, index: int) -> HunkContext:
        """What is read beside a hunk, by its place in the diff."""
        change, diff = await self._change()
        if self._symbols is None:
            self._symbols = await asyncio.to_thread(symbols_of, change)
        return await asyncio.to_thread(hunk_context, self._symbols, diff.hunks[index])

    async def _rank(self) -> Record:
        """What is said first, and which comments of the model go to the folded list."""
        _, _, brief = await self.read()
        ranked = rank(await self.findings(), brief.policy.max_comments)
        return {
            "order": [finding.fingerprint for finding in ranked.findings],
            "folded": [finding.fingerprint for finding in ranked.folded],
        }

    async def _finish(
        self,
        begun: Record,
        reports: Mapping[str, Record],
        planned: Record,
        comments: Sequence[Record],
        ranked: Record,
        refined: Sequence[Record],
    ) -> Record:
        row = await self._row()
        now = self._parts.clock()
        _, _, brief = await self.read()
        found = await self.findings()
        result = ReviewResult(
            id=str(row.id),
            title=row.title,
            base=row.base,
            head=row.head,
            state=ReviewState.DONE,
            findings=tuple(one for one in found if one.fingerprint not in ranked["folded"]),
            hunks=_hunks(planned, comments),
            skipped=tuple(SkippedFile(**file) for file in planned["skipped"]),
            notes=(*(note for report in reports.values() for note in report["notes"]), *brief.policy.notes),
            rejected=tuple(Rejected(**one) for answer in comments for one in answer["rejected"]),
            timings={
                **{name: report["seconds"] for name, report in reports.items()},
                "model": round(sum(answer["seconds"] for answer in comments), 3),
                "refine": round(sum(one["seconds"] for one in refined), 3),
                "total": round((now - row.created_at).total_seconds(), 3),
            },
            engines=begun["engines"],
            deployment=deployment_from_json(begun["deployment"]) if begun["deployment"] else None,
            folded=tuple(one for one in found if one.fingerprint in ranked["folded"]),
            deployments={name: deployment_from_json(one) for name, one in begun.get("deployments", {}).items()},
            unread={name: tuple(report["unread"]) for name, report in reports.items() if report.get("unread")},
            failures={name: report["failed"] for name, report in reports.items() if "failed" in report},
        )
        await self._parts.reviews.finish(self._id, result_json(result), now)
        self._parts.observe(ReviewState.DONE)
        for engine in result.failures:
            self._parts.observe_failure(engine)
        return {
            "findings": len(result.findings),
            "worst": result.worst_severity,
            "seconds": result.timings["total"],
        }

    async def _fail(self, failure: StepFailed) -> Record:
        await self._parts.reviews.fail(self._id, str(failure), self._parts.clock())
        self._parts.observe(ReviewState.FAILED)
        return {"message": str(failure), **({"outage": True} if failure.outage else {})}


def _bound(work: Callable[..., Awaitable[Record]], *arguments: object) -> Callable[[], Awaitable[Record]]:
    """The work with its arguments, so that a loop's next turn can't change them."""
    return lambda: work(*arguments)


def stored_change(data: bytes) -> tuple[ChangeSet, Diff, ReviewBrief]:
    """A change as `ReviewFlow.add` stored it, its diff, and what the review was told beside it."""
    document = json.loads(data)
    brief = document.pop("brief", None)
    change = change_from_json(document)
    return change, parse_diff(change.diff), brief_from_json(brief) if brief else ReviewBrief()


def _hunks(planned: Record, comments: Sequence[Record]) -> tuple[ReadHunk, ...]:
    """What became of each hunk: asked, or why not."""
    answers = {answer["index"]: answer for answer in comments}
    hunks = []
    for index, record in enumerate(planned["hunks"]):
        necessity = Necessity(**record["necessity"]) if record["necessity"] else None
        hunk = ReadHunk(**{**record, "necessity": necessity})
        if hunk.asked:
            answer = answers.get(index)
            reason = BUDGET_SPENT if answer is None else answer["failure"]
            opinion = None if answer is None else answer["needs_review"]
            hunk = replace(hunk, asked=reason is None, reason=reason, model_opinion=opinion)
        hunks.append(hunk)
    return tuple(hunks)
