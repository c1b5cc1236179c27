"""What a hub does now and then, beside answering."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator

from tidemill.api.services import Services
from tidemill.app.database import Database
from tidemill.app.forges import delivery_chores
from tidemill.app.generation import generation_chores
from tidemill.app.pull_requests import pull_request_chores
from tidemill.app.sources import sync_chores
from tidemill.core.errors import TidemillError
from tidemill.flows.metrics import PUBLISH_SECONDS, MetricsPage
from tidemill.llm.recovery.breaker import Breaker
from tidemill.registry.providers import Providers
from tidemill.store.embedded import EmbeddedPostgres

log = logging.getLogger(__name__)

WATCH_SECONDS = 2.0
RETENTION_SECONDS = 3600.0
SETTLE_SECONDS = 10.0
TEND_SECONDS = 1.0
USES_SECONDS = 2.0
CACHE_SECONDS = 60.0
PROMPTS_SECONDS = 1.0
PROVIDERS_SECONDS = 1.0
BREAKER_SECONDS = 1.0
LIMITS_SECONDS = 60.0


def chores_of(
    database: Database, services: Services, page: MetricsPage, providers: Providers, breaker: Breaker
) -> Iterator[Coroutine[None, None, None]]:
    """The chores of one hub, each an endless task."""
    yield _regularly(RETENTION_SECONDS, services.data.retention.run)
    yield _regularly(RETENTION_SECONDS, services.data.erasures.resume)
    yield _regularly(RETENTION_SECONDS, services.entrance.forget)
    yield _regularly(SETTLE_SECONDS, services.reviews.settle)
    yield _regularly(TEND_SECONDS, services.runtime.tend)
    yield _regularly(services.settings.alerts.every, services.alerts.run)
    yield _regularly(PROMPTS_SECONDS, services.prompts.refresh)
    yield _regularly(PROVIDERS_SECONDS, providers.refresh)
    yield _regularly(BREAKER_SECONDS, breaker.tend)
    yield _regularly(LIMITS_SECONDS, services.limits.tend)
    yield _regularly(USES_SECONDS, services.accounts.keys.write_uses)
    yield _regularly(PUBLISH_SECONDS, page.publish)
    yield _regularly(CACHE_SECONDS, services.answers.tend)
    for seconds, work in (
        *generation_chores(services.generation),
        *sync_chores(services.syncs),
        *pull_request_chores(services.pull_requests),
        *delivery_chores(services.deliveries),
    ):
        yield _regularly(seconds, work)
    if database.embedded is not None:
        embedded = database.embedded
        yield _regularly(WATCH_SECONDS, lambda: _watch(embedded))


async def _regularly(seconds: float, work: Callable[[], Awaitable[object]]) -> None:
    """Does the work now and then every so many seconds; what fails is told, and tried again at the next turn."""
    while True:
        try:
            await work()
        except TidemillError as error:
            log.warning("Not done this time: %s", error.message)
        except Exception:
            log.exception("A chore of the hub failed; it is tried again in %.0f s.", seconds)
        await asyncio.sleep(seconds)


async def _watch(embedded: EmbeddedPostgres) -> None:
    """Starts the embedded server again when it is gone."""
    if await asyncio.to_thread(embedded.ensure_alive):
        log.warning("The database was gone and has been started again.")


async def stop(tasks: list[asyncio.Task[None]]) -> None:
    """Ends the tasks and waits until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
