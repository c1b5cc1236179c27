"""Who holds how much of the memory that local models may take, and who goes when another needs room.

A model claims its estimate before its child starts, and what the child was measured to hold replaces it afterwards:
in the ledger at once, and in place of the estimate for every later load of the same model with the same options.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import psutil

from tidemill.core.errors import Unavailable
from tidemill.llm.runtime.memory import GIB, Need, free_bytes
from tidemill.llm.runtime.vram import Vram

log = logging.getLogger(__name__)

TOLERANCE = 0.25
"""An estimate that is off by more is logged."""


@dataclass(slots=True, eq=False)
class Claim:
    """Memory of one child, in bytes: what it needs, and since it was measured what it holds.

    Attributes:
        key: names the model with everything that decides how much it takes.
        estimate: from the files, before any child was measured.
        need: what was claimed: the estimate, or what an earlier child was measured to hold.
    """

    model: str
    key: str
    estimate: Need
    need: Need
    ram: int | None = None
    vram: int | None = None

    @property
    def ram_held(self) -> int:
        """Bytes of main memory that count against the budget."""
        return self.need.ram if self.ram is None else self.ram

    @property
    def vram_held(self) -> int:
        """Bytes of GPU memory that count against the budget."""
        return self.need.vram if self.vram is None else self.vram


class Resident(Protocol):
    """A loaded model that may have to go."""

    @property
    def name(self) -> str:
        """The model's."""
        ...

    @property
    def claim(self) -> Claim | None:
        """What it holds."""
        ...

    async def leave(self) -> bool:
        """Unloads it if it is still idle; whether it did."""
        ...


Residents = Callable[[], Awaitable[Sequence[Resident]]]
"""The models that may be unloaded now, least recently used first."""


@dataclass(frozen=True, slots=True)
class Space:
    """One kind of memory. `budget` is `None` where all that is free may be taken; numbers are bytes."""

    budget: int | None
    used: int
    free: int


class MemoryLedger:
    """Grants memory to one model after the other.

    Args:
        budget: bytes of main memory that all models together may take; `None` for all that is free.
        vram_budget: the same for GPU memory.
        residents: who may be unloaded.
        vram: the GPUs; `None` where there are none, and then models need no GPU memory.
        machine_free: bytes of main memory that are free.
    """

    def __init__(
        self,
        *,
        budget: int | None,
        vram_budget: int | None,
        residents: Residents,
        vram: Vram | None,
        machine_free: Callable[[], int] = free_bytes,
    ) -> None:
        self._budget = budget
        self._vram_budget = vram_budget
        self._residents = residents
        self._vram = vram
        self._machine_free = machine_free
        self._claims: set[Claim] = set()
        self._measured: dict[str, Need] = {}
        self._one_at_a_time = asyncio.Lock()

    async def claim(self, model: str, key: str, estimate: Need) -> Claim:
        """Takes memory for a child that is about to start, and unloads idle models where that makes the room.

        Raises:
            Unavailable: there is not enough, also without those that may go; the message has both numbers.
        """
        async with self._one_at_a_time:
            need = self._measured.get(key, estimate)
            if self._vram is None:
                need = Need(need.ram, 0)
            await self._make_room(model, need)
            claim = Claim(model, key, estimate, need)
            self._claims.add(claim)
            return claim

    def release(self, claim: Claim) -> None:
        """The child is gone."""
        self._claims.discard(claim)

    async def measure(self, claim: Claim, pid: int) -> None:
        """Reads what a child holds, which grows as its context fills; a child that is gone is left as it was."""
        first = claim.ram is None
        try:
            resident, shared = await asyncio.to_thread(_held, pid)
        except psutil.Error:
            return
        held = self._vram.held_by(pid) if self._vram is not None else 0
        claim.ram = shared
        claim.vram = held
        before = self._measured.get(claim.key, Need(0, 0))
        vram = claim.need.vram if held is None else held
        self._measured[claim.key] = Need(max(before.ram, resident), max(before.vram, vram))
        if first:
            _tell(claim, "memory", claim.need.ram, resident)
            if held is not None:
                _tell(claim, "GPU memory", claim.need.vram, held)

    def space(self) -> Space:
        """Main memory: the budget, what the models hold, and what the next one may take."""
        used = sum(claim.ram_held for claim in self._claims)
        starting = sum(claim.need.ram for claim in self._claims if claim.ram is None)
        return _space(self._budget, used, self._machine_free() - starting)

    def vram_space(self) -> Space | None:
        """The same for GPU memory; `None` where there is no GPU."""
        if self._vram is None:
            return None
        used = sum(claim.vram_held for claim in self._claims)
        starting = sum(claim.need.vram for claim in self._claims if claim.ram is None)
        return _space(self._vram_budget, used, self._vram.free() - starting)

    async def _make_room(self, model: str, need: Need) -> None:
        if self._fits(need):
            return
        candidates = [one for one in await self._residents() if one.claim is not None]
        gain = Need(
            sum(one.claim.ram_held for one in candidates if one.claim),
            sum(one.claim.vram_held for one in candidates if one.claim),
        )
        if not self._fits(need, gain):
            raise self._refusal(model, need)
        for resident in candidates:
            if await resident.leave():
                log.info("The model %s was unloaded to make room for %s.", resident.name, model)
            if self._fits(need):
                return
        raise self._refusal(model, need)

    def _fits(self, need: Need, gain: Need | None = None) -> bool:
        more = gain or Need(0, 0)
        vram = self.vram_space()
        return need.ram <= self.space().free + more.ram and (vram is None or need.vram <= vram.free + more.vram)

    def _refusal(self, model: str, need: Need) -> Unavailable:
        space, vram = self.space(), self.vram_space()
        what, needed, kind = "memory", need.ram, space
        advice = "lower `models.slots` or `models.context_tokens`, or use a smaller model"
        if need.ram <= space.free and vram is not None:
            what, needed, kind = "GPU memory", need.vram, vram
            advice = "lower `models.gpu_layers`, or use a smaller model"
        budget = f" of the budget of {kind.budget / GIB:.1f} GiB" if kind.budget is not None else ""
        others = sorted({claim.model for claim in self._claims})
        held = f" Loaded are {', '.join(others)}; none that is pinned or in use is unloaded for it." if others else ""
        return Unavailable(
            f"The model {model} needs about {needed / GIB:.1f} GiB of {what}, and "
            f"{max(0, kind.free) / GIB:.1f} GiB{budget} are free.{held} Unload another model, {advice}."
        )


def _space(budget: int | None, used: int, machine_free: int) -> Space:
    return Space(budget, used, machine_free if budget is None else min(machine_free, budget - used))


def _held(pid: int) -> tuple[int, int]:
    """What a process has resident, and its share of it where pages belong to several processes."""
    full = psutil.Process(pid).memory_full_info()
    return int(full.rss), int(getattr(full, "pss", full.rss))


def _tell(claim: Claim, what: str, claimed: int, measured: int) -> None:
    if abs(claimed - measured) > TOLERANCE * max(claimed, measured):
        log.info(
            "The model %s holds %.2f GiB of %s, and %.2f GiB were set aside for it; from now on what it holds counts.",
            claim.model,
            measured / GIB,
            what,
            claimed / GIB,
        )
