"""What a process lets see of itself: its logs' mask, its metrics among those of the others, its traces."""

import asyncio
import logging
import os
import platform
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tidemill.accounts.api_keys import PREFIX
from tidemill.analysis.secrets import mask
from tidemill.app.chores import stop
from tidemill.app.models import provider_of
from tidemill.core.errors import Unavailable
from tidemill.core.provider import LOCAL
from tidemill.flows.metrics import MetricsPage
from tidemill.llm.catalog import SourceKind, list_models
from tidemill.llm.runtime.local import LocalRuntime
from tidemill.registry.providers import Providers
from tidemill.settings import Settings
from tidemill.store.database import Pool
from tidemill.store.process_metrics import ProcessMetricsRepository
from tidemill.telemetry.metrics import Metrics
from tidemill.telemetry.spans import Traces

log = logging.getLogger(__name__)

OWN_KEY = re.compile(rf"(?<![\w-]){re.escape(PREFIX)}[\w-]{{20,}}")


def mask_log(text: str) -> str:
    """A line of a log without credentials: those that vendors give out, and the hub's own keys."""
    return OWN_KEY.sub(f"{PREFIX}…", mask(text))


def metrics_of(settings: Settings, providers: Providers) -> Metrics:
    """What this process counts."""

    def known(name: str) -> bool:
        found = providers.find(name)
        if found is not None:
            return found[1] in found[0].models
        return "/" not in name or name in settings.models.files or name in settings.models.endpoints

    return Metrics(known=known, provider_of=lambda name: provider_of(settings, providers, name))


@asynccontextmanager
async def open_traces(settings: Settings, role: str) -> AsyncIterator[Traces]:
    """The traces of this process, which are sent on where the settings name a collector."""
    chosen = settings.telemetry
    if chosen.otlp_endpoint is None:
        yield Traces(chosen.traces_kept)
        return
    from tidemill.telemetry.otlp import OtlpTraces  # noqa: PLC0415 - OpenTelemetry takes 0.3 s and 22 MB

    otlp = OtlpTraces(chosen.otlp_endpoint, f"{role}-{platform.node()}-{os.getpid()}")
    sending = asyncio.create_task(otlp.run())
    try:
        yield Traces(chosen.traces_kept, export=otlp.add)
    finally:
        await stop([sending])
        await otlp.aclose()


@asynccontextmanager
async def open_metrics_page(
    process: str,
    role: str,
    metrics: Metrics,
    settings: Settings,
    pool: Pool,
    runtime: LocalRuntime,
    providers: Providers,
) -> AsyncIterator[MetricsPage]:
    """The metrics of all processes, with this one's among them until the end of the block."""

    def serving() -> set[str]:
        entries = [entry for entry in list_models(settings) if entry.installed]
        own = {entry.name if entry.kind is SourceKind.ENDPOINT else LOCAL for entry in entries}
        return own | {provider.name for provider in providers.all()}

    page = MetricsPage(process, role, metrics, ProcessMetricsRepository(pool), models=runtime.status, providers=serving)
    yield page
    try:
        await page.aclose()
    except Unavailable as error:
        log.warning("This process's metrics stay for a moment longer: %s", error.message)
