"""Durable work on PostgreSQL, by DBOS.

DBOS gives back to an executor id what that id left unfinished, so ids are slots: each process leases the lowest
free one with an advisory lock, which PostgreSQL drops when the process dies, and sweeps the slots that died.
The application version is a number raised by hand when a workflow's steps change: an unfinished workflow of
another version waits, and `tidemill doctor` lists it.
"""

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import cast

import psycopg
import sqlalchemy
from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer, SetEnqueueOptions, SetWorkflowID
from dbos import error as dbos_error
from psycopg import sql

from tidemill.core.context import Priority
from tidemill.core.errors import Conflict, Unavailable
from tidemill.core.json import Json
from tidemill.jobs.port import Strays, Workflow
from tidemill.store.database import sqlalchemy_url

APPLICATION_VERSION = "3"
"""Raise by one when the steps of any workflow change their order, names or results."""

QUEUE = "work"
SLOTS = 64
LOCK_SPACE = 7304
SWEEP_SECONDS = 5.0
BUSY_SECONDS = 0.2
"""How often a queue is looked into in which there is work; what ends at once makes room for the next as soon."""
IDLE_SECONDS = 1.0
"""How often one is in which there is none. A look takes six milliseconds of CPU, in each process."""
AT_REST = (
    "SELECT q.name FROM dbos.queues AS q WHERE q.name = ANY(%(queues)s) AND q.polling_interval_sec < %(idle)s "
    "AND NOT EXISTS (SELECT FROM dbos.workflow_status AS w WHERE w.queue_name = q.name "
    "AND w.status IN ('PENDING', 'ENQUEUED'))"
)
STRAYS = (
    "SELECT one.subject, w.status IS NULL AS missing FROM unnest(%(subjects)s::text[]) AS one (subject) "
    "LEFT JOIN dbos.workflow_status AS w ON w.workflow_uuid = %(name)s || ':' || one.subject "
    "WHERE w.status IS NULL OR w.status IN ('ERROR', 'CANCELLED', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED')"
)

log = logging.getLogger(__name__)


