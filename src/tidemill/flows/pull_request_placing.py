"""Writes a review on its pull request: only what is missing there, each text found again by its mark.

Whatever is killed in between: the next try reads what stands there, and goes on from it.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from tidemill.core.change import ChangeSet, Diff
from tidemill.core.errors import Conflict, NotFound, NotPermitted
from tidemill.core.finding import Finding
from tidemill.core.gate import GateReport
from tidemill.core.ids import new_id
from tidemill.core.placed_comment import PlacedComment, PlacedState
from tidemill.core.pull_request import Check, ForgeComment, PullRequest
from tidemill.core.review import ReviewResult
from tidemill.core.review_policy import ReviewPolicy
from tidemill.flows.pull_request_outcomes import Outcomes
from tidemill.flows.pull_request_parts import LAG, PullRequestParts, Record, Work, settled
from tidemill.forges.port import Refused
from tidemill.review.finding_text import finding_text
from tidemill.review.gates.judging import with_failures
from tidemill.review.markers import FINDING, SUMMARY, own_marked, with_mark
from tidemill.review.placement import Folded, FoldedBecause, Inline, Placement, Standing, place_findings, rank
from tidemill.review.pull_request_text import (
    FAILED,
    Told,
    check_name,
    check_of,
    failed_check,
    failed_text,
    summary_text,
)
from tidemill.review.wording import word
from tidemill.store.pull_requests import UNFINISHED

PULL_REQUEST = "pr"
"""The name in the summary's mark."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reviewed:
    """A review that was made, to be written on its pull request."""

    pull_request: PullRequest
    result: ReviewResult
    change: ChangeSet
    diff: Diff
    policy: ReviewPolicy
    owners: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    gates: GateReport | None = None
    ignored: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Written:
    """What was written so far."""

    posted: int = 0
    unresolved: int = 0
    refused: list[Folded] = field(default_factory=list)
    denied: str | None = None


