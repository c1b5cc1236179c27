"""Commands in comments on pull requests: what they are about, who gave them, and how they are answered."""

from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from tests.conftest import NOON
from tests.support.pull_requests import BUNDLE, KEY, PROJECT, TWO, PullRequests, own_comments
from tidemill.core.change import ChangeSet, Diff
from tidemill.core.finding import Finding, Suggestion
from tidemill.core.pull_request import CheckState, EventKind, ForgeEvent
from tidemill.core.review_policy import ReviewPolicy
from tidemill.flows.pull_request_gates import PulledGates
from tidemill.forges.scripted import Fault
from tidemill.store.database import Pool

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


async def test_commands_in_the_texts_of_reviews_are_each_obeyed_from_who_may_push(pool: Pool, tmp_path: Path) -> None:
    orders = PullRequests(pool, tmp_path)
    pull = await orders.open(dict(TWO))
    runs = len(await orders.runs())
    for review, actor in (("80", "maintainer"), ("81", "maintainer"), (None, "maintainer"), ("82", "stranger")):
        text = "Please look again.\n/tidemill review"
        said = ForgeEvent(EventKind.COMMENTED, KEY, actor, review=review, body=text)
        for _ in range(2 if review is not None else 1):
            await orders.deliver(said)
    done = (await orders.runs())[runs:]
    assert sum(run.kind == "review" for run in done) == 3
    assert {run.state for run in done} == {"done"}
    answers = own_comments(pull)[-4:]
    assert sum("under way" in body for body in answers) == 3
    assert "who may push" in answers[-1]


async def test_a_command_of_which_a_forge_tells_only_that_something_was_said_is_obeyed_once(
    pool: Pool, tmp_path: Path
) -> None:
    orders = PullRequests(pool, tmp_path, mender=Rewriting())
    pull = await orders.open(dict(TWO))
    first = next(said for said in pull.comments if said.path)
    orders.held = True
    await orders.site.say(pull, "maintainer", "/tidemill ignore", reply_to=first.id)  # too long ago
    orders.now += timedelta(hours=25)
    await orders.site.say(pull, "maintainer", "/tidemill fix", reply_to=first.id)
    await orders.site.say(pull, "stranger", "/tidemill review", reply_to=first.id)
    await orders.site.say(pull, "maintainer", "A plain answer.", reply_to=first.id)
    await orders.site.say(pull, "maintainer", "/tidemill review")  # of which it tells by itself
    before = len(own_comments(pull))
    for _ in range(2):
        await orders.deliver(ForgeEvent(EventKind.REPLIED, KEY, "maintainer"))
    answers = own_comments(pull)[before:]
    assert len(answers) == 2
    assert "    return int(text)\n" in answers[0]
    assert "who may push" in answers[1]
    assert {run.state for run in await orders.runs()} == {"done"}


@pytest.mark.parametrize("status", [403, 404, 422])
async def test_a_finding_is_ignored_and_said_to_be_where_its_thread_cannot_be_resolved(
    pool: Pool, tmp_path: Path, status: int
) -> None:
    orders = PullRequests(pool, tmp_path)
    pull = await orders.open(dict(TWO))
    first = next(said for said in pull.comments if said.path)
    orders.forge.faults.waiting.append(Fault(status, "resolve", times=2))
    await orders.site.say(pull, "maintainer", "/tidemill ignore", reply_to=first.id)
    assert "will not mention this again" in own_comments(pull)[-1]
    assert [run.state for run in await orders.runs()] == ["done", "done"]
    await orders.site.push(pull, {PATH: b"SAFE = 1\n"})
    assert [run.state for run in await orders.runs()] == ["done"] * 3


async def test_what_was_ignored_is_not_annotated_and_fails_no_gate(pool: Pool, tmp_path: Path) -> None:
    orders = PullRequests(pool, tmp_path, gates=PulledGates(tmp_path))
    repository = (await orders.site.add_project(PROJECT, BUNDLE)).repository
    policy = {".tidemill.yml": b"gates:\n  critical: high\n"}
    tip = await repository.commit_of("refs/heads/main")
    main = await repository.commit("main", policy, message="Policy", author="m", at=NOON, parent=tip)
    await repository.commit("work", TWO, message="Work", author="author", at=NOON, parent=main)
    pull = await orders.site.open(PROJECT, "work")
    check = pull.checks[pull.head, "tidemill"]
    assert (check.state, len(check.annotations)) == (CheckState.FAILED, 2)
    first = next(said for said in pull.comments if said.path)
    await orders.site.say(pull, "maintainer", "/tidemill ignore", reply_to=first.id)
    await orders.site.say(pull, "maintainer", "/tidemill review")
    check = pull.checks[pull.head, "tidemill"]
    assert (check.state, len(check.annotations)) == (CheckState.PASSED, 1)
    assert "ignored them: 1" in check.summary


async def test_a_login_that_was_forgotten_stands_nowhere_in_the_feedback(pool: Pool, tmp_path: Path) -> None:
    orders = PullRequests(pool, tmp_path)
    pull = await orders.open(dict(TWO))
    first = next(said for said in pull.comments if said.path)
    for _ in range(2):
        event = ForgeEvent(EventKind.REACTED, KEY, "maintainer", comment=str(first.id), reaction="+1", award="7")
        await orders.deliver(event)
    await orders.site.react(pull, first.id, "maintainer", "-1")
    await orders.site.say(pull, "maintainer", "/tidemill ignore", reply_to=first.id)
    rows = [row async for row in orders.placed.all_feedback(since=None)]
    assert {row.feedback.outcome.value for row in rows} == {"thumbs_up", "thumbs_down", "muted"}
    assert len(rows) == 3
    assert not [row for row in rows if "maintainer" in row.feedback.source]
    assert await orders.rows.forget_login("scripted", "maintainer") > 0
    assert not [row async for row in orders.placed.all_feedback(since=None) if "maintainer" in str(row)]
