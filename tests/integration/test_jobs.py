"""Durable work: what ends badly is named, and a slot has one holder."""

import asyncio
import signal
from collections.abc import AsyncIterator

import psycopg
import pytest

from tests.support.hubs import PATIENCE
from tidemill.core.context import Priority
from tidemill.core.json import Json
from tidemill.jobs.durable import BUSY_SECONDS, IDLE_SECONDS, LOCK_SPACE, DurableJobs, pending_workflows
from tidemill.jobs.port import Steps, Strays


async def broken(steps: Steps, subject: str) -> None:
    raise ZeroDivisionError


async def counted(steps: Steps, subject: str) -> None:
    async def step() -> Json:
        RAN.append(subject)
        return {"letter": "đ"}

    assert await steps.run("count", step) == {"letter": "đ"}
    ENDED.set()


async def ranked(steps: Steps, subject: str) -> None:
    async def step() -> Json:
        RAN.append(subject)
        if subject in EVENTS:
            EVENTS[subject].set()
        if subject == "first":
            await EVENTS["gate"].wait()
        return None

    await steps.run("rank", step)


RAN: list[str] = []
ENDED = asyncio.Event()
EVENTS: dict[str, asyncio.Event] = {}


@pytest.fixture
async def jobs(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DurableJobs]:
    monkeypatch.setattr("tidemill.jobs.durable.SWEEP_SECONDS", 0.5)
    RAN.clear()
    ENDED.clear()
    opened = DurableJobs(database_url)
    opened.register("counted", counted)
    opened.register("broken", broken)
    opened.register("ranked", ranked, concurrency=1)
    opened.register("shared", ranked)
    await opened.start()
    yield opened
    await opened.aclose()


async def test_a_workflow_submitted_twice_runs_once(jobs: DurableJobs, database_url: str) -> None:
    await jobs.submit("counted", "one")
    await jobs.submit("counted", "one")
    await asyncio.wait_for(ENDED.wait(), PATIENCE)
    await asyncio.sleep(0.5)
    assert RAN == ["one"]
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        assert [one for one in await pending_workflows(connection) if one.name == "counted"] == []


async def test_in_a_queue_of_its_own_a_workflow_of_a_better_priority_begins_first(jobs: DurableJobs) -> None:
    EVENTS.update({name: asyncio.Event() for name in ("gate", "first", "beside", "patient")})
    await jobs.submit("ranked", "first")
    await asyncio.wait_for(EVENTS["first"].wait(), PATIENCE)
    await jobs.submit("ranked", "patient", priority=Priority.BATCH)
    await jobs.submit("ranked", "urgent", priority=Priority.INTERACTIVE)
    await jobs.submit("shared", "beside")  # in another queue, where nothing is in the way
    await asyncio.wait_for(EVENTS["beside"].wait(), PATIENCE)
    EVENTS["gate"].set()
    await asyncio.wait_for(EVENTS["patient"].wait(), PATIENCE)
    assert RAN == ["first", "beside", "urgent", "patient"]


async def test_queues_are_looked_into_less_often_while_nothing_is_in_them(jobs: DurableJobs, database_url: str) -> None:
    EVENTS.update({name: asyncio.Event() for name in ("gate", "first")})
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        await _until_it_waits(connection, "ranked", IDLE_SECONDS)
        await jobs.submit("ranked", "first")
        await asyncio.wait_for(EVENTS["first"].wait(), PATIENCE)
        await asyncio.sleep(1.5)  # for some sweeps
        assert await _pause(connection, "ranked") == BUSY_SECONDS
        EVENTS["gate"].set()
        await _until_it_waits(connection, "ranked", IDLE_SECONDS)


async def _until_it_waits(connection: psycopg.AsyncConnection, queue: str, seconds: float) -> None:
    """Goes on when the queue is looked into every so many seconds."""
    async with asyncio.timeout(PATIENCE):
        while True:
            if await _pause(connection, queue) == seconds:
                return
            await asyncio.sleep(0.1)


async def _pause(connection: psycopg.AsyncConnection, queue: str) -> float:
    """Seconds between two looks into a queue."""
    cursor = await connection.execute("SELECT polling_interval_sec FROM dbos.queues WHERE name = %s", (queue,))
    row = await cursor.fetchone()
    assert row is not None
    return float(row[0])


async def test_a_workflow_that_breaks_is_named_and_so_is_one_that_is_not_there(jobs: DurableJobs) -> None:
    assert await jobs.strays("broken", ["two"]) == Strays(frozenset(), frozenset({"two"}))
    assert await jobs.strays("broken", []) == Strays(frozenset(), frozenset())
    await jobs.submit("broken", "two")
    await jobs.submit("counted", "one")
    for _ in range(PATIENCE * 10):
        if (found := await jobs.strays("broken", ["two", "one"])).broken:
            break
        await asyncio.sleep(0.1)
    assert found == Strays(frozenset({"two"}), frozenset({"one"}))
    assert await jobs.strays("counted", ["one"]) == Strays(frozenset(), frozenset())  # at work, or done


async def test_a_process_whose_slot_was_taken_stops_before_it_does_work_twice(
    jobs: DurableJobs, database_url: str
) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as other:
        await other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid = %s", (LOCK_SPACE,)
        )
        for _ in range(100):
            cursor = await other.execute("SELECT pg_try_advisory_lock(%s, 0)", (LOCK_SPACE,))
            if (await cursor.fetchone()) == (True,):
                break
            await asyncio.sleep(0.05)
        await asyncio.wait_for(stopped.wait(), PATIENCE)