class Placing:
    """Writes one review."""

    def __init__(self, parts: PullRequestParts, work: Work) -> None:
        self._parts = parts
        self._work = work

    async def place(self, reviewed: Reviewed) -> Record:
        """Writes what is missing and returns how much of what there is. Nothing stands twice however often it runs."""
        comments = await self._work.forge.comments(self._work.key)
        plan = place_findings(
            reviewed.result.findings,
            reviewed.result.folded,
            reviewed.change,
            reviewed.diff,
            Standing(
                placed=await self._parts.placed.of(self._work.row.id),
                comments=comments,
                ignored=reviewed.ignored,
                listed_until=self._parts.clock() - LAG,
            ),
            reviewed.policy,
            {
                name: reviewed.result.unread.get(name, ())
                for name in reviewed.result.engines
                if name not in reviewed.result.failures
            },
        )
        await self._note(plan, reviewed.pull_request.head)
        written = _Written()
        await self._settle(plan, reviewed, comments, written)
        for inline in plan.inline:
            await self._post(inline, reviewed, written)
        folded = tuple(sorted((*plan.folded, *written.refused), key=lambda one: rank(one.finding)))
        gates = reviewed.gates and with_failures(reviewed.gates, reviewed.result.failures, reviewed.policy)
        told = Told(
            result=reviewed.result,
            policy=reviewed.policy,
            head=reviewed.pull_request.head,
            standing=len(plan.standing) + written.posted,
            folded=folded,
            fixed=len(plan.fixed),
            unresolved=written.unresolved,
            quiet=len(plan.quiet),
            ignored=reviewed.ignored,
            gates=gates,
            owners=reviewed.owners,
            refused=written.denied,
            link=self._parts.link(self._work.run.id),
        )
        summary = await self._summarize(summary_text(told), reviewed.policy.language, comments, written)
        checked = await self.check(check_of(replace(told, refused=written.denied)), reviewed.pull_request)
        counts = {
            "posted": written.posted,
            "adopted": len(plan.adopt),
            "standing": told.standing,
            "folded": len(folded),
            "refused": len(written.refused),
            "fixed": len(plan.fixed),
            "unresolved": written.unresolved,
            "quiet": len(plan.quiet),
            "summary": summary,
            "check": checked,
        }
        for name in ("posted", "refused", "fixed"):
            self._parts.observe_comments(name, int(counts[name]))
        return {"counts": counts, "reason": written.denied}

    async def say_failed(self, now: PullRequest, head: str, reason: str, language: str, *, outage: bool) -> None:
        """Says on the pull request that its review could not be made; a summary that stands there stays."""
        written = _Written()
        comments = await self._work.forge.comments(self._work.key)
        standing = own_marked(comments, SUMMARY).get(PULL_REQUEST)
        if standing is None or FAILED in standing.body:
            await self._summarize(failed_text(language, head, reason), language, comments, written)
        project, run = self._work.key.project, self._work.run.id
        if outage and await self._parts.rows.others_of_check(project, run, head, check_name(now)) - UNFINISHED:
            return  # an outage takes no verdict away
        await self.check(failed_check(language, head, reason, outage=outage), now)

    async def check(self, check: Check, now: PullRequest) -> bool:
        """Writes the check; false where it can't be, which the log says.

        GitLab has no commit of a fork in the project that the check is written to, and answers that it isn't there.
        """
        return await self.put(replace(check, name=check_name(now)))

    async def put(self, check: Check) -> bool:
        """Writes a check under the name that it has."""
        try:
            done = await self._work.forge.put_check(self._work.key, check)
        except (NotPermitted, Refused, NotFound, Conflict) as error:
            log.warning("The check of %s on %s was not written: %s", check.commit, self._work, error.message)
            return False
        if not done:
            log.info("The forge of %s has no checks that Tidemill can write.", self._work)
        return done

    async def _note(self, plan: Placement, head: str) -> None:
        """Brings the rows up to what stands there."""
        for finding, comment in plan.adopt:
            log.info("The comment %s on %s was written before, and is known again.", comment.id, self._work)
            await self._keep(finding, comment, head)
        for turned in plan.turn:
            await self._parts.placed.turn(turned.placed.id, turned.state)
        for placed, finding in plan.moved:
            await self._parts.placed.move(placed.id, with_suggestion_of(placed.finding, finding), head)

    async def _settle(
        self, plan: Placement, reviewed: Reviewed, comments: Sequence[ForgeComment], written: _Written
    ) -> None:
        """Resolves the threads of what is fixed, and notes what became of comments."""
        outcomes = Outcomes(self._parts, self._work)
        await outcomes.of_push(plan.fixed, plan.turn, reviewed.pull_request, reviewed.change)
        await outcomes.of_reactions(await self._parts.placed.of(self._work.row.id), comments)
        for placed in plan.fixed:
            if placed.thread is not None and written.denied is None:
                written.unresolved += not await settled(self._work, placed.thread)
            await self._parts.placed.turn(placed.id, PlacedState.FIXED)

    async def _post(self, inline: Inline, reviewed: Reviewed, written: _Written) -> None:
        finding, language = inline.finding, reviewed.policy.language
        if written.denied is not None:
            written.refused.append(Folded(finding, FoldedBecause.REFUSED, written.denied))
            return
        forge = self._work.forge
        crlf = "\r\n" in reviewed.change.files.get(finding.path, "")
        text = finding_text(finding, language, inline.position, forge.kind, crlf=crlf)
        body = self._marked(text, FINDING, finding.fingerprint, language)
        try:
            comment = await forge.comment_inline(reviewed.pull_request, inline.position, body, change=reviewed.change)
        except Refused as error:
            log.warning("A comment on %s was not taken: %s", self._work, error.message)
            written.refused.append(Folded(finding, FoldedBecause.REFUSED, error.message))
        except NotPermitted as error:
            log.warning("The forge lets Tidemill write no comments on %s: %s", self._work, error.message)
            written.denied = error.message
            written.refused.append(Folded(finding, FoldedBecause.REFUSED, error.message))
        else:
            await self._keep(finding, comment, reviewed.pull_request.head)
            written.posted += 1

    async def _keep(self, finding: Finding, comment: ForgeComment, head: str) -> None:
        await self._parts.placed.add(
            PlacedComment(
                id=new_id(),
                pull_request_id=self._work.row.id,
                review_id=self._work.run.id,
                head=head,
                finding=finding,
                inference_id=inference_of(finding),
                comment=comment.id,
                thread=comment.thread,
                state=PlacedState.RESOLVED if comment.resolved else PlacedState.OPEN,
                placed_at=self._parts.clock(),
            )
        )

    async def _summarize(self, text: str, language: str, comments: Sequence[ForgeComment], written: _Written) -> bool:
        """Writes the summary, or brings it up to date; false where the forge does not let it."""
        body = self._marked(text, SUMMARY, PULL_REQUEST, language)
        forge, key = self._work.forge, self._work.key
        standing = own_marked(comments, SUMMARY).get(PULL_REQUEST)
        try:
            if standing is None:
                await forge.comment(key, body)
            elif standing.body.strip() != body.strip():
                await forge.edit(key, standing, body)
        except (NotPermitted, Refused) as error:
            log.warning("The summary on %s was not written: %s", self._work, error.message)
            written.denied = written.denied or error.message
            return False
        return True

    def _marked(self, text: str, kind: str, name: str, language: str) -> str:
        return with_mark(text, kind, name, limit=self._work.forge.comment_limit, note=word(language, "cut"))


def with_suggestion_of(placed: Finding, finding: Finding) -> Finding:
    """A finding with the lines that its comment offers: whether they were applied is told by them."""
    if placed.suggestion is None:
        return replace(finding, suggestion=None)
    shift = finding.line - placed.line
    start, end = placed.suggestion.start + shift, placed.suggestion.end + shift
    return replace(finding, suggestion=replace(placed.suggestion, start=start, end=end))


def inference_of(finding: Finding) -> UUID | None:
    """The inference that made it, where a model did and said so; else the one that wrote the lines that mend it."""
    named = finding.details.get("inference_id", finding.details.get("refined_by"))
    return UUID(named) if isinstance(named, str) else None
