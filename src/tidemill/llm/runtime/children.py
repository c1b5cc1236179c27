"""The processes of one local model: started with memory granted to them, watched, and ended with it given back."""

import asyncio
import logging
import time

import httpx

from tidemill.core.clock import system_clock
from tidemill.llm.runtime.lease import Endpoint, Loaded
from tidemill.llm.runtime.ledger import Claim, MemoryLedger
from tidemill.llm.runtime.metrics import read_counters
from tidemill.llm.runtime.process import ChildCrashed, ChildPlan, ChildProcess
from tidemill.llm.runtime.turns import Turns

log = logging.getLogger(__name__)

WATCH_SECONDS = 10.0
MAX_SILENT_CHECKS = 3
LOOK_SECONDS = 0.2


class Children:
    """Starts and ends the children of one model; there are two while one takes over from the other.

    Args:
        memory: grants the memory for a child.
        http: asks children how they are.
        patience: seconds for which a child that has to go may finish its answers.
    """

    def __init__(self, memory: MemoryLedger, http: httpx.AsyncClient, patience: float) -> None:
        self._patience = patience
        self._memory = memory
        self._http = http
        self._running: set[Loaded] = set()
        self._retiring: set[asyncio.Task[None]] = set()

    async def launch(self, plan: ChildPlan) -> Loaded | None:
        """A child that serves; `None` if it crashed while it loaded.

        Raises:
            Unavailable: there is no memory for it, or it was not ready in time.
            Configuration: llama.cpp can't load what the plan names.
        """
        claim = await self._memory.claim(plan.name, plan.memory_key, await asyncio.to_thread(plan.need))
        loaded: Loaded | None = None
        try:
            child = await ChildProcess.start(plan)
            endpoint = Endpoint(child.base_url, child.api_key)
            names = tuple(adapter.name for adapter in plan.adapters)
            loaded = Loaded(endpoint, child.pid, names, Turns(plan.slots), child, claim, started_at=system_clock())
            self._running.add(loaded)
            if await self.answers(endpoint):
                await self._memory.measure(claim, child.pid)
                return loaded
        except ChildCrashed as error:
            log.warning("The process of the model %s crashed while it loaded (%s).", plan.name, error)
        except BaseException:
            await self._give_up(loaded, claim)
            raise
        await self._give_up(loaded, claim)
        return None

    async def end(self, loaded: Loaded) -> None:
        """Ends a child of ours, and gives back its memory."""
        if loaded.child is not None:
            await loaded.child.stop()
        self._running.discard(loaded)
        if loaded.claim is not None:
            self._memory.release(loaded.claim)

    def retire(self, loaded: Loaded) -> None:
        """Ends a child that has a successor, when its last answer is read."""
        task = asyncio.create_task(self._retire(loaded), name=f"last answers of process {loaded.pid}")
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def end_all(self) -> None:
        """Ends every child at once."""
        for task in tuple(self._retiring):
            task.cancel()
        for loaded in tuple(self._running):
            await self.end(loaded)

    async def answers(self, endpoint: Endpoint) -> bool:
        """Whether a child answers with its key."""
        headers = {"authorization": f"Bearer {endpoint.api_key}"}
        try:
            answer = await self._http.get(f"{endpoint.base_url}/models", headers=headers)
        except httpx.TransportError:
            return False
        return answer.status_code == httpx.codes.OK

    async def watch(self, child: ChildProcess, endpoint: Endpoint) -> str:
        """Returns how the child went: it ended, or it no longer answers."""
        silent = 0
        while silent < MAX_SILENT_CHECKS:
            try:
                code = await asyncio.wait_for(child.wait(), WATCH_SECONDS)
            except TimeoutError:
                silent = 0 if await self.answers(endpoint) else silent + 1
            else:
                return f"ended with {'signal' if code < 0 else 'exit code'} {abs(code)}"
        return "no longer answered"

    async def until_idle(self, loaded: Loaded) -> None:
        """Returns when nobody reads an answer of a child, here or in another process, or when patience ends."""
        end = time.monotonic() + self._patience
        await loaded.until_idle(self._patience)
        while time.monotonic() < end:
            counters = await read_counters(self._http, loaded.endpoint)
            if counters is None or not counters.active:
                return
            await asyncio.sleep(LOOK_SECONDS)

    async def _retire(self, loaded: Loaded) -> None:
        await self.until_idle(loaded)
        await self.end(loaded)

    async def _give_up(self, loaded: Loaded | None, claim: Claim) -> None:
        if loaded is not None:
            await self.end(loaded)
        self._memory.release(claim)
