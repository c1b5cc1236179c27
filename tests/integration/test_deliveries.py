"""Deliveries in the database: worked once, whoever sends them how often."""

import asyncio
import json
from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

import pytest

from tests.conftest import NOON
from tidemill.core.errors import NotAuthenticated, NotFound
from tidemill.core.pull_request import EventKind, ForgeKind
from tidemill.flows.deliveries import MOST_ATTEMPTS, WORKFLOW, Deliveries, Taken, delivered_event
from tidemill.forges.scripted_server import Sent, Webhook, signed
from tidemill.jobs.direct import DirectJobs
from tidemill.jobs.port import Steps
from tidemill.settings.forges import ForgeSettings
from tidemill.store.database import Pool
from tidemill.store.deliveries import DeliveryRepository, DeliveryState

SECRET = "not-a-real-one"
FORGES = {
    "github": ForgeSettings(kind="github", token_secret="token", webhook_secret="hook", projects=["acme/*"]),
    "silent": ForgeSettings(kind="gitlab", token_secret="token"),
}
OPENED = {
    "action": "opened",
    "repository": {"full_name": "acme/shop"},
    "pull_request": {"number": 7, "head": {"sha": "c0ffee"}},
    "sender": {"login": "lan", "email": "lan@example.org"},
}


class Stored:
    async def reveal(self, name: str) -> str:
        assert name == "hook"
        return SECRET


class Taking:
    """Deliveries over a database, and what was worked."""

    def __init__(self, pool: Pool) -> None:
        self.now = NOON
        self.worked: list[str] = []
        self.jobs = DirectJobs()
        self.jobs.register(WORKFLOW, self._work)
        self.rows = DeliveryRepository(pool)
        self.deliveries = Deliveries(self.jobs, self.rows, FORGES, Stored(), lambda: self.now)

    async def _work(self, steps: Steps, subject: str) -> None:
        self.worked.append(subject)

    async def send(self, payload: Mapping[str, object], delivery: str = "1", secret: str = SECRET) -> Taken:
        sent = Sent(delivery, "pull_request", json.dumps(payload).encode())
        headers = signed(Webhook("", ForgeKind.GITHUB, secret), sent)
        receipt = await self.deliveries.take(self.deliveries.sender("github", headers), headers, sent.body)
        if receipt.id is not None:
            await self.deliveries.queue(receipt.id)
        return receipt.taken


@pytest.fixture
def taking(pool: Pool) -> Taking:
    return Taking(pool)


async def test_a_delivery_is_worked_once_however_often_and_at_once_it_comes(taking: Taking) -> None:
    taken = await asyncio.gather(*(taking.send(OPENED) for _ in range(10)))
    assert sorted(taken) == [Taken.KNOWN] * 9 + [Taken.QUEUED]
    assert len(taking.worked) == 1
    event = await delivered_event(taking.rows, FORGES, UUID(taking.worked[0]))
    assert (event.kind, event.actor, event.head) == (EventKind.OPENED, "lan", "c0ffee")


async def test_a_body_that_was_overheard_is_not_worked_under_another_id(taking: Taking) -> None:
    await taking.send(OPENED)
    assert await taking.send(OPENED, delivery="2") is Taken.KNOWN
    assert len(taking.worked) == 1


async def test_a_forged_delivery_leaves_nothing_behind(taking: Taking) -> None:
    with pytest.raises(NotAuthenticated):
        await taking.send(OPENED, secret="guessed")
    assert await taking.send(OPENED) is Taken.QUEUED


async def test_what_is_of_no_interest_is_not_kept(taking: Taking, pool: Pool) -> None:
    assert await taking.send({**OPENED, "action": "labeled"}) is Taken.IGNORED
    assert await taking.send({**OPENED, "repository": {"full_name": "other/shop"}}) is Taken.IGNORED
    async with pool.connection() as connection:
        assert await (await connection.execute("SELECT 1 FROM deliveries")).fetchall() == []


async def test_only_a_forge_with_a_secret_is_listened_to(taking: Taking) -> None:
    gitlab = {"x-gitlab-event": "Note Hook", "idempotency-key": "1", "x-gitlab-token": ""}
    with pytest.raises(NotAuthenticated, match="not signed"):
        taking.deliveries.sender("silent", gitlab)
    with pytest.raises(NotAuthenticated, match=r"forges\.silent\.webhook_secret"):
        taking.deliveries.sender("silent", {**gitlab, "x-gitlab-token": "x"})
    with pytest.raises(NotFound):
        taking.deliveries.sender("github", {**gitlab, "x-gitlab-token": "x"})
    with pytest.raises(NotFound):
        taking.deliveries.sender("nobody", {**gitlab, "x-gitlab-token": "x"})


async def test_a_delivery_whose_work_was_never_queued_gets_it_later(
    taking: Taking, caplog: pytest.LogCaptureFixture
) -> None:
    taking.deliveries._jobs = NoJobs()  # type: ignore[assignment]
    assert await taking.send(OPENED) is Taken.QUEUED
    assert "was not queued yet" in caplog.text
    taking.deliveries._jobs = taking.jobs
    await taking.deliveries.settle()
    assert taking.worked == []
    taking.now += timedelta(minutes=1)
    await taking.deliveries.settle()
    assert len(taking.worked) == 1


class NoJobs:
    async def submit(self, name: str, subject: str) -> None:
        raise ConnectionError("killed between two writes")


async def test_bodies_go_before_the_memory_of_them(taking: Taking) -> None:
    await taking.send(OPENED)
    delivery = UUID(taking.worked[0])
    later = NOON + timedelta(days=8)
    assert await taking.rows.forget_payloads(later) == 0, "it was not worked yet"
    await taking.rows.end(delivery, DeliveryState.DONE, None, NOON)
    assert await taking.rows.forget_payloads(later) == 1
    row = await taking.rows.get(delivery)
    assert row is not None
    assert (row.payload, row.actor) == (None, "")
    assert await taking.send(OPENED) is Taken.KNOWN
    with pytest.raises(NotFound):
        await delivered_event(taking.rows, FORGES, delivery)
    assert await taking.rows.forget(later) == 1


async def test_a_delivery_whose_work_broke_begins_again_and_not_without_end(taking: Taking) -> None:
    await taking.send(OPENED)
    delivery = UUID(taking.worked[0])
    taking.now += timedelta(seconds=31)
    for attempt in range(1, MOST_ATTEMPTS):
        taking.jobs.break_off(taking.worked[-1])
        await taking.deliveries.settle()
        assert taking.worked[-1] == f"{delivery}:{attempt}"
    taking.jobs.break_off(taking.worked[-1])
    await taking.deliveries.settle()
    assert len(taking.worked) == MOST_ATTEMPTS
    row = await taking.rows.get(delivery)
    assert row is not None
    assert row.state is DeliveryState.FAILED
