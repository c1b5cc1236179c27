"""Lines that mend a finding: the engine's own where it has some, else a model's; tried out before they are offered."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from tidemill.core.change import ChangeSet, Diff, Hunk
from tidemill.core.deployment import Deployment
from tidemill.core.finding import Finding, Suggestion
from tidemill.core.json import Json
from tidemill.core.review_policy import ReviewPolicy
from tidemill.core.text import storable
from tidemill.llm.prompts import review_refine
from tidemill.llm.prompts.fences import shown_lines, to_line
from tidemill.llm.prompts.shipped import Prompts
from tidemill.review.asking import Asking
from tidemill.review.commenter import HunkQuestion
from tidemill.review.ranking import in_order
from tidemill.review.suggesting import Replacement, replacement_between
from tidemill.review.trying import Tried, Trying

MODEL = "model"
MOST_OWN_FIXES = 10
"""Findings of a review whose engine's own lines are tried out: each costs a run of the engine."""
_REACH = 8
"""Lines above and below a finding that a model may replace."""


@dataclass(frozen=True, slots=True)
class Refined:
    """What there is to offer for one finding.

    Attributes:
        fingerprint: the finding's.
        by: whose lines they are: an engine's name, or `model`; empty where there are none.
        suggestion: lines that were checked, to be applied with a click.
        proposal: lines that would mend it and could not be checked in full, to be read.
        reason: why there is no suggestion, for a person.
        inference_id: the inference that wrote them, where a model did.
    """

    fingerprint: str
    by: str = ""
    suggestion: Suggestion | None = None
    proposal: Suggestion | None = None
    reason: str | None = None
    inference_id: str | None = None

    def finding(self, finding: Finding) -> Finding:
        """The finding with what is offered for it."""
        details: dict[str, Json] = dict(finding.details)
        if self.inference_id is not None and (self.suggestion or self.proposal):
            details["refined_by"] = self.inference_id
        if self.proposal is not None:
            details["proposal"] = {
                "start": self.proposal.start,
                "end": self.proposal.end,
                "text": self.proposal.text,
                "verified": list(self.proposal.verified),
                "replaces": self.proposal.replaces,
                "reason": self.reason,
            }
        return replace(finding, suggestion=self.suggestion or finding.suggestion, details=details)


class Refiner:
    """Finds lines that mend a finding, and tries them out.

    Args:
        asking: puts the questions.
        prompts: has the prompts that deployments name.
        trying: tries lines out.
    """

    def __init__(self, asking: Asking, prompts: Prompts, trying: Trying) -> None:
        self._asking = asking
        self._prompts = prompts
        self._trying = trying

    async def refine(
        self,
        question: HunkQuestion,
        diff: Diff,
        finding: Finding,
        *,
        deployment: Deployment | None,
        review_id: UUID,
        seconds: float,
    ) -> Refined:
        """What there is to offer for a finding.

        Args:
            question: the hunk that it is in.
            diff: the whole change.
            finding: what is to be mended.
            deployment: who is asked where the engine has no lines of its own; `None` for nobody.
            review_id: what it is for.
            seconds: how long the model may take.

        Raises:
            TidemillError: an engine failed, or something other than the model is wrong.
        """
        source = question.change.files.get(finding.path)
        if source is None:
            return Refined(finding.fingerprint, reason="the whole text of the file is not known")
        own = own_fix(finding, source)
        if own is not None:
            tried = await self._trying.tried(question.change, diff, finding, own, question.brief.policy)
            return _refined(finding, finding.engine, tried)
        if deployment is None:
            return Refined(finding.fingerprint, reason="no model was asked")
        lines = replaceable(question.hunk, finding.line)
        if not lines:
            return Refined(finding.fingerprint, reason="its line is not among those that a model is shown")
        prompt = self._prompts.pinned(deployment.prompt_version or "")
        answer = await self._asking.ask(
            review_refine.build(prompt, question.hunk, finding, question.beside()),
            review_refine.json_schema(question.hunk, lines),
            deployment=deployment,
            review_id=review_id,
            seconds=seconds,
        )
        if answer.failure is not None:
            return Refined(finding.fingerprint, reason=answer.failure)
        wanted = read_replacement(answer.text, question.hunk, lines, finding.line)
        if isinstance(wanted, str):
            return Refined(finding.fingerprint, MODEL, reason=wanted, inference_id=str(answer.inference_id))
        tried = await self._trying.tried(question.change, diff, finding, wanted, question.brief.policy)
        return replace(_refined(finding, MODEL, tried), inference_id=str(answer.inference_id))


