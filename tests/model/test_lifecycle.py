"""Local models that look after themselves: adapters, memory, queues, idleness and deaths, with real children."""

import asyncio
import os
import shutil
import signal
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx
import psutil
import pytest

from tests.model.test_runtime import FILE, HELLO, alive, settings_for, until
from tests.support.gguf import write_adapter, write_gguf
from tidemill.core.chat import ChatRequest
from tidemill.core.context import InferenceContext, Priority
from tidemill.core.deployment import Deployment, Task
from tidemill.core.errors import (
    Configuration,
    InvalidInput,
    ModelFailed,
    TooManyRequests,
    Unavailable,
)
from tidemill.core.ids import new_id
from tidemill.llm.openai_http import OpenAIHTTP, Target
from tidemill.llm.prompts.shipped import ShippedPrompts
from tidemill.llm.runtime.adapters import Adapter
from tidemill.llm.runtime.local import LocalRuntime, RuntimeState
from tidemill.registry.deployments import Deployments
from tidemill.settings import Settings

pytestmark = [pytest.mark.needs_model, pytest.mark.unmeasured]
GIB = 2**30


@asynccontextmanager
async def opened(folder, **changes):
    """A runtime, and the model port over it."""
    runtime = LocalRuntime(settings_for(folder, **changes))

    @asynccontextmanager
    async def serve(name, priority):
        async with runtime.serve(name, priority) as served:
            yield Target(served.endpoint.base_url, served.endpoint.api_key, served.model, served.options)

    try:
        async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
            yield runtime, OpenAIHTTP(client, serve)
    finally:
        await runtime.aclose()


def ask(name="tiny", **options):
    return ChatRequest(name, HELLO, {"max_tokens": 12, "temperature": 0, **options})


def status(runtime, name="tiny"):
    return next(one for one in runtime.status() if one.model == name)


def linked(folder, *names):
    """The same file under several names: several models, each with an estimate of its own."""
    for name in names:
        try:
            os.link(FILE, folder / f"{name}.gguf")
        except OSError:
            shutil.copyfile(FILE, folder / f"{name}.gguf")
    return {"tiny": FILE, **{name: folder / f"{name}.gguf" for name in names}}


@pytest.fixture
def adapters(tmp_path):
    folder = tmp_path / "adapters"
    folder.mkdir()
    for number, name in enumerate(("one", "two", "three"), 1):
        write_adapter(folder / f"{name}.gguf", FILE, seed=number)
    return folder


async def test_a_child_serves_its_base_and_several_adapters_at_once(tmp_path, adapters):
    named = {name: {"base": "tiny", "path": adapters / f"{name}.gguf"} for name in ("one", "two")}
    async with opened(tmp_path) as (_, plain):
        expected = (await plain.complete(ask())).text
    async with opened(tmp_path, adapters=named) as (runtime, model):
        names = ("tiny", "tiny:one", "tiny:two", "tiny")
        alone = [(await model.complete(ask(name))).text for name in names]
        together = await asyncio.gather(*(model.complete(ask(name)) for name in names))
        assert alone[0] == alone[3] == expected
        assert len(set(alone)) == 3
        assert [answer.text for answer in together] == alone
        assert status(runtime).adapters == ("one", "two")
        assert len(runtime.status()) == 1


async def test_the_three_tasks_of_reviews_each_have_an_adapter_of_one_model_in_one_process(tmp_path, adapters):
    named = {name: {"base": "tiny", "path": adapters / f"{name}.gguf"} for name in ("one", "two", "three")}
    tasks = {
        "review.necessity": {"model": "tiny:one"},
        "review.comment": {"model": "tiny:two"},
        "review.refine": {"model": "tiny:three"},
    }
    settings = Settings(data_dir=tmp_path, models=settings_for(tmp_path, adapters=named).models, tasks=tasks)
    found = await Deployments(settings, ShippedPrompts(), LocalAlone()).for_review()
    async with opened(tmp_path, adapters=named) as (runtime, model):
        used = [found.necessity, found.comment, found.doubt, found.refine]
        texts = [(await model.complete(ask(one.model))).text for one in used]
        assert [one.adapter.partition("@")[0] for one in used] == ["one", "two", "two", "three"]
        assert [one.prompt_version.partition("/")[0] for one in used] == [
            "review.necessity",
            "review.comment",
            "review.doubt",
            "review.refine",
        ]
        assert len({one.model_version for one in used}) == 1
        assert len({texts[0], texts[1], texts[3]}) == 3
        assert [one.model for one in runtime.status()] == ["tiny"]


