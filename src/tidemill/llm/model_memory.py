"""How much memory a local model takes, and how much there is."""

from pathlib import Path

import psutil

from tidemill.core.errors import Unavailable
from tidemill.llm.gguf import read_header

GIB = 2**30
WORKSPACE = 300 * 2**20
"""Bytes for llama.cpp's compute buffers and the process itself, beside weights and context."""
REPACKED = 0.5
"""The part of the weights that llama.cpp holds a second time, arranged for the CPU. Measured: 0.07 of a 0.5B model's
file and 0.45 of a 1.5B's, both Q4_K_M."""
CGROUP = Path("/sys/fs/cgroup")


def needed_bytes(path: Path, context_tokens: int, slots: int) -> int:
    """An estimate: the weights and their repacked part, every slot's keys and values, and room to compute.

    Raises:
        Configuration: the file can't be read, or is no GGUF file.
    """
    header = read_header(path)
    trained = header.context_tokens
    tokens = min(context_tokens, trained) if trained else context_tokens
    weights = int(path.stat().st_size * (1 + REPACKED))
    return weights + header.context_bytes_per_token * tokens * slots + WORKSPACE


def free_bytes() -> int:
    """Memory that this process can still take: the machine's, or its container's where that is less."""
    free = int(psutil.virtual_memory().available)
    limit = _number(CGROUP / "memory.max")
    used = _number(CGROUP / "memory.current")
    if limit is None or used is None:
        return free
    return min(free, max(0, limit - used + _reclaimable()))


def refuse_if_too_large(name: str, path: Path, context_tokens: int, slots: int) -> None:
    """Raises before memory is taken that isn't there.

    Raises:
        Unavailable: the estimate is more than what is free; the message has both numbers.
        Configuration: the file can't be read, or is no GGUF file.
    """
    needed, free = needed_bytes(path, context_tokens, slots), free_bytes()
    if needed > free:
        raise Unavailable(
            f"The model {name} needs about {needed / GIB:.1f} GiB of memory, and {free / GIB:.1f} GiB are free. "
            "Unload another model, lower `models.slots` or `models.context_tokens`, or use a smaller model."
        )


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