async def with_own_fixes(
    findings: Sequence[Finding], change: ChangeSet, diff: Diff, trying: Trying, policy: ReviewPolicy
) -> tuple[Finding, ...]:
    """The findings, the weightiest of them with their engine's own lines, where it has some that hold.

    Raises:
        TidemillError: something other than an engine is wrong.
    """
    fixable = [one for one in in_order(findings) if "fix" in one.details and one.path in change.files]
    mended: dict[str, Finding] = {}
    for finding in fixable[:MOST_OWN_FIXES]:
        own = own_fix(finding, change.files[finding.path])
        if own is not None:
            tried = await trying.tried(change, diff, finding, own, policy)
            mended[finding.fingerprint] = _refined(finding, finding.engine, tried).finding(finding)
    return tuple(mended.get(one.fingerprint, one) for one in findings)


def _refined(finding: Finding, by: str, tried: Tried) -> Refined:
    if tried.applied is None:
        return Refined(finding.fingerprint, by, reason=tried.refused)
    if tried.unverified is not None:
        return Refined(finding.fingerprint, by, proposal=tried.applied.suggestion, reason=tried.unverified)
    return Refined(finding.fingerprint, by, suggestion=tried.applied.suggestion)


def replaceable(hunk: Hunk, line: int) -> list[int]:
    """Lines of the new side that a model may replace: those around a line that the hunk shows it."""
    shown = [one.new for one in shown_lines(hunk) if one.new is not None]
    return [number for number in shown if abs(number - line) <= _REACH] if line in shown else []


def read_replacement(answer: str, hunk: Hunk, lines: Sequence[int], line: int) -> Replacement | str:
    """The replacement of an answer, or why there is none."""
    try:
        document = json.loads(answer)
    except (ValueError, RecursionError):
        return "the answer is not JSON, or was cut off"
    if not isinstance(document, Mapping):
        return "the answer is not a replacement"
    first, last, new = document.get("first"), document.get("last"), document.get("lines")
    if not isinstance(first, int) or not isinstance(last, int) or not isinstance(new, list):
        return "the answer is not a replacement"
    start, end = to_line(hunk, first), to_line(hunk, last)
    if not {start, end} <= set(lines) or not start <= line <= end:
        return "the answer replaces other lines than those of the finding"
    parts = [part for one in new for part in storable(str(one)).split("\n")]
    return Replacement(start, end, tuple(parts))


def own_fix(finding: Finding, source: str) -> Replacement | None:
    """The engine's own fix (`details.fix`: edits with 1-based rows and columns), as whole lines; `None` for none."""
    edits = finding.details.get("fix")
    if not isinstance(edits, list) or not edits:
        return None
    starts = [0]
    for line in source.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    spans = sorted((_offset(one["location"], starts), _offset(one["end_location"], starts), one) for one in edits)
    text, at = "", 0
    for start, end, edit in spans:
        if start < at or end < start or end > len(source):
            return None
        text += source[at:start] + str(edit["content"])
        at = end
    return replacement_between(source, text + source[at:])


def _offset(place: Mapping[str, int], starts: Sequence[int]) -> int:
    return starts[min(place["row"], len(starts)) - 1] + place["column"] - 1
