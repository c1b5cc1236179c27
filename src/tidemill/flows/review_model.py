"""The steps of a review in which a model is asked.

    opinion:<n> ─ comment:<n> ─ doubt:<n> … for each planned hunk, most necessary first
    refine:<n> … for the findings that matter most

Each is recorded, and none is asked twice: a step that ran to its end has its record, and an answer that was committed,
for this review or for an earlier one with the same hunk, is looked up by what was asked.
"""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol
from uuid import UUID

from tidemill.core.change import ChangeSet, Diff, Hunk
from tidemill.core.deployment import Deployment
from tidemill.core.finding import Finding
from tidemill.core.hunk_context import HunkContext
from tidemill.core.review_brief import ReviewBrief
from tidemill.review.commenter import Commenter, HunkQuestion
from tidemill.review.doubt import Doubt, dropped, survived
from tidemill.review.refiner import MOST_OWN_FIXES, Refined, Refiner
from tidemill.review.reports import finding_from_json, finding_json
from tidemill.store.reviews import ReviewRepository

Record = Mapping[str, Any]
RunStep = Callable[[str, str, Callable[[], Awaitable[Record]]], Awaitable[Record]]
"""Runs a recorded step: its name, the kind of its event, and its work."""


EVEN = 0.5
"""From this probability on, the model would have a person look."""


class Stored(Protocol):
    """Has what the review reads."""

    async def read(self) -> tuple[ChangeSet, Diff, ReviewBrief]:
        """The change, its diff, and what the review is told beside it."""
        ...

    async def findings(self) -> tuple[Finding, ...]:
        """What was found so far and the policy lets be reported."""
        ...


