"""How a local model stands, for a person."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from tidemill.llm.runtime.metrics import Pace


class RuntimeState(StrEnum):
    """How a local model stands."""

    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    UNLOADING = "unloading"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class RuntimeStatus:
    """One local model. Memory is in bytes, and `None` where no child of ours holds any.

    Attributes:
        rss_bytes: what the process has resident now.
        estimated_bytes: what was expected before it was loaded.
        measured_bytes: what counts against the budget: its share of what it has resident.
        vram_bytes: GPU memory; `None` also without a GPU.
        busy: slots in use.
        queue: requests that wait for a slot or for the load.
        in_flight: both together.
        pace: tokens a second of the last requests.
        idle_seconds: since the last request ended; `None` where it is not loaded.
        keep_alive_until: when it is unloaded if nobody asks; `None` for never.
        owner: whether this process runs its child.
    """

    model: str
    state: RuntimeState
    pid: int | None
    rss_bytes: int | None
    started_at: datetime | None
    restarts: int
    estimated_bytes: int | None
    measured_bytes: int | None
    vram_bytes: int | None
    slots: int
    busy: int
    queue: int
    in_flight: int
    pace: Pace
    adapters: tuple[str, ...]
    capabilities: tuple[str, ...]
    pinned: bool
    idle_seconds: float | None
    keep_alive_until: datetime | None
    owner: bool
