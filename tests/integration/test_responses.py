"""Responses are stored for their owner, and the next goes on from them until they are deleted or their time is over."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.conftest import NOON
from tidemill.core.accounts import RIGHTS, Caller, Role
from tidemill.core.chat import ChatChunk, ChatRequest
from tidemill.core.classification import Level
from tidemill.core.context import Asker
from tidemill.core.deployment import Deployment, Task
from tidemill.core.errors import InvalidInput, ModelFailed, NotFound, TidemillError, TooLarge
from tidemill.core.ids import new_id
from tidemill.flows.responses import Responses
from tidemill.llm.scripted import ScriptedAnswer, ScriptedCall, ScriptedModel
from tidemill.store.database import Pool
from tidemill.store.responses import ResponseRepository

DAYS = 7.0
MAI = Caller(owner_id=new_id(), role=Role.MEMBER, rights=RIGHTS[Role.MEMBER])
LAN = replace(MAI, owner_id=new_id())


class OneModel:
    """The deployments of a hub with one model."""

    async def for_chat(self, name: str) -> Deployment:
        return Deployment(Task.CHAT, name, "1")


def asker(caller: Caller) -> Asker:
    return Asker("0" * 32, owner_id=caller.owner_id)


class Hub:
    """The service over a script, with a clock that tests set."""

    def __init__(self, pool: Pool, *script: ScriptedAnswer | str) -> None:
        self.now = NOON
        self.rows = ResponseRepository(pool)
        self.model = ScriptedModel(script)
        self.responses = Responses(
            self.model,
            OneModel(),  # type: ignore[arg-type]
            self.rows,
            days=DAYS,
            clock=lambda: self.now,
        )

    async def ask(self, given: Any, caller: Caller = MAI, **fields: Any) -> dict[str, Any]:
        exchange = await self.responses.prepare({"model": "m", "input": given, **fields}, caller, asker(caller))
        self.now += timedelta(seconds=1)
        return dict((await self.responses.answer(exchange))[0])

    async def stream(self, given: Any, **fields: Any) -> list[Any]:
        exchange = await self.responses.prepare({"model": "m", "input": given, **fields}, MAI, asker(MAI))

        async def pieces() -> Any:
            yield b": loading\n\n"
            async for piece in self.responses.stream(exchange):
                yield piece

        return [event async for event in self.responses.events(exchange, pieces())]

    @property
    def messages(self) -> list[Any]:
        request = self.model.requests[-1]
        assert isinstance(request, ChatRequest)
        return list(request.messages)


async def test_a_response_goes_on_from_all_that_came_before_it_but_their_instructions(pool: Pool) -> None:
    hub = Hub(pool, "one", "two", "three")
    first = await hub.ask("a", instructions="Be brief.")
    second = await hub.ask("b", previous_response_id=first["id"])
    third = await hub.ask("c", previous_response_id=second["id"], instructions="Be kind.")
    said = [(message["role"], message["content"]) for message in hub.messages]
    assert said == [
        ("system", "Be kind."), ("user", "a"), ("assistant", "one"), ("user", "b"), ("assistant", "two"), ("user", "c"),
    ]  # fmt: skip
    stored = await hub.responses.get(third["id"], MAI)
    assert stored.response == third
    assert stored.input[0]["content"] == [{"type": "input_text", "text": "c"}]
    assert hub.model.requests[-1].context is not None
    assert stored.inference_id == hub.model.requests[-1].context.inference_id


async def test_a_functions_output_goes_on_from_its_call(pool: Pool) -> None:
    hub = Hub(pool, ScriptedAnswer("", calls=[ScriptedCall("weather", '{"city": "Hue"}')]), "Sunny.")
    tools = [{"type": "function", "name": "weather", "parameters": {"type": "object"}}]
    called = await hub.ask("The weather?", tools=tools)
    [item] = called["output"]
    output = {"type": "function_call_output", "call_id": item["call_id"], "output": "30 degrees"}
    answer = await hub.ask([output], previous_response_id=called["id"], tools=tools)
    assert answer["output"][0]["content"][0]["text"] == "Sunny."
    assert [message["role"] for message in hub.messages] == ["user", "assistant", "tool"]
    assert hub.messages[1]["tool_calls"][0]["id"] == hub.messages[2]["tool_call_id"]
    with pytest.raises(InvalidInput, match="no output"):
        await hub.ask("And now?", previous_response_id=called["id"])


async def test_nobody_elses_response_is_there(pool: Pool) -> None:
    hub = Hub(pool, "one", "two")
    first = await hub.ask("a")
    for unknown in (first["id"], f"resp_{new_id().hex}", "resp_x", ""):
        with pytest.raises(NotFound):
            await hub.responses.get(unknown, LAN)
        with pytest.raises(NotFound):
            await hub.responses.delete(unknown, LAN)
        with pytest.raises(NotFound) as caught:
            await hub.ask("b", LAN, previous_response_id=unknown)
        assert caught.value.param == "previous_response_id"
    assert (await hub.responses.get(first["id"], MAI)).response == first


async def test_what_is_not_to_be_stored_is_not(pool: Pool) -> None:
    hub = Hub(pool, "one")
    first = await hub.ask("a", store=False)
    assert first["store"] is False
    with pytest.raises(NotFound):
        await hub.responses.get(first["id"], MAI)


async def test_a_deleted_response_can_not_be_gone_on_from_and_neither_can_what_followed_it(pool: Pool) -> None:
    hub = Hub(pool, "one", "two")
    first = await hub.ask("a")
    second = await hub.ask("b", previous_response_id=first["id"])
    await hub.responses.delete(first["id"], MAI)
    with pytest.raises(NotFound):
        await hub.responses.delete(first["id"], MAI)
    for gone in (first, second):
        with pytest.raises(NotFound, match=gone["id"]):
            await hub.ask("c", previous_response_id=gone["id"])
    assert (await hub.responses.get(second["id"], MAI)).response == second


async def test_responses_are_forgotten_in_time_and_a_chain_lives_as_long_as_its_last(pool: Pool) -> None:
    hub = Hub(pool, "one", "alone", "two")
    first, alone = await hub.ask("a"), await hub.ask("x")
    hub.now = NOON + timedelta(days=5)
    second = await hub.ask("b", previous_response_id=first["id"])
    hub.now = NOON + timedelta(days=8)
    assert await hub.rows.forget(hub.now) == 1
    with pytest.raises(NotFound):
        await hub.responses.get(alone["id"], MAI)
    assert (await hub.responses.get(first["id"], MAI)).response == first
    hub.now = NOON + timedelta(days=13)
    assert await hub.rows.forget(hub.now) == 2
    with pytest.raises(NotFound):
        await hub.responses.get(second["id"], MAI)


async def test_a_streamed_response_is_stored_before_its_last_event(pool: Pool) -> None:
    hub = Hub(pool, "one two")
    events = await hub.stream("a")
    assert events[0] == b": loading\n\n"
    assert events[-1]["type"] == "response.completed"
    assert (await hub.responses.get(events[-1]["response"]["id"], MAI)).response == events[-1]["response"]


@pytest.mark.parametrize("error", [ModelFailed("It babbles."), TidemillError("Odd.")])
async def test_a_stream_that_fails_says_so_and_is_not_stored(pool: Pool, error: TidemillError) -> None:
    hub = Hub(pool, ScriptedAnswer("one ", error=error))
    events = await hub.stream("a")
    assert events[-1]["type"] == "response.failed"
    assert events[-1]["response"]["error"]["message"] == error.message
    with pytest.raises(NotFound):
        await hub.responses.get(events[-1]["response"]["id"], MAI)


async def test_a_stream_that_fails_before_its_first_piece_has_its_first_events_all_the_same(pool: Pool) -> None:
    hub = Hub(pool)

    async def pieces() -> Any:
        raise ModelFailed("It babbles.")
        yield ChatChunk([])

    exchange = await hub.responses.prepare({"model": "m", "input": "a"}, MAI, asker(MAI))
    events: list[Any] = [event async for event in hub.responses.events(exchange, pieces())]
    assert [event["type"] for event in events] == ["response.created", "response.in_progress", "response.failed"]


async def test_an_id_is_of_version_seven_and_says_what_it_is(pool: Pool) -> None:
    hub = Hub(pool, "one")
    made = await hub.ask("a")
    assert made["id"].startswith("resp_")
    assert UUID(made["id"].removeprefix("resp_")).version == 7


async def test_responses_that_go_on_from_the_same_ones_at_once_are_all_stored(pool: Pool) -> None:
    hub = Hub(pool, ScriptedAnswer("said", repeat=True))
    chain = [await hub.ask("0")]
    for number in range(1, 12):
        chain.append(await hub.ask(str(number), previous_response_id=chain[-1]["id"]))
    again = [hub.ask("again", previous_response_id=one["id"]) for one in chain * 3]
    answered = await asyncio.gather(*again)
    assert [one["previous_response_id"] for one in answered] == [one["id"] for one in chain * 3]


async def test_what_came_before_is_read_up_to_a_limit(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidemill.flows.responses.BEFORE_BYTES", 10_000)
    hub = Hub(pool, ScriptedAnswer("said", repeat=True))
    first = await hub.ask("a" * 6000)
    second = await hub.ask("b" * 6000, previous_response_id=first["id"])
    with pytest.raises(TooLarge, match="10,000"):
        await hub.ask("c", previous_response_id=second["id"])
    assert (await hub.responses.get(second["id"], MAI)).response == second


@pytest.mark.parametrize(
    ("given", "fields", "said", "level"),
    [
        ("hello", {}, "hello", Level.INTERNAL),
        ("Write to lan.nguyen@congty.vn.", {}, "Yes.", Level.CONFIDENTIAL),
        ("To whom?", {}, "To lan.nguyen@congty.vn.", Level.CONFIDENTIAL),
        ("To whom?", {"instructions": "You are lan.nguyen@congty.vn."}, "Me.", Level.CONFIDENTIAL),
        ("To whom?", {"metadata": {"to": "lan.nguyen@congty.vn"}}, "You.", Level.CONFIDENTIAL),
        ("Classification: public", {}, "Classification: public", Level.PUBLIC),
        ("Classification: public", {}, "Card 4111 1111 1111 1111", Level.SECRET),
    ],
)
async def test_a_response_is_stored_with_its_level(
    pool: Pool, given: str, fields: dict[str, Any], said: str, level: Level
) -> None:
    hub = Hub(pool, said)
    made = await hub.ask(given, **fields)
    assert (await hub.responses.get(made["id"], MAI)).level is level
