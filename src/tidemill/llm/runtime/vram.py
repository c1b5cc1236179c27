"""GPU memory: a port of two questions, answered by NVIDIA's driver library where there is a GPU, or by a script."""

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

import pynvml

from tidemill.core.errors import Unavailable

log = logging.getLogger(__name__)


class Vram(Protocol):
    """The memory of this machine's GPUs, in bytes."""

    def free(self) -> int:
        """What nobody holds, over all GPUs."""
        ...

    def held_by(self, pid: int) -> int | None:
        """What a process holds; `None` where the driver does not say."""
        ...


def find_vram() -> Vram | None:
    """The GPUs that NVIDIA's library finds; `None` where there is no library, no driver or no GPU."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        log.debug("There is no NVIDIA GPU to count memory of: %s.", error)
        return None
    try:
        count = pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError as error:
        log.warning("The NVIDIA driver can't count its GPUs (%s); GPU memory is not budgeted.", error)
        count = 0
    if count == 0:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()
        return None
    return Nvml(count)


class Nvml:
    """GPU memory through NVML (https://docs.nvidia.com/deploy/nvml-api/)."""

    def __init__(self, count: int) -> None:
        self._gpus = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]

    def free(self) -> int:
        """See `Vram`."""
        try:
            return sum(int(pynvml.nvmlDeviceGetMemoryInfo(gpu).free) for gpu in self._gpus)
        except pynvml.NVMLError as error:
            raise Unavailable(f"The NVIDIA driver can't say how much GPU memory is free ({error}).") from error

    def held_by(self, pid: int) -> int | None:
        """See `Vram`. A process that the driver does not list holds none."""
        try:
            found = [one for gpu in self._gpus for one in pynvml.nvmlDeviceGetComputeRunningProcesses(gpu)]
        except pynvml.NVMLError as error:
            log.debug("The NVIDIA driver can't say who holds its memory: %s.", error)
            return None
        held = [process.usedGpuMemory for process in found if process.pid == pid]
        return None if None in held else sum(int(one) for one in held)


@dataclass(slots=True)
class ScriptedVram:
    """GPU memory as a script says it."""

    free_bytes: int
    held: Mapping[int, int] = field(default_factory=dict)

    def free(self) -> int:
        """See `Vram`."""
        return self.free_bytes

    def held_by(self, pid: int) -> int | None:
        """See `Vram`."""
        return self.held.get(pid, 0)