class ModelSteps:
    """Asks a model about a review's hunks, one recorded step after the other.

    Args:
        review_id: the review.
        commenter: asks.
        reviews: the rows, for the findings.
        stored: what is read.
        run_step: runs and records a step.
        refiner: mends findings; `None` where nothing does.
        contexts: what is read beside each hunk, by its place in the diff.
    """

    def __init__(
        self,
        review_id: UUID,
        commenter: Commenter,
        reviews: ReviewRepository,
        stored: Stored,
        run_step: RunStep,
        refiner: Refiner | None = None,
        contexts: Callable[[int], Awaitable[HunkContext]] | None = None,
    ) -> None:
        self._id = review_id
        self._commenter = commenter
        self._reviews = reviews
        self._stored = stored
        self._run_step = run_step
        self._refiner = refiner
        self._contexts = contexts

    async def comments(
        self,
        asked: Sequence[int],
        *,
        comment: Deployment,
        doubt: Deployment | None,
        opinion: Deployment | None = None,
        max_seconds: float,
    ) -> list[Record]:
        """Asks about hunks in turn, until the time budget, which counts recorded seconds, is spent.

        Args:
            asked: places of the hunks in the diff, in the order in which they are asked about.
            comment: who comments.
            doubt: who says what speaks against a comment; `None` where nobody is asked.
            opinion: who says whether a person should look at a hunk; `None` where that is not asked.
            max_seconds: the time budget.

        Returns:
            The records, one for each hunk that was asked about, with what became of its comments.
        """
        records: list[Record] = []
        for index in asked:
            left = max_seconds - sum(record["seconds"] for record in records)
            if left <= 0:
                break
            said: Record | None = None
            if opinion is not None:
                work = self._bound_opinion(index, opinion, left)
                said = await self._run_step(f"opinion:{index}", "opinion", work)
            record = await self._run_step(f"comment:{index}", "comment", self._bound(index, comment, doubt, left))
            if said is not None:
                needs = record["needs_review"] if said["probability"] is None else said["probability"] >= EVEN
                record = {**record, "needs_review": needs, "seconds": record["seconds"] + said["seconds"]}
            if doubt is not None and record["candidates"]:
                left -= record["seconds"]
                verdict = await self._run_step(f"doubt:{index}", "doubt", self._bound_doubt(record, doubt, left))
                record = {
                    **record,
                    "comments": verdict["comments"],
                    "rejected": [*record["rejected"], *verdict["rejected"]],
                    "seconds": record["seconds"] + verdict["seconds"],
                }
            records.append(record)
        return records

    def _bound(
        self, index: int, deployment: Deployment, doubt: Deployment | None, seconds: float
    ) -> Callable[[], Awaitable[Record]]:
        return lambda: self._comment(index, deployment, seconds, doubted=doubt is not None)

    def _bound_opinion(self, index: int, deployment: Deployment, seconds: float) -> Callable[[], Awaitable[Record]]:
        return lambda: self._opinion(index, deployment, seconds)

    async def _opinion(self, index: int, deployment: Deployment, seconds: float) -> Record:
        started = time.perf_counter()
        _, diff, _ = await self._stored.read()
        hunk = diff.hunks[index]
        share = await self._commenter.opinion(hunk, deployment=deployment, review_id=self._id, seconds=seconds)
        probability = None if share is None else round(share, 4)
        return {
            "index": index,
            "path": hunk.path,
            "line": hunk.new_start,
            "probability": probability,
            "seconds": _since(started),
        }

    def _bound_doubt(self, record: Record, deployment: Deployment, seconds: float) -> Callable[[], Awaitable[Record]]:
        return lambda: self._doubt(record, deployment, seconds)

    async def refinements(
        self, order: Sequence[str], deployment: Deployment | None, *, most: int, seconds: float
    ) -> list[Record]:
        """Looks for lines that mend findings, in this order.

        An engine's own lines cost no question. A model is asked about `most` findings, while there is time.

        Args:
            order: fingerprints, what matters most first.
            deployment: who is asked; `None` for nobody.
            most: findings about which a model is asked.
            seconds: what is left of the time budget.
        """
        refiner = self._refiner
        if refiner is None:
            return []
        found = {one.fingerprint: one for one in await self._stored.findings()}
        records: list[Record] = []
        room = {True: MOST_OWN_FIXES, False: 0 if deployment is None else most}
        for number, fingerprint in enumerate(order):
            finding = found.get(fingerprint)
            left = seconds - sum(record["seconds"] for record in records)
            if finding is None:
                continue
            has_own = "fix" in finding.details
            if room[has_own] <= 0 or (left <= 0 and not has_own):
                continue
            room[has_own] -= 1
            who = None if has_own else deployment
            records.append(
                await self._run_step(f"refine:{number}", "refine", self._bound_refine(refiner, finding, who, left))
            )
        return records

    def _bound_refine(
        self, refiner: Refiner, finding: Finding, deployment: Deployment | None, seconds: float
    ) -> Callable[[], Awaitable[Record]]:
        return lambda: self._refine(refiner, finding, deployment, seconds)

    async def _refine(
        self, refiner: Refiner, finding: Finding, deployment: Deployment | None, seconds: float
    ) -> Record:
        started = time.perf_counter()
        _, diff, _ = await self._stored.read()
        place = next((at for at, hunk in enumerate(diff.hunks) if _shows(hunk, finding)), None)
        if place is None:
            refined = Refined(finding.fingerprint, reason="its line is not part of the diff")
        else:
            refined = await refiner.refine(
                await self.question(place),
                diff,
                finding,
                deployment=deployment,
                review_id=self._id,
                seconds=seconds,
            )
        await self._reviews.refine(self._id, refined.finding(finding))
        return {
            "path": finding.path,
            "line": finding.line,
            "rule": f"{finding.engine} {finding.rule}",
            **asdict(refined),
            "seconds": _since(started),
        }

    async def question(self, index: int) -> HunkQuestion:
        """What is known when a model is asked about one hunk."""
        change, diff, brief = await self._stored.read()
        return HunkQuestion(
            change=change,
            hunk=diff.hunks[index],
            findings=await self._stored.findings(),
            brief=brief,
            context=HunkContext() if self._contexts is None else await self._contexts(index),
        )

    async def _comment(self, index: int, deployment: Deployment, seconds: float, *, doubted: bool) -> Record:
        started = time.perf_counter()
        question = await self.question(index)
        answer = await self._commenter.comment(question, deployment=deployment, review_id=self._id, seconds=seconds)
        accepted = answer.accepted
        if not doubted:
            await self._reviews.add_findings(self._id, accepted.findings)
        return {
            "index": index,
            "path": question.hunk.path,
            "line": question.hunk.new_start,
            "comments": len(accepted.findings),
            "candidates": [finding_json(one) for one in accepted.findings],
            "rejected": [asdict(one) for one in accepted.rejected],
            "needs_review": accepted.needs_review,
            "failure": answer.failure,
            "seconds": _since(started),
        }

    async def _doubt(self, record: Record, deployment: Deployment, seconds: float) -> Record:
        """Asks what speaks against the comments of one hunk; those that survive become findings of the review."""
        started = time.perf_counter()
        question = await self.question(record["index"])
        shown: list[Finding] = []
        rejected, verdicts = [], []
        for comment in (finding_from_json(one) for one in record["candidates"]):
            left = seconds - _since(started)
            verdict = Doubt(False, "the time budget was spent", answered=False)
            if left > 0:
                verdict = await self._commenter.doubt(
                    question, comment, deployment=deployment, review_id=self._id, seconds=left
                )
            verdicts.append(asdict(verdict))
            if verdict.stands:
                shown.append(survived(comment, verdict))
            else:
                rejected.append(asdict(dropped(comment, verdict)))
        await self._reviews.add_findings(self._id, shown)
        return {
            "index": record["index"],
            "path": record["path"],
            "line": record["line"],
            "comments": len(shown),
            "rejected": rejected,
            "verdicts": verdicts,
            "seconds": _since(started),
        }


def _shows(hunk: Hunk, finding: Finding) -> bool:
    return hunk.path == finding.path and any(line.new == finding.line for line in hunk.lines)


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 3)
