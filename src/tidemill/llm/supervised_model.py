"""The life of one local model: started, watched, restarted after a crash, shared with other processes, stopped."""

import asyncio
import logging
import os
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from urllib.parse import quote

import httpx
import psutil

from tidemill.core.clock import system_clock
from tidemill.core.errors import Conflict, ModelFailed, TidemillError, Unavailable
from tidemill.llm.model_memory import refuse_if_too_large
from tidemill.llm.runtime_process import ChildCrashed, ChildPlan, ChildProcess
from tidemill.llm.runtime_share import Publication, SharedModel

log = logging.getLogger(__name__)

MAX_CRASHES = 5
CRASH_WINDOW_SECONDS = 120.0
REST_SECONDS = 30.0
FIRST_BACKOFF_SECONDS = 0.2
MAX_BACKOFF_SECONDS = 5.0
POLL_SECONDS = 0.1
WATCH_SECONDS = 10.0
MAX_SILENT_CHECKS = 3


class RuntimeState(StrEnum):
    """How a local model stands."""

    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a local model serves OpenAI's API: the base URL, up to and including `/v1`, and the key to it."""

    base_url: str
    api_key: str


@dataclass(frozen=True, slots=True)
class RuntimeStatus:
    """How a local model stands, for a person. `rss_bytes` is the memory that its process holds."""

    model: str
    state: RuntimeState
    pid: int | None
    rss_bytes: int | None
    started_at: datetime | None
    restarts: int


