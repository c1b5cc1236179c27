"""Gives the findings of a head the fingerprints under which they stand on the pull request already."""

from collections.abc import Sequence

from tidemill.core.change import ChangeSet, Diff
from tidemill.core.finding import Finding
from tidemill.core.pull_request import PullRequest
from tidemill.flows.pull_request_outcomes import Outcomes
from tidemill.flows.pull_request_parts import PullRequestParts, Work
from tidemill.review.outcomes import line_now
from tidemill.review.recognition import recognized, unsure


class Recognition:
    """Tells which findings are placed on one pull request."""

    def __init__(self, parts: PullRequestParts, work: Work) -> None:
        self._parts = parts
        self._work = work

    async def of(
        self, found: Sequence[Finding], now: PullRequest, change: ChangeSet, diff: Diff
    ) -> tuple[Finding, ...]:
        """The findings of the newest head in their order, as `recognized` says."""
        placed = await self._parts.placed.of(self._work.row.id)
        outcomes = Outcomes(self._parts, self._work)
        lines: dict[str, int | None] = {}
        for row in unsure(found, placed):
            texts = await outcomes.texts(row, now, change)
            if texts is not None:
                lines[row.finding.fingerprint] = line_now(row.finding.line, *texts)
        return recognized(found, placed, diff, lines)