class DurableJobs:
    """Runs workflows durably in this process's event loop.

    There is one per process, since DBOS itself is one per process.

    Args:
        url: the PostgreSQL; DBOS keeps its tables in the schema `dbos` there.
        concurrency: workflows that run at once in this process.
    """

    def __init__(self, url: str, *, concurrency: int = 2) -> None:
        self._url = url
        self._workflows: dict[str, Callable[[str], Awaitable[None]]] = {}
        self._queues: dict[str, int] = {QUEUE: concurrency}
        self._busy: dict[str, float] = {}
        self._lease: psycopg.AsyncConnection | None = None
        self._slot: int | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._running: set[asyncio.Task[None]] = set()

    @property
    def slot(self) -> int:
        """The slot that this process holds, which no other process of the database does; after `start`."""
        assert self._slot is not None  # noqa: S101 - `start` has set it
        return self._slot

    def register(self, name: str, workflow: Workflow, *, concurrency: int | None = None) -> None:
        """As the port says."""
        if concurrency is not None:
            self._queues[name] = concurrency

        async def run(subject: str) -> None:
            task = asyncio.current_task()
            assert task is not None  # noqa: S101 - DBOS runs an async workflow in a task
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            await workflow(_RecordedSteps(), subject)

        run.__qualname__ = name
        self._workflows[name] = DBOS.workflow(name=name, max_recovery_attempts=50)(run)

    async def start(self) -> None:
        """Leases a slot, recovers what its last holder left, and begins to take work.

        Raises:
            Unavailable: the database can't be reached.
            Conflict: every slot is taken.
        """
        try:
            self._lease = await psycopg.AsyncConnection.connect(self._url, autocommit=True)
        except psycopg.OperationalError as error:
            raise Unavailable(f"The database can't be reached: {error}") from error
        self._slot = await self._lease_slot(self._lease)
        config: DBOSConfig = {
            "name": "tidemill",
            "system_database_url": sqlalchemy_url(self._url),
            "executor_id": _executor(self._slot),
            "application_version": APPLICATION_VERSION,
            "sys_db_pool_size": 4,
            "log_level": "WARNING",
            "console_log_level": "WARNING",
            "serializer": DBOSPortableJSONSerializer(),
            "max_executor_threads": 16,
            "notification_coalesce_sec": 0.25,  # for events and streams, which no workflow here has
            "db_engine_kwargs": {"pool_pre_ping": True},
        }
        DBOS(config=config)
        DBOS.launch()
        for queue in self._queues:
            await self._look_every(BUSY_SECONDS, queue)
        self._sweeper = asyncio.create_task(self._sweep())

    async def submit(self, name: str, subject: str, *, priority: Priority = Priority.INTERACTIVE) -> None:
        """As the port says."""
        queue = name if name in self._queues else QUEUE
        if self._is_quiet(queue):
            self._busy[queue] = time.monotonic()
            await self._look_every(BUSY_SECONDS, queue)
        with SetWorkflowID(f"{name}:{subject}"), SetEnqueueOptions(priority=1 + priority):
            await DBOS.enqueue_workflow_async(queue, self._workflows[name], subject)  # type: ignore[arg-type]

    async def strays(self, name: str, subjects: Sequence[str]) -> Strays:
        """As the port says.

        Raises:
            Unavailable: the database does not answer.
        """
        assert self._lease is not None  # noqa: S101 - `start` has opened it
        try:
            cursor = await self._lease.execute(STRAYS, {"name": name, "subjects": [*subjects]})
            found = [(str(subject), bool(missing)) for subject, missing in await cursor.fetchall()]
        except psycopg.Error as error:
            raise Unavailable(f"The database does not say how its workflows are doing: {error}") from error
        return Strays(
            broken=frozenset(subject for subject, missing in found if not missing),
            missing=frozenset(subject for subject, missing in found if missing),
        )

    async def aclose(self) -> None:
        """Stops taking work. What is unfinished goes on at the next start, here or elsewhere."""
        logging.getLogger("dbos").setLevel(logging.ERROR)  # it warns of each workflow that is broken off
        tasks = [*self._running, *([self._sweeper] if self._sweeper is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(DBOS.destroy, destroy_registry=True)
        if self._lease is not None:
            await self._lease.close()

    async def _look_every(self, seconds: float, queue: str) -> None:
        """Tells every process on this database how often it is to look into a queue."""
        await DBOS.register_queue_async(
            queue,
            worker_concurrency=self._queues[queue],
            polling_interval_sec=seconds,
            on_conflict="always_update",
        )

    def _is_quiet(self, queue: str) -> bool:
        """Whether this process has not had it looked into more often for a while; another may have changed that."""
        since = self._busy.get(queue)
        return since is None or time.monotonic() - since > SWEEP_SECONDS

    async def _slow_down(self, connection: psycopg.AsyncConnection) -> None:
        """Has those queues looked into less often in which nothing is left of what any process submitted."""
        cursor = await connection.execute(AT_REST, {"queues": [*self._queues], "idle": IDLE_SECONDS})
        for (queue,) in await cursor.fetchall():
            if self._is_quiet(str(queue)):
                await self._look_every(IDLE_SECONDS, str(queue))

    async def _lease_slot(self, connection: psycopg.AsyncConnection) -> int:
        for slot in range(SLOTS):
            if await _try_lock(connection, slot):
                return slot
        raise Conflict(f"All {SLOTS} worker slots of this database are taken. Stop a worker first.")

    async def _sweep(self) -> None:
        """Takes over, again and again, what executors left whose slot nobody holds any more."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                await self._recover_orphans()
            except (psycopg.Error, sqlalchemy.exc.SQLAlchemyError, dbos_error.DBOSException) as error:
                log.warning("Unfinished work of stopped workers was not looked for: %s", error)

    async def _recover_orphans(self) -> None:
        if self._lease is None or self._lease.closed:
            self._lease = await psycopg.AsyncConnection.connect(self._url, autocommit=True)
            if self._slot is not None and not await _try_lock(self._lease, self._slot):
                log.critical("Another process took worker slot %s while the database was away. Stopping.", self._slot)
                signal.raise_signal(signal.SIGTERM)  # in order: two processes in one slot would do work twice
                return
        await self._slow_down(self._lease)
        pending = await pending_workflows(self._lease)
        for executor in sorted({one.executor for one in pending if one.version == APPLICATION_VERSION}):
            slot = _slot_of(executor)
            if slot is None or slot == self._slot or not await _try_lock(self._lease, slot):
                continue
            try:
                await asyncio.to_thread(DBOS._recover_pending_workflows, [executor])
                log.info("Took over the unfinished work of %s.", executor)
            finally:
                await self._lease.execute("SELECT pg_advisory_unlock(%s, %s)", (LOCK_SPACE, slot))


class _RecordedSteps:
    """The `Steps` of a workflow that DBOS runs."""

    async def run(self, name: str, step: Callable[[], Awaitable[Json]]) -> Json:
        async def recorded() -> Json:
            return await step()

        return cast(Json, await DBOS.run_step_async({"name": name}, recorded))


class PendingWorkflow:
    """A workflow that has begun and not ended: its id, name, executor, and application version."""

    def __init__(self, row: tuple[object, ...]) -> None:
        self.id, self.name, self.executor, self.version = (str(value) for value in row)


async def pending_workflows(connection: psycopg.AsyncConnection) -> list[PendingWorkflow]:
    """Workflows that are queued or running, of every executor and version; none where DBOS has no tables yet."""
    cursor = await connection.execute("SELECT to_regclass('dbos.workflow_status')")
    row = await cursor.fetchone()
    if row is None or next(iter(row.values() if isinstance(row, dict) else row)) is None:
        return []
    query = sql.SQL(
        "SELECT workflow_uuid, name, coalesce(executor_id, ''), coalesce(application_version, '') "
        "FROM dbos.workflow_status WHERE status IN ('PENDING', 'ENQUEUED') ORDER BY created_at"
    )
    cursor = await connection.execute(query)
    rows = await cursor.fetchall()
    return [PendingWorkflow(tuple(one.values()) if isinstance(one, dict) else one) for one in rows]


async def forget_workflows(
    connection: psycopg.AsyncConnection[dict[str, object]], name: str, subjects: list[str]
) -> int:
    """Deletes all that is recorded of these workflows: inputs, results of steps, errors. Returns how many there were.

    One that is at work then can't record its next step, and ends.
    """
    cursor = await connection.execute(
        "SELECT DISTINCT table_name AS name, table_name = 'workflow_status' AS last FROM information_schema.columns "
        "WHERE table_schema = 'dbos' AND column_name = 'workflow_uuid' ORDER BY last"
    )
    deleted = 0
    for row in await cursor.fetchall():
        statement = sql.SQL("DELETE FROM dbos.{} WHERE workflow_uuid = ANY(%s)").format(
            sql.Identifier(str(row["name"]))
        )
        cursor = await connection.execute(statement, ([f"{name}:{subject}" for subject in subjects],))
        deleted = cursor.rowcount
    return deleted


async def forget_ended(connection: psycopg.AsyncConnection[dict[str, object]], name: str, table: str) -> None:
    """Deletes what is recorded of the ended workflows of this name whose subject is the id of no row in the table.

    What stands after a colon in a subject is no part of the id.
    """
    query = sql.SQL(
        "SELECT substr(workflow_uuid, %(start)s) AS subject FROM dbos.workflow_status AS w WHERE name = %(name)s "
        "AND status NOT IN ('PENDING', 'ENQUEUED') AND NOT EXISTS "
        "(SELECT FROM {} WHERE id::text = split_part(w.workflow_uuid, ':', 2)) LIMIT 1000"
    ).format(sql.Identifier(table))
    if not await _has_tables(connection):
        return
    cursor = await connection.execute(query, {"name": name, "start": len(name) + 2})
    await forget_workflows(connection, name, [str(row["subject"]) for row in await cursor.fetchall()])


async def _has_tables(connection: psycopg.AsyncConnection[dict[str, object]]) -> bool:
    row = await (await connection.execute("SELECT to_regclass('dbos.workflow_status') AS known")).fetchone()
    return row is not None and row["known"] is not None


def _executor(slot: int) -> str:
    return f"slot-{slot}"


def _slot_of(executor: str) -> int | None:
    prefix, _, number = executor.partition("-")
    return int(number) if prefix == "slot" and number.isdigit() else None


async def _try_lock(connection: psycopg.AsyncConnection, slot: int) -> bool:
    cursor = await connection.execute("SELECT pg_try_advisory_lock(%s, %s)", (LOCK_SPACE, slot))
    row = await cursor.fetchone()
    return bool(row and row[0])
