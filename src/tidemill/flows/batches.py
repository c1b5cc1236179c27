"""Batches: taken in, worked through durably line by line (`batch_run`), shown, and cleaned up after.

create → validating → in_progress → finalizing → completed, expired or failed; cancelling → cancelled
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from tidemill.core.accounts import Caller
from tidemill.core.errors import Conflict, InvalidInput, NotFound, TooManyRequests
from tidemill.core.file import Purpose
from tidemill.core.generation import Batch, BatchState, LineFault, Maker
from tidemill.core.ids import new_id
from tidemill.core.json import Json
from tidemill.flows.batch_run import BatchParts, BatchRun
from tidemill.jobs.durable import forget_ended
from tidemill.jobs.port import Jobs, Steps
from tidemill.store.batches import BatchRepository
from tidemill.store.database import Pool

WORKFLOW = "batch"
ENDPOINTS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")
AT_ONCE = 8
"""Batches that one process works on at once; `jobs.batch_concurrency` bounds the lines of all of them."""
MOST_UNFINISHED = 100
"""Batches of one owner that may not have ended."""
WINDOW = timedelta(hours=24)
SETTLING = timedelta(seconds=30)
STRANDED = LineFault(
    "internal_error", "Tidemill failed at this batch and could not record why. The hub's log says more."
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NewBatch:
    """A batch as its maker wants it; `output_seconds` after its end its files end, too."""

    input_file_id: UUID
    endpoint: str
    metadata: Mapping[str, Json] | None = None
    output_seconds: int | None = None


class BatchFlow:
    """Takes batches in, works through them durably, and shows them to their owners.

    Args:
        jobs: runs the workflow; this registers it there.
        parts: what batches are worked through with.
    """

    def __init__(self, jobs: Jobs, parts: BatchParts) -> None:
        self._jobs = jobs
        self._parts = parts
        jobs.register(WORKFLOW, self.run, concurrency=AT_ONCE)

    async def create(self, new: NewBatch, caller: Caller, maker: Maker) -> Batch:
        """Stores a batch and queues it. What stands in its file is looked at afterwards.

        Raises:
            InvalidInput: the endpoint is none that batches have, or the file has another purpose.
            NotFound: there is no such file of the caller's.
            TooManyRequests: too many batches of the owner have not ended.
        """
        parts = self._parts
        if new.endpoint not in ENDPOINTS:
            raise InvalidInput(f"`endpoint` is one of {', '.join(ENDPOINTS)}.", param="endpoint")
        file = await parts.files.get(caller, new.input_file_id)
        if file.purpose is not Purpose.BATCH:
            raise InvalidInput(
                f"The file was uploaded with the purpose `{file.purpose}`. Upload it with the purpose `batch`.",
                param="input_file_id",
            )
        if len(await parts.rows.unfinished(maker.owner_id)) >= MOST_UNFINISHED:
            raise TooManyRequests(f"{MOST_UNFINISHED} of your batches have not ended. Wait for some, or cancel them.")
        now = parts.clock()
        batch = Batch(
            id=new_id(),
            maker=maker,
            endpoint=new.endpoint,
            state=BatchState.VALIDATING,
            input_file_id=new.input_file_id,
            created_at=now,
            expires_at=now + WINDOW,
            metadata=new.metadata,
            output_seconds=new.output_seconds,
        )
        await parts.rows.add(batch)
        await self._jobs.submit(WORKFLOW, str(batch.id))
        return batch

    async def get(self, batch_id: UUID, caller: Caller) -> Batch:
        """One of the caller's batches.

        Raises:
            NotFound: there is none, or it is another's.
        """
        batch = await self._parts.rows.find(batch_id)
        if batch is None or batch.maker.owner_id != caller.owner_id:
            raise NotFound(f"There is no batch batch_{batch_id.hex}.")
        return batch

    async def page(self, caller: Caller, *, limit: int, after: UUID | None) -> Sequence[Batch]:
        """The caller's batches, newest first, from the one after `after` on.

        Raises:
            NotFound: `after` is not one of them.
        """
        if after is not None:
            await self.get(after, caller)
        return await self._parts.rows.page(caller.owner_id, limit=limit, after=after)

    async def cancel(self, batch_id: UUID, caller: Caller) -> Batch:
        """Asks for the end of one of the caller's batches. What was answered so far will be in its output file.

        Raises:
            NotFound: there is none, or it is another's.
            Conflict: it has come to its end before.
        """
        await self.get(batch_id, caller)
        changed = await self._parts.rows.cancel(batch_id, self._parts.clock())
        batch = await self.get(batch_id, caller)
        if not changed and batch.state not in {BatchState.CANCELLING, BatchState.CANCELLED}:
            raise Conflict(f"The batch batch_{batch_id.hex} is {batch.state} and can't be cancelled any more.")
        return batch

    async def run(self, steps: Steps, subject: str) -> None:
        """The workflow. `subject` is the batch's id."""
        await BatchRun(self._parts, steps, UUID(subject)).run()

    async def settle(self) -> None:
        """Ends batches whose workflow ended without them, and gives a workflow to those that never got theirs."""
        rows, now = self._parts.rows, self._parts.clock()
        unfinished = await rows.unfinished()
        if not unfinished:
            return
        strays = await self._jobs.strays(WORKFLOW, [str(batch.id) for batch in unfinished])
        lost = now - SETTLING
        for batch in unfinished:
            if str(batch.id) in strays.broken:
                await rows.fail(batch.id, [STRANDED], now)
                log.error("The batch %s was stranded and is now marked as failed.", batch.id)
            elif str(batch.id) in strays.missing and batch.state is BatchState.VALIDATING and batch.created_at < lost:
                await self._jobs.submit(WORKFLOW, str(batch.id))


async def forget_batches(pool: Pool, rows: BatchRepository, before: datetime) -> int:
    """Deletes the batches that ended before a time, and what durable work has recorded of them."""
    batches = await rows.ended(before)
    deleted = await rows.delete(batches)
    async with pool.connection() as connection, connection.transaction():
        await forget_ended(connection, WORKFLOW, "batches")
    return deleted
