"""One run, from its start to the end of everything in its sandbox: what it says, what it uses, how it ended."""

import asyncio
import os
import signal
import time
from asyncio import StreamReader
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

from tidemill.core.errors import Configuration
from tidemill.core.execution import Ending, Execution, Limits
from tidemill.sandbox.launcher import LOST, SIGNALLED
from tidemill.sandbox.launching import Launched
from tidemill.sandbox.watching import MOST_FILES, Use

GLANCE = 0.05
CHUNK = 64 * 1024
LONGEST_REASON = 500


@contextmanager
def pipes(count: int) -> Iterator[tuple[list[BinaryIO], list[BinaryIO]]]:
    """Pipes: the ends that this process reads, and those that a program writes to."""
    reading, writing = list[BinaryIO](), list[BinaryIO]()
    try:
        for _ in range(count):
            source, sink = os.pipe()
            reading.append(open(source, "rb", buffering=0))  # noqa: PTH123, SIM115
            writing.append(open(sink, "wb", buffering=0))  # noqa: PTH123, SIM115
        yield reading, writing
    finally:
        for end in (*reading, *writing):
            end.close()


async def execution_of(
    launched: Launched,
    sources: Sequence[BinaryIO],
    more: int,
    limits: Limits,
    look: Callable[[int], Use],
    started: float,
) -> tuple[Execution, bytes]:
    """Waits for a run, within its limits; cancelled, it kills first.

    Args:
        launched: the run.
        sources: its standard output and error; and a third that is read, where there is one.
        more: bytes to keep of the third.
        limits: what it may use.
        look: says what the sandbox of a process uses.
        started: when it was, by the monotonic clock.

    Returns:
        What became of it, without its files, and what the third said.

    Raises:
        Configuration: what isolates the program could not be started, or was killed.
        Unavailable: the launcher has gone, and the run with it.
    """
    keep = [limits.output_bytes, limits.output_bytes, more]
    ended = asyncio.ensure_future(launched.status())
    readers = [asyncio.ensure_future(_kept(source, most)) for source, most in zip(sources, keep, strict=False)]
    try:
        exceeded, peak = await _watched(launched, ended, limits, look, started)
        texts = await asyncio.gather(*readers)
    except BaseException:
        if not ended.done():
            launched.kill()
            await asyncio.shield(asyncio.wait([ended]))
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        if ended.done() and not ended.cancelled():
            ended.exception()
        raise
    (out, more_out), (err, more_err), *rest = texts
    if not exceeded and ended.result() == LOST:
        raise Configuration(f"A sandbox ended before its program: {reason_of(err)}")
    ending, exit_code, number = (exceeded, None, None) if exceeded else _judged(ended.result())
    done = Execution(
        ending=ending,
        exit_code=exit_code,
        signal=number,
        stdout=out,
        stderr=err,
        truncated=more_out or more_err,
        seconds=time.monotonic() - started,
        peak_bytes=peak,
    )
    return done, rest[0][0] if rest else b""


def reason_of(stderr: bytes) -> str:
    """What an engine said, short enough for a message."""
    return stderr.decode(errors="replace").strip()[:LONGEST_REASON] or "it says nothing"


async def _watched(
    launched: Launched, ended: asyncio.Future[int], limits: Limits, look: Callable[[int], Use], started: float
) -> tuple[Ending | None, int]:
    """Until the end: the limit that it exceeded and was killed for, and the most memory that was seen."""
    deadline, peak = started + limits.seconds, 0
    while True:
        left = deadline - time.monotonic()
        done, _ = await asyncio.wait({ended}, timeout=min(GLANCE, max(left, 0)))
        if done:
            return None, peak
        use = await asyncio.to_thread(look, launched.pid)
        peak = max(peak, use.memory_bytes)
        for ending, over in (
            (Ending.TIMEOUT, left <= 0),
            (Ending.MEMORY, use.memory_bytes > limits.memory_bytes),
            (Ending.FILES, use.files > MOST_FILES or use.files_bytes > limits.files_bytes),
            (Ending.PROCESSES, use.tasks > limits.processes),
        ):
            if over:
                launched.kill()
                await asyncio.wait([ended])
                return ending, peak


def _judged(status: int) -> tuple[Ending, int | None, int | None]:
    """How it ended by itself: ending, exit code, signal."""
    if status == SIGNALLED + signal.SIGXCPU:
        return Ending.CPU, None, int(signal.SIGXCPU)
    if status > SIGNALLED:
        return Ending.SIGNALLED, None, status - SIGNALLED
    return Ending.EXITED, status, None


async def _kept(source: BinaryIO, most: int) -> tuple[bytes, bool]:
    """The beginning of what is written, and whether there was more. All of it is read, so that nobody waits for it."""
    reader = StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), source)
    kept, more = bytearray(), False
    try:
        while chunk := await reader.read(CHUNK):
            more = more or len(kept) + len(chunk) > most
            kept += chunk[: most - len(kept)]
    finally:
        transport.close()
    return bytes(kept), more
