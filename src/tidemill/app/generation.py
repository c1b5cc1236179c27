"""What is answered without a connection: jobs, their callbacks, and batches."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator

from tidemill.accounts.standing import Standing
from tidemill.api.whole_answers import WholeAnswers
from tidemill.app.database import Database
from tidemill.core.clock import system_clock
from tidemill.files.service import Files
from tidemill.flows.batch_run import BatchParts
from tidemill.flows.batches import BatchFlow
from tidemill.flows.callbacks import Callbacks
from tidemill.flows.generation import GenerationFlow, GenerationParts
from tidemill.flows.generation_services import GenerationServices
from tidemill.jobs.port import Jobs
from tidemill.outbound import Outbound
from tidemill.settings import Settings
from tidemill.store.api_keys import ApiKeyRepository
from tidemill.store.batches import BatchRepository
from tidemill.store.database import Pool
from tidemill.store.generation_jobs import GenerationJobRepository
from tidemill.store.people import PeopleRepository
from tidemill.telemetry.spans import Traces

SETTLE_SECONDS = 10.0
CALLBACK_SECONDS = 0.5


def generation_of(
    settings: Settings,
    database: Database,
    pool: Pool,
    jobs: Jobs,
    answers: WholeAnswers,
    files: Files,
    traces: Traces,
    outbound: Outbound,
) -> GenerationServices:
    """The services for jobs and batches, whose workflows are registered with `jobs` before that starts."""
    makers = Standing(ApiKeyRepository(pool), PeopleRepository(pool), system_clock)
    rows = GenerationJobRepository(pool)
    callbacks = Callbacks(
        rows,
        outbound,
        derive=database.key.derive,
        settings=settings.jobs,
        clock=system_clock,
    )
    parts = BatchParts(
        rows=BatchRepository(pool),
        files=files,
        answers=answers,
        makers=makers,
        at_once=asyncio.Semaphore(settings.jobs.batch_concurrency),
        settings=settings.jobs,
        max_line_bytes=settings.max_request_bytes,
        clock=system_clock,
    )
    return GenerationServices(
        jobs=GenerationFlow(
            jobs, GenerationParts(rows, answers, makers, callbacks, settings.jobs, traces, system_clock)
        ),
        batches=BatchFlow(jobs, parts),
        callbacks=callbacks,
    )


def generation_chores(services: GenerationServices) -> Iterator[tuple[float, Callable[[], Awaitable[object]]]]:
    """What is done for them now and then, and every how many seconds."""
    yield SETTLE_SECONDS, services.jobs.settle
    yield SETTLE_SECONDS, services.batches.settle
    yield CALLBACK_SECONDS, services.callbacks.deliver
