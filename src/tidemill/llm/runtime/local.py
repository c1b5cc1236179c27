"""Local models, each in a supervised child process; see `supervised` for the life of one."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx
import psutil

from tidemill.core.clock import system_clock
from tidemill.core.context import Priority
from tidemill.core.errors import Configuration, TidemillError, Unavailable
from tidemill.core.json import Json
from tidemill.llm.catalog import DEFAULT, default_name, find_model
from tidemill.llm.hub_files import hub_file
from tidemill.llm.runtime.adapters import Adapter, Adapters, check_fits
from tidemill.llm.runtime.children import Children
from tidemill.llm.runtime.lease import Endpoint, Loaded, Served
from tidemill.llm.runtime.ledger import MemoryLedger, Space
from tidemill.llm.runtime.metrics import Counters, Pace, read_counters
from tidemill.llm.runtime.plan import base_entry, check_names, plan_for, projector_senses
from tidemill.llm.runtime.process import ChildPlan
from tidemill.llm.runtime.share import SharedModel
from tidemill.llm.runtime.status import RuntimeState, RuntimeStatus
from tidemill.llm.runtime.supervised import SupervisedModel
from tidemill.llm.runtime.traffic import Traffic
from tidemill.llm.runtime.vram import Vram, find_vram
from tidemill.settings import Settings
from tidemill.store.data_folder import make_data_folder, make_private_folder

__all__ = ["Endpoint", "LocalRuntime", "RuntimeState", "RuntimeStatus", "Served"]

log = logging.getLogger(__name__)

HEALTH_SECONDS = 10.0
READING_SECONDS = 5.0
"""Between two readings of a child's counters and memory."""


