"""The scripted provider's orders, and answers that only a recorded wire has."""

import json

import httpx2
import pytest

from tidemill.core.chat import ChatRequest
from tidemill.core.errors import InvalidInput, TidemillError
from tidemill.core.failure import Failure
from tidemill.core.provider import Provider, ProviderKind
from tidemill.core.served import Served
from tidemill.llm.providers.connections import Connections
from tidemill.llm.providers.dispatch import Backends
from tidemill.llm.providers.scripted import Asked, Script, Trouble
from tidemill.llm.providers.scripted_openai import OpenAIWire
from tidemill.llm.scripted import ScriptedModel

WIRE = OpenAIWire()
ASK = ChatRequest("p/m", [{"role": "user", "content": "Hello"}])


def asked(model="m", key=""):
    return Asked("chat", model, key, False, {})


def test_orders_are_carried_out_in_turn_and_as_often_as_they_say():
    script = Script()
    script.add(
        [{"leaf": "overload.high", "times": 2}, {"leaf": "hang", "model": "other"}, {"text": "Once", "times": 1}]
    )
    faults = [script.next(WIRE, asked(model), None).fault for model in ("m", "other", "other", "m", "m")]
    assert faults == [Failure.OVERLOAD_HIGH, Failure.OVERLOAD_HIGH, Trouble.HANG, None, None]
    assert script.counts == {"openai/m": 3, "openai/other": 2}


def test_an_order_for_good_stays_and_a_name_goes_before_orders():
    script = Script()
    script.add({"leaf": "quota.daily", "times": 0})
    assert {script.next(WIRE, asked(), None).fault for _ in range(5)} == {Failure.QUOTA_DAILY}
    assert script.next(WIRE, asked(), "slow").fault is Trouble.SLOW
    script.clear()
    assert script.next(WIRE, asked(), None).fault is None


def test_only_the_key_that_is_accepted_passes():
    script = Script()
    script.add({"accept_key": "new"})
    assert script.next(WIRE, asked(key="old"), None).fault is Failure.AUTH_EXPIRED
    assert script.next(WIRE, asked(key="new"), None).fault is None
    script.add({"accept_key": "newer", "leaf": "authentication.invalid"})
    assert script.next(WIRE, asked(key="new"), None).fault is Failure.AUTH_INVALID


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ({"leaf": "nothing"}, "no fault of the name nothing"),
        ({"leaf": "network.dns"}, "nowhere.invalid"),
        ({"leaf": "hang", "tims": 2}, "tims"),
        ("hang", "JSON object"),
    ],
)
def test_an_order_that_can_not_be_carried_out_is_refused(order, said):
    with pytest.raises(InvalidInput, match=said):
        Script().add(order)


class Book:
    """One provider, without a key."""

    provider = Provider("p", ProviderKind.OPENAI_COMPATIBLE, ("http://recorded.example/v1",))

    def find(self, model):
        return (self.provider, model.partition("/")[2])

    async def key(self, provider):
        return None


async def answer_of(body, status=200, headers=None):
    """What the adapter makes of one recorded answer."""

    def handler(request):
        assert "authorization" not in request.headers
        return httpx2.Response(status, content=json.dumps(body), headers=headers)

    def client(provider):
        return httpx2.AsyncClient(transport=httpx2.MockTransport(handler))

    connections = Connections(Book(), client, 5.0)
    backends = Backends(Book(), connections, ScriptedModel([]), lambda name: Served("local", name, ""), 5.0)
    try:
        return await backends.complete(ASK)
    finally:
        await connections.aclose()


async def test_a_failure_that_a_router_reports_within_a_choice_is_one():
    error = {"code": 429, "message": "Provider returned error"}
    choice = {"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "error", "error": error}
    with pytest.raises(TidemillError) as caught:
        await answer_of({"choices": [choice]})
    assert caught.value.failure is Failure.RATE_LIMIT_LIGHT


async def test_fields_that_no_client_knows_pass_through():
    message = {"role": "assistant", "content": "Yes.", "reasoning_content": "hm", "annotations": []}
    answer = await answer_of({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
    assert answer.choices[0]["message"]["reasoning_content"] == "hm"
    assert answer.served.version == "openai_compatible:m"


async def test_a_redirect_is_not_followed():
    with pytest.raises(TidemillError) as caught:
        await answer_of({}, 307, {"location": "http://169.254.169.254/"})
    assert "169.254" not in caught.value.message
