"""How much memory a local model takes, and how much there is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from tidemill.core.errors import Configuration
from tidemill.llm.gguf import read_header

GIB = 2**30
WORKSPACE = 300 * 2**20
"""Bytes for llama.cpp's compute buffers and the process itself, beside weights and context."""
REPACKED = 0.5
"""The part of the weights that llama.cpp holds a second time, arranged for the CPU. Measured: 0.07 of a 0.5B model's
file and 0.45 of a 1.5B's, both Q4_K_M."""
CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes of main memory and of GPU memory."""

    ram: int
    vram: int


def estimate(
    path: Path, context_tokens: int, slots: int, *, gpu_layers: int | None = 0, beside: Sequence[Path] = ()
) -> Need:
    """What a model will take: weights and their repacked part, every slot's keys and values, and room to compute.

    Main memory is counted in full also where layers go to a GPU: the file is mapped, and how much of it stays in main
    memory depends on the build of llama.cpp. What a child was measured to hold replaces the estimate after its load.

    Args:
        path: the GGUF file.
        context_tokens: context of each slot.
        slots: requests decoded at once.
        gpu_layers: layers that go to the GPU; `None` for all of them.
        beside: further files that the child loads whole, such as adapters and a projector for images.

    Raises:
        Configuration: a file can't be read, or is no GGUF file.
    """
    header = read_header(path)
    trained = header.context_tokens
    tokens = min(context_tokens, trained) if trained else context_tokens
    weights, context = path.stat().st_size, header.context_bytes_per_token * tokens * slots
    more = sum(_size(one) for one in beside)
    layers = header.layers + 1
    part = 1.0 if gpu_layers is None else min(gpu_layers, layers) / layers
    vram = int((weights + more + context) * part) + (WORKSPACE if part else 0)
    return Need(int(weights * (1 + REPACKED)) + context + more + WORKSPACE, vram)


def free_bytes() -> int:
    """Memory that this process can still take: the machine's, or its container's where that is less."""
    free = int(psutil.virtual_memory().available)
    limit = _number(CGROUP / "memory.max")
    used = _number(CGROUP / "memory.current")
    if limit is None or used is None:
        return free
    return min(free, max(0, limit - used + _reclaimable()))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise Configuration(f"The file {path} can't be read: {error.strerror}.") from error


def _number(path: Path) -> int | None:
    if not path.is_file():
        return None
    text = path.read_text("ascii").strip()
    return int(text) if text.isdigit() else None


def _reclaimable() -> int:
    """Bytes of cached files that the container's kernel account would give back."""
    path = CGROUP / "memory.stat"
    if not path.is_file():
        return 0
    for line in path.read_text("ascii").splitlines():
        name, _, value = line.partition(" ")
        if name == "inactive_file":
            return int(value)
    return 0
