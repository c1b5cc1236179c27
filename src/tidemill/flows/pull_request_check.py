"""Closes the check of a review that ended without a verdict."""

import logging
from uuid import UUID

from tidemill.core.pull_request import Check, CheckState, PullRequestState
from tidemill.flows.pull_request_parts import PullRequestParts, Record, Work, steadily
from tidemill.flows.pull_request_placing import Placing
from tidemill.flows.repository_policy import policy_of
from tidemill.review.pull_request_text import check_name
from tidemill.review.wording import word
from tidemill.store.pull_requests import UNFINISHED, RunState

log = logging.getLogger(__name__)


async def close_check(
    parts: PullRequestParts, work: Work, run_id: UUID, language: str | None, *, again: bool = True
) -> bool:
    """Has the check of a superseded or skipped review say so: left running, its commit would look unfinished for ever.

    It fails, since the commit can come back and must not pass unread then; after a merge it is neutral. Where another
    review has that check, it is that one's. What a forge that is away prevents, `PullRequestFlow.settle` does later.

    Args:
        parts: what it is done with.
        work: the run that finds this.
        run_id: the review's.
        language: of the words; `None` for the one that the repository's policy names.
        again: whether the review may be made anew. Where the pull request is open at its commit (again), the check
            stays as it is then, and true is returned.
    """

    async def close() -> Record:
        run = await parts.rows.run(run_id)
        if run is None or run.state not in {RunState.SKIPPED, RunState.SUPERSEDED} or "checked" not in run.counts:
            return {}
        name = str(run.counts["checked"])
        others = await parts.rows.others_of_check(work.key.project, run.id, run.head, name)
        if not others:
            now = await work.forge.pull_request(work.key)
            if again and now.state is PullRequestState.OPEN and (now.head, check_name(now)) == (run.head, name):
                return {"wanted": True}
            said = word(language or (await policy_of(work.forge, now)).language, "check_left")
            state = CheckState.NEUTRAL if now.state is PullRequestState.MERGED else CheckState.FAILED
            await Placing(parts, work).put(Check(name, run.head, state, said, said))
        if not others or others - UNFINISHED:
            await parts.rows.check_closed(run.id)
        return {}

    closed = await steadily(close, parts.sleep, "closing a check")
    if closed.get("reason"):
        log.warning("The check of %s on %s was left running: %s", run_id, work, closed["reason"])
    if closed.get("error"):
        await parts.rows.check_closed(run_id)
    return bool(closed.get("wanted"))
