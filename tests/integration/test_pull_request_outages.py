"""Work on pull requests goes on after the database was away, and after its workflow broke off."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from tests.support.pull_requests import KEY, TWO, PullRequests, own_comments
from tidemill.core.errors import Unavailable
from tidemill.core.pull_request import CheckState, EventKind, ForgeEvent
from tidemill.flows import pull_request, review_run
from tidemill.flows.pull_request_parts import MOST_ATTEMPTS
from tidemill.forges.scripted import Fault
from tidemill.jobs.direct import Interrupted
from tidemill.store.database import Connection, Pool


class Restarted:
    """A pool whose server, of each so many times that it is asked, does not answer the last ones."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.every = 0
        self.away = 0
        self.asked = 0

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        self._answer()
        async with self._pool.connection() as connection:
            yield connection

    @asynccontextmanager
    async def alone(self, lock: int) -> AsyncIterator[bool]:
        self._answer()
        async with self._pool.alone(lock) as alone:
            yield alone

    def _answer(self) -> None:
        self.asked += 1
        if self.every and self.asked % self.every >= self.every - self.away:
            raise Unavailable("The database does not answer.")


@pytest.mark.parametrize(("every", "away"), [(9, 1), (13, 3), (16, 6)])
async def test_a_database_that_answers_only_now_and_then_loses_no_delivery_and_no_review(
    pool: Pool, tmp_path: Path, every: int, away: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review_run, "PAUSES", (0.0,) * 7)
    restarted = Restarted(pool)
    orders = PullRequests(cast(Pool, restarted), tmp_path)
    orders.held = True
    pull = await orders.open(dict(TWO))
    restarted.every, restarted.away = every, away
    delivery = await orders.deliver(ForgeEvent(EventKind.OPENED, KEY, "author", head=pull.head))
    restarted.every = 0
    await orders.wait(20)
    assert restarted.asked > 30
    assert orders.deliveries.ended == {delivery: None}
    assert [run.state for run in await orders.runs()] == ["done"]
    assert len(own_comments(pull, inline=True)) == 2


async def stranded(pool: Pool, folder: Path) -> tuple[PullRequests, Any]:
    """A review whose workflow broke off once the forge had been told that it is being made."""
    orders = PullRequests(pool, folder, stop_after={"pr:read"})
    orders.held = True
    pull = await orders.open(dict(TWO))
    with pytest.raises(Interrupted):
        await orders.deliver(ForgeEvent(EventKind.OPENED, KEY, "author", head=pull.head))
    assert pull.checks[pull.head, "tidemill"].state is CheckState.RUNNING
    return orders, pull


async def test_a_review_whose_workflow_broke_begins_again(pool: Pool, tmp_path: Path) -> None:
    orders, pull = await stranded(pool, tmp_path)
    [run] = await orders.runs()
    orders.jobs.break_off(run.subject)
    await orders.wait(1)
    assert [(run.state, run.attempt) for run in await orders.runs()] == [("waiting", 1)]
    await orders.wait(11)
    assert [run.state for run in await orders.runs()] == ["done"]
    assert pull.checks[pull.head, "tidemill"].state is CheckState.PASSED


async def test_a_review_whose_workflow_always_breaks_is_given_up_and_its_check_says_so(
    pool: Pool, tmp_path: Path
) -> None:
    orders, pull = await stranded(pool, tmp_path)
    async with pool.connection() as connection:
        await connection.execute("UPDATE pull_request_runs SET attempt = %s", (MOST_ATTEMPTS - 1,))
    [run] = await orders.runs()
    orders.jobs.break_off(run.subject)
    await orders.wait(1)
    [run] = await orders.runs()
    assert (run.state, "could not record why" in (run.reason or "")) == ("failed", True)
    assert pull.checks[pull.head, "tidemill"].state is CheckState.FAILED
    assert "could not be made" in own_comments(pull)[0] or "could not record why" in own_comments(pull)[0]


async def test_a_review_of_a_pull_request_gets_no_second_workflow_while_it_waits(pool: Pool, tmp_path: Path) -> None:
    orders, pull = await stranded(pool, tmp_path)
    [run] = await orders.runs()
    review = await orders.reviews.get(run.id)
    assert review is not None
    assert review.state == "queued"
    orders.now += timedelta(seconds=60)
    await orders.parts.reviews.settle()
    assert not [workflow for workflow in orders.jobs.results if workflow.startswith("review:")]
    await orders.wait(1)
    assert [run.state for run in await orders.runs()] == ["done"]
    assert len(own_comments(pull, inline=True)) == 2