class LocalAlone:
    """No providers."""

    def find(self, name):
        return None

    def check_prefix(self, name):
        return None


async def test_an_adapter_is_added_under_load_without_dropping_a_request(tmp_path, adapters):
    async with opened(tmp_path) as (runtime, model):
        before = (await model.complete(ask())).text
        first = status(runtime).pid
        answers, going = [], True

        async def keep_asking():
            while going:
                answers.append((await model.complete(ask())).text)

        askers = [asyncio.create_task(keep_asking()) for _ in range(3)]
        long = [chunk async for chunk in _while_adding(runtime, model)]
        changed = (await model.complete(ask("tiny:one"))).text
        going = False
        await asyncio.gather(*askers)
        assert set(answers) == {before}
        assert changed != before
        assert long[-1].usage.completion_tokens == 80
        assert status(runtime).pid != first
        assert status(runtime).restarts == 0
        await until(lambda: not alive(first))
        assert [one.name for one in runtime.adapters()] == ["one"]


async def _while_adding(runtime, model):
    """A long answer of the old child, during which the new one takes over."""
    async for number, chunk in _numbered(model.stream(ask(max_tokens=80, ignore_eos=True))):
        if number == 3:
            await runtime.add_adapter(Adapter("one", "tiny", "one.gguf"))
        yield chunk


async def _numbered(chunks):
    number = 0
    async for chunk in chunks:
        yield number, chunk
        number += 1


async def test_a_registered_adapter_is_there_after_a_restart_and_gone_when_removed(tmp_path, adapters):
    async with opened(tmp_path) as (runtime, _):
        await runtime.add_adapter(Adapter("one", "tiny", "one.gguf", 0.5))
        assert runtime.status() == []
    async with opened(tmp_path) as (runtime, model):
        assert await model.complete(ask("tiny:one"))
        await runtime.remove_adapter("one")
        with pytest.raises(Exception, match="no model 'tiny:one'"):
            await model.complete(ask("tiny:one"))


async def test_an_adapter_for_another_base_is_refused_before_anything_starts(tmp_path, adapters):
    head = {"general.type": "adapter", "adapter.type": "lora", "adapter.lora.alpha": 4.0}
    write_gguf(adapters / "other.gguf", {"general.architecture": "qwen2", **head})
    async with opened(tmp_path) as (runtime, _):
        with pytest.raises(InvalidInput, match="architecture 'qwen2', not 'llama'"):
            await runtime.add_adapter(Adapter("other", "tiny", "other.gguf"))
        assert runtime.adapters() == []
        assert runtime.status() == []


async def test_an_adapter_for_which_memory_cannot_hold_both_children_is_refused_with_numbers(tmp_path, adapters):
    async with opened(tmp_path, memory_budget="600 MiB") as (runtime, model):
        before = (await model.complete(ask())).text
        pid = status(runtime).pid
        with pytest.raises(Unavailable, match=r"needs about 0\.\d GiB of memory, and 0\.\d GiB of the budget of 0\.6"):
            await runtime.add_adapter(Adapter("one", "tiny", "one.gguf"))
        assert runtime.adapters() == []
        assert (await model.complete(ask())).text == before
        assert status(runtime).pid == pid


