"""The official clients reach checked addresses alone, and say why where they do not."""

import socket
from collections.abc import Sequence

import httpx2
import pytest

from tests.support.failing_provider import failing_server
from tidemill.core.chat import ChatRequest
from tidemill.core.errors import TidemillError
from tidemill.core.provider import LOCAL, Provider, ProviderKind
from tidemill.core.served import Served
from tidemill.llm.providers.anthropic_sdk import AnthropicModel
from tidemill.llm.providers.connections import Connections
from tidemill.llm.providers.dispatch import Backends
from tidemill.llm.providers.gemini_sdk import GeminiModel
from tidemill.llm.providers.openai_sdk import OpenAIModel
from tidemill.llm.scripted import ScriptedModel
from tidemill.outbound import Outbound

KEY = "sk-heron-4711-not-to-be-found"
KINDS = {"openai": (ProviderKind.OPENAI, "/v1"), "anthropic": (ProviderKind.ANTHROPIC, ""),
         "gemini": (ProviderKind.GEMINI, "")}  # fmt: skip


class Book:
    """One provider of each kind, under a name that leads to the scripted server."""

    def __init__(self, port: int) -> None:
        self.providers = {
            name: Provider(name, kind, (f"http://rebound.example:{port}{path}",), "K")
            for name, (kind, path) in KINDS.items()
        }

    def find(self, model: str) -> tuple[Provider, str] | None:
        name, _, remote = model.partition("/")
        return self.providers[name], remote

    async def key(self, provider: Provider) -> str | None:
        return KEY


async def resolve(host: str) -> Sequence[str]:
    if host != "rebound.example":
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return ["127.0.0.1"]


async def test_an_official_client_does_not_reach_inside_and_sends_no_key_there() -> None:
    request = [{"role": "user", "content": "Hi"}]
    async with failing_server() as (script, url):
        book = Book(int(url.rpartition(":")[2]))
        for allow, reached in (([], False), (["rebound.example"], True)):
            outbound = Outbound(allow, resolve=resolve)
            connections = Connections(book, lambda _, out=outbound: out.sdk_client(timeout=5.0), 5.0)
            own = ScriptedModel(lambda _: "own")
            backends = Backends(book, connections, own, lambda name: Served(LOCAL, name, "1"), 5.0)
            for name in KINDS:
                asked = ChatRequest(f"{name}/scripted", request)
                if reached:
                    assert (await backends.complete(asked)).text
                else:
                    with pytest.raises(TidemillError, match=r"rebound\.example has a loopback address") as raised:
                        await backends.complete(asked)
                    assert KEY not in raised.value.message
            assert (script.total > 0) is reached
            await connections.aclose()


ENVIRONMENT = {
    "OPENAI_API_KEY": KEY, "OPENAI_CUSTOM_HEADERS": f"X-Gateway: {KEY}", "OPENAI_BASE_URL": "http://other.test/v1",
    "ANTHROPIC_API_KEY": KEY, "ANTHROPIC_AUTH_TOKEN": KEY, "ANTHROPIC_CUSTOM_HEADERS": f"X-Gateway: {KEY}",
    "ANTHROPIC_BASE_URL": "http://other.test", "GOOGLE_API_KEY": KEY, "GOOGLE_GENAI_USE_VERTEXAI": "true",
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "make", "key"),
    [
        (ProviderKind.OPENAI, OpenAIModel, "sk-given"),
        (ProviderKind.OPENAI_COMPATIBLE, OpenAIModel, None),
        (ProviderKind.ANTHROPIC, AnthropicModel, "sk-given"),
        (ProviderKind.GEMINI, GeminiModel, "sk-given"),
    ],
)
async def test_what_the_environment_says_to_the_official_clients_is_sent_to_no_provider(
    monkeypatch: pytest.MonkeyPatch, kind: ProviderKind, make: type[OpenAIModel], key: str | None
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    sent: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        return httpx2.Response(500, json={})

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as client:
        url = "http://house.test/v1"
        model = make(Provider("house", kind, (url,)), url, key, client, 5.0)
        with pytest.raises(TidemillError):
            await model.complete(ChatRequest("house/m", [{"role": "user", "content": "Hi"}]))
    [request] = sent
    assert request.url.host == "house.test"
    headers = str(request.headers.multi_items())
    assert KEY not in headers
    assert ("sk-given" in headers) is (key is not None)
