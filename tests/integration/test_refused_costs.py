"""What an answer cost that a guardrail did not let pass."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

import pytest

from tests.conftest import NOON
from tests.support.priced import asked
from tidemill.app.guardrails import guards_of
from tidemill.core.chat import ChatChunk, ChatCompletion, ModelRequest
from tidemill.core.errors import ContentRefused
from tidemill.core.ids import new_id
from tidemill.core.inference import Inference
from tidemill.core.served import Served
from tidemill.llm.guardrails.memorised import Memory
from tidemill.llm.guardrails.model import GuardedModel
from tidemill.llm.recording import RecordedModel, TextPolicy
from tidemill.llm.scripted import ScriptedModel
from tidemill.settings.guardrails import GuardrailSettings
from tidemill.store.database import Pool
from tidemill.store.guardrails import GuardrailRepository
from tidemill.store.inferences import InferenceRepository


class Priced(ScriptedModel):
    """Says with its answers who gives them, and at the end what they cost."""

    async def complete(self, request: ModelRequest) -> ChatCompletion:
        return replace(await super().complete(request), served=Served("acme", "dear", "v1", cost_usd=0.25))

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ChatChunk, None]:
        yield ChatChunk([], served=Served("acme", "dear", "v1"))
        async with aclosing(super().stream(request)) as chunks:
            async for chunk in chunks:
                cost = 0.25 if chunk.usage is not None else None
                yield replace(chunk, served=None if cost is None else Served("acme", "dear", "v1", cost_usd=cost))


def guarded(pool: Pool) -> GuardedModel:
    """Lets no address out, over a model that says nothing else."""
    rows = GuardrailRepository(pool)
    chosen = GuardrailSettings.model_validate({"privacy": {"output": "refuse"}})
    memory = Memory(rows, clock=lambda: NOON, min_words=chosen.memorised.min_words)
    guards = guards_of(chosen, memory=memory, presidio=None)
    return GuardedModel(Priced(["lan.nguyen@congty.vn"]), guards, rows, clock=lambda: NOON)


async def whole_stream(model: RecordedModel, request: ModelRequest) -> None:
    async with aclosing(model.stream(request)) as chunks:
        async for _ in chunks:
            pass


@pytest.mark.parametrize(("streamed", "cost"), [(False, 0.25), (True, None)])
async def test_the_row_of_an_answer_that_is_refused_says_who_gave_it_and_what_it_cost(
    pool: Pool, streamed: bool, cost: float | None
) -> None:
    seen: list[Inference] = []
    model = RecordedModel(
        guarded(pool),
        InferenceRepository(pool),
        clock=lambda: NOON,
        texts=TextPolicy(7.0),
        observe=seen.append,
    )
    request = asked("dear", user_id=new_id())
    with pytest.raises(ContentRefused):
        await (whole_stream(model, request) if streamed else model.complete(request))
    [row] = seen
    assert (row.error_code, row.cost_usd) == ("content_policy_violation", cost)
    assert row.served is not None
    assert row.served.provider == "acme"
