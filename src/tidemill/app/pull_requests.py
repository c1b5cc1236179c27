"""What reviews pull requests: the work on them, and what follows from what forges tell of."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from uuid import UUID

from tidemill.app.models import protection_of
from tidemill.core.clock import system_clock
from tidemill.core.pull_request import ForgeEvent
from tidemill.flows.deliveries import delivered_event
from tidemill.flows.forge_events import ForgeEventFlow
from tidemill.flows.pull_request import PullRequestFlow
from tidemill.flows.pull_request_parts import Answerer, Gates, Mender, PullRequestParts
from tidemill.flows.review import ReviewFlow
from tidemill.forges.port import Forge
from tidemill.jobs.port import Jobs
from tidemill.settings import Settings
from tidemill.store.blobs import BlobStore
from tidemill.store.database import Pool
from tidemill.store.deliveries import DeliveryRepository, DeliveryState
from tidemill.store.placed_comments import PlacedCommentRepository
from tidemill.store.pull_requests import PullRequestRepository
from tidemill.store.reviews import ReviewRepository
from tidemill.telemetry.metrics import Metrics

SETTLE_SECONDS = 2.0


class StoredDeliveries:
    """The deliveries that webhooks brought."""

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self._forges = settings.forges
        self._rows = DeliveryRepository(pool)

    async def event(self, delivery_id: UUID) -> ForgeEvent:
        """As the flow's port says."""
        return await delivered_event(self._rows, self._forges, delivery_id)

    async def end(self, delivery_id: UUID, error: str | None) -> None:
        """As the flow's port says."""
        state = DeliveryState.DONE if error is None else DeliveryState.FAILED
        await self._rows.end(delivery_id, state, error, system_clock())


@dataclass(frozen=True, slots=True)
class Extras:
    """What may be missing: it is said in the answer where it is asked for."""

    gates: Gates | None = None
    mender: Mender | None = None
    answerer: Answerer | None = None


def pull_requests_of(
    settings: Settings,
    pool: Pool,
    jobs: Jobs,
    reviews: ReviewFlow,
    forges: Mapping[str, Forge],
    metrics: Metrics,
    extras: Extras,
) -> PullRequestFlow:
    """The work on pull requests, its workflows registered with `jobs` before that starts."""
    limits, classify = protection_of(settings)
    parts = PullRequestParts(
        rows=PullRequestRepository(pool),
        placed=PlacedCommentRepository(pool),
        reviews=reviews,
        review_rows=ReviewRepository(pool),
        blobs=BlobStore(settings.blobs_dir),
        forges=forges,
        settings=settings.review,
        clock=system_clock,
        sleep=asyncio.sleep,
        link=link_of(settings),
        observe=metrics.observe_pull_request,
        observe_comments=metrics.observe_comments,
        classify=classify,
        limits=limits,
        allows=lambda project: settings.forges[project.forge].allows(project.path),
        gates=extras.gates,
        mender=extras.mender,
        answerer=extras.answerer,
    )
    flow = PullRequestFlow(jobs, parts)
    ForgeEventFlow(jobs, StoredDeliveries(settings, pool), flow, parts)
    return flow


def link_of(settings: Settings) -> Callable[[UUID], str | None]:
    """Where a review is to be read; nowhere while the settings do not say where the hub is."""
    public = settings.auth.public_url
    return lambda review: None if public is None else f"{public.rstrip('/')}/v1/reviews/{review}"


def pull_request_chores(flow: PullRequestFlow) -> Iterator[tuple[float, Callable[[], Awaitable[object]]]]:
    """What is done for pull requests now and then, and every how many seconds."""
    yield SETTLE_SECONDS, flow.settle