class LocalRuntime:
    """Starts a child for each local model that is asked for, and shares it with the data folder's other processes.

    Belongs to one event loop. Call `aclose` at the end: it leaves no process.

    Args:
        settings: which models there are and how they run.
        vram: the GPUs' memory; looked for where absent.

    Raises:
        Configuration: a setting speaks of a model that there is not.
    """

    def __init__(self, settings: Settings, vram: Vram | None = None) -> None:
        check_names(settings)
        self._settings = settings
        self._models: dict[str, SupervisedModel] = {}
        self._bases: dict[str, tuple[str, str | None]] = {}
        self._http = httpx.AsyncClient(timeout=HEALTH_SECONDS, trust_env=False)
        self._adapters = Adapters(settings)
        self._adding = asyncio.Lock()
        self._pinned = {self._plain(name) for name in settings.models.pinned}
        self._counters: dict[str, tuple[int, Counters]] = {}
        self._pace: dict[str, Pace] = {}
        self._read_at = 0.0
        self._memory = MemoryLedger(
            budget=settings.models.memory_budget,
            vram_budget=settings.models.vram_budget,
            residents=self._evictable,
            vram=vram if vram is not None or settings.models.gpu_layers == 0 else find_vram(),
        )

    @asynccontextmanager
    async def serve(self, name: str, priority: Priority = Priority.INTERACTIVE) -> AsyncIterator[Served]:
        """The model, ready and held until the block ends: it is not unloaded under who reads its answer.

        Loads it if need be; of many who wait for it, one load serves all. `name` may be `base:adapter`. Who waits for
        a slot is let in by priority, as `Turns` says.

        Raises:
            TooManyRequests: its queue is full; says when to try again.
            ModelNotFound: none of that name, or its file is not there.
            InvalidInput: it is an endpoint, not a local model.
            Unavailable: no memory for it, or it is not ready in time.
            Configuration: its file can't be loaded.
            ModelFailed: its process crashed again and again.
        """
        base, adapter = self._parts(name)
        model = self._model(base)
        async with model.lease(adapter, priority) as loaded:
            yield Served(loaded.endpoint, base, self._options(model, loaded, adapter))

    async def ensure(self, name: str) -> Endpoint:
        """The address of a model that is ready, started if need be; see `serve` for the errors."""
        base, adapter = self._parts(name)
        model = self._model(base)
        loaded = await model.ensure()
        model.traffic.touch()
        self._options(model, loaded, adapter)
        return loaded.endpoint

    async def unload(self, name: str) -> None:
        """Ends the model's process once its answers are read, which frees its memory. The next request starts it again.

        Raises:
            Conflict: another process on this data folder owns it.
        """
        model = self._models.get(self._plain(name))
        if model is not None:
            await model.stop()

    def pin(self, name: str, *, pinned: bool) -> None:
        """Keeps a model from being unloaded for room or for idleness, or no longer; until this process ends."""
        base, _ = self._parts(name)
        (self._pinned.add if pinned else self._pinned.discard)(base)

    def is_loading(self, name: str) -> bool:
        """Whether a request for it would wait for its load. False for what is no local model."""
        try:
            base, _ = self._parts(name)
        except TidemillError:
            return False
        model = self._models.get(base)
        return model is None or model.loaded is None

    def status(self) -> list[RuntimeStatus]:
        """Every local model that this process has asked for, as of the last `read`."""
        return [self._status(model) for model in self._models.values()]

    @property
    def memory(self) -> Space:
        """Main memory for local models."""
        return self._memory.space()

    @property
    def vram(self) -> Space | None:
        """GPU memory for local models; `None` where there is no GPU."""
        return self._memory.vram_space()

    async def read(self) -> None:
        """Asks every child for its counters, and the system for its memory."""
        await asyncio.gather(*(self._read(model) for model in tuple(self._models.values())))
        self._read_at = time.monotonic()

    async def tend(self) -> None:
        """Unloads what nobody asked for during `models.keep_alive`. To be called every second or so."""
        if time.monotonic() - self._read_at > READING_SECONDS:
            await self.read()
        keep_alive = self._settings.models.keep_alive
        if keep_alive is None:
            return
        long_idle = [one for one in self._models.values() if one.idle and one.traffic.idle_seconds >= keep_alive]
        for model in long_idle and await self._evictable():
            if model.traffic.idle_seconds >= keep_alive and await model.leave():
                log.info("The model %s was unloaded: nobody asked it for %.0f s.", model.name, keep_alive)

    def adapters(self) -> list[Adapter]:
        """Every adapter, of the settings and registered."""
        return self._adapters.all()

    async def add_adapter(self, adapter: Adapter) -> Adapter:
        """Registers an adapter. Where its base runs, a child with it takes over without a pause.

        Raises:
            InvalidInput: its name or path can't be used, or it does not fit its base; nothing was started.
            Conflict: another adapter has its name, or another process runs its base.
            Unavailable: memory can't hold the old and the new child; the message has the numbers.
        """
        async with self._adding:
            base = base_entry(self._settings, adapter.base)
            complete = self._adapters.check_new(replace(adapter, base=base.name))
            if base.path is not None:
                await asyncio.to_thread(check_fits, complete, base.path)
            model = self._models.get(base.name)
            known = self._adapters.of(base.name)
            if model is not None and complete not in model.plan.adapters:
                await model.replace(self._plan(base.name, [*(one for one in known if one != complete), complete]))
            self._adapters.add(complete)
            self._bases.clear()
            return complete

    async def remove_adapter(self, name: str) -> None:
        """Forgets a registered adapter; its file stays. The child that has loaded it goes on until its next start.

        Raises:
            NotFound: none of that name is registered.
            Conflict: it stands in the settings.
        """
        async with self._adding:
            self._adapters.remove(name)
            self._bases.clear()

    async def aclose(self) -> None:
        """Ends every child that this process owns."""
        await asyncio.gather(*(model.close() for model in self._models.values()))
        self._models.clear()
        await self._http.aclose()

    def _parts(self, name: str) -> tuple[str, str | None]:
        """The base and the adapter that a name means; remembered, since to find out takes reading files."""
        if name not in self._bases:
            entry = find_model(self._settings, name)
            self._bases[name] = base_entry(self._settings, name).name, entry.adapter.name if entry.adapter else None
        return self._bases[name]

    def _plain(self, name: str) -> str:
        """A model's own name, also of one that is not there."""
        hub = hub_file(name)
        return hub.name if hub is not None else default_name(self._settings) if name == DEFAULT else name

    def _model(self, base: str) -> SupervisedModel:
        known = self._models.get(base)
        if known is not None and known.at_rest:
            known.plan_anew(self._plan(base))
        if known is None:
            plan = self._plan(base)
            folder, _ = self._folders()
            self._models[base] = SupervisedModel(
                plan,
                SharedModel(folder, base),
                Children(self._memory, self._http, self._settings.models.request_timeout),
                Traffic(base, plan.slots, plan.max_queue),
            )
        return self._models[base]

    def _plan(self, base: str, adapters: Sequence[Adapter] | None = None) -> ChildPlan:
        return plan_for(self._settings, base_entry(self._settings, base), self._folders()[1], adapters)

    def _options(self, model: SupervisedModel, loaded: Loaded, adapter: str | None) -> Mapping[str, Json]:
        """Which of the child's adapters a request applies: the named one, and of all others nothing."""
        if adapter is not None and adapter not in loaded.adapters:
            raise Unavailable(
                f"The process of the model {model.name} has not loaded the adapter {adapter}. "
                f"Unload {model.name}; its next start has it."
            )
        if not loaded.adapters:
            return {}
        scales = {one.name: one.scale for one in model.plan.adapters}
        return {
            "lora": [
                {"id": number, "scale": scales.get(name, 1.0) if name == adapter else 0.0}
                for number, name in enumerate(loaded.adapters)
            ]
        }

    async def _evictable(self) -> list[SupervisedModel]:
        """The models of ours that nobody asks, pins or changes, least recently used first."""
        idle = [one for one in self._models.values() if one.idle and one.name not in self._pinned]
        active = await asyncio.gather(*(self._read(model) for model in idle))
        free = [one for one, busy in zip(idle, active, strict=True) if one.idle and not busy]
        return sorted(free, key=lambda one: -one.traffic.idle_seconds)

    async def _read(self, model: SupervisedModel) -> bool:
        """Reads one child's counters and memory; whether it is at work.

        Work that is not ours is another process's, and counts as a use.
        """
        loaded = model.loaded
        now = await read_counters(self._http, loaded.endpoint) if loaded is not None else None
        if loaded is None or now is None:
            return False
        pid, before = self._counters.get(model.name, (0, None))
        before = before if pid == loaded.pid else None
        if now.active or (before is not None and now.answer_tokens != before.answer_tokens):
            model.traffic.touch()
        self._pace[model.name] = self._pace.get(model.name, Pace()).after(before, now)
        self._counters[model.name] = loaded.pid, now
        if loaded.claim is not None:
            await self._memory.measure(loaded.claim, loaded.pid)
        return now.active > 0

    def _status(self, model: SupervisedModel) -> RuntimeStatus:
        loaded, claim = model.loaded, model.claim
        pid = loaded.pid if loaded is not None else None
        traffic, keep_alive = model.traffic, self._settings.models.keep_alive
        pinned = model.name in self._pinned
        leaves = loaded is not None and claim is not None and not pinned and keep_alive is not None
        serves = loaded is not None
        until = timedelta(seconds=(keep_alive or 0) - traffic.idle_seconds)
        return RuntimeStatus(
            model=model.name,
            state=model.state,
            pid=pid,
            rss_bytes=_rss(pid),
            started_at=loaded.started_at if loaded is not None else None,
            restarts=model.restarts,
            estimated_bytes=claim.estimate.ram if claim is not None else None,
            measured_bytes=claim.ram if claim is not None else None,
            vram_bytes=claim.vram if claim is not None else None,
            slots=model.plan.slots,
            busy=traffic.busy if serves else 0,
            queue=traffic.waiting if serves else traffic.admitted,
            in_flight=traffic.admitted,
            pace=self._pace.get(model.name, Pace()),
            adapters=loaded.adapters if loaded is not None else tuple(one.name for one in model.plan.adapters),
            capabilities=("text", *(projector_senses(model.plan.mmproj) if model.plan.mmproj else ())),
            pinned=pinned,
            idle_seconds=traffic.idle_seconds if serves else None,
            keep_alive_until=system_clock() + until if leaves else None,
            owner=claim is not None,
        )

    def _folders(self) -> tuple[Path, Path]:
        make_data_folder(self._settings.data_dir)
        make_private_folder(self._settings.run_dir)
        try:
            logs = make_private_folder(self._settings.data_dir / "logs")
            return make_private_folder(self._settings.run_dir / "models"), logs
        except OSError as error:
            raise Configuration(f"The folders of the local models can't be made: {error}.") from error


def _rss(pid: int | None) -> int | None:
    if pid is None:
        return None
    with suppress(psutil.Error):
        return int(psutil.Process(pid).memory_info().rss)
    return None
