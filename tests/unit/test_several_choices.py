"""Several answers to one request, from models that give one at a time."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from tidemill.core.chat import ChatChunk, ChatCompletion, ChatRequest, ModelRequest, TextRequest, Usage
from tidemill.core.errors import ModelFailed
from tidemill.llm.scripted import ScriptedAnswer, ScriptedModel
from tidemill.llm.several_choices import AT_ONCE, SeveralChoices, all_of, merged
from tidemill.llm.transcript import Transcript

ASK = ChatRequest("tiny", [{"role": "user", "content": "one two"}], {"n": 3, "seed": 7})


def several(model: ScriptedModel, *, alone: bool = True) -> SeveralChoices:
    return SeveralChoices(model, one_by_one=lambda name: alone)


async def test_each_answer_is_asked_for_with_a_seed_of_its_own_and_the_prompt_is_paid_once() -> None:
    script = ScriptedModel(["a", "b b", "c"])
    answer = await several(script).complete(ASK)
    assert [choice["index"] for choice in answer.choices] == [0, 1, 2]
    assert sorted(choice["message"]["content"] for choice in answer.choices) == ["a", "b b", "c"]
    assert answer.usage == Usage(prompt_tokens=2, completion_tokens=4)
    assert sorted(request.options["seed"] for request in script.requests) == [7, 8, 9]
    assert all("n" not in request.options for request in script.requests)


async def test_a_stream_says_to_which_answer_each_piece_belongs() -> None:
    transcript, usage = Transcript(), None
    async for chunk in several(ScriptedModel(["a a", "b b", "c c"])).stream(ASK):
        transcript.add(chunk)
        usage = chunk.usage or usage
    choices = transcript.choices()
    assert [(choice["index"], choice["finish_reason"]) for choice in choices] == [(n, "stop") for n in range(3)]
    assert sorted(choice["message"]["content"] for choice in choices) == ["a a", "b b", "c c"]
    assert usage == Usage(prompt_tokens=2, completion_tokens=6)


async def test_texts_are_continued_several_times_too() -> None:
    request = TextRequest("tiny", "one", None, {"n": 2})
    answer = await several(ScriptedModel(["x", "y"])).complete(request)
    assert sorted(choice["text"] for choice in answer.choices) == ["x", "y"]


@pytest.mark.parametrize(("request_", "alone"), [(ASK, False), (ChatRequest("tiny", [], {}), True)])
async def test_a_request_that_needs_no_help_passes_as_it_is(request_: ModelRequest, alone: bool) -> None:
    script = ScriptedModel(["a", "b"])
    model = several(script, alone=alone)
    await model.complete(request_)
    assert [chunk async for chunk in model.stream(request_)]
    assert script.requests == [request_, request_]


async def test_one_failure_is_the_failure_of_all() -> None:
    script = [
        ScriptedAnswer("a", delay=30),
        ScriptedAnswer(error=ModelFailed("It babbles.")),
        ScriptedAnswer("c", delay=30),
    ]
    async with asyncio.timeout(5):
        with pytest.raises(ModelFailed):
            await several(ScriptedModel(script)).complete(ASK)
        with pytest.raises(ModelFailed):
            [chunk async for chunk in several(ScriptedModel(script)).stream(ASK)]


class Endless:
    """Streams for ever, and counts how many of its streams run."""

    def __init__(self) -> None:
        self.running = self.most = 0

    async def complete(self, request: ModelRequest) -> ChatCompletion:
        raise NotImplementedError

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ChatChunk, None]:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            while True:
                yield ChatChunk([{"index": 0, "delta": {"content": "x"}, "finish_reason": None}])
                await asyncio.sleep(0)
        finally:
            self.running -= 1


async def test_a_stream_that_is_closed_ends_every_answer_and_only_so_many_run_at_once() -> None:
    endless = Endless()
    stream = SeveralChoices(endless, one_by_one=lambda name: True).stream(ChatRequest("tiny", [], {"n": 50}))
    for _ in range(200):
        await anext(stream)
    await stream.aclose()
    assert (endless.running, endless.most) == (0, AT_ONCE)


async def test_nothing_merges_into_nothing() -> None:
    assert [found async for found in merged([])] == []
    assert await all_of([]) == []
