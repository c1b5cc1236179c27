"""What is kept of forges' deliveries and of pull requests goes when its time has come, and what is open stays."""

from datetime import timedelta
from pathlib import Path

import pytest

from tests.conftest import NOON
from tests.integration.test_pull_requests import ONE, TWO
from tests.integration.test_retention import Keeping
from tests.support.pull_requests import PullRequests
from tidemill.core.ids import new_id
from tidemill.settings import Settings
from tidemill.store.database import Pool
from tidemill.store.deliveries import DeliveryRepository, DeliveryRow, DeliveryState

KINDS = {"delivery_payloads", "deliveries", "pull_request_runs", "feedback_code", "forge_logins"}


@pytest.fixture
def keeping(pool: Pool, tmp_path: Path) -> Keeping:
    found = Keeping(Settings(data_dir=tmp_path / "data"), pool)
    found.logs.mkdir(parents=True)
    return found


async def gone(keeping: Keeping, days: int) -> dict[str, int]:
    """What of these kinds is deleted after so many days, which is what was due."""
    keeping.now = NOON + timedelta(days=days)
    due = await keeping.due()
    deleted = await keeping.run_after(timedelta(days=days))
    assert {kind: due.get(kind, 0) for kind in KINDS} == {kind: deleted.get(kind, 0) for kind in KINDS}
    return {kind: number for kind, number in deleted.items() if kind in KINDS}


async def test_deliveries_lose_their_bodies_first_and_those_that_wait_keep_theirs(pool: Pool, keeping: Keeping) -> None:
    deliveries = DeliveryRepository(pool)
    for state in (DeliveryState.DONE, DeliveryState.RECEIVED):
        await deliveries.add(DeliveryRow(new_id(), "hub", state, "push", "lan", state, b"{}", state, NOON))
    bodies, rows = keeping.settings.retention.delivery_days, keeping.settings.retention.log_days
    assert await gone(keeping, bodies) == {}
    assert await gone(keeping, bodies + 1) == {"delivery_payloads": 1}
    assert await gone(keeping, rows + 1) == {"deliveries": 2}


async def test_a_merged_pull_request_is_forgotten_and_an_open_one_is_not(
    pool: Pool, keeping: Keeping, tmp_path: Path
) -> None:
    orders = PullRequests(pool, tmp_path)
    pull = await orders.open(dict(TWO))
    await orders.site.push(pull, dict(ONE))
    days = keeping.settings.retention.log_days + 1
    assert "pull_request_runs" not in await gone(keeping, days)
    await orders.site.merge(pull)
    runs = len(await orders.runs())
    forgotten = await gone(keeping, days)
    assert forgotten["pull_request_runs"] == runs
    assert forgotten["forge_logins"] > 0
    assert await orders.runs() == []
    async with pool.connection() as connection:
        code = "SELECT FROM comment_feedback WHERE code_before IS NOT NULL OR code_after IS NOT NULL"
        assert await (await connection.execute(code)).fetchall() == []
        kept = await (await connection.execute("SELECT author FROM pull_requests")).fetchall()
    assert kept == [{"author": ""}]
    assert await gone(keeping, days) == {}
