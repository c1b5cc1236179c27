"""Reviews: taken in, made durably step by step (`review_run`), shown, and cleaned up after.

submit → queued → the steps of `review_run`, each recorded → done or failed
"""

import asyncio
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Protocol
from uuid import UUID

from tidemill.analysis.diff import parse_diff
from tidemill.core.accounts import Caller, Right
from tidemill.core.change import ChangeSet, storable_change
from tidemill.core.errors import NotFound, TooLarge
from tidemill.core.finding import Finding
from tidemill.core.ids import new_id
from tidemill.core.review import ReviewState, by_weight
from tidemill.core.review_brief import ReviewBrief, brief_json
from tidemill.core.text import storable
from tidemill.flows.review_run import ReviewParts, ReviewRun
from tidemill.jobs.port import Jobs, Steps
from tidemill.store.blobs import BlobStore
from tidemill.store.reviews import ReviewEvent, ReviewRepository, ReviewRow
from tidemill.telemetry.request import current_request_id

WORKFLOW = "review"
SHOWN_TITLE = 300
SETTLING = timedelta(seconds=30)
"""A review that is queued for longer without a workflow lost it between two writes, and gets it again."""

STRANDED = "Tidemill failed at this review and could not record why. The hub's log says more. Ask for it again."

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReviewStatus:
    """A review as its reader sees it: the row, and the findings so far (worst first)."""

    row: ReviewRow
    findings: tuple[Finding, ...]


class Visibility(Protocol):
    """Says whose reviews a caller sees."""

    async def visible_owners(self, caller: Caller) -> Sequence[UUID]:
        """The owners of the reviews that the caller sees without the right to all of them."""
        ...


class ReviewFlow:
    """Takes changes in, reviews them durably, and shows how far each has come.

    Args:
        jobs: runs the workflow; this registers it there.
        parts: what a review is made with.
        visibility: says whose reviews a caller sees.
    """

    def __init__(self, jobs: Jobs, parts: ReviewParts, visibility: Visibility) -> None:
        self._jobs = jobs
        self._parts = parts
        self._visibility = visibility
        jobs.register(WORKFLOW, self.run)

    async def submit(
        self, change: ChangeSet, *, with_model: bool, caller: Caller, brief: ReviewBrief | None = None
    ) -> ReviewRow:
        """Stores a change, and what the review is told beside it, and queues its review.

        Raises:
            InvalidInput: the diff can't be parsed.
            TooLarge: the diff is over `review.max_diff_bytes`.
            ModelNotFound: a model is wanted and none is there.
        """
        row = await self.add(new_id(), change, with_model=with_model, caller=caller, brief=brief)
        await self._jobs.submit(WORKFLOW, str(row.id))
        return row

    async def add(
        self,
        review_id: UUID,
        change: ChangeSet,
        *,
        with_model: bool,
        caller: Caller | None,
        brief: ReviewBrief | None = None,
    ) -> ReviewRow:
        """Stores a change, and what the review is told beside it, for whoever runs the review; again does nothing.

        Raises: as `submit` does.
        """
        data = await asyncio.to_thread(self._checked, change, brief)
        if with_model:
            await self._parts.deployments(None)
        row = ReviewRow(
            id=review_id,
            key_id=caller.key_id if caller else None,
            owner_id=caller.owner_id if caller else None,
            state=ReviewState.QUEUED,
            title=storable(change.title)[:SHOWN_TITLE],
            base=storable(change.base) if change.base else None,
            head=storable(change.head) if change.head else None,
            change_digest=sha256(data).hexdigest(),
            with_model=with_model,
            created_at=self._parts.clock(),
            request_id=current_request_id(),
        )
        await self._parts.reviews.add(row, self._parts.blobs, data)
        return row

    async def status(self, review_id: UUID, caller: Caller) -> ReviewStatus:
        """A review that the caller may see.

        Raises:
            NotFound: there is none, or the caller may not know of it.
        """
        row = await self._parts.reviews.get(review_id)
        owners = await self._owners(caller)
        if row is None or (owners is not None and row.owner_id not in owners):
            raise NotFound(f"There is no review {review_id}.")
        return ReviewStatus(row, by_weight(await self._parts.reviews.findings(review_id)))

    async def latest(self, caller: Caller, *, limit: int) -> list[ReviewRow]:
        """The newest reviews that the caller may see."""
        return await self._parts.reviews.latest(owners=await self._owners(caller), limit=limit)

    async def events(self, review_id: UUID, *, after: int) -> list[ReviewEvent]:
        """A review's events after a sequence number; ask `status` first whether the caller may see it."""
        return await self._parts.reviews.events(review_id, after=after)

    async def ended(self, review_id: UUID) -> bool:
        """Whether a review has come to its end, good or bad."""
        row = await self._parts.reviews.get(review_id)
        return row is None or row.state in {ReviewState.DONE, ReviewState.FAILED}

    async def run(self, steps: Steps, subject: str) -> None:
        """The workflow. `subject` is the review's id."""
        await ReviewRun(self._parts, steps, UUID(subject)).run()

    async def settle(self) -> None:
        """Ends reviews whose workflow ended without them, and gives a workflow to those that never got theirs."""
        unfinished = await self._parts.reviews.unfinished()
        if not unfinished:
            return
        now = self._parts.clock()
        strays = await self._jobs.strays(WORKFLOW, [str(row.id) for row in unfinished])
        lost = now - SETTLING
        for row in unfinished:
            if str(row.id) in strays.broken:
                await self._parts.reviews.fail(row.id, STRANDED, now)
                log.error("The review %s was stranded and is now marked as failed.", row.id)
            elif str(row.id) in strays.missing and row.state is ReviewState.QUEUED and row.created_at < lost:
                await self._jobs.submit(WORKFLOW, str(row.id))

    async def _owners(self, caller: Caller) -> Sequence[UUID] | None:
        """Whose reviews the caller sees; `None` for everyone's."""
        return None if caller.may(Right.REVIEWS_READ_ALL) else await self._visibility.visible_owners(caller)

    def _checked(self, change: ChangeSet, brief: ReviewBrief | None) -> bytes:
        """The change as it is stored, once its diff is known to be readable and small enough."""
        size, limit = len(change.diff.encode("utf-8", "surrogatepass")), self._parts.settings.max_diff_bytes
        if size > limit:
            raise TooLarge(
                f"The diff has {size:,} bytes, and a review reads {limit:,} at most "
                "(setting `review.max_diff_bytes`). Review a smaller range."
            )
        clean = storable_change(change)
        parse_diff(clean.diff)
        beside = {} if brief is None else {"brief": brief_json(brief)}
        return json.dumps({**asdict(clean), **beside}).encode()


async def forget_changes(reviews: ReviewRepository, blobs: BlobStore, before: datetime, now: datetime) -> int:
    """Deletes the changes of reviews that ended before a time; returns how many there were."""
    return await reviews.forget_changes(blobs, before, now)
