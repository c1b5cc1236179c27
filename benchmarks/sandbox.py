"""A program in each sandbox beside the same as a bare subprocess, in turns; and how many run in a second."""

import asyncio
import statistics
import subprocess
import time
from collections.abc import Awaitable, Callable, Sequence

from tidemill.core.errors import Configuration
from tidemill.core.execution import Interpreter, Program
from tidemill.sandbox.engines import ENGINES
from tidemill.sandbox.interpreters import NOTHING, candidates
from tidemill.sandbox.pool import Pool

ROUNDS = 40
BATCH = 60
AT_ONCE = 2


def run() -> None:
    """Prints, for each engine that works here and each kind of program, milliseconds, difference, ratio and rate."""
    asyncio.run(_run())


async def _run() -> None:
    for name, opened in ENGINES.items():
        try:
            engine = await opened(())
        except Configuration as error:
            print(f"sandbox {name}: not run; {error.message}")
            continue
        try:
            for interpreter in (Interpreter.PYTHON, Interpreter.SHELL):
                await _compare(name, Pool(engine, AT_ONCE), interpreter)
        finally:
            await engine.aclose()
    print()


async def _compare(name: str, pool: Pool, interpreter: Interpreter) -> None:
    program = Program(interpreter, NOTHING[interpreter])
    command = [str(candidates()[interpreter][0].path), *NOTHING[interpreter]]

    async def bare() -> None:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        await process.communicate()

    async def inside() -> None:
        done = await pool.run(program)
        if not done.succeeded:
            raise RuntimeError(f"{name} did not run it: {done}")

    pairs = [(await _timed(bare), await _timed(inside)) for _ in range(ROUNDS)]
    without, within = (statistics.median(times) * 1000 for times in zip(*pairs, strict=True))
    more = statistics.median(b - a for a, b in pairs) * 1000
    least = (min(b for _, b in pairs) - min(a for a, _ in pairs)) * 1000
    ratio = statistics.median(b / a for a, b in pairs)
    rates = [await _rate(run, BATCH) for run in (bare, inside)]
    print(
        f"sandbox {name}, {interpreter}: bare {without:.1f} ms, inside {within:.1f} ms, {more:.1f} ms more (at best "
        f"{least:.1f}), inside / bare: {ratio:.2f}; a second, {AT_ONCE} at once: bare {rates[0]:.0f}, "
        f"inside {rates[1]:.0f}, inside / bare: {rates[1] / rates[0]:.2f}"
    )


async def _timed(act: Callable[[], Awaitable[None]]) -> float:
    started = time.perf_counter()
    await act()
    return time.perf_counter() - started


async def _rate(act: Callable[[], Awaitable[None]], count: int) -> float:
    places = asyncio.Semaphore(AT_ONCE)

    async def one() -> None:
        async with places:
            await act()

    started = time.perf_counter()
    waiting: Sequence[Awaitable[None]] = [one() for _ in range(count)]
    await asyncio.gather(*waiting)
    return count / (time.perf_counter() - started)
