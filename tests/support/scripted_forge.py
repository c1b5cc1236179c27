"""A scripted forge over HTTP, over a real repository, and the real adapters that ask it."""

import asyncio
import socket
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from tidemill.app.forges import api_base, forge_of
from tidemill.core.clock import system_clock
from tidemill.core.pull_request import ForgeKind, Project, PullRequestKey
from tidemill.forges.copies import Copies
from tidemill.forges.port import Forge
from tidemill.forges.rest import Rest
from tidemill.forges.scripted_server import ScriptedServer, Webhook
from tidemill.forges.scripted_site import ScriptedPull, ScriptedSite
from tidemill.outbound import Outbound
from tidemill.settings.forges import ForgeSettings

TOKEN = "scripted-token"
PROJECT = "acme/shop"
SHOP = {
    "shop/cart.py": "def total(items):\n    return sum(items)\n\n\ndef count(items):\n    return len(items)\n",
    "README.md": "# Shop\n",
}
CHANGED = (
    "def total(items):\n    result = eval(items)\n    return result\n\n\ndef count(items):\n    return len(items)\n"
)


@dataclass(frozen=True, slots=True)
class Stored:
    """Secrets that are given as they are."""

    values: Mapping[str, str]

    async def reveal(self, name: str) -> str:
        """A secret's value."""
        return self.values[name]


@dataclass(slots=True)
class Scripted:
    """A server that runs, and an adapter that asks it."""

    site: ScriptedSite
    server: ScriptedServer
    url: str
    forge: Forge

    async def opened(self, files: Mapping[str, bytes | None] | None = None, **named: object) -> ScriptedPull:
        """A pull request from a new branch, on which these files are changed."""
        repository = self.site.project(PROJECT).repository
        given = {"shop/cart.py": CHANGED.encode()} if files is None else files
        main = await repository.commit_of("refs/heads/main")
        name = f"change-{len(self.site.project(PROJECT).pulls)}"
        await repository.commit(name, given, message="Change", author="author", at=system_clock(), parent=main)
        return await self.site.open(PROJECT, name, **named)  # type: ignore[arg-type]

    def key(self, pull: ScriptedPull) -> PullRequestKey:
        """As the adapter is asked for it."""
        return PullRequestKey(Project(self.forge.name, pull.project), pull.number)


def repository(folder: Path, files: Mapping[str, str] = SHOP) -> Path:
    """A repository of one commit."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    for arguments in (("init", "-q", "-b", "main"), ("add", "-A"), ("commit", "-q", "-m", "Begin")):
        subprocess.run(["git", *identity, "-C", str(folder), *arguments], check=True)
    return folder


@asynccontextmanager
async def serving(server: ScriptedServer) -> AsyncIterator[str]:
    """Where the server is."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(server.app, log_config=None, access_log=False)
        running = uvicorn.Server(config)
        task = asyncio.create_task(running.serve(sockets=[listener]))
        while not running.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.005)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            running.should_exit = running.force_exit = True
            await task


@asynccontextmanager
async def scripted(
    folder: Path,
    kind: ForgeKind,
    *,
    webhook: Webhook | None = None,
    app_key: tuple[str, str] | None = None,
    seconds: float = 10,
) -> AsyncIterator[Scripted]:
    """A server with the project `acme/shop`, and an adapter of this kind; `app_key` is an App's, private and public."""
    outbound = Outbound()
    site = ScriptedSite(folder / "forge")
    source = await asyncio.to_thread(repository, folder / "source")
    await site.add_project(PROJECT, source)
    server = ScriptedServer(site, {TOKEN: "tidemill"}, webhook=webhook, app_key=app_key[1] if app_key else None)
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(serving(server))
        if app_key is None:
            settings = ForgeSettings(kind=kind.value, url=url, token_secret="token")
        else:
            settings = ForgeSettings(kind=kind.value, url=url, app_id="7", app_key_secret="key")
        rest = Rest(kind.value, api_base(settings), outbound, timeout=seconds, clock=system_clock)
        stack.push_async_callback(rest.aclose)
        secrets = Stored({"token": TOKEN, "key": app_key[0] if app_key else ""})
        copies = Copies(folder / "cache" / "pull-requests", outbound, 1_000_000_000)
        yield Scripted(site, server, url, forge_of(kind.value, settings, rest, secrets, copies))  # type: ignore[arg-type]
