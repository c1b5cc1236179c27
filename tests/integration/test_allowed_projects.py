"""Which projects' pull requests are looked at, whoever asks for it."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.pull_requests import PROJECT, TWO, PullRequests
from tidemill.core.errors import NotFound
from tidemill.core.pull_request import Project, PullRequestKey
from tidemill.flows.pull_request import PullRequestFlow
from tidemill.jobs.direct import DirectJobs
from tidemill.settings.forges import ForgeSettings
from tidemill.store.database import Pool

LEADING_OUT = [
    "acme/../evil/repo",
    "acme/./shop",
    "acme",
    "acme//shop",
    "/acme/shop",
    "acme/shop?x=1",
    "acme/a b",
    "..",
]


@pytest.mark.parametrize("path", LEADING_OUT)
def test_a_path_that_may_lead_elsewhere_is_no_project(path: str) -> None:
    every = ForgeSettings(kind="github", token_secret="t")
    some = ForgeSettings(kind="github", token_secret="t", projects=["acme/*"])
    assert [every.allows(path), some.allows(path)] == [False, False]
    assert [every.allows("evil/shop"), some.allows("evil/shop"), some.allows("Acme/shop.js")] == [True, False, True]


async def test_a_review_that_is_asked_for_by_hand_is_of_an_allowed_project_alone(pool: Pool, tmp_path: Path) -> None:
    orders = PullRequests(pool, tmp_path)
    await orders.open(dict(TWO))
    for path in LEADING_OUT:
        with pytest.raises(NotFound, match="none of the projects"):
            await orders.flow.review(PullRequestKey(Project("scripted", path), 1))
    some = ForgeSettings(kind="github", token_secret="t", projects=["acme/none"])
    parts = replace(orders.parts, allows=lambda project: some.allows(project.path))
    with pytest.raises(NotFound, match="none of the projects"):
        await PullRequestFlow(DirectJobs(), parts).review(PullRequestKey(Project("scripted", PROJECT), 1))
