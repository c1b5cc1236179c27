"""Syncs: asked for, made durably step by step (`sync_run`), followed, cancelled; and embedding all chunks anew.

A sync is queued by a person, by its source's own clock, or by the one before it where something came meanwhile.
"""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from tidemill.core.context import Asker, Priority
from tidemill.core.errors import NotFound, TidemillError
from tidemill.core.ids import new_id
from tidemill.core.json import Json
from tidemill.core.sync import Sync, SyncCounts, SyncState
from tidemill.flows.sync_run import SyncParts, SyncRun
from tidemill.jobs.durable import forget_workflows
from tidemill.jobs.port import Jobs, Steps
from tidemill.store.database import Pool
from tidemill.store.syncs import SyncRepository
from tidemill.store.vectors import Space

WORKFLOW = "sync"
REEMBED = "reembed"
CONCURRENCY = 2
"""Syncs that one process works on at once."""
SETTLING = timedelta(seconds=30)
"""A sync that is queued for longer without a workflow lost it between two writes, and gets it again."""
STRANDED = "Tidemill failed at this sync and could not record why. The hub's log says more. Start it again."

log = logging.getLogger(__name__)


class SyncFlow:
    """Syncs sources.

    Args:
        jobs: runs the workflows; this registers them there.
        parts: what a sync is made with.
    """

    def __init__(self, jobs: Jobs, parts: SyncParts) -> None:
        self._jobs = jobs
        self._parts = parts
        jobs.register(WORKFLOW, self.run, concurrency=CONCURRENCY)
        jobs.register(REEMBED, self.run_reembedding)

    async def start(self, source_id: UUID, requested_by: UUID | None) -> Sync:
        """Queues a sync of a source, and returns it; or the one that is under way.

        Raises:
            NotFound: there is no such source.
        """
        wanted = Sync(
            id=new_id(),
            source_id=source_id,
            state=SyncState.QUEUED,
            requested_by=requested_by,
            counts=SyncCounts(),
            error=None,
            again=False,
            created_at=self._parts.clock(),
            started_at=None,
            finished_at=None,
        )
        sync = await self._parts.syncs.add(wanted)
        if sync is None:
            raise NotFound(f"There is no source {source_id}.")
        if sync.id == wanted.id:
            await self._jobs.submit(WORKFLOW, str(sync.id), priority=Priority.BATCH)
        return sync

    async def get(self, source_id: UUID, sync_id: UUID) -> Sync:
        """One sync of a source.

        Raises:
            NotFound: there is none.
        """
        sync = await self._parts.syncs.find(sync_id)
        if sync is None or sync.source_id != source_id:
            raise NotFound(f"There is no sync {sync_id}.")
        return sync

    async def find(self, sync_id: UUID) -> Sync | None:
        """One sync; `None` where it is gone with its source."""
        return await self._parts.syncs.find(sync_id)

    async def latest(self, source_id: UUID, *, limit: int) -> Sequence[Sync]:
        """The newest syncs of a source."""
        return await self._parts.syncs.of(source_id, limit=limit)

    async def cancel(self, source_id: UUID, sync_id: UUID) -> Sync:
        """Ends a sync; what it has written stays. One that has ended stays as it is.

        Raises:
            NotFound: there is none.
        """
        await self.get(source_id, sync_id)
        if await self._parts.syncs.end(sync_id, SyncState.CANCELLED, self._parts.clock()) is not None:
            self._parts.observe(SyncState.CANCELLED)
        return await self.get(source_id, sync_id)

    async def run(self, steps: Steps, subject: str) -> None:
        """The workflow of a sync. `subject` is its id."""
        await SyncRun(self._parts, steps, UUID(subject)).run()
        sync = await self._parts.syncs.find(UUID(subject))
        if sync is not None and sync.again and sync.state is SyncState.DONE:
            await self.start(sync.source_id, sync.requested_by)

    async def reembed(self) -> None:
        """Queues what gives every chunk the vector of the model that the settings name now."""
        await self._jobs.submit(REEMBED, str(new_id()), priority=Priority.BATCH)

    async def run_reembedding(self, steps: Steps, subject: str) -> None:
        """The workflow that embeds all chunks anew."""

        async def work() -> Json:
            try:
                asker = Asker(trace_id=UUID(subject).hex, priority=Priority.BATCH, job=f"reembed:{subject}")
                await self._parts.vectors.fill(asker, _untold)
            except TidemillError as error:
                log.warning("The documents are not embedded anew: %s", error.message)
                return {"error": error.message}
            return {}

        await steps.run("embed", work)

    async def spaces(self) -> Sequence[tuple[Space, int]]:
        """The embedding models whose vectors there are, and how many chunks wait for one of each."""
        return await self._parts.vectors.state()

    async def settle(self) -> None:
        """Starts what is due, ends syncs whose workflow ended without them, and queues those that never got theirs."""
        for source in await self._parts.sources.due(self._parts.clock()):
            await self.start(source.id, None)
        unfinished = await self._parts.syncs.unfinished()
        if not unfinished:
            return
        now = self._parts.clock()
        strays = await self._jobs.strays(WORKFLOW, [str(sync.id) for sync in unfinished])
        lost = now - SETTLING
        for sync in unfinished:
            if str(sync.id) in strays.broken:
                await self._parts.syncs.end(sync.id, SyncState.FAILED, now, STRANDED)
                log.error("The sync %s was stranded and is now marked as failed.", sync.id)
            elif str(sync.id) in strays.missing and sync.state is SyncState.QUEUED and sync.created_at < lost:
                await self._jobs.submit(WORKFLOW, str(sync.id), priority=Priority.BATCH)


async def forget_syncs(pool: Pool, syncs: SyncRepository, before: datetime) -> int:
    """Deletes syncs that ended before a time, save the last of each source, and what durable work recorded of them."""
    old = await syncs.old(before)
    async with pool.connection() as connection, connection.transaction():
        await forget_workflows(connection, WORKFLOW, [str(sync) for sync in old])
        await connection.execute("DELETE FROM source_syncs WHERE id = ANY(%s)", (list(old),))
    return len(old)


async def _untold(embedded: int, shortened: int) -> None:
    """Nobody follows."""
