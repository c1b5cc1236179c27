"""The memory for local models: who gets it, who must go, and what those who don't get it are told."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE

import psutil
import pynvml
import pytest

from tests.support.gguf import write_gguf
from tidemill.core.errors import Unavailable
from tidemill.llm.runtime.ledger import MemoryLedger
from tidemill.llm.runtime.memory import GIB, Need, estimate
from tidemill.llm.runtime.vram import ScriptedVram, find_vram


class Model:
    """A loaded model of a test, which leaves when asked."""

    def __init__(self, name, claim, ledger, *, stays=False):
        self.name, self.claim, self.ledger, self.stays = name, claim, ledger, stays

    async def leave(self):
        if self.stays:
            return False
        self.ledger.release(self.claim)
        return True


class House:
    """A ledger with its residents, least recently used first."""

    def __init__(self, **options):
        self.residents = []
        settings = {"budget": 10 * GIB, "vram_budget": None, "vram": None, "machine_free": lambda: 100 * GIB}
        self.ledger = MemoryLedger(residents=self.idle, **{**settings, **options})

    async def idle(self):
        return [one for one in self.residents if one.claim in self.ledger._claims]

    async def load(self, name, ram, vram=0, **options):
        claim = await self.ledger.claim(name, name, Need(int(ram * GIB), int(vram * GIB)))
        self.residents.append(Model(name, claim, self.ledger, **options))
        return claim

    @property
    def loaded(self):
        return [one.name for one in self.residents if one.claim in self.ledger._claims]


async def test_the_least_recently_used_go_until_there_is_room_and_no_longer():
    house = House()
    for name in ("a", "b", "c"):
        await house.load(name, 3)
    await house.load("d", 4)
    assert house.loaded == ["b", "c", "d"]
    assert house.ledger.space().free == 0


async def test_nobody_goes_for_a_model_that_fits_in_no_case():
    house = House()
    await house.load("a", 3)
    with pytest.raises(Unavailable, match=r"big needs about 11\.0 GiB of memory, and 7\.0 GiB of the budget of 10\.0"):
        await house.load("big", 11)
    assert house.loaded == ["a"]


async def test_a_model_that_is_asked_at_the_last_moment_stays_and_the_next_one_goes():
    house = House()
    await house.load("a", 4, stays=True)
    await house.load("b", 4)
    await house.load("c", 4)
    assert house.loaded == ["a", "c"]
    house.residents[2].stays = True
    with pytest.raises(Unavailable, match=r"and 2\.0 GiB .* are free\. Loaded are a, c"):
        await house.load("d", 4)


async def test_without_a_budget_what_is_free_counts_less_what_others_are_about_to_take():
    house = House(budget=None, machine_free=lambda: 5 * GIB)
    await house.load("a", 3)
    with pytest.raises(Unavailable, match=r"needs about 6\.0 GiB of memory, and 2\.0 GiB are free"):
        await house.load("b", 6)
    assert house.ledger.space().budget is None


async def test_a_budget_larger_than_the_machine_gives_no_more_than_is_there():
    house = House(machine_free=lambda: 2 * GIB)
    with pytest.raises(Unavailable, match=r"2\.0 GiB of the budget of 10\.0 GiB are free"):
        await house.load("a", 3)


async def test_what_a_child_holds_takes_the_place_of_the_estimate_now_and_at_later_loads(caplog):
    caplog.set_level("INFO")
    house = House()
    claim = await house.load("a", 8)
    waits = (sys.executable, "-c", "print(flush=True); input()")
    child = await asyncio.create_subprocess_exec(*waits, stdin=PIPE, stdout=PIPE)
    await child.stdout.readline()
    await house.ledger.measure(claim, child.pid)
    held = psutil.Process(child.pid).memory_info().rss
    await child.communicate(b"\n")
    assert 0 < house.ledger.space().used < 2 * held
    assert "8.00 GiB were set aside" in caplog.text
    house.ledger.release(claim)
    again = await house.ledger.claim("a", "a", Need(8 * GIB, 0))
    assert again.need.ram < GIB
    assert again.estimate.ram == 8 * GIB


async def test_a_child_that_is_gone_is_left_as_it_was():
    house = House()
    claim = await house.load("a", 8)
    await house.ledger.measure(claim, 2**22 + 1)
    assert claim.ram_held == 8 * GIB


async def test_gpu_memory_is_budgeted_too_and_its_refusal_has_its_numbers():
    vram = ScriptedVram(8 * GIB, {os.getpid(): 5 * GIB})
    house = House(vram=vram, vram_budget=7 * GIB)
    claim = await house.load("a", 1, 6)
    await house.ledger.measure(claim, os.getpid())
    assert (claim.vram, house.ledger.vram_space().used) == (5 * GIB, 5 * GIB)
    with pytest.raises(Unavailable, match=r"needs about 8\.0 GiB of GPU memory, and 2\.0 GiB of the budget of 7\.0"):
        await house.load("b", 1, 8)
    await house.load("c", 1, 6)
    assert house.loaded == ["c"]


async def test_without_a_gpu_no_gpu_memory_is_needed():
    house = House()
    await house.load("a", 1, 500)
    assert house.ledger.vram_space() is None


def test_a_machine_without_nvidias_driver_has_no_gpu_memory_to_count(monkeypatch):
    def absent():
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", absent)
    assert find_vram() is None


def test_an_estimate_counts_the_layers_that_go_to_the_gpu(tmp_path):
    head = {
        "general.architecture": "llama",
        "llama.block_count": 9,
        "llama.embedding_length": 64,
        "llama.attention.head_count": 4,
        "llama.context_length": 4096,
    }
    path = write_gguf(tmp_path / "m.gguf", head)
    beside = write_gguf(tmp_path / "adapter.gguf", {"padding": "x" * 1000})
    plain = estimate(path, 1024, 2)
    assert plain.vram == 0
    assert estimate(path, 8192, 2).ram - plain.ram == 9 * 64 * 2 * 2 * (4096 - 1024) * 2
    more = estimate(path, 1024, 2, beside=[beside])
    assert more.ram - plain.ram == beside.stat().st_size
    half, whole = (estimate(path, 1024, 2, gpu_layers=layers) for layers in (5, None))
    assert 0 < half.vram < whole.vram
    assert estimate(path, 1024, 2, gpu_layers=100) == whole
