"""The steps of one batch.

    validate ─ ask ─ decide ─ write → the end

Each can run twice: lines are rows, which are asked while nothing came of them; a line that was killed between its
answer and its row is asked under the same name again, by which the committed answer is found; the files' ids are
chosen before they are written.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from uuid import UUID

from tidemill.core.clock import Clock
from tidemill.core.context import Priority
from tidemill.core.errors import NotAuthenticated, NotFound, NotPermitted, TidemillError
from tidemill.core.file import Purpose
from tidemill.core.generation import Batch, BatchLine, BatchState, LineFault, LineOutcome
from tidemill.core.ids import digest, new_id
from tidemill.core.json import Json
from tidemill.files.service import Files, NewFile
from tidemill.flows.asking import UNEXPECTED, Answers, Makers, Standing, Stopped, patiently, standing_of, surely, unless
from tidemill.flows.batch_input import BatchInput, Faulty
from tidemill.jobs.port import Steps
from tidemill.settings import JobSettings
from tidemill.store.batches import BatchRepository
from tidemill.telemetry.request import on_behalf_of

PATIENCE_SECONDS = 3600.0
"""For so long a line is tried again that fails in a way that may pass; meanwhile others are asked."""

log = logging.getLogger(__name__)

EXPIRED = {
    "code": "batch_expired",
    "message": "This request was not asked before the batch's completion window ended.",
}
NOT_ASKED = {"code": "batch_failed", "message": "This request was not asked, since the batch failed before its turn."}


@dataclass(frozen=True, slots=True)
class BatchParts:
    """What batches are worked through with.

    Attributes:
        rows: batches and their lines.
        files: the input, and the output.
        answers: answers a request.
        makers: knows what the maker of a batch may do now.
        at_once: bounds the lines that this process asks at once.
        settings: how long output files are kept.
        max_line_bytes: the longest line that can be a request.
        clock: gives times.
    """

    rows: BatchRepository
    files: Files
    answers: Answers
    makers: Makers
    at_once: asyncio.Semaphore
    settings: JobSettings
    max_line_bytes: int
    clock: Clock


class BatchRun:
    """One batch on its way through the steps."""

    def __init__(self, parts: BatchParts, steps: Steps, batch_id: UUID) -> None:
        self._parts = parts
        self._steps = steps
        self._id = batch_id

    async def run(self) -> None:
        """All steps, to the batch's end."""
        for name, work in (
            ("validate", self._validate),
            ("ask", self._ask),
            ("decide", self._decide),
            ("write", self._write),
        ):
            await self._steps.run(name, _recorded(work))

    async def _validate(self) -> None:
        """Reads the file into lines; a file with a fault ends the batch."""
        parts, batch = self._parts, await self._batch()
        if batch is None or batch.state is not BatchState.VALIDATING:
            return
        try:
            caller = await parts.makers.caller(key_id=batch.maker.key_id, user_id=batch.maker.user_id)
            _, file = await parts.files.open(caller, batch.input_file_id)
        except (NotAuthenticated, NotFound) as error:
            await parts.rows.fail(self._id, [LineFault(error.code, error.message)], parts.clock())
            return
        with file:
            read = BatchInput(file, batch.endpoint, parts.max_line_bytes)
            try:
                await parts.rows.add_lines(self._id, read.pages(), parts.clock())
            except Faulty as error:
                await parts.rows.fail(self._id, error.faults, parts.clock())

    async def _ask(self) -> None:
        """Asks every line of which nothing came so far, until the batch is cancelled, or its window ends."""
        parts = self._parts
        while True:
            batch = await self._batch()
            if batch is None or not self._wanted(batch):
                return
            lines = await parts.rows.open_lines(self._id)
            if not lines:
                return
            try:
                standing = await standing_of(batch.maker, parts.makers)
                with on_behalf_of(batch.maker.request_id):
                    await unless(partial(self._changed, standing), self._page(batch, lines, standing))
            except Stopped:
                continue
            except (NotAuthenticated, NotPermitted):
                return

    def _wanted(self, batch: Batch) -> bool:
        return batch.state is BatchState.IN_PROGRESS and self._parts.clock() < batch.expires_at

    async def _changed(self, standing: Standing) -> bool:
        """Whether what is asked now may not go on as it is. Raises where the maker may ask no longer."""
        batch = await surely(self._batch)
        if batch is None or not self._wanted(batch):
            return True
        now = await surely(lambda: standing_of(batch.maker, self._parts.makers))
        return now.level is not standing.level

    async def _page(self, batch: Batch, lines: list[BatchLine], standing: Standing) -> None:
        """Some lines, as many at once as this process may ask."""
        try:
            async with asyncio.TaskGroup() as group:
                for line in lines:
                    group.create_task(self._line(batch, line, standing))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from errors

    async def _line(self, batch: Batch, line: BatchLine, standing: Standing) -> None:
        parts, body = self._parts, line.body.encode()

        async def ask() -> bytes:
            async with parts.at_once:
                asker = standing.asker(f"batch:{batch.id}:{line.place}", Priority.BATCH)
                return await parts.answers.answer(batch.endpoint, body, asker)

        try:
            answer = await patiently(ask, seconds=PATIENCE_SECONDS)
            good, status = True, 200
        except TidemillError as error:
            good, status, answer = False, error.status, parts.answers.refusal(error)
        except Exception:
            log.exception("The line %s of the batch %s failed.", line.place, batch.id)
            good, status, answer = False, UNEXPECTED.status, parts.answers.refusal(UNEXPECTED)
        response = _response(status, batch.maker.request_id, answer)
        outcome = LineOutcome(line.place, line.custom_id, good, response)
        await surely(lambda: parts.rows.keep(batch.id, outcome))

    async def _decide(self) -> None:
        """Says how the batch ends, and chooses the ids of its files."""
        parts, batch = self._parts, await self._batch()
        if batch is None or batch.ends_as is not None:
            return
        ends_as, faults, left = BatchState.COMPLETED, [], None
        if batch.state is BatchState.CANCELLING:
            ends_as = BatchState.CANCELLED
        elif await parts.rows.open_lines(self._id):
            if parts.clock() >= batch.expires_at:
                ends_as, left = BatchState.EXPIRED, json.dumps(EXPIRED)
            else:
                ends_as, left = BatchState.FAILED, json.dumps(NOT_ASKED)
                faults = [await self._fault(batch)]
        await parts.rows.decide(self._id, ends_as, (new_id(), new_id()), parts.clock(), faults=faults, left=left)

    async def _fault(self, batch: Batch) -> LineFault:
        """Why lines are left although there is time: the maker may ask no longer."""
        try:
            await standing_of(batch.maker, self._parts.makers)
        except (NotAuthenticated, NotPermitted) as error:
            return LineFault(error.code, error.message)
        return LineFault("interrupted", "The maker of this batch could ask models no longer while it was worked on.")

    async def _write(self) -> None:
        """Writes the files, as far as there is something for them, and ends the batch."""
        parts, batch = self._parts, await self._batch()
        if batch is None or batch.state.ended:
            return
        output = await self._file(batch, batch.output_file_id, "output", good=True)
        error = await self._file(batch, batch.error_file_id, "error", good=False)
        await parts.rows.end(self._id, parts.clock(), output=output, error=error)

    async def _file(self, batch: Batch, file_id: UUID | None, name: str, *, good: bool) -> UUID | None:
        pages = self._parts.rows.outcomes(self._id, good=good)
        first = await anext(pages, None)
        if first is None or file_id is None:
            return None
        seconds = batch.output_seconds
        kept = timedelta(days=self._parts.settings.result_days) if seconds is None else timedelta(seconds=seconds)

        async def lines() -> AsyncIterator[bytes]:
            page: list[LineOutcome] | None = first
            while page:
                for outcome in page:
                    yield _output_line(batch, outcome)
                page = await anext(pages, None)

        new = NewFile(
            id=file_id,
            owner_id=batch.maker.owner_id,
            filename=f"batch_{batch.id.hex}_{name}.jsonl",
            purpose=Purpose.BATCH_OUTPUT,
            expires_at=self._parts.clock() + kept,
        )
        await self._parts.files.write(new, lines())
        return file_id

    async def _batch(self) -> Batch | None:
        return await self._parts.rows.find(self._id)


def _recorded(work: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[Json]]:
    """A step of the work, which waits for the database while that is away, and has no result."""

    async def step() -> Json:
        await surely(work)
        return None

    return step


def _response(status: int, request_id: str | None, body: bytes) -> str:
    """What a line of an output file says of a response. The body is JSON, and goes in as it is."""
    head = json.dumps({"status_code": status, "request_id": request_id or ""})
    return f'{head[:-1]}, "body": {body.decode()}}}'


def _output_line(batch: Batch, outcome: LineOutcome) -> bytes:
    name = f"batch_req_{digest(batch.id.bytes, str(outcome.place))[:32]}"
    head = json.dumps({"id": name, "custom_id": outcome.custom_id})
    response, error = outcome.response or "null", outcome.error or "null"
    return f'{head[:-1]}, "response": {response}, "error": {error}}}\n'.encode()