class SupervisedModel:
    """One local model, as this process knows it: owned (we run its child), attached (another does), or neither."""

    def __init__(self, plan: ChildPlan, share: SharedModel, http: httpx.AsyncClient) -> None:
        self._plan = plan
        self._share = share
        self._http = http
        self._state = RuntimeState.STOPPED
        self._endpoint: Endpoint | None = None
        self._pid: int | None = None
        self._started_at: datetime | None = None
        self._restarts = 0
        self._owner_task: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[Endpoint] | None = None
        self._stamp: tuple[int, int] | None = None
        self._crashes: deque[float] = deque(maxlen=MAX_CRASHES)
        self._refused: TidemillError | None = None
        self._refused_until = 0.0

    async def ensure(self) -> Endpoint:
        """The address, once the model is ready; see `LocalRuntime.ensure` for the errors."""
        endpoint = self._endpoint
        if endpoint is not None and (self._owner_task is not None or self._attachment_holds()):
            return endpoint
        deadline = time.monotonic() + self._plan.start_timeout
        while True:
            if self._ready is not None:
                return await self._until_ready(self._ready, deadline)
            if self._owner_task is not None:
                await asyncio.wait([self._owner_task])
                continue
            if self._refused is not None and time.monotonic() < self._refused_until:
                raise self._refused
            if self._share.try_own():
                self._become_owner()
                continue
            attached = await self._attach()
            if attached is not None:
                return attached
            if time.monotonic() > deadline:
                raise self._not_ready()
            await asyncio.sleep(POLL_SECONDS)

    async def stop(self) -> None:
        """Ends the child that this process owns, and waits for its end.

        Raises:
            Conflict: another process owns it.
        """
        if self._owner_task is None and self._endpoint is not None and self._attachment_holds():
            published = self._share.read()
            owner = f" (process {published.owner})" if published else ""
            raise Conflict(f"Another Tidemill{owner} runs the model {self._plan.name}. Unload it there.")
        await self.close()

    async def close(self) -> None:
        """Ends the child that this process owns; leaves one that another process owns alone."""
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
        self._forget()
        self._refused = None
        self._crashes.clear()
        self._state = RuntimeState.STOPPED

    def status(self) -> RuntimeStatus:
        """How it stands now."""
        return RuntimeStatus(self._plan.name, self._state, self._pid, _rss(self._pid), self._started_at, self._restarts)

    def _become_owner(self) -> None:
        self._forget()
        self._refused = None
        self._state = RuntimeState.STARTING
        self._ready = _promise()
        self._owner_task = asyncio.create_task(self._own(), name=f"local model {self._plan.name}")

    async def _own(self) -> None:
        """Runs the child until it is stopped or fails for good, and then frees the lock."""
        child: ChildProcess | None = None
        try:
            while True:
                child = await self._launch()
                if child is not None:
                    self._announce(child)
                    how = await self._until_gone(child)
                    log.warning("The process of the model %s %s; it is started again.", self._plan.name, how)
                    self._restarts += 1
                pause = self._after_crash()
                if child is not None:
                    await child.stop()
                    child = None
                await asyncio.sleep(pause)
        except asyncio.CancelledError:
            self._end_with(self._unloaded(), None)
        except TidemillError as error:
            log.warning("%s", error.message)
            rest = REST_SECONDS if isinstance(error, ModelFailed) else 0.0
            self._end_with(error, time.monotonic() + rest)
        except OSError as error:
            failure = Unavailable(f"The process of the model {self._plan.name} can't be started: {error}.")
            log.warning("%s", failure.message)
            self._end_with(failure, time.monotonic())
        except Exception as error:
            log.exception("The model %s can't be run.", self._plan.name)
            failed = ModelFailed(f"The model {self._plan.name} can't be run: {type(error).__name__}: {error}.")
            self._end_with(failed, time.monotonic() + REST_SECONDS)
        finally:
            await self._leave(child)

    async def _leave(self, child: ChildProcess | None) -> None:
        """Ends the child and frees the lock. What fails at that is logged; the next request may own anew."""
        try:
            if child is not None:
                await child.stop()
        except Exception:
            log.exception("The process of the model %s could not be ended in order.", self._plan.name)
        finally:
            self._owner_task = None
            self._free_lock()

    def _free_lock(self) -> None:
        try:
            self._share.release()
        except OSError:
            log.exception("The address of the model %s could not be withdrawn.", self._plan.name)

    async def _launch(self) -> ChildProcess | None:
        """A child that serves; `None` if it crashed while it loaded."""
        plan = self._plan
        await asyncio.to_thread(refuse_if_too_large, plan.name, plan.path, plan.context_tokens, plan.slots)
        try:
            child = await ChildProcess.start(plan)
        except ChildCrashed as error:
            log.warning("The process of the model %s crashed while it loaded (%s).", plan.name, error)
            return None
        serves = False
        try:
            serves = await self._answers(Endpoint(child.base_url, child.api_key))
        finally:
            if not serves:
                await child.stop()
        return child if serves else None

    def _announce(self, child: ChildProcess) -> None:
        self._endpoint = Endpoint(child.base_url, child.api_key)
        self._pid = child.pid
        self._started_at = system_clock()
        self._state = RuntimeState.READY
        self._share.publish(Publication(child.base_url, child.api_key, child.pid, os.getpid(), str(self._plan.path)))
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(self._endpoint)

    async def _until_gone(self, child: ChildProcess) -> str:
        """Returns how the child went: it ended, or it no longer answers."""
        silent = 0
        while silent < MAX_SILENT_CHECKS:
            try:
                code = await asyncio.wait_for(child.wait(), WATCH_SECONDS)
            except TimeoutError:
                answered = await self._answers(Endpoint(child.base_url, child.api_key))
                silent = 0 if answered else silent + 1
            else:
                return f"ended with {'signal' if code < 0 else 'exit code'} {abs(code)}"
        return "no longer answered"

    def _after_crash(self) -> float:
        """Notes a crash, so that requests wait for the next start, and returns the seconds until then.

        Raises:
            ModelFailed: it crashed too often.
        """
        self._forget()
        self._share.withdraw()
        self._state = RuntimeState.RESTARTING
        now = time.monotonic()
        self._crashes.append(now)
        recent = [moment for moment in self._crashes if now - moment < CRASH_WINDOW_SECONDS]
        if len(recent) >= MAX_CRASHES:
            raise ModelFailed(
                f"The process of the model {self._plan.name} crashed {len(recent)} times in "
                f"{CRASH_WINDOW_SECONDS:.0f} s and stays down. Its log is {self._plan.log}; "
                "load the model again when the cause is mended."
            )
        if self._ready is None or self._ready.done():
            self._ready = _promise()
        return float(min(FIRST_BACKOFF_SECONDS * 2 ** (len(recent) - 1), MAX_BACKOFF_SECONDS))

    async def _attach(self) -> Endpoint | None:
        """The address that another process published, if its child answers with the key."""
        stamp, published = self._share.stamp(), self._share.read()
        if published is None:
            self._state = RuntimeState.STARTING
            return None
        if published.path != str(self._plan.path):
            raise Conflict(
                f"Another Tidemill (process {published.owner}) runs {published.path} under the name "
                f"{self._plan.name}, which here is {self._plan.path}. Give one of them another name."
            )
        endpoint = Endpoint(published.base_url, published.api_key)
        if not await self._answers(endpoint):
            return None
        self._endpoint, self._stamp, self._pid = endpoint, stamp, published.pid
        self._state = RuntimeState.READY
        return endpoint

    def _attachment_holds(self) -> bool:
        """Whether the owner lives and still publishes what we attached to. If it died, we are the owner now."""
        if self._share.try_own():
            self._become_owner()
            return False
        if self._stamp is not None and self._share.stamp() == self._stamp:
            return True
        self._forget()
        return False

    async def _answers(self, endpoint: Endpoint) -> bool:
        headers = {"authorization": f"Bearer {endpoint.api_key}"}
        try:
            answer = await self._http.get(f"{endpoint.base_url}/models", headers=headers)
        except httpx.TransportError:
            return False
        return answer.status_code == httpx.codes.OK

    async def _until_ready(self, ready: asyncio.Future[Endpoint], deadline: float) -> Endpoint:
        try:
            return await asyncio.wait_for(asyncio.shield(ready), max(0.01, deadline - time.monotonic()))
        except TimeoutError as error:
            raise self._not_ready() from error

    def _unloaded(self) -> Unavailable:
        return Unavailable(f"The model {self._plan.name} was unloaded. Ask again to load it.")

    def _not_ready(self) -> Unavailable:
        return Unavailable(
            f"The model {self._plan.name} was not ready after {self._plan.start_timeout:.0f} s. "
            f"Its log is {self._plan.log}; `models.start_timeout` gives it longer."
        )

    def _end_with(self, error: TidemillError, refused_until: float | None) -> None:
        """Fails those who wait; `refused_until` is when a new try is allowed, `None` for a wanted end."""
        ready, self._ready = self._ready, None
        if ready is not None and not ready.done():
            ready.set_exception(error)
        self._forget()
        self._state = RuntimeState.STOPPED if refused_until is None else RuntimeState.FAILED
        if refused_until is not None:
            self._refused, self._refused_until = error, refused_until
            self._crashes.clear()

    def _forget(self) -> None:
        self._endpoint = self._stamp = self._pid = self._started_at = None


def log_name(model: str) -> str:
    """The file name of a model's log."""
    return f"{quote(model, safe='')}.log"


def _promise() -> asyncio.Future[Endpoint]:
    """A future whose exception may go unseen, when nobody waits for it."""
    promise: asyncio.Future[Endpoint] = asyncio.get_running_loop().create_future()
    promise.add_done_callback(lambda done: None if done.cancelled() else done.exception())
    return promise


def _rss(pid: int | None) -> int | None:
    if pid is None:
        return None
    with suppress(psutil.Error):
        return int(psutil.Process(pid).memory_info().rss)
    return None