async def pushed_while_stranded(pool: Pool, folder: Path, *faults: Fault) -> tuple[PullRequests, Any, str]:
    """A pull request whose first review was superseded while faults kept its check from being closed."""
    orders, pull = await stranded(pool, folder)
    first = pull.head
    await orders.site.push(pull, {"orders/extra.py": b"MARK = 1\n"})
    orders.forge.faults.waiting += faults
    await orders.deliver(ForgeEvent(EventKind.SYNCHRONIZED, KEY, "author", head=pull.head))
    assert [run.state for run in await orders.runs()] == ["superseded", "done"]
    assert pull.checks[first, "tidemill"].state is CheckState.RUNNING
    return orders, pull, first


async def test_a_check_that_could_not_be_closed_is_closed_once_the_forge_is_back(pool: Pool, tmp_path: Path) -> None:
    orders, pull, first = await pushed_while_stranded(pool, tmp_path, Fault(503, "put_check", times=3))
    orders.forge.faults.waiting.append(Fault(503, "put_check", times=3))
    await orders.wait(40)
    assert pull.checks[first, "tidemill"].state is CheckState.RUNNING
    await orders.wait(40)
    assert pull.checks[first, "tidemill"].state is CheckState.FAILED
    calls = len(orders.forge.calls)
    await orders.wait(40)
    assert len(orders.forge.calls) == calls


async def test_a_forge_that_takes_too_long_or_fails_oddly_keeps_nobody_and_is_asked_again(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    orders, pull, first = await pushed_while_stranded(pool, tmp_path, Fault(503, "put_check", times=3))
    with monkeypatch.context() as hurried:
        hurried.setattr(pull_request, "CLOSING_SECONDS", 0.05)
        orders.forge.faults.waiting.append(Fault(seconds=60.0, action="put_check"))
        await orders.wait(40)
    assert "its forge takes too long" in caplog.text
    with monkeypatch.context() as broken:

        async def fail(*_: object, **__: object) -> bool:
            raise RuntimeError("odd")

        broken.setattr(pull_request, "close_check", fail)
        await orders.wait(40)
    assert "was left running" in caplog.records[-1].message
    assert pull.checks[first, "tidemill"].state is CheckState.RUNNING
    await orders.wait(40)
    assert pull.checks[first, "tidemill"].state is CheckState.FAILED


async def test_a_check_that_may_not_be_closed_is_tried_once(pool: Pool, tmp_path: Path) -> None:
    orders, pull, first = await pushed_while_stranded(pool, tmp_path, Fault(403, "put_check"))
    calls = len(orders.forge.calls)
    await orders.wait(40)
    assert len(orders.forge.calls) == calls
    assert pull.checks[first, "tidemill"].state is CheckState.RUNNING


async def test_a_check_of_a_forge_that_is_no_longer_set_is_let_be(pool: Pool, tmp_path: Path) -> None:
    orders, _, _ = await pushed_while_stranded(pool, tmp_path, Fault(503, "put_check", times=3))
    forges = dict(orders.parts.forges)
    cast(dict[str, Any], orders.parts.forges).clear()
    await orders.wait(40)
    cast(dict[str, Any], orders.parts.forges).update(forges)
    calls = len(orders.forge.calls)
    await orders.wait(40)
    assert len(orders.forge.calls) == calls


async def test_a_check_of_a_commit_that_came_back_unseen_is_left_to_a_new_review(pool: Pool, tmp_path: Path) -> None:
    orders, pull, first = await pushed_while_stranded(pool, tmp_path, Fault(503, "put_check", times=3))
    second = pull.head
    await orders.site.push(pull, commit=first)
    await orders.wait(40)
    assert {(run.head, run.state.value) for run in await orders.runs()} == {(first, "done"), (second, "done")}
    assert pull.checks[first, "tidemill"].state is CheckState.PASSED


async def test_a_check_of_a_skipped_review_is_closed_though_the_pull_request_is_open_again(
    pool: Pool, tmp_path: Path
) -> None:
    orders, pull = await stranded(pool, tmp_path)
    await orders.site.close(pull)
    [run] = await orders.runs()
    orders.jobs.break_off(run.subject)
    await orders.wait(1)
    orders.forge.faults.waiting.append(Fault(503, "put_check", times=3))
    await orders.wait(200)
    assert [run.state for run in await orders.runs()] == ["skipped"]
    assert pull.checks[pull.head, "tidemill"].state is CheckState.RUNNING
    await orders.site.reopen(pull)
    await orders.wait(40)
    assert pull.checks[pull.head, "tidemill"].state is CheckState.FAILED
