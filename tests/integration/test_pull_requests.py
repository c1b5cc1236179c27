"""Reviews on pull requests: said once, on the right line, whatever is killed, refused or away."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import NOON
from tests.support.pull_requests import BUNDLE, KEY, PROJECT, NeedleEngine, PullRequests, own_comments
from tidemill.core.change import ChangeSet, Diff
from tidemill.core.errors import Configuration
from tidemill.core.feedback import Outcome
from tidemill.core.finding import Category, Severity
from tidemill.core.pull_request import CheckState, EventKind, ForgeEvent
from tidemill.flows.pull_request_gates import PulledGates
from tidemill.flows.review_run import stored_change
from tidemill.forges.scripted import Fault, ScriptedForge
from tidemill.jobs.direct import Interrupted
from tidemill.review.engines import EngineFailed, EngineResult
from tidemill.review.placing import Remark, place
from tidemill.store.database import Pool

TWO = {"orders/extra.py": b"import hashlib\n\n\ndef load(text):\n    return eval(text)\n\n\nMARK = hashlib.md5(b'x')\n"}
ONE = {"orders/extra.py": b"import hashlib\n\n\ndef load(text):\n    return int(text)\n\n\nMARK = hashlib.md5(b'x')\n"}


@pytest.fixture
def orders(pool: Pool, tmp_path: Path) -> PullRequests:
    return PullRequests(pool, tmp_path)


async def test_each_finding_is_said_once_on_its_line_and_the_summary_is_kept_up_to_date(orders: PullRequests) -> None:
    pull = await orders.open(dict(TWO))
    assert [(said.path, said.start) for said in pull.comments if said.path] == [
        ("orders/extra.py", 5),
        ("orders/extra.py", 8),
    ]
    [summary] = own_comments(pull, inline=False)
    assert "1 high, 1 medium" in summary
    await orders.site.push(pull, {"orders/other.py": b"SAFE = 1\n"})
    assert len(own_comments(pull, inline=True)) == 2
    await orders.site.push(pull, dict(ONE))
    [summary] = own_comments(pull, inline=False)
    assert "1 medium" in summary
    assert "high" not in summary
    assert list(pull.resolved.values()) == [True, False]
    assert len(own_comments(pull, inline=True)) == 2
    assert [run.state for run in await orders.runs()] == ["done"] * 3
    assert pull.checks[pull.head, "tidemill"].state is CheckState.PASSED


@pytest.mark.parametrize(("number", "told"), [(12, "Totals are wrong\n\nAdd the tax."), (13, "")])
async def test_a_review_is_told_the_issue_that_its_pull_request_closes(
    orders: PullRequests, number: int, told: str
) -> None:
    project = await orders.site.add_project(PROJECT, BUNDLE)
    project.issues[12] = ("Totals are wrong", "Add the tax.")
    tip = await project.repository.commit_of("refs/heads/main")
    await project.repository.commit("work", TWO, message="Work", author="author", at=NOON, parent=tip)
    await orders.site.open(PROJECT, "work", body=f"Closes #{number}")
    [run] = await orders.runs()
    review = await orders.reviews.get(run.id)
    assert review is not None
    _, _, brief = stored_change(await orders.blobs.get(review.change_digest))
    assert (run.state, brief.stated.issue) == ("done", told)


async def test_ten_deliveries_of_one_event_make_one_review(orders: PullRequests) -> None:
    orders.held = True
    pull = await orders.open(dict(TWO))
    event = ForgeEvent(EventKind.OPENED, KEY, "author", head=pull.head)
    for _ in range(10):
        await orders.deliver(event)
    assert len(await orders.runs()) == 1
    assert len(own_comments(pull)) == 3
    assert len(orders.deliveries.ended) == 10


async def test_an_older_head_ends_as_superseded_and_the_newest_is_reviewed_instead(orders: PullRequests) -> None:
    orders.held = True
    pull = await orders.open(dict(TWO))
    first = pull.head
    await orders.site.push(pull, dict(ONE), onto=pull.base)
    await orders.deliver(ForgeEvent(EventKind.SYNCHRONIZED, KEY, "author", head=first))
    assert [(run.head, run.state) for run in await orders.runs()] == [(first, "superseded"), (pull.head, "done")]
    assert len(own_comments(pull, inline=True)) == 1


async def test_a_head_that_is_the_newest_again_is_looked_at_again(orders: PullRequests) -> None:
    pull = await orders.open(dict(TWO))
    first = pull.head
    await orders.site.push(pull, dict(ONE), onto=pull.base)
    assert "1 medium" in own_comments(pull, inline=False)[0]
    await orders.site.push(pull, commit=first)
    [summary] = own_comments(pull, inline=False)
    assert "1 high, 1 medium" in summary
    assert "it is back" in summary
    assert len(own_comments(pull, inline=True)) == 2


class Killed(ScriptedForge):
    """A hub is killed right after each of its first writes: the forge has what was written, and nobody heard so."""

    left = 0

    async def _after(self, done: Any) -> Any:
        if Killed.left > 0:
            Killed.left -= 1
            raise Interrupted
        return done

    async def comment(self, *given: Any) -> Any:
        return await self._after(await super().comment(*given))

    async def comment_inline(self, *given: Any, **named: Any) -> Any:
        return await self._after(await super().comment_inline(*given, **named))

    async def edit(self, *given: Any) -> None:
        await super().edit(*given)
        await self._after(None)

    async def reply(self, *given: Any) -> Any:
        return await self._after(await super().reply(*given))

    async def resolve(self, *given: Any) -> Any:
        return await self._after(await super().resolve(*given))

    async def put_check(self, *given: Any) -> Any:
        return await self._after(await super().put_check(*given))


async def until_done(orders: PullRequests, work: Any) -> int:
    """Does the work, and takes it up again until nothing breaks it off; returns how often it was broken off."""
    try:
        await work
    except Interrupted:
        broken = 1
    else:
        return 0
    while True:
        try:
            for delivery in list(orders.deliveries.events):
                if delivery not in orders.deliveries.ended:
                    await orders.jobs.submit("forge.event", str(delivery))
            for run in await orders.runs():
                if run.state in {"queued", "running"}:
                    await orders.flow.submit(run)
        except Interrupted:
            broken += 1
        else:
            return broken


async def test_a_hub_that_is_killed_after_every_write_and_every_step_writes_nothing_twice(
    pool: Pool, tmp_path: Path
) -> None:
    steps = {"event", "pr:read", "begin", "engine:needles", "plan", "rank", "finish", "pr:place"}
    orders = PullRequests(pool, tmp_path, stop_after=steps, forge=Killed)
    orders.held = True
    pull = await orders.open(dict(TWO))
    Killed.left = 5
    broken = await until_done(orders, orders.deliver(ForgeEvent(EventKind.OPENED, KEY, "author", head=pull.head)))
    assert Killed.left == 0
    assert broken == 5 + len(steps)
    assert len(own_comments(pull, inline=True)) == 2
    assert len(own_comments(pull, inline=False)) == 1
    await orders.site.push(pull, dict(ONE))
    Killed.left = 4
    event = ForgeEvent(EventKind.SYNCHRONIZED, KEY, "author", head=pull.head)
    assert await until_done(orders, orders.deliver(event)) == 4
    assert len(own_comments(pull)) == 3
    assert list(pull.resolved.values()) == [True, False]
    [row] = [one for one in await feedback(orders) if one.feedback.outcome is Outcome.FIXED]
    assert (row.engine, row.rule, row.line) == ("needles", "eval", 5)
    assert [run.state for run in await orders.runs()] == ["done"] * 2


async def feedback(orders: PullRequests) -> list[Any]:
    return [row async for row in orders.placed.all_feedback(since=None)]


async def test_an_answer_that_was_lost_on_the_way_is_not_written_again(orders: PullRequests) -> None:
    orders.forge.faults.waiting += [
        Fault(500, "comment_inline", done=True),
        Fault(502, "comment_inline", times=2),
        Fault(500, "comment", done=True),
    ]
    pull = await orders.open(dict(TWO))
    await orders.wait(20)
    assert len(own_comments(pull, inline=True)) == 2
    assert len(own_comments(pull, inline=False)) == 1
    assert [run.state for run in await orders.runs()] == ["done"]


async def test_a_comment_whose_answer_was_lost_is_counted_once(orders: PullRequests) -> None:
    orders.forge.faults.waiting.append(Fault(500, "comment_inline", done=True))
    pull = await orders.open(dict(TWO))
    await orders.wait(20)
    assert len(own_comments(pull, inline=True)) == 2
    [summary] = own_comments(pull, inline=False)
    assert "Comments on lines: 2." in summary
    [run] = await orders.runs()
    assert (run.counts["posted"], run.counts["adopted"], run.counts["standing"]) == (1, 1, 2)


async def test_a_forge_that_wants_fewer_requests_is_left_alone_as_long_as_it_asks(orders: PullRequests) -> None:
    orders.forge.faults.waiting += [Fault(500, "pull_request"), Fault(429, "pull_request", retry_after=90)]
    pull = await orders.open(dict(TWO))
    [run] = await orders.runs()
    assert (run.state, run.attempt) == ("waiting", 1)
    calls = len(orders.forge.calls)
    await orders.wait(80)
    assert len(orders.forge.calls) == calls
    await orders.wait(11)
    assert [run.state for run in await orders.runs()] == ["done"]
    assert len(own_comments(pull)) == 3
    assert max(orders.slept) <= 3


async def test_a_forge_that_stays_away_is_given_up_with_the_reason(orders: PullRequests) -> None:
    orders.forge.faults.waiting.append(Fault(503, times=1000))
    pull = await orders.open(dict(TWO))
    for _ in range(12):
        await orders.wait(1000)
    [run] = await orders.runs()
    assert run.state == "failed"
    assert "HTTP 503" in (run.reason or "")
    assert own_comments(pull) == []


async def test_a_comment_that_the_forge_refuses_is_listed_and_never_counted_as_posted(orders: PullRequests) -> None:
    orders.forge.faults.waiting.append(Fault(422, "comment_inline"))
    pull = await orders.open(dict(TWO))
    assert len(own_comments(pull, inline=True)) == 1
    [summary] = own_comments(pull, inline=False)
    assert "Could not be written as comments: 1" in summary
    assert "did not take the comment" in summary
    [run] = await orders.runs()
    assert (run.counts["posted"], run.counts["refused"], run.counts["standing"]) == (1, 1, 1)
    assert orders.told == {"posted": 1, "refused": 1, "fixed": 0}


async def test_a_fork_without_rights_gets_the_check_and_the_log_says_why(
    orders: PullRequests, caplog: pytest.LogCaptureFixture
) -> None:
    orders.held = True
    pull = await orders.open(dict(TWO), fork=True)
    pull.refused |= {"comment", "comment_inline"}
    await orders.deliver(ForgeEvent(EventKind.OPENED, KEY, "author", head=pull.head))
    assert own_comments(pull) == []
    assert pull.checks[pull.head, "tidemill"].state is CheckState.PASSED
    assert len(pull.checks[pull.head, "tidemill"].annotations) == 2
    assert "lets Tidemill write no comments" in caplog.text
    [run] = await orders.runs()
    assert (run.state, run.counts["posted"]) == ("done", 0)


async def test_a_fork_whose_commits_take_no_check_is_reviewed_all_the_same(
    orders: PullRequests, caplog: pytest.LogCaptureFixture
) -> None:
    orders.held = True
    pull = await orders.open(dict(TWO), fork=True)
    orders.forge.faults.waiting += [Fault(404, "put_check"), Fault(409, "put_check")]
    await orders.deliver(ForgeEvent(EventKind.OPENED, KEY, "author", head=pull.head))
    [run] = await orders.runs()
    assert (run.state, run.counts["posted"], run.counts["check"]) == ("done", 2, False)
    assert caplog.text.count("was not written") == 2


async def test_a_comment_stays_with_its_line_among_equal_ones_and_in_a_renamed_file(orders: PullRequests) -> None:
    text = b"def load(text):\n    return eval(text)\n\n\ndef other(text):\n    return eval(text)\n"
    pull = await orders.open({"orders/extra.py": text})
    assert [said.start for said in pull.comments if said.path] == [2, 6]
    mended = b"import ast\n\n\ndef load(text):\n    return int(text)\n\n\ndef other(text):\n    return eval(text)\n"
    await orders.site.push(pull, {"orders/extra.py": mended})
    assert list(pull.resolved.values()) == [True, False]
    await orders.site.push(pull, {"orders/extra.py": None, "orders/new.py": mended})
    assert (len(own_comments(pull, inline=True)), list(pull.resolved.values())) == (2, [True, False])
    assert [(row.feedback.outcome, row.line) for row in await feedback(orders)] == [(Outcome.FIXED, 2)]
    await orders.site.merge(pull)
    [_, last] = await feedback(orders)
    assert (last.feedback.outcome, last.path, last.feedback.code_after) == (
        Outcome.IGNORED,
        "orders/new.py",
        "    return eval(text)",
    )


async def test_what_people_settled_is_not_said_again(orders: PullRequests) -> None:
    pull = await orders.open(dict(TWO))
    first, second = (said for said in pull.comments if said.path)
    await orders.site.resolve(pull, str(first.thread), "maintainer")
    pull.comments.remove(second)
    orders.now += timedelta(seconds=61)
    moved = b"import os\n\n" + TWO["orders/extra.py"]
    await orders.site.push(pull, {"orders/extra.py": moved})
    assert len(own_comments(pull, inline=True)) == 1
    assert "ignored them: 2" in own_comments(pull, inline=False)[0]
    assert [row.feedback.outcome for row in await feedback(orders)] == [Outcome.DISMISSED]


async def test_a_marker_that_somebody_else_writes_counts_for_nothing(orders: PullRequests) -> None:
    orders.held = True
    pull = await orders.open(dict(TWO))
    await orders.site.say(pull, "author", "<!-- tidemill:summary pr -->")
    await orders.deliver(ForgeEvent(EventKind.OPENED, KEY, "author", head=pull.head))
    assert len(own_comments(pull, inline=False)) == 1


async def test_a_draft_waits_until_it_is_ready_and_a_closed_pull_request_is_left_alone(orders: PullRequests) -> None:
    pull = await orders.open(dict(TWO), draft=True)
    assert own_comments(pull) == []
    assert [run.state for run in await orders.runs()] == ["skipped"]
    await orders.site.ready(pull)
    assert len(own_comments(pull)) == 3
    orders.held = True
    await orders.site.push(pull, dict(ONE))
    await orders.site.close(pull)
    await orders.deliver(ForgeEvent(EventKind.SYNCHRONIZED, KEY, "author", head=pull.head))
    assert (await orders.runs())[-1].state == "skipped"
    await orders.deliver(ForgeEvent(EventKind.CLOSED, KEY, "author", head=pull.head))
    assert ((await orders.runs())[-1].state, (await orders.runs())[-1].counts) == ("done", {"outcomes": 0})


async def test_a_branch_that_is_deleted_or_a_pull_request_that_is_gone_ends_with_the_reason(
    orders: PullRequests,
) -> None:
    orders.held = True
    pull = await orders.open(dict(TWO))
    await orders.site.project(PROJECT).repository.delete_branch("work")
    await orders.deliver(ForgeEvent(EventKind.OPENED, KEY, "author", head=pull.head))
    assert [run.state for run in await orders.runs()] == ["done"]
    del orders.site.project(PROJECT).pulls[1]
    await orders.deliver(ForgeEvent(EventKind.SYNCHRONIZED, KEY, "author", head="f" * 40))
    last = (await orders.runs())[-1]
    assert (last.state, "no pull request 1" in (last.reason or "")) == ("failed", True)


async def test_the_merge_says_what_became_of_each_comment_with_the_final_code(orders: PullRequests) -> None:
    three = {"orders/extra.py": TWO["orders/extra.py"] + b"OTHER = eval('1')\n"}
    pull = await orders.open(dict(three))
    first, second, third = sorted((said for said in pull.comments if said.path), key=lambda said: said.start or 0)
    await orders.site.react(pull, first.id, "maintainer", "+1")
    await orders.site.react(pull, second.id, "author", "-1")
    await orders.site.say(pull, "author", "It is not for passwords.", reply_to=second.id)
    await orders.site.resolve(pull, str(second.thread), "author")
    orders.held = True
    data = three["orders/extra.py"].replace(b"eval(text)", b"int(text)")
    await orders.site.push(pull, {"orders/extra.py": data})
    orders.held = False
    await orders.site.merge(pull)
    rows = await feedback(orders)
    told = [(row.line, row.feedback.outcome.value, row.feedback.login, row.feedback.code_after) for row in rows]
    assert sorted(told, key=str) == sorted(
        [
            (5, "thumbs_up", "maintainer", None),
            (8, "thumbs_down", "author", None),
            (8, "replied", "author", None),
            (5, "changed", None, "    return int(text)"),
            (8, "resolved", None, "MARK = hashlib.md5(b'x')"),
            (9, "ignored", None, "OTHER = eval('1')"),
        ],
        key=str,
    )
    assert third.thread is not None
    again = ForgeEvent(EventKind.MERGED, KEY, "maintainer", head=pull.head)
    await orders.deliver(again)
    assert len(await feedback(orders)) == len(rows)


async def test_commands_are_obeyed_from_who_may_push_and_answered_once(orders: PullRequests) -> None:
    pull = await orders.open(dict(TWO))
    first, second = (said for said in pull.comments if said.path)
    before = len(own_comments(pull))
    for _ in range(2):
        await orders.site.say(pull, "stranger", "/tidemill ignore repo", reply_to=first.id)
    assert len(own_comments(pull)) == before + 1
    assert await orders.rows.ignored(KEY) == frozenset()
    await orders.site.say(pull, "maintainer", "/tidemill explain", reply_to=second.id)
    assert "md5" in own_comments(pull)[-1]
    await orders.site.say(pull, "maintainer", "/tidemill ignore repo", reply_to=second.id)
    assert len(await orders.rows.ignored(KEY)) == 1
    assert pull.resolved[str(second.thread)]
    await orders.site.say(pull, "maintainer", "/tidemill config")
    assert "`max_comments`" in own_comments(pull)[-1]
    await orders.site.say(pull, "maintainer", "/tidemill fix", reply_to=first.id)
    assert "no change to offer" in own_comments(pull)[-1]
    await orders.site.say(pull, "maintainer", "/tidemill dance")
    await orders.site.say(pull, "maintainer", "/tidemill sing")
    assert sum("does not know the command" in body for body in own_comments(pull)) == 1
    runs = len(await orders.runs())
    await orders.site.say(pull, "maintainer", "Please\n/tidemill review")
    assert len(await orders.runs()) == runs + 2
    assert "ignored them: 1" in own_comments(pull, inline=False)[0]
    [muted] = [row for row in await feedback(orders) if row.feedback.outcome is Outcome.MUTED]
    assert muted.feedback.login == "maintainer"
    assert await orders.rows.forget_login("scripted", "maintainer") > 0
    assert not [row for row in await feedback(orders) if row.feedback.login == "maintainer"]


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (RecursionError("too deep"), CheckState.FAILED),
        (EngineFailed("needles did not end within 300 s on 1 files."), CheckState.FAILED),
        (Configuration("The program git is not installed."), CheckState.NEUTRAL),
    ],
)
async def test_a_review_that_a_change_makes_fail_fails_its_check_and_an_outage_does_not(
    orders: PullRequests, error: Exception, state: CheckState, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(engine: NeedleEngine, change: ChangeSet, diff: Diff) -> EngineResult:
        raise error

    monkeypatch.setattr(NeedleEngine, "run", fail)
    pull = await orders.open(dict(TWO))
    assert pull.checks[pull.head, "tidemill"].state is state


async def test_an_engine_that_fails_takes_no_earlier_finding_for_fixed(
    orders: PullRequests, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(engine: NeedleEngine, change: ChangeSet, diff: Diff) -> EngineResult:
        raise EngineFailed("needles did not end within 300 s on 1 files.")

    pull = await orders.open(dict(TWO))
    monkeypatch.setattr(NeedleEngine, "run", fail)
    await orders.site.push(pull, {"orders/other.py": b"SAFE = 1\n"})
    assert list(pull.resolved.values()) == [False, False]
    [summary] = own_comments(pull, inline=False)
    assert "needles failed, and what it would have found is missing:** needles did not end" in summary
    assert pull.checks[pull.head, "tidemill"].title == "Engines failed: needles"
    assert [run.state for run in await orders.runs()] == ["done"] * 2


async def test_a_diff_that_is_too_large_to_be_reviewed_fails_the_check(orders: PullRequests) -> None:
    pull = await orders.open({"large.txt": b"x" * orders.parts.settings.max_diff_bytes})
    check = pull.checks[pull.head, "tidemill"]
    assert (check.state, "max_diff_bytes" in check.summary.replace("\\", "")) == (CheckState.FAILED, True)


async def test_a_change_is_judged_by_each_branch_that_it_is_to_be_merged_into_and_no_verdict_hides_another(
    pool: Pool, tmp_path: Path
) -> None:
    orders = PullRequests(pool, tmp_path, gates=PulledGates(tmp_path))
    project = await orders.site.add_project(PROJECT, BUNDLE)
    repository = project.repository
    tip = await repository.commit_of("refs/heads/main")
    lax = {".tidemill.yml": b"disabled: [eval, md5]\ngates: {critical: off}\n"}
    strict = {".tidemill.yml": b"severities: {eval: critical}\n"}
    await repository.commit("lax", lax, message="Lax", author="m", at=NOON, parent=tip)
    await repository.commit("main", strict, message="Strict", author="m", at=NOON, parent=tip)
    await repository.commit("work", dict(TWO), message="Work", author="author", at=NOON, parent=tip)
    pull = await orders.site.open(PROJECT, "work")
    states = {name: check.state for (_, name), check in pull.checks.items()}
    assert states == {"tidemill": CheckState.FAILED}
    await orders.site.retarget(pull, "lax")
    states = {name: check.state for (_, name), check in pull.checks.items()}
    assert states == {"tidemill": CheckState.FAILED, "tidemill (lax)": CheckState.PASSED}
    await orders.site.retarget(pull, "main")
    states = {name: check.state for (_, name), check in pull.checks.items()}
    assert states == {"tidemill": CheckState.FAILED, "tidemill (lax)": CheckState.PASSED}
    second = await orders.site.open(PROJECT, "work", target="lax")
    assert [name for _, name in second.checks] == ["tidemill (lax)"]


async def test_a_branch_from_an_old_commit_does_not_bring_the_old_policy_back(orders: PullRequests) -> None:
    project = await orders.site.add_project(PROJECT, BUNDLE)
    repository = project.repository
    old = await repository.commit_of("refs/heads/main")
    policy = {".tidemill.yml": b"max_comments: 1\n"}
    new = await repository.commit("main", policy, message="Policy", author="m", at=NOON, parent=old)
    await repository.commit("work", dict(TWO), message="Work", author="author", at=NOON, parent=old)
    pull = await orders.site.open(PROJECT, "work")
    assert (pull.base, len(own_comments(pull, inline=True))) == (old, 1)
    await orders.site.say(pull, "maintainer", "/tidemill config")
    assert new[:12] in own_comments(pull)[-1]


async def test_the_policy_of_the_base_counts_and_not_that_of_the_change(orders: PullRequests) -> None:
    policy = b"enabled: false\nmax_comments: 1\nlanguage: vi\ncolour: red\n"
    orders.held = True
    project = await orders.site.add_project(PROJECT, BUNDLE)
    repository = project.repository
    tip = await repository.commit_of("refs/heads/main")
    main = await repository.commit("main", {".tidemill.yml": policy}, message="Policy", author="m", at=NOON, parent=tip)
    change = {**TWO, ".tidemill.yml": b"max_comments: 50\n"}
    await repository.commit("work", change, message="Work", author="author", at=NOON, parent=main)
    pull = await orders.site.open(PROJECT, "work")
    await orders.deliver(ForgeEvent(EventKind.OPENED, KEY, "author", head=pull.head))
    assert own_comments(pull) == []
    orders.held = False
    await orders.site.say(pull, "maintainer", "/tidemill review")
    assert len(own_comments(pull, inline=True)) == 1
    summary = next(body for body in own_comments(pull, inline=False) if "tidemill:summary" in body)
    assert "Nhận xét của Tidemill" in summary
    assert "line 4" in summary


class EvalEngine:
    """Finds calls of `eval`, as long as it is up."""

    version = "1"

    def __init__(self, name: str) -> None:
        self.name = name
        self.up = True

    async def run(self, change: ChangeSet, diff: Diff) -> EngineResult:
        if not self.up:
            raise EngineFailed(f"{self.name} did not end within 300 s on 1 files.")
        rule, message = f"{self.name}-eval", f"{self.name} found a call of eval."
        remarks = [
            Remark(rule, hunk.path, line.new, Severity.HIGH, "eval", message, category=Category.CODE_INJECTION)
            for hunk in diff.hunks
            for line in hunk.added
            if line.new is not None and "eval(" in line.text
        ]
        return EngineResult(tuple(place(self.name, remarks, diff)))


@pytest.mark.parametrize("up", [(True, False, True), (False, True, False, True)])
async def test_what_two_engines_find_in_a_line_is_said_once_when_the_one_heard_first_fails_or_is_back(
    pool: Pool, tmp_path: Path, up: tuple[bool, ...]
) -> None:
    first = EvalEngine("first")
    orders = PullRequests(pool, tmp_path, engines=(first, EvalEngine("second")))
    first.up, *later = up
    pull = await orders.open(dict(TWO))
    [comment] = own_comments(pull, inline=True)
    assert f"{'first' if up[0] else 'second'} found" in comment
    for number, first.up in enumerate(later, 1):
        await orders.site.push(pull, {"orders/extra.py": b"import os\n" * number + TWO["orders/extra.py"]})
        assert (own_comments(pull, inline=True), list(pull.resolved.values())) == ([comment], [False])
        assert "Comments on lines: 1." in own_comments(pull, inline=False)[0]
    assert await feedback(orders) == []
    await orders.site.push(pull, dict(ONE))
    assert (own_comments(pull, inline=True), list(pull.resolved.values())) == ([comment], [True])
    assert [(row.feedback.outcome, row.line) for row in await feedback(orders)] == [(Outcome.FIXED, 5)]


async def test_what_a_person_resolved_is_not_said_by_another_engine(pool: Pool, tmp_path: Path) -> None:
    first = EvalEngine("first")
    orders = PullRequests(pool, tmp_path, engines=(first, EvalEngine("second")))
    pull = await orders.open(dict(TWO))
    [said] = [one for one in pull.comments if one.path]
    await orders.site.resolve(pull, str(said.thread), "maintainer")
    first.up = False
    await orders.site.push(pull, {"orders/other.py": b"SAFE = 1\n"})
    assert len(own_comments(pull, inline=True)) == 1
    assert "ignored them: 1" in own_comments(pull, inline=False)[0]
