"""What a pull request is told where an engine fails, or the forge lets no thread be resolved."""

from pathlib import Path

import pytest

from tests.integration.test_pull_requests import ONE, TWO
from tests.support.pull_requests import NeedleEngine, PullRequests, own_comments
from tidemill.core.change import ChangeSet, Diff
from tidemill.core.gate import GateName, GateState
from tidemill.flows.pull_request_gates import PulledGates
from tidemill.forges.scripted import Fault
from tidemill.review.engines import EngineFailed, EngineResult
from tidemill.store.database import Pool


async def fail(engine: NeedleEngine, change: ChangeSet, diff: Diff) -> EngineResult:
    raise EngineFailed("needles did not end within 300 s on 1 files.")


async def test_a_finding_is_not_said_to_be_gone_by_an_engine_that_failed(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = PullRequests(pool, tmp_path)
    pull = await orders.open(dict(TWO))
    first = next(said for said in pull.comments if said.path)
    monkeypatch.setattr(NeedleEngine, "run", fail)
    await orders.site.push(pull, {"orders/other.py": b"SAFE = 1\n"})
    await orders.site.say(pull, "maintainer", "/tidemill fix", reply_to=first.id)
    assert "nothing to mend" not in own_comments(pull)[-1]
    assert "no change to offer" in own_comments(pull)[-1]


async def test_no_severe_finding_of_a_review_that_is_not_whole_is_not_a_gate_that_passed(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NeedleEngine, "run", fail)
    orders = PullRequests(pool, tmp_path, gates=PulledGates(tmp_path))
    pull = await orders.open(dict(TWO))
    [summary] = own_comments(pull, inline=False)
    [row] = [line for line in summary.splitlines() if line.startswith(f"| {GateName.CRITICAL}")]
    assert "failed: needles" in row
    assert GateState.NOT_MEASURED.replace("_", " ") in row


async def test_a_thread_that_the_forge_lets_nobody_resolve_is_said_to_be_open(pool: Pool, tmp_path: Path) -> None:
    orders = PullRequests(pool, tmp_path)
    pull = await orders.open(dict(TWO))
    orders.forge.faults.waiting.append(Fault(403, "resolve"))
    await orders.site.push(pull, dict(ONE))
    [summary] = own_comments(pull, inline=False)
    assert "Gone since an earlier commit: 1." in summary
    assert "did not let Tidemill resolve: 1." in summary
    *_, run = await orders.runs()
    assert run.counts["unresolved"] == 1
