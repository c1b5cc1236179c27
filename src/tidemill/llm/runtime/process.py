"""Starts, watches and ends one child process that runs a local model, and keeps its log small."""

import asyncio
import json
import logging
import os
import secrets
import signal
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tidemill.core.errors import Configuration, InvalidInput, ModelFailed, Unavailable
from tidemill.llm.runtime.adapters import Adapter, check_fits
from tidemill.llm.runtime.memory import Need, estimate
from tidemill.llm.runtime.options import ChildOptions

log = logging.getLogger(__name__)

LOG_BYTES = 1_000_000
STOP_SECONDS = 5.0
SPARE_LISTENERS = 16
"""For other processes on the data folder, and for questions about the child's health while its queue is full."""
SPINS = "1000"
"""Turns for which llama.cpp's threads spin before they sleep. With OpenMP's own 300,000 a 0.5B model decoded 6 to 12
tokens/s on 2 cores beside one busy process, with 1,000 it decoded 15; on idle cores both decoded 35."""
PASSED_ON = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "SYSTEMROOT")
PASSED_ON_PREFIXES = ("LC_", "LD_", "DYLD_", "PYTHON", "COVERAGE", "OMP_", "GOMP_", "KMP_", "GGML_", "LLAMA_", "CUDA_")


class ChildCrashed(Exception):
    """The process ended by a signal while it loaded; a second try may work."""


@dataclass(frozen=True, slots=True)
class ChildPlan:
    """Which model a child is to load, and how.

    Attributes:
        max_queue: requests that may wait for a slot.
        gpu_layers: layers that go to a GPU; `None` for as many as fit.
        adapters: LoRA adapters that requests may name.
        mmproj: the projector that makes tokens of images and sound.
        draft: a smaller model that drafts for it.
        ngram: drafts come from what the text repeats.
    """

    name: str
    path: Path
    context_tokens: int
    slots: int
    threads: int
    log: Path
    start_timeout: float
    max_queue: int = 0
    gpu_layers: int | None = None
    adapters: tuple[Adapter, ...] = ()
    mmproj: Path | None = None
    draft: Path | None = None
    ngram: bool = False

    @property
    def memory_key(self) -> str:
        """Names everything that decides how much memory the child takes."""
        adapters = [adapter.path for adapter in self.adapters]
        beside = (self.mmproj, self.draft, self.gpu_layers, *adapters)
        return repr((str(self.path), self.context_tokens, self.slots, *map(str, beside)))

    def need(self) -> Need:
        """An estimate of the memory that the child will take, once it is clear that the child can load its adapters.

        Raises:
            Configuration: a file can't be read, is no GGUF file, or is an adapter for another base.
        """
        for adapter in self.adapters:
            try:
                check_fits(adapter, self.path)
            except InvalidInput as error:
                raise Configuration(f"{error.message} Mend `models.adapters`, or remove the adapter.") from error
        beside = [adapter.path for adapter in self.adapters] + ([self.mmproj] if self.mmproj else [])
        own = estimate(self.path, self.context_tokens, self.slots, gpu_layers=self.gpu_layers, beside=beside)
        if self.draft is None:
            return own
        draft = estimate(self.draft, self.context_tokens, self.slots, gpu_layers=self.gpu_layers)
        return Need(own.ram + draft.ram, own.vram + draft.vram)


class ChildProcess:
    """One running child. Make it with `start`; end it with `stop`."""

    def __init__(self, process: Process, drain: asyncio.Task[None], base_url: str, api_key: str) -> None:
        self._process = process
        self._drain = drain
        self.base_url = base_url
        self.api_key = api_key

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @classmethod
    async def start(cls, plan: ChildPlan) -> "ChildProcess":
        """Starts the process and returns when it serves.

        Raises:
            Configuration: llama.cpp can't load the file; the message names the log.
            Unavailable: it took longer than `models.start_timeout`.
            ChildCrashed: it ended without saying why.
        """
        api_key = secrets.token_urlsafe(32)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tidemill.llm.runtime.child",
            plan.name,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env=_environment(),
            start_new_session=True,
        )
        drain = asyncio.create_task(_keep_log(process, plan.log))
        try:
            port = await asyncio.wait_for(_greet(process, plan, api_key), plan.start_timeout)
        except TimeoutError as error:
            await _end(process, drain)
            raise Unavailable(
                f"The model {plan.name} was not ready after {plan.start_timeout:.0f} s. "
                f"Its log is {plan.log}; `models.start_timeout` gives it longer."
            ) from error
        except BaseException:
            await _end(process, drain)
            raise
        return cls(process, drain, f"http://127.0.0.1:{port}/v1", api_key)

    async def wait(self) -> int:
        """Waits for the end of the process and returns its exit code, negative for a signal."""
        return await self._process.wait()

    async def stop(self) -> None:
        """Ends the process: politely, and by force after 5 s. Returns when it is gone."""
        await _end(self._process, self._drain)


async def _greet(process: Process, plan: ChildPlan, api_key: str) -> int:
    """Tells the child what to load and returns the port on which it serves."""
    options = ChildOptions(
        path=str(plan.path),
        alias=plan.name,
        api_key=api_key,
        context_tokens=plan.context_tokens,
        slots=plan.slots,
        threads=plan.threads,
        http_threads=plan.slots + plan.max_queue + SPARE_LISTENERS,
        adapters=[str(adapter.path) for adapter in plan.adapters],
        gpu_layers=-1 if plan.gpu_layers is None else plan.gpu_layers,
        mmproj=str(plan.mmproj or ""),
        draft=str(plan.draft or ""),
        ngram=plan.ngram,
        parent=os.getpid(),
    )
    if process.stdin is None or process.stdout is None:
        raise ModelFailed(f"The process of the model {plan.name} has no pipes.")
    process.stdin.write(options.to_line())
    with suppress(ConnectionError):
        await process.stdin.drain()
    try:
        line = await process.stdout.readline()
        if not line:
            code = await process.wait()
            raise ChildCrashed(f"exit code {code}")
        answer = json.loads(line)
        if "error" not in answer:
            return int(answer["port"])
    except (ValueError, KeyError, TypeError) as error:
        raise ChildCrashed("its first line makes no sense") from error
    raise Configuration(f"llama.cpp can't load {plan.path} for the model {plan.name}. Its log is {plan.log}.")


async def _end(process: Process, drain: asyncio.Task[None]) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        await process.wait()
    finally:
        if process.stdin is not None:
            process.stdin.close()
    await drain


async def _keep_log(process: Process, path: Path) -> None:
    """Writes the child's standard error to its log; the log and one older one hold 1 MB each at most.

    Reads on where the log can't be written, since a child whose pipe is full stands still.
    """
    if process.stderr is None:
        return
    told = False
    while data := await process.stderr.read(16384):
        try:
            _append(path, data)
        except OSError as error:
            if not told:
                log.warning("The log %s of a local model can't be written: %s.", path, error.strerror)
            told = True


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)
        size = file.tell()
    if size > LOG_BYTES:
        path.replace(path.with_suffix(".log.1"))


def _environment() -> dict[str, str]:
    """What the child needs of our environment; secrets in it are not the child's business."""
    passed = {
        name: value for name, value in os.environ.items() if name in PASSED_ON or name.startswith(PASSED_ON_PREFIXES)
    }
    if "OMP_WAIT_POLICY" not in passed:
        passed.setdefault("GOMP_SPINCOUNT", SPINS)
    return passed
