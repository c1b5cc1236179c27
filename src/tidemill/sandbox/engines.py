"""Which engine makes sandboxes on this machine: the first that runs something here."""

import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from tidemill.core.errors import Configuration
from tidemill.sandbox.bubblewrap import BubblewrapSandbox
from tidemill.sandbox.pool import Pool
from tidemill.sandbox.port import Engine
from tidemill.sandbox.sandlock import SandlockSandbox

ENGINES: Mapping[str, Callable[[Sequence[Path]], Awaitable[Engine]]] = {
    "bubblewrap": BubblewrapSandbox.opened,
    "sandlock": SandlockSandbox.opened,
}
"""Those that there are, best first."""


async def opened(engine: str | None, size: int, readable: Sequence[Path] = ()) -> Pool:
    """A sandbox of this machine. `aclose` it.

    Args:
        engine: a name of `ENGINES`; `None` takes the first that works.
        size: how many programs run at once.
        readable: further folders that programs may read.

    Raises:
        Configuration: none works here, with the reason of each and what to do.
    """
    if sys.platform != "linux":
        raise Configuration(f"Programs run in a sandbox on Linux alone, and this is {sys.platform}.")
    refusals = []
    for name in [engine] if engine else ENGINES:
        try:
            return Pool(await ENGINES[name](readable), size)
        except Configuration as error:
            refusals.append(error.message)
    raise Configuration(
        " ".join(f"{refusal.rstrip('.')}." for refusal in refusals)
        + " Nothing is run without a sandbox. Allow user namespaces on this machine (in a container: "
        "a seccomp profile that lets them be made), or use Linux 6.12 or later with Landlock."
    )
