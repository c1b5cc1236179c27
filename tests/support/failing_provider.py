"""The scripted provider server within a test, asked by the real adapters over real HTTP."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import anthropic  # noqa: F401 - loaded here, since it takes seconds that would count as an attempt's
import openai  # noqa: F401
import uvicorn

from tidemill.core.errors import ModelNotFound
from tidemill.core.provider import FREE, LOCAL, ModelFacts, Price, Provider, ProviderKind
from tidemill.core.served import Served
from tidemill.llm.providers.connections import Connections
from tidemill.llm.providers.dispatch import Backends
from tidemill.llm.providers.scripted import Script
from tidemill.llm.providers.scripted_server import DroppingProtocol, provider_app
from tidemill.llm.scripted import ScriptedModel
from tidemill.outbound.clients import Outbound


@asynccontextmanager
async def failing_server() -> AsyncIterator[tuple[Script, str]]:
    """The server's script, and where it is."""
    script = Script()
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    # No logging of its own: uvicorn would set up the loggers of this whole process, for every later test.
    config = uvicorn.Config(
        provider_app(script), http=DroppingProtocol, log_config=None, access_log=False, lifespan="off"
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.005)
    try:
        yield script, f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        await serving


class TwoProviders:
    """`alpha` with OpenAI's API and `beta` with Anthropic's, both at the scripted server, and a local model.

    Attributes:
        keys: by the provider's name.
        reads: how often a key was read.
    """

    def __init__(self, url: str, *, timeout: float = 5.0) -> None:
        self.keys: dict[str, str] = {"alpha": "old", "beta": "old"}
        self.reads = 0
        self.providers: Mapping[str, Provider] = {
            "alpha": Provider(
                "alpha", ProviderKind.OPENAI, (f"{url}/v1",), "K", allow_private=True, timeout=timeout, outside=False
            ),
            "beta": Provider(
                "beta", ProviderKind.ANTHROPIC, (url,), "K", allow_private=True, timeout=timeout, outside=False
            ),
            "gamma": Provider(
                "gamma",
                ProviderKind.OPENAI,
                ("http://gone.test/v1", f"{url}/v1"),
                "K",
                allow_private=True,
                timeout=timeout,
            ),
        }

    def find(self, model: str) -> tuple[Provider, str] | None:
        provider, slash, name = model.partition("/")
        return (self.providers[provider], name) if slash and provider in self.providers else None

    async def key(self, provider: Provider) -> str | None:
        self.reads += 1
        return self.keys.get(provider.name, "old")

    def facts(self, name: str) -> ModelFacts:
        if name == "local-default":
            return ModelFacts(name, LOCAL, name, "v1", FREE, local=True)
        found = self.find(name)
        if found is None:
            raise ModelNotFound(f"There is no model {name}.")
        return ModelFacts(name, found[0].name, found[1], found[1], Price(1.0, 2.0), context_tokens=1000)


@asynccontextmanager
async def asked_over_http(book: TwoProviders) -> AsyncIterator[Backends]:
    """The innermost model, with its clients open for the block."""

    async def nowhere(host: str) -> list[str]:
        if host == "127.0.0.1":
            return [host]
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    outbound = Outbound(resolve=nowhere)
    connections = Connections(
        book, lambda provider: outbound.sdk_client(timeout=30.0, allow_private=provider.allow_private), 30.0
    )
    local = ScriptedModel(lambda request: "From the local model.")
    try:
        yield Backends(book, connections, local, lambda name: Served(LOCAL, name, "scripted"), 30.0)
    finally:
        await connections.aclose()
