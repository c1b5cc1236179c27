"""Reviews on pull requests whose forge answers late, and of which two workers know different things."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.conftest import NOON
from tests.support.pull_requests import KEY, TWO, PullRequests, own_comments
from tidemill.core.feedback import Outcome
from tidemill.core.pull_request import (
    EventKind,
    ForgeComment,
    ForgeEvent,
    PullRequest,
    PullRequestKey,
    PullRequestState,
)
from tidemill.forges.scripted import Fault, ScriptedForge
from tidemill.jobs.direct import Interrupted
from tidemill.store.database import Pool
from tidemill.store.pull_requests import RunKind

ONE = {"orders/extra.py": b"import hashlib\n\n\ndef load(text):\n    return int(text)\n\n\nMARK = hashlib.md5(b'x')\n"}


class Lagging(ScriptedForge):
    """Shows another head than the newest for so many questions."""

    shown = ("", 0)

    async def pull_request(self, key: PullRequestKey) -> PullRequest:
        answer = await super().pull_request(key)
        head, times = self.shown
        self.shown = (head, times - 1)
        return replace(answer, head=head) if times > 0 else answer


@pytest.mark.parametrize("lags", [1, 2])
async def test_a_push_that_the_forge_shows_only_later_is_reviewed(pool: Pool, tmp_path: Path, lags: int) -> None:
    orders = PullRequests(pool, tmp_path, forge=Lagging)
    pull = await orders.open(dict(TWO))
    orders.forge.shown = (pull.head, lags)
    await orders.site.push(pull, dict(ONE), onto=pull.base)
    assert [run.state for run in await orders.runs()] == ["done", "waiting"]
    for _ in range(lags):
        await orders.wait(21)
    assert [(run.head, run.state) for run in await orders.runs()][1:] == [(pull.head, "done")]


async def test_a_push_that_was_taken_back_is_waited_for_no_longer_than_a_minute(pool: Pool, tmp_path: Path) -> None:
    orders = PullRequests(pool, tmp_path, forge=Lagging)
    pull = await orders.open(dict(TWO))
    orders.forge.shown = (pull.head, 1000)
    await orders.site.push(pull, dict(ONE), onto=pull.base)
    for _ in range(3):
        await orders.wait(41)
    assert [run.state for run in await orders.runs()] == ["done", "superseded"]


async def test_a_push_that_comes_while_the_commit_before_it_is_reviewed_is_not_lost(pool: Pool, tmp_path: Path) -> None:
    orders = PullRequests(pool, tmp_path, forge=Lagging, stop_after={"finish"})
    orders.held = True
    pull = await orders.open(dict(TWO))
    first = pull.head
    with pytest.raises(Interrupted):
        await orders.deliver(ForgeEvent(EventKind.OPENED, KEY, "author", head=first))
    await orders.site.push(pull, dict(ONE), onto=pull.base)
    orders.forge.shown = (first, 2)
    await orders.deliver(ForgeEvent(EventKind.SYNCHRONIZED, KEY, "author", head=pull.head))
    [older, _] = await orders.runs()
    await orders.flow.submit(older)
    await orders.wait(21)
    assert [(run.head, run.state) for run in await orders.runs()] == [(first, "done"), (pull.head, "done")]


class Open(ScriptedForge):
    """Shows a pull request as open for so many questions."""

    times = 0

    async def pull_request(self, key: PullRequestKey) -> PullRequest:
        answer = await super().pull_request(key)
        self.times -= 1
        return replace(answer, state=PullRequestState.OPEN) if self.times >= 0 else answer


@pytest.mark.parametrize(("times", "state"), [(2, "done"), (1000, "skipped")])
async def test_what_became_of_comments_is_told_once_the_forge_shows_the_merge(
    pool: Pool, tmp_path: Path, times: int, state: str
) -> None:
    orders = PullRequests(pool, tmp_path, forge=Open)
    pull = await orders.open(dict(TWO))
    orders.forge.times = times
    await orders.site.merge(pull)
    for _ in range(3):
        await orders.wait(31)
    assert [run.state for run in await orders.runs()] == ["done", state]
    told = [row.feedback.outcome async for row in orders.placed.all_feedback(since=None)]
    assert told == [Outcome.IGNORED] * (2 if state == "done" else 0)


class Unlisted(ScriptedForge):
    """Lists no comment on a line yet."""

    lags = True

    async def comments(self, key: PullRequestKey) -> Sequence[ForgeComment]:
        return [one for one in await super().comments(key) if one.path is None or not self.lags]


async def test_a_comment_that_the_forge_does_not_list_yet_was_deleted_by_nobody(pool: Pool, tmp_path: Path) -> None:
    orders = PullRequests(pool, tmp_path, forge=Unlisted)
    orders.forge.faults.waiting += [Fault(0, "comment_inline"), Fault(502, "comment_inline")]
    pull = await orders.open(dict(TWO))
    assert len(own_comments(pull, inline=True)) == 2
    assert "Comments on lines: 2." in own_comments(pull, inline=False)[0]
    orders.forge.lags = False
    orders.now += timedelta(seconds=61)
    await orders.site.push(pull, {"orders/other.py": b"SAFE = 1\n"})
    row = await orders.rows.find(KEY)
    assert row is not None
    assert [one.state for one in await orders.placed.of(row.id)] == ["open", "open"]
    assert [one async for one in orders.placed.all_feedback(since=None)] == []


class Slow(ScriptedForge):
    """Answers the first question for a pull request only once something else has happened."""

    meanwhile: Callable[[], Awaitable[None]] | None = None

    async def pull_request(self, key: PullRequestKey) -> PullRequest:
        answer = await super().pull_request(key)
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            await meanwhile()
        return answer


async def test_a_late_answer_of_the_forge_takes_nothing_from_the_newer_commit(pool: Pool, tmp_path: Path) -> None:
    orders = PullRequests(pool, tmp_path, forge=Slow)
    orders.held = True
    pull = await orders.open(dict(TWO))
    first = pull.head

    async def pushed() -> None:
        orders.now += timedelta(seconds=1)
        await orders.site.push(pull, dict(ONE), onto=pull.base)
        await orders.deliver(ForgeEvent(EventKind.SYNCHRONIZED, KEY, "author", head=pull.head))

    orders.forge.meanwhile = pushed
    await orders.deliver(ForgeEvent(EventKind.OPENED, KEY, "author", head=first))
    assert [(run.head, run.state) for run in await orders.runs()] == [(first, "superseded"), (pull.head, "done")]
    row = await orders.rows.find(KEY)
    assert row is not None
    assert row.head == pull.head
    assert len(own_comments(pull, inline=True)) == 1


async def test_a_late_answer_supersedes_nothing_that_is_still_being_read(pool: Pool, tmp_path: Path) -> None:
    orders = PullRequests(pool, tmp_path)
    orders.held = True
    await orders.open(dict(TWO))
    old, new = [await orders.flow.ask(KEY, RunKind.REVIEW, f"head:{head}", head=head) for head in ("a" * 40, "b" * 40)]
    assert old is not None
    assert new is not None
    await orders.rows.start(old)
    await orders.rows.start(new)
    superseded = await orders.rows.begin(new, new.head, NOON)
    assert [run.id for run in superseded or ()] == [old.id]
    assert await orders.rows.begin(old, old.head, NOON) is None
    assert [run.state for run in await orders.runs()] == ["superseded", "running"]
