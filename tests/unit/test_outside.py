"""What is sensitive does not leave for a model outside, and the refusal says why without repeating it."""

from collections.abc import Mapping
from functools import partial

import pytest

from tidemill.analysis.classification import classify_all
from tidemill.core.chat import ChatRequest, ModelRequest, TextRequest
from tidemill.core.classification import Level, UseLimits
from tidemill.core.errors import NotPermitted
from tidemill.llm.classified import ClassifiedModel, said_in
from tidemill.llm.outside import LARGE, OutsideLimit, is_outside
from tidemill.llm.scripted import ScriptedAnswer, ScriptedModel
from tidemill.settings import EndpointSettings

ADDRESS = "lan.nguyen@congty.vn"
HARMLESS = "Write a haiku about tides."
ENDPOINTS = {
    "far": EndpointSettings(url="https://api.provider.com/v1"),
    "near": EndpointSettings(url="http://10.0.0.7:8000/v1"),
    "trusted": EndpointSettings(url="https://api.provider.com/v1", outside=False),
    "distrusted": EndpointSettings(url="http://127.0.0.1:8000/v1", outside=True),
}


def guarded(limits: UseLimits | None = None, default: Level = Level.INTERNAL) -> tuple[ClassifiedModel, ScriptedModel]:
    inner = ScriptedModel([ScriptedAnswer("Yes.", repeat=True)])
    classify = partial(classify_all, default=default)
    return ClassifiedModel(inner, OutsideLimit(ENDPOINTS, limits=limits or UseLimits(), classify=classify)), inner


def asked(model: str, text: str) -> ChatRequest:
    return ChatRequest(model, [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}])


async def streamed(model: ClassifiedModel, request: ModelRequest) -> None:
    async for _ in model.stream(request):
        pass


@pytest.mark.parametrize(
    ("url", "outside"),
    [
        ("https://api.openai.com/v1", True),
        ("http://localhost:8000/v1", False),
        ("http://LOCALHOST./v1", False),
        ("http://127.0.0.1:1/v1", False),
        ("http://[::1]:1/v1", False),
        ("http://[fd00::7]/v1", False),
        ("http://192.168.1.5/v1", False),
        ("http://172.16.0.1/v1", False),
        ("http://172.32.0.1/v1", True),
        ("http://8.8.8.8/v1", True),
        ("http://[::ffff:8.8.8.8]/v1", True),
        ("http://134744072/v1", True),
        ("http://0x8080808/v1", True),
        ("http://vllm:8000/v1", False),
        ("http://gpu.lab.internal/v1", False),
        ("http://mac.local/v1", False),
        ("http://internal.example.com/v1", True),
        ("http://10.0.0.7.example.com/v1", True),
        ("http://localhost.example.com/v1", True),
        ("https://mylocal/v1", False),
        ("https://xlocal.com/v1", True),
    ],
)
def test_an_endpoint_is_outside_unless_its_host_is_the_teams_own(url: str, *, outside: bool) -> None:
    assert is_outside(EndpointSettings(url=url)) is outside
    assert is_outside(EndpointSettings(url=url, outside=not outside)) is not outside


@pytest.mark.parametrize("model", ["far", "distrusted"])
async def test_a_sensitive_text_is_not_sent_outside_and_the_answer_says_why(model: str) -> None:
    guard, inner = guarded()
    request = asked(model, f"Reply to {ADDRESS}")
    for work in (guard.complete(request), streamed(guard, request)):
        with pytest.raises(NotPermitted, match=r"confidential.*email-address") as raised:
            await work
        assert ADDRESS not in raised.value.message
    assert inner.calls == 0


@pytest.mark.parametrize("model", ["near", "trusted", "a local one"])
async def test_a_sensitive_text_may_go_to_a_model_inside(model: str) -> None:
    guard, inner = guarded()
    await guard.complete(asked(model, ADDRESS))
    await streamed(guard, asked(model, ADDRESS))
    assert inner.calls == 2


async def test_a_providers_model_is_outside_where_the_provider_is_and_an_endpoint_of_its_name_is_what_it_says() -> None:
    leaving = {"openai/m", "near"}
    limit = OutsideLimit(ENDPOINTS, limits=UseLimits(), classify=classify_all, leaves=leaving.__contains__)
    inner = ScriptedModel([ScriptedAnswer("Yes.", repeat=True)])
    guard = ClassifiedModel(inner, limit)
    with pytest.raises(NotPermitted, match="set `outside` of the provider openai to false"):
        await guard.complete(asked("openai/m", ADDRESS))
    for model in ("near", "lab/m"):
        await guard.complete(asked(model, ADDRESS))
    assert inner.calls == 2


async def test_a_text_without_anything_sensitive_goes_outside() -> None:
    guard, inner = guarded()
    await guard.complete(asked("far", HARMLESS))
    await streamed(guard, asked("far", HARMLESS))
    assert inner.calls == 2


async def test_a_stricter_limit_lets_only_what_is_public_out() -> None:
    guard, inner = guarded(UseLimits(outside=Level.PUBLIC))
    with pytest.raises(NotPermitted, match="internal"):
        await guard.complete(asked("far", HARMLESS))
    await guarded(UseLimits(outside=Level.PUBLIC), Level.PUBLIC)[0].complete(asked("far", HARMLESS))
    assert inner.calls == 0


@pytest.mark.parametrize(
    "request_",
    [
        TextRequest("far", f"To {ADDRESS}"),
        TextRequest("far", "def f():", suffix=f"# {ADDRESS}"),
        ChatRequest("far", [{"role": "user", "content": [{"type": "text", "text": ADDRESS}]}]),
        ChatRequest("far", [{"role": "assistant", "tool_calls": [{"function": {"arguments": f'["{ADDRESS}"]'}}]}]),
        ChatRequest("far", [{"role": "user", "content": HARMLESS}], {"tools": [{"description": ADDRESS}]}),
        ChatRequest("far", [{"role": "user", "content": "a " * LARGE + ADDRESS}]),
    ],
)  # fmt: skip
async def test_every_part_of_a_request_is_read(request_: ModelRequest) -> None:
    guard, _ = guarded()
    assert any(ADDRESS in text for text in said_in(request_))
    with pytest.raises(NotPermitted):
        await guard.complete(request_)


async def test_closing_the_stream_stops_the_model() -> None:
    closed = []

    class Endless(ScriptedModel):
        async def stream(self, request: ModelRequest):  # type: ignore[no-untyped-def, override]
            try:
                while True:
                    yield Mapping
            finally:
                closed.append(request.model)

    model = ClassifiedModel(Endless([]), OutsideLimit(ENDPOINTS, limits=UseLimits(), classify=classify_all))
    chunks = model.stream(asked("far", HARMLESS))
    await anext(chunks)
    await chunks.aclose()
    assert closed == ["far"]
