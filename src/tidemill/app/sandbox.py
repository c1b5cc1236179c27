"""Programs that nobody vouches for: the sandbox that runs them, and what each of them may use."""

from functools import partial

from tidemill.core.execution import Limits
from tidemill.sandbox.engines import opened
from tidemill.sandbox.on_demand import OnDemandSandbox
from tidemill.settings.sandbox import SandboxSettings


def sandbox_of(settings: SandboxSettings) -> OnDemandSandbox:
    """The sandbox that the settings ask for; its engine is looked for when the first program comes. `aclose` it."""
    engine = None if settings.engine == "auto" else settings.engine
    return OnDemandSandbox(partial(opened, engine, settings.concurrency, settings.readable))


def limits_of(settings: SandboxSettings) -> Limits:
    """What a program may use."""
    return Limits(
        seconds=settings.seconds,
        cpu_seconds=settings.cpu_seconds,
        memory_bytes=settings.memory_bytes,
        processes=settings.processes,
        output_bytes=settings.output_bytes,
        files_bytes=settings.files_bytes,
        open_files=settings.open_files,
    )
