"""Commands in comments on pull requests: what they are about, who gave them, and how they are answered."""

from pathlib import Path
from uuid import UUID

import pytest

from tests.support.pull_requests import PROJECT, TWO, PullRequests, own_comments
from tidemill.core.change import ChangeSet, Diff
from tidemill.core.finding import Finding, Suggestion
from tidemill.core.pull_request import Project, PullRequestKey
from tidemill.core.review_policy import ReviewPolicy
from tidemill.store.database import Pool

KEY = PullRequestKey(Project("scripted", PROJECT), 1)
PATH = "orders/extra.py"


class Rewriting:
    """Mends a finding by a call of `int` on the line on which it is told that the finding stands."""

    async def mend(
        self, finding: Finding, change: ChangeSet, diff: Diff, policy: ReviewPolicy, review_id: UUID
    ) -> Suggestion | str:
        line = change.files[PATH].split("\n")[finding.line - 1]
        return Suggestion(finding.line, finding.line, line.replace("eval", "int"), ("applies", "parses"))


@pytest.mark.parametrize("reviewed", [True, False])
async def test_a_fix_mends_the_line_on_which_the_finding_stands_after_a_push(
    pool: Pool, tmp_path: Path, reviewed: bool
) -> None:
    orders = PullRequests(pool, tmp_path, mender=Rewriting())
    pull = await orders.open(dict(TWO))
    first = next(said for said in pull.comments if said.path)
    orders.held = not reviewed
    await orders.site.push(pull, {PATH: b"# One\n# Two\n" + (TWO[PATH] or b"")})
    orders.held = False
    await orders.site.say(pull, "maintainer", "/tidemill fix", reply_to=first.id)
    assert "    return int(text)\n" in own_comments(pull)[-1]


@pytest.mark.parametrize("reviewed", [True, False])
async def test_a_fix_of_what_is_gone_mends_nothing_else(pool: Pool, tmp_path: Path, reviewed: bool) -> None:
    orders = PullRequests(pool, tmp_path, mender=Rewriting())
    pull = await orders.open(dict(TWO))
    first = next(said for said in pull.comments if said.path)
    orders.held = not reviewed
    await orders.site.push(pull, {PATH: b"def load(text):\n    return text\n\n\nMARK = load(1)\n"})
    orders.held = False
    await orders.site.say(pull, "maintainer", "/tidemill fix", reply_to=first.id)
    assert "nothing to mend" in own_comments(pull)[-1]
