"""The life of one local model: started, watched, restarted after a crash, shared with other processes, stopped."""

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote

from tidemill.core.context import Priority
from tidemill.core.errors import Conflict, ModelFailed, TidemillError, Unavailable
from tidemill.llm.runtime.children import Children
from tidemill.llm.runtime.lease import Endpoint, Loaded
from tidemill.llm.runtime.ledger import Claim
from tidemill.llm.runtime.process import ChildPlan
from tidemill.llm.runtime.share import Publication, SharedModel
from tidemill.llm.runtime.status import RuntimeState
from tidemill.llm.runtime.traffic import Traffic
from tidemill.llm.runtime.turns import Turns

log = logging.getLogger(__name__)

MAX_CRASHES = 5
CRASH_WINDOW_SECONDS = 120.0
REST_SECONDS = 30.0
FIRST_BACKOFF_SECONDS = 0.2
MAX_BACKOFF_SECONDS = 5.0
POLL_SECONDS = 0.1


class SupervisedModel:
    """One local model, as this process knows it: owned (we run its child), attached (another does), or neither.

    Args:
        plan: what its child is to load.
        share: the lock and the address that the data folder's processes share.
        children: starts and ends its processes.
        traffic: counts the model's requests.
    """

    def __init__(
        self,
        plan: ChildPlan,
        share: SharedModel,
        children: Children,
        traffic: Traffic,
    ) -> None:
        self.traffic = traffic
        self._plan = plan
        self._share = share
        self._children = children
        self._state = RuntimeState.STOPPED
        self._loaded: Loaded | None = None
        self._swapped = asyncio.Event()
        self._replacing = asyncio.Lock()
        self._restarts = 0
        self._owner_task: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[None] | None = None
        self._crashes: deque[float] = deque(maxlen=MAX_CRASHES)
        self._refused: TidemillError | None = None
        self._refused_until = 0.0

    @property
    def name(self) -> str:
        """The model's name."""
        return self._plan.name

    @property
    def plan(self) -> ChildPlan:
        """What its child has loaded, or will."""
        return self._plan

    @property
    def at_rest(self) -> bool:
        """Whether it neither runs nor is about to."""
        return self._owner_task is None and self._loaded is None

    def plan_anew(self, plan: ChildPlan) -> None:
        """Takes another plan where nothing runs by the old one."""
        if self.at_rest:
            self._plan = plan

    @property
    def state(self) -> RuntimeState:
        """How it stands."""
        return RuntimeState.UNLOADING if self._stopping is not None and self._loaded is not None else self._state

    @property
    def loaded(self) -> Loaded | None:
        """The child that serves now."""
        return self._loaded

    @property
    def claim(self) -> Claim | None:
        """The memory that its child holds; `None` where we own none."""
        return self._loaded.claim if self._loaded is not None else None

    @property
    def restarts(self) -> int:
        """How often its child died and was started again."""
        return self._restarts

    @property
    def idle(self) -> bool:
        """Whether it is ours, ready, and neither asked, replaced nor unloaded at this moment."""
        quiet = not self.traffic.admitted and not self._replacing.locked() and self._stopping is None
        return quiet and self._owner_task is not None and self._loaded is not None

    @asynccontextmanager
    async def lease(self, adapter: str | None, priority: Priority = Priority.INTERACTIVE) -> AsyncIterator[Loaded]:
        """The model's child, which is not ended within the block; see `LocalRuntime.serve` for the errors."""
        with self.traffic.admit(priority):
            loaded = await self.ensure()
            with loaded.hold():
                async with loaded.turns.turn(adapter, priority):
                    yield loaded

    async def ensure(self) -> Loaded:
        """The child, once the model is ready; see `LocalRuntime.ensure` for the errors."""
        deadline = time.monotonic() + self._plan.start_timeout
        while True:
            if self._stopping is not None:
                await asyncio.wait([self._stopping])
            elif self._loaded is not None and (self._owner_task is not None or self._attachment_holds()):
                return self._loaded
            elif self._ready is not None:
                await self._until_ready(self._ready, deadline)
            elif self._owner_task is not None:
                await asyncio.wait([self._owner_task])
            elif self._refused is not None and time.monotonic() < self._refused_until:
                raise self._refused
            elif self._share.try_own():
                self._become_owner()
            elif not await self._attach():
                if time.monotonic() > deadline:
                    raise self._not_ready()
                await asyncio.sleep(POLL_SECONDS)

    async def stop(self) -> None:
        """Ends the child that this process owns when its answers are read, and waits for its end.

        Who asks meanwhile waits, and then loads it anew.

        Raises:
            Conflict: another process owns it.
        """
        if self._owner_task is None and self._loaded is not None and self._attachment_holds():
            raise Conflict(f"{self._elsewhere()} Unload it there.")
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop(), name=f"end of the local model {self.name}")
        await asyncio.shield(self._stopping)

    async def leave(self) -> bool:
        """Unloads it if it is idle; whether it did."""
        if not self.idle:
            return False
        await self.stop()
        return True

    async def close(self) -> None:
        """Ends the child that this process owns, at once; leaves one that another process owns alone."""
        stopping = self._stopping
        if stopping is not None:
            stopping.cancel()
            await asyncio.wait([stopping])
        await self._end_own()

    async def replace(self, plan: ChildPlan) -> None:
        """Goes on by another plan. A child that serves is replaced without a pause: the next one starts beside it,
        takes over when it is ready, and the old one ends when its last answer is read.

        Raises:
            Conflict: another process owns it.
            Unavailable: memory can't hold both; the message has the numbers.
            Configuration: the next child can't load what the plan names.
            ModelFailed: the next child crashed while it loaded.
        """
        async with self._replacing:
            if self._owner_task is None and self._loaded is not None and self._attachment_holds():
                raise Conflict(f"{self._elsewhere()} Change it there.")
            if self._owner_task is not None:
                await self.ensure()
            old = self._loaded
            if old is None:
                self._plan = plan
                return
            successor = await self._children.launch(plan)
            if successor is None:
                raise ModelFailed(f"The next process of the model {self.name} crashed while it loaded. See {plan.log}.")
            if self._loaded is not old:
                await self._children.end(successor)
                raise Unavailable(f"The process of the model {self.name} ended while it was changed. Try again.")
            self._plan = plan
            self._announce(successor)
            self._children.retire(old)

    async def _stop(self) -> None:
        try:
            if self._loaded is not None:
                await self._children.until_idle(self._loaded)
            await self._end_own()
        finally:
            self._stopping = None

    async def _end_own(self) -> None:
        task = self._owner_task
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
            if self._owner_task is task:
                self._end_with(self._unloaded(), None)
                self._owner_task = None
                self._free_lock()
        if self._owner_task is not None:
            return
        self._loaded = None
        self._refused = None
        self._crashes.clear()
        self._state = RuntimeState.STOPPED

    def _become_owner(self) -> None:
        self._loaded = None
        self._refused = None
        self._state = RuntimeState.STARTING
        self._ready = _promise()
        self._owner_task = asyncio.create_task(self._own(), name=f"local model {self.name}")

    async def _own(self) -> None:
        """Runs the child until it is stopped or fails for good, and then frees the lock."""
        try:
            while True:
                started = await self._children.launch(self._plan)
                gone = None
                if started is not None:
                    self._announce(started)
                    gone, how = await self._until_gone()
                    log.warning("The process of the model %s %s; it is started again.", self.name, how)
                    self._restarts += 1
                pause = self._after_crash()
                if gone is not None:
                    await self._children.end(gone)
                await asyncio.sleep(pause)
        except asyncio.CancelledError:
            self._end_with(self._unloaded(), None)
        except TidemillError as error:
            log.warning("%s", error.message)
            rest = REST_SECONDS if isinstance(error, ModelFailed) else 0.0
            self._end_with(error, time.monotonic() + rest)
        except OSError as error:
            failure = Unavailable(f"The process of the model {self.name} can't be started: {error}.")
            log.warning("%s", failure.message)
            self._end_with(failure, time.monotonic())
        except Exception as error:
            log.exception("The model %s can't be run.", self.name)
            failed = ModelFailed(f"The model {self.name} can't be run: {type(error).__name__}: {error}.")
            self._end_with(failed, time.monotonic() + REST_SECONDS)
        finally:
            await self._leave()

    async def _leave(self) -> None:
        """Ends every child and frees the lock. What fails at that is logged; the next request may own anew."""
        try:
            await self._children.end_all()
        except Exception:
            log.exception("The process of the model %s could not be ended in order.", self.name)
        finally:
            self._owner_task = None
            self._free_lock()

    def _free_lock(self) -> None:
        try:
            self._share.release()
        except OSError:
            log.exception("The address of the model %s could not be withdrawn.", self.name)

    def _announce(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._swapped.set()
        self.traffic.touch()
        self._state = RuntimeState.READY
        endpoint = loaded.endpoint
        self._share.publish(
            Publication(
                endpoint.base_url, endpoint.api_key, loaded.pid, os.getpid(), str(self._plan.path), loaded.adapters
            )
        )
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(None)

    async def _until_gone(self) -> tuple[Loaded, str]:
        """The child that serves, once it is gone, and how it went. Follows it to its successors."""
        while True:
            loaded = self._loaded
            if loaded is None or loaded.child is None:
                raise ModelFailed(f"The model {self.name} lost its process.")
            self._swapped.clear()
            watch = asyncio.create_task(self._children.watch(loaded.child, loaded.endpoint))
            swap = asyncio.create_task(self._swapped.wait())
            try:
                await asyncio.wait({watch, swap}, return_when=asyncio.FIRST_COMPLETED)
                if watch.done() and self._loaded is loaded:
                    return loaded, watch.result()
            finally:
                watch.cancel()
                swap.cancel()
                await asyncio.gather(watch, swap, return_exceptions=True)

    def _after_crash(self) -> float:
        """Notes a crash, so that requests wait for the next start, and returns the seconds until then.

        Raises:
            ModelFailed: it crashed too often.
        """
        self._loaded = None
        self._share.withdraw()
        self._state = RuntimeState.RESTARTING
        now = time.monotonic()
        self._crashes.append(now)
        recent = [moment for moment in self._crashes if now - moment < CRASH_WINDOW_SECONDS]
        if len(recent) >= MAX_CRASHES:
            raise ModelFailed(
                f"The process of the model {self.name} crashed {len(recent)} times in "
                f"{CRASH_WINDOW_SECONDS:.0f} s and stays down. Its log is {self._plan.log}; "
                "load the model again when the cause is mended."
            )
        if self._ready is None or self._ready.done():
            self._ready = _promise()
        return float(min(FIRST_BACKOFF_SECONDS * 2 ** (len(recent) - 1), MAX_BACKOFF_SECONDS))

    async def _attach(self) -> bool:
        """Whether another process published its child, and that answers with the key."""
        stamp, published = self._share.stamp(), self._share.read()
        if published is None:
            self._state = RuntimeState.STARTING
            return False
        if published.path != str(self._plan.path):
            raise Conflict(
                f"Another Tidemill (process {published.owner}) runs {published.path} under the name "
                f"{self.name}, which here is {self._plan.path}. Give one of them another name."
            )
        endpoint = Endpoint(published.base_url, published.api_key)
        if not await self._children.answers(endpoint):
            return False
        self._loaded = Loaded(endpoint, published.pid, tuple(published.adapters), Turns(self._plan.slots), stamp=stamp)
        self._state = RuntimeState.READY
        return True

    def _attachment_holds(self) -> bool:
        """Whether the owner lives and still publishes what we attached to. If it died, we are the owner now."""
        if self._share.try_own():
            self._become_owner()
            return False
        stamp = self._loaded.stamp if self._loaded is not None else None
        if stamp is not None and self._share.stamp() == stamp:
            return True
        self._loaded = None
        return False

    def _elsewhere(self) -> str:
        published = self._share.read()
        owner = f" (process {published.owner})" if published else ""
        return f"Another Tidemill{owner} runs the model {self.name}."

    async def _until_ready(self, ready: asyncio.Future[None], deadline: float) -> None:
        try:
            await asyncio.wait_for(asyncio.shield(ready), max(0.01, deadline - time.monotonic()))
        except TimeoutError as error:
            raise self._not_ready() from error

    def _unloaded(self) -> Unavailable:
        return Unavailable(f"The model {self.name} was unloaded. Ask again to load it.")

    def _not_ready(self) -> Unavailable:
        return Unavailable(
            f"The model {self.name} was not ready after {self._plan.start_timeout:.0f} s. "
            f"Its log is {self._plan.log}; `models.start_timeout` gives it longer."
        )

    def _end_with(self, error: TidemillError, refused_until: float | None) -> None:
        """Fails those who wait; `refused_until` is when a new try is allowed, `None` for a wanted end."""
        ready, self._ready = self._ready, None
        if ready is not None and not ready.done():
            ready.set_exception(error)
        self._loaded = None
        self._state = RuntimeState.STOPPED if refused_until is None else RuntimeState.FAILED
        if refused_until is not None:
            self._refused, self._refused_until = error, refused_until
            self._crashes.clear()


def log_name(model: str) -> str:
    """The file name of a model's log."""
    return f"{quote(model, safe='')}.log"


def _promise() -> asyncio.Future[None]:
    """A future whose exception may go unseen, when nobody waits for it."""
    promise: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    promise.add_done_callback(lambda done: None if done.cancelled() else done.exception())
    return promise