async def test_three_models_on_a_budget_for_two_make_room_by_last_use(tmp_path):
    files = linked(tmp_path, "a", "b", "c", "d", "e")
    async with opened(tmp_path, files=files, memory_budget="700 MiB") as (runtime, model):
        for name in ("a", "b", "a", "c"):
            await model.complete(ask(name))
        states = {one.model: one.state for one in runtime.status()}
        assert states == {"a": RuntimeState.READY, "b": RuntimeState.STOPPED, "c": RuntimeState.READY}
        assert runtime.memory.used < 700 * 2**20
        runtime.pin("a", pinned=True)
        await model.complete(ask("d"))
        states = {one.model: one.state for one in runtime.status() if one.pid}
        assert states == {"a": RuntimeState.READY, "d": RuntimeState.READY}
        runtime.pin("d", pinned=True)
        with pytest.raises(Unavailable, match=r"e needs about .* Loaded are a, d; none that is pinned or in use"):
            await model.complete(ask("e"))


async def test_a_model_in_use_is_not_unloaded_for_another(tmp_path):
    files = linked(tmp_path, "a", "b")
    async with opened(tmp_path, files=files, memory_budget="550 MiB") as (runtime, model):
        chunks = model.stream(ask("a", max_tokens=40, ignore_eos=True))
        await anext(chunks)
        with pytest.raises(Unavailable, match="b needs about"):
            await model.complete(ask("b"))
        rest = [chunk async for chunk in chunks]
        assert rest[-1].usage.completion_tokens == 40
        await model.complete(ask("b"))
        assert status(runtime, "a").state is RuntimeState.STOPPED


async def test_many_who_wait_for_a_cold_model_load_it_once_and_the_rest_is_told_when_to_come_back(tmp_path):
    async with opened(tmp_path, max_queue=3) as (runtime, model):
        assert runtime.is_loading("tiny")
        waiting = [asyncio.create_task(model.complete(ask())) for _ in range(5)]
        await asyncio.sleep(0)
        await until(lambda: runtime.status() and status(runtime).in_flight == 5)
        assert status(runtime).queue >= 3
        with pytest.raises(TooManyRequests, match="3 wait") as caught:
            await model.complete(ask())
        assert 1 <= caught.value.retry_after <= 60
        answers = await asyncio.gather(*waiting)
        assert len({answer.text for answer in answers}) == 1
        assert (status(runtime).restarts, status(runtime).in_flight) == (0, 0)
        assert len(psutil.Process().children()) >= 1
        assert not runtime.is_loading("tiny")


async def test_unloading_waits_for_the_answer_that_is_being_read(tmp_path):
    async with opened(tmp_path) as (runtime, model):
        chunks = model.stream(ask(max_tokens=30, ignore_eos=True))
        await anext(chunks)
        unloading = asyncio.create_task(runtime.unload("tiny"))
        await asyncio.sleep(0.05)
        assert status(runtime).state is RuntimeState.UNLOADING
        rest = [chunk async for chunk in chunks]
        assert rest[-1].usage.completion_tokens == 30
        await unloading
        assert status(runtime).state is RuntimeState.STOPPED


async def test_a_person_who_comes_late_is_answered_before_the_batch_that_waits(tmp_path):
    async with opened(tmp_path, slots=1) as (_, model):
        await model.complete(ask(max_tokens=1))
        order = []

        async def answered(name, priority):
            context = InferenceContext(new_id(), Deployment(Task.CHAT, "tiny", "v"), "0" * 32, priority=priority)
            await model.complete(replace(ask(max_tokens=100, ignore_eos=True), context=context))
            order.append(name)

        waits = [(f"batch {number}", Priority.BATCH) for number in range(4)]
        async with asyncio.TaskGroup() as group:
            for name, priority in [*waits, ("person", Priority.INTERACTIVE)]:
                group.create_task(answered(name, priority))
                await asyncio.sleep(0)
        assert order == ["batch 0", "person", "batch 1", "batch 2", "batch 3"]


async def test_a_model_that_another_process_asks_is_not_idle(tmp_path):
    """Its requests go to the child past this process, as those of a worker on the same data folder do."""
    async with opened(tmp_path, keep_alive=0) as (runtime, model):
        await model.complete(ask(max_tokens=1))
        async with runtime.serve("tiny") as served:
            endpoint = served.endpoint
        body = {"messages": HELLO, "max_tokens": 900, "ignore_eos": True, "stream": True}
        headers = {"authorization": f"Bearer {endpoint.api_key}"}
        async with (
            httpx.AsyncClient(timeout=60, trust_env=False, headers=headers) as other,
            other.stream("POST", f"{endpoint.base_url}/chat/completions", json=body) as answer,
        ):
            pieces = answer.aiter_bytes()
            for _ in range(3):  # the first can come before the slot counts as at work
                await anext(pieces)
            await runtime.tend()
            assert status(runtime).state is RuntimeState.READY
        while status(runtime).state is RuntimeState.READY:
            await runtime.tend()
            await asyncio.sleep(0.05)


