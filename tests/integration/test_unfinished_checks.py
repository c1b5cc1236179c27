"""No check is left running for a review that ends without a verdict, and no verdict is taken away by one."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import NOON
from tests.support.pull_requests import BUNDLE, KEY, PROJECT, TWO, PullRequests, own_comments
from tidemill.core.pull_request import (
    CheckState,
    EventKind,
    ForgeEvent,
    PullRequest,
    PullRequestKey,
    PullRequestState,
)
from tidemill.forges.scripted import Fault, ScriptedForge
from tidemill.forges.scripted_site import ScriptedPull
from tidemill.jobs.direct import Interrupted
from tidemill.store.database import Pool

ONE = {"orders/extra.py": b"import hashlib\n\n\nMARK = hashlib.md5(b'x')\n"}


async def begun(orders: PullRequests, files: Mapping[str, bytes | None] = TWO) -> ScriptedPull:
    """A pull request whose review was broken off."""
    orders.held = True
    pull = await orders.open(files)
    await broken_off(orders, EventKind.OPENED, pull)
    assert states(pull) == {(pull.head, "tidemill"): CheckState.RUNNING}
    return pull


async def broken_off(orders: PullRequests, kind: EventKind, pull: ScriptedPull) -> None:
    key = PullRequestKey(KEY.project, pull.number)
    with pytest.raises(Interrupted):
        await orders.deliver(ForgeEvent(kind, key, "author", head=pull.head))


async def go_on(orders: PullRequests) -> None:
    """Takes up what was broken off."""
    for run in await orders.rows.unfinished():
        await orders.flow.submit(run)


def states(pull: ScriptedPull) -> dict[tuple[str, str], CheckState]:
    return {place: check.state for place, check in pull.checks.items()}


@pytest.mark.parametrize("step", ["pr:read", "finish"])
@pytest.mark.parametrize("merged", [True, False])
async def test_a_pull_request_that_ends_while_it_is_reviewed_keeps_no_check_running(
    pool: Pool, tmp_path: Path, step: str, merged: bool
) -> None:
    orders = PullRequests(pool, tmp_path, stop_after={step})
    pull = await begun(orders)
    await (orders.site.merge(pull) if merged else orders.site.close(pull))
    await go_on(orders)
    assert [run.state for run in await orders.runs()] == ["skipped"]
    check = pull.checks[pull.head, "tidemill"]
    state = CheckState.NEUTRAL if merged else CheckState.FAILED  # a closed one can be opened again
    assert (check.state, check.title) == (state, "The review ended before its verdict")
    assert own_comments(pull) == []


async def test_the_verdict_for_another_branch_leaves_no_check_running_for_the_first(pool: Pool, tmp_path: Path) -> None:
    orders = PullRequests(pool, tmp_path, stop_after={"finish"})
    pull = await begun(orders)
    repository = orders.site.project(PROJECT).repository
    await repository.commit("release", {}, message="Release", author="m", at=NOON, parent=pull.base)
    await orders.site.retarget(pull, "release")
    await go_on(orders)
    assert states(pull) == {
        (pull.head, "tidemill"): CheckState.FAILED,
        (pull.head, "tidemill (release)"): CheckState.PASSED,
    }


async def test_the_check_of_an_older_commit_ends_in_the_words_of_the_repository(pool: Pool, tmp_path: Path) -> None:
    orders = PullRequests(pool, tmp_path, stop_after={"finish"})
    orders.held = True
    repository = (await orders.site.add_project(PROJECT, BUNDLE)).repository
    tip = await repository.commit_of("refs/heads/main")
    policy = {".tidemill.yml": b"language: vi\n"}
    main = await repository.commit("main", policy, message="Policy", author="m", at=NOON, parent=tip)
    await repository.commit("work", TWO, message="Work", author="author", at=NOON, parent=main)
    pull = await orders.site.open(PROJECT, "work")
    first = pull.head
    await broken_off(orders, EventKind.OPENED, pull)
    await orders.site.push(pull, dict(ONE), onto=pull.base)
    await orders.deliver(ForgeEvent(EventKind.SYNCHRONIZED, KEY, "author", head=pull.head))
    assert states(pull) == {
        (first, "tidemill"): CheckState.FAILED,
        (pull.head, "tidemill"): CheckState.PASSED,
    }
    assert pull.checks[first, "tidemill"].title == "Việc nhận xét đã dừng trước khi có kết luận"


@pytest.mark.parametrize("told", [True, False])
async def test_a_review_that_waits_for_its_forge_leaves_no_check_running_on_a_commit_that_is_old_by_then(
    pool: Pool, tmp_path: Path, told: bool
) -> None:
    orders = PullRequests(pool, tmp_path)
    orders.forge.faults.waiting.append(Fault(503, "change", times=3))
    pull = await orders.open(dict(TWO))
    first = pull.head
    assert states(pull) == {(first, "tidemill"): CheckState.RUNNING}
    orders.held = not told
    await orders.site.push(pull, dict(ONE), onto=pull.base)
    await orders.wait(61)
    assert [(run.head, run.state) for run in await orders.runs()] == [(first, "superseded"), (pull.head, "done")]
    assert states(pull) == {
        (first, "tidemill"): CheckState.FAILED,
        (pull.head, "tidemill"): CheckState.PASSED,
    }


async def test_a_verdict_that_a_newer_review_of_the_commit_has_written_stays(pool: Pool, tmp_path: Path) -> None:
    orders = PullRequests(pool, tmp_path, stop_after={"finish"})
    pull = await begun(orders)
    await orders.flow.review(KEY)
    assert states(pull) == {(pull.head, "tidemill"): CheckState.PASSED}
    await orders.site.merge(pull)
    await go_on(orders)
    assert sorted(run.state for run in await orders.runs()) == ["done", "skipped"]
    assert states(pull) == {(pull.head, "tidemill"): CheckState.PASSED}


async def test_a_second_review_of_a_commit_takes_its_verdict_away_only_for_another(pool: Pool, tmp_path: Path) -> None:
    orders = PullRequests(pool, tmp_path)
    pull = await orders.open({"large.txt": b"x" * orders.parts.settings.max_diff_bytes})
    failed = {(pull.head, "tidemill"): CheckState.FAILED}
    assert states(pull) == failed
    orders.held = True
    seen: list[object] = []

    async def noted(*given: object) -> bool:
        seen.append(given)
        return True

    orders.forge.put_check = noted
    second = await orders.site.open(PROJECT, "work")
    other = PullRequestKey(KEY.project, second.number)
    orders.forge.faults.waiting.append(Fault(503, "change", times=3))
    await orders.deliver(ForgeEvent(EventKind.OPENED, other, "author", head=second.head))
    await orders.site.close(second)
    await orders.wait(61)
    row = await orders.rows.find(other)
    assert row is not None
    assert [run.state for run in await orders.rows.runs(row.id)] == ["skipped"]
    assert seen == []


async def test_an_outage_in_a_second_review_takes_no_verdict_away(pool: Pool, tmp_path: Path) -> None:
    orders = PullRequests(pool, tmp_path)
    pull = await orders.open({"large.txt": b"x" * orders.parts.settings.max_diff_bytes})
    failed = {(pull.head, "tidemill"): CheckState.FAILED}
    assert states(pull) == failed
    orders.forge.faults.waiting.append(Fault(503, "change", times=1000))
    await orders.flow.review(KEY)
    for _ in range(12):
        await orders.wait(1000)
    assert sorted(run.state for run in await orders.runs()) == ["failed", "failed"]
    assert states(pull) == failed


async def test_a_pull_request_that_is_opened_again_is_reviewed_though_its_forge_shows_it_late(
    pool: Pool, tmp_path: Path
) -> None:
    orders = PullRequests(pool, tmp_path, forge=Closed)
    orders.held = True
    pull = await orders.open(dict(TWO))
    event = ForgeEvent(EventKind.OPENED, KEY, "author", head=pull.head)
    orders.forge.shown = 1
    await orders.deliver(event)
    assert [run.state for run in await orders.runs()] == ["skipped"]
    orders.forge.shown = 10
    await orders.deliver(replace(event, kind=EventKind.REOPENED))
    orders.forge.shown = 0
    await orders.wait(20)
    assert [run.state for run in await orders.runs()] == ["done"]
    assert states(pull) == {(pull.head, "tidemill"): CheckState.PASSED}


class Closed(ScriptedForge):
    """Shows a pull request as closed, so many times."""

    shown = 0

    async def pull_request(self, key: PullRequestKey) -> PullRequest:
        answer = await super().pull_request(key)
        if not self.shown:
            return answer
        self.shown -= 1
        return replace(answer, state=PullRequestState.CLOSED)


async def test_a_pull_request_that_was_closed_for_a_moment_is_not_let_pass_without_a_verdict(
    pool: Pool, tmp_path: Path
) -> None:
    orders = PullRequests(pool, tmp_path, stop_after={"finish"}, forge=Closed)
    pull = await begun(orders)
    orders.forge.shown = 1
    await go_on(orders)
    assert [(run.state, run.attempt) for run in await orders.runs()] == [("done", 1)]
    assert states(pull) == {(pull.head, "tidemill"): CheckState.PASSED}


async def test_a_change_that_is_too_large_fails_the_check_of_a_review_that_a_person_asked_for(
    pool: Pool, tmp_path: Path
) -> None:
    orders = PullRequests(pool, tmp_path)
    orders.held = True
    pull = await orders.open({"large.txt": b"x" * orders.parts.settings.max_diff_bytes})
    await orders.flow.review(KEY)
    [run] = await orders.runs()
    assert (run.state, run.head) == ("failed", pull.head)
    assert states(pull) == {(pull.head, "tidemill"): CheckState.FAILED}
    assert len(own_comments(pull)) == 1
