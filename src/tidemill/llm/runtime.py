"""Local models, each in a supervised child process; see `supervised_model` for the life of one."""

import asyncio
from pathlib import Path

import httpx

from tidemill.core.errors import Configuration, InvalidInput
from tidemill.llm.catalog import SourceKind, available_cores, find_model
from tidemill.llm.runtime_process import ChildPlan
from tidemill.llm.runtime_share import SharedModel
from tidemill.llm.supervised_model import Endpoint, RuntimeState, RuntimeStatus, SupervisedModel, log_name
from tidemill.settings import Settings
from tidemill.store.data_folder import make_data_folder, make_private_folder

__all__ = ["Endpoint", "LocalRuntime", "RuntimeState", "RuntimeStatus"]

HEALTH_SECONDS = 10.0


class LocalRuntime:
    """Starts a child for each local model that is asked for, and shares it with the data folder's other processes.

    Belongs to one event loop. Call `aclose` at the end: it leaves no process.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._models: dict[str, SupervisedModel] = {}
        self._http = httpx.AsyncClient(timeout=HEALTH_SECONDS, trust_env=False)

    async def ensure(self, name: str) -> Endpoint:
        """The address of a model that is ready, started if need be. Cheap when it already is.

        Raises:
            ModelNotFound: none of that name, or its file is not there.
            InvalidInput: it is an endpoint, not a local model.
            Unavailable: no memory for it, or it is not ready in time.
            Configuration: its file can't be loaded.
            ModelFailed: its process crashed again and again.
        """
        model = self._models.get(name)
        if model is None:
            model = self._find(name)
        return await model.ensure()

    async def unload(self, name: str) -> None:
        """Ends the model's process, which frees its memory. The next request would start it again.

        Raises:
            Conflict: another process on this data folder owns it.
        """
        model = self._models.get(name)
        if model is not None:
            await model.stop()

    def status(self) -> list[RuntimeStatus]:
        """Every local model that this process has asked for."""
        return [model.status() for model in self._models.values()]

    async def aclose(self) -> None:
        """Ends every child that this process owns."""
        await asyncio.gather(*(model.close() for model in self._models.values()))
        self._models.clear()
        await self._http.aclose()

    def _find(self, name: str) -> SupervisedModel:
        entry = find_model(self._settings, name)
        if entry.kind is SourceKind.ENDPOINT or entry.path is None:
            raise InvalidInput(f"{entry.name} is served elsewhere; only local models are loaded here.", param="model")
        if entry.name not in self._models:
            folder, logs = self._folders()
            plan = ChildPlan(
                name=entry.name,
                path=entry.path.resolve(),
                context_tokens=self._settings.models.context_tokens,
                slots=self._settings.models.slots,
                threads=self._settings.models.threads or available_cores(),
                log=logs / log_name(entry.name),
                start_timeout=self._settings.models.start_timeout,
            )
            self._models[entry.name] = SupervisedModel(plan, SharedModel(folder, entry.name), self._http)
        return self._models[entry.name]

    def _folders(self) -> tuple[Path, Path]:
        make_data_folder(self._settings.data_dir)
        make_private_folder(self._settings.run_dir)
        try:
            logs = make_private_folder(self._settings.data_dir / "logs")
            return make_private_folder(self._settings.run_dir / "models"), logs
        except OSError as error:
            raise Configuration(f"The folders of the local models can't be made: {error}.") from error