async def test_an_idle_model_is_unloaded_in_time_and_a_pinned_one_stays(tmp_path):
    files = dict.fromkeys(("kept", "tiny"), FILE)
    async with opened(tmp_path, files=files, keep_alive=0, pinned=["kept"]) as (runtime, model):
        for name in files:
            await model.complete(ask(name))
        await runtime.tend()
        assert status(runtime).state is RuntimeState.STOPPED
        assert status(runtime, "kept").state is RuntimeState.READY
        assert status(runtime, "kept").keep_alive_until is None


async def test_the_status_says_what_a_child_holds_and_how_fast_it_is(tmp_path):
    async with opened(tmp_path) as (runtime, model):
        await model.complete(ask())
        await runtime.read()
        found = status(runtime)
        assert (found.slots, found.busy, found.queue, found.in_flight, found.owner) == (2, 0, 0, 0, True)
        assert 50 * 2**20 < found.measured_bytes < GIB
        assert found.estimated_bytes > found.measured_bytes / 2
        assert found.pace.prefill > found.pace.decode > 1
        assert found.keep_alive_until is not None
        assert found.idle_seconds >= 0
        space = runtime.memory
        assert (space.budget, space.used) == (None, found.measured_bytes)


async def test_a_child_killed_in_the_middle_of_an_answer_ends_it_with_an_error(tmp_path):
    async with opened(tmp_path) as (runtime, model):
        chunks = model.stream(ask(max_tokens=500, ignore_eos=True))
        for _ in range(3):
            await anext(chunks)
        os.kill(status(runtime).pid, signal.SIGKILL)
        with pytest.raises((ModelFailed, Unavailable)):
            async for _ in chunks:
                pass
        assert (await model.complete(ask())).text
        assert status(runtime).restarts == 1


async def test_a_whole_answer_whose_child_is_killed_is_asked_for_once_more(tmp_path):
    async with opened(tmp_path) as (runtime, model):
        await model.complete(ask(max_tokens=1))
        asking = asyncio.create_task(model.complete(ask(max_tokens=60, ignore_eos=True)))
        await until(lambda: status(runtime).busy == 1)
        await asyncio.sleep(0.1)
        os.kill(status(runtime).pid, signal.SIGKILL)
        assert (await asking).usage.completion_tokens == 60
        assert status(runtime).restarts == 1


async def test_a_projector_that_is_none_is_refused_before_the_model_is_loaded(tmp_path):
    async with opened(tmp_path, mmproj={"tiny": FILE}) as (_, model):
        with pytest.raises(Configuration, match="is no projector"):
            await model.complete(ask())
    torn = write_gguf(tmp_path / "torn.gguf", {"general.architecture": "clip", "clip.has_vision_encoder": True})
    async with opened(tmp_path, mmproj={"tiny": torn}) as (runtime, model):
        with pytest.raises(Configuration, match=r"can't load .*tiny\.log"):
            await model.complete(ask())
        assert status(runtime).state is RuntimeState.FAILED
        assert status(runtime).capabilities == ("text", "vision")


async def test_drafts_from_the_text_before_change_no_answer(tmp_path):
    long = {"max_tokens": 40, "ignore_eos": True}
    async with opened(tmp_path) as (_, model):
        plain = (await model.complete(ask(**long))).text
    async with opened(tmp_path, draft={"tiny": "ngram"}) as (_, model):
        assert (await model.complete(ask(**long))).text == plain
    async with opened(tmp_path, files={"tiny": FILE, "small": FILE}, draft={"tiny": "small"}) as (_, model):
        assert (await model.complete(ask(**long))).text == plain
