"""The deployments in force: for each task, the model, prompt and sampling that serve it."""

import asyncio
import time

from tidemill.core.deployment import Deployment, Task
from tidemill.llm.catalog import ModelEntry, adapter_version, find_model, list_models, model_version
from tidemill.llm.prompts import review_comment
from tidemill.llm.prompts.shipped import Prompts
from tidemill.settings import Settings

REVIEW_SAMPLING = {"temperature": 0.0, "max_tokens": review_comment.MAX_TOKENS, "seed": 7}
"""Greedy and short: the same hunk gets the same comment, and a reviewer is not made to read an essay."""

MEMORY_SECONDS = 1.0


class Deployments:
    """Finds the deployment for a task, from the settings and the catalog."""

    def __init__(self, settings: Settings, prompts: Prompts) -> None:
        self._settings = settings
        self._prompts = prompts
        self._named: dict[tuple[Task, str], tuple[float, Deployment]] = {}

    def models(self) -> list[ModelEntry]:
        """Every model that can be asked now: endpoints, and local files that are there."""
        return [entry for entry in list_models(self._settings) if entry.installed]

    def model(self, name: str | None) -> ModelEntry:
        """One model that can be asked, the default one for `None` or `default`.

        Raises:
            ModelNotFound: none of that name, or its file is not there.
        """
        return find_model(self._settings, name)

    async def for_chat(self, name: str) -> Deployment:
        """The deployment of the model that a chat request names, as it was at most a second ago."""
        return await self._for(Task.CHAT, name)

    async def for_text(self, name: str) -> Deployment:
        """The same for a request to continue a text, or to fill in what is missing of it."""
        return await self._for(Task.COMPLETE, name)

    async def _for(self, task: Task, name: str) -> Deployment:
        now = time.monotonic()
        looked, known = self._named.get((task, name), (0.0, None))
        if known is not None and now - looked < MEMORY_SECONDS:
            return known
        entry = self.model(name)
        deployment = Deployment(task, entry.name, await self._version(entry), await self._adapter(entry))
        self._named[task, name] = (now, deployment)
        return deployment

    async def for_review(self) -> Deployment:
        """The deployment that comments on hunks."""
        entry = self.model(None)
        return Deployment(
            Task.REVIEW_COMMENT,
            entry.name,
            await self._version(entry),
            await self._adapter(entry),
            prompt_version=self._prompts.current(review_comment.NAME, self._settings.prompts.language).version,
            sampling=REVIEW_SAMPLING,
        )

    async def _version(self, entry: ModelEntry) -> str:
        """Which exact model it is; off the event loop, since a file that is new or was replaced is read whole."""
        return await asyncio.to_thread(model_version, self._settings, entry)

    async def _adapter(self, entry: ModelEntry) -> str | None:
        """Which exact adapter is applied, for a name such as `base:adapter`."""
        if entry.adapter is None:
            return None
        return await asyncio.to_thread(adapter_version, self._settings, entry.adapter)
