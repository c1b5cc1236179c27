"""The metrics of every process of an installation, in one page, whichever hub is asked."""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence

from tidemill.core.errors import Unavailable
from tidemill.llm.runtime.status import RuntimeStatus
from tidemill.store.process_metrics import ProcessMetricsRepository
from tidemill.telemetry.exposition import Family, pack, render, unpack
from tidemill.telemetry.metrics import InstallationMetrics, Metrics

log = logging.getLogger(__name__)

PUBLISH_SECONDS = 5.0
STALE_SECONDS = 30.0
"""A process that left nothing for so long is gone, or can't reach the database."""
INSTALLATION = "installation"
"""What stands for a process's name at what all processes share."""


class MetricsPage:
    """Leaves this process's samples for the others, and puts together those of all.

    Args:
        process: this process's name, which no other of the database has.
        role: `hub` or `worker`.
        metrics: what this process counts.
        rows: where processes leave their samples.
        models: the local models as they stand now.
        providers: the names of all who serve models.
    """

    def __init__(
        self,
        process: str,
        role: str,
        metrics: Metrics,
        rows: ProcessMetricsRepository,
        *,
        models: Callable[[], Sequence[RuntimeStatus]],
        providers: Callable[[], Collection[str]],
    ) -> None:
        self._process = process
        self._role = role
        self._metrics = metrics
        self._installation = InstallationMetrics()
        self._rows = rows
        self._models = models
        self._providers = providers
        metrics.describe(role)

    async def publish(self) -> None:
        """Leaves what this process has counted so far."""
        self._look_at_models()
        samples = await asyncio.to_thread(lambda: pack(self._metrics.families()))  # up to 20 ms, not on the loop
        await self._rows.put(self._process, self._role, samples)

    async def render(self) -> bytes:
        """This process's samples as they are now, and those of the others as they left them a few seconds ago.

        While the database is away these are this process's own alone, since then they are needed most.
        """
        self._look_at_models()
        others: dict[str, str] = {}
        shared: list[Family] = []
        try:
            others = await self._rows.others(self._process, seconds=STALE_SECONDS)
            resting = await self._rows.resting()
            named: dict[tuple[str, str], bool] = {}
            for (provider, model), rests in resting.items():
                key = (provider, self._metrics.label(model) if model else "")
                named[key] = rests or named.get(key, False)
            away = {provider for (provider, model), rests in resting.items() if rests and not model}
            shared = self._installation.set(
                providers=len(set(self._providers()) - away), work=await self._rows.work(), resting=named
            )
        except Unavailable as error:
            log.warning("The metrics are those of this process alone: %s", error.message)
        return await asyncio.to_thread(self._page, others, shared)

    async def aclose(self) -> None:
        """Takes away what this process left."""
        await self._rows.remove(self._process)

    def _page(self, others: Mapping[str, str], shared: Sequence[Family]) -> bytes:
        page = {self._process: self._metrics.families()}
        page |= {process: unpack(samples) for process, samples in others.items()}
        return render({**page, INSTALLATION: shared})

    def _look_at_models(self) -> None:
        standing = self._models()
        self._metrics.set_models(
            {one.model: one.rss_bytes or 0 for one in standing if one.pid},
            {one.model: one.queue for one in standing if one.pid},
        )
