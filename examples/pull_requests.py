"""Shows a pull request's life: opened, pushed to twice, a thread resolved, a command, merged; its page after each.

    .venv/bin/python examples/pull_requests.py [--forge github|gitlab|gitea] [--short]

It starts a forge that speaks the chosen API over HTTP, with the history of `orders.bundle` as its repository, and a hub
that its signed webhooks reach. It needs what `make run` installs, and no network, account or model. It takes about
half a minute. The hub's data folder is deleted at the end.
"""

import argparse
import asyncio
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from tidemill.core.pull_request import ForgeKind
from tidemill.forges.scripted_page import page
from tidemill.forges.scripted_server import ScriptedServer, Webhook
from tidemill.forges.scripted_site import ScriptedPull, ScriptedSite

BUNDLE = Path(__file__).resolve().parent / "orders.bundle"
PROJECT = "acme/orders"
SOUND, FIRST, SECOND = "4f66341", "cc8c558", "4437c3a"
"""Commits of the bundle: before the first defect, with one, with more."""
MENDED = "orders/storage.py"
JOINED = """\
            f"SELECT number FROM orders WHERE customer LIKE '%{customer}%' "
            f"ORDER BY placed_on DESC, number LIMIT {size} OFFSET {offset}"
"""
BOUND = """\
            "SELECT number FROM orders WHERE customer LIKE ? ORDER BY placed_on DESC, number LIMIT ? OFFSET ?",
            (f"%{customer}%", size, offset),
"""
PATIENCE = 60
ENDED = {"done", "skipped", "superseded", "failed"}
SHORT_LINES = 14


@dataclass
class Demonstration:
    """A forge, a hub, and the pull request."""

    site: ScriptedSite
    server: ScriptedServer
    hub: httpx.AsyncClient
    short: bool

    async def show(self, what: str, pull: ScriptedPull, kind: str, count: int = 1) -> None:
        """Waits until the hub has done so many works of this kind, and prints the page."""
        await self.server.settled()
        path = f"/v1/pull-requests/demo/{PROJECT}/{pull.number}"

        async def worked() -> Any:
            answer = await self.hub.get(path)
            runs = answer.json()["runs"] if answer.is_success else []
            wanted = [run for run in runs if run["kind"] == kind and run["head"] in {pull.head, ""}]
            wanted = [run for run in wanted if "commands" not in run["counts"]]  # Gitea has the hub look for some
            return len(wanted) >= count and all(run["state"] in ENDED for run in runs) and wanted

        runs = await wait_for(worked, f"the hub's work ({kind}) on {pull.head[:10]}")
        print(f"\n>>> {what}")
        for run in runs:
            print(f"    the hub: {run['kind']} {run['state']} {run['counts']} {run['reason'] or ''}")
        print()
        lines = page(pull).splitlines()
        shown = [line[:150] for line in lines[:SHORT_LINES]] if self.short else lines
        print("\n".join(shown))


def prepared() -> Path:
    """A folder for all of it."""
    folder = Path(tempfile.mkdtemp(prefix="tidemill-pull-requests-"))
    folder.chmod(0o711)  # the database runs as a user of its own where root starts the hub
    return folder


async def main() -> None:
    """Starts both, lets people do what they do, and stops both."""
    parser = argparse.ArgumentParser(description="A pull request's life on a scripted forge.")
    parser.add_argument("--forge", choices=["github", "gitlab", "gitea"], default="github")
    parser.add_argument("--short", action="store_true", help="Print the beginning of each page alone.")
    options = parser.parse_args()
    folder = prepared()
    try:
        async with demonstration(folder, ForgeKind(options.forge), short=options.short) as here:
            await life(here)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def life(here: Demonstration) -> None:
    """Open, push, push, answer, resolve, command, merge."""
    site = here.site
    repository = (await site.add_project(PROJECT, BUNDLE)).repository
    await repository.point("refs/heads/main", await repository.commit_of(SOUND))
    await repository.point("refs/heads/search", await repository.commit_of(FIRST))
    pull = await site.open(PROJECT, "search", title="Search orders by customer", author="author")
    await here.show("opened: one review of its first commit", pull, "review")
    await site.push(pull, commit=await repository.commit_of(SECOND))
    await here.show("pushed: only what is new is said", pull, "review")
    await site.push(pull, await mended(site, pull), message="Bind the customer's name")
    await here.show("pushed again: what is fixed resolves its own thread", pull, "review")
    left = next(said for said in pull.comments if said.thread is not None and not pull.resolved[said.thread])
    await site.react(pull, left.id, "author", "-1")
    await site.say(pull, "author", "/tidemill explain", reply_to=left.id)
    await site.say(pull, "maintainer", "/tidemill explain", reply_to=left.id)
    await here.show("asked by a stranger and by a maintainer: one is obeyed", pull, "command", 2)
    await site.resolve(pull, str(left.thread), "maintainer")
    await site.merge(pull)
    await here.show("resolved and merged", pull, "outcomes")
    print("\n>>> what became of the comments (GET /v1/feedback)\n")
    for line in (await here.hub.get("/v1/feedback")).text.splitlines():
        row = json.loads(line)
        code = (row["code_after"] or "").strip()
        print(f"  {row['outcome']:<12} {row['engine']}:{row['rule']:<24} {row['path']}:{row['line']}  {code[:60]}")


async def mended(site: ScriptedSite, pull: ScriptedPull) -> dict[str, bytes | None]:
    """The file with its values bound, in place of being put into the SQL text."""
    data = await site.project(PROJECT).repository.file(pull.head, MENDED)
    assert data is not None  # noqa: S101 - the example has it
    return {MENDED: data.decode().replace(JOINED, BOUND).encode()}


@asynccontextmanager
async def demonstration(folder: Path, kind: ForgeKind, *, short: bool) -> AsyncIterator[Demonstration]:
    """Both, running and knowing each other."""
    token, secret = secrets.token_hex(20), secrets.token_hex(20)
    site = ScriptedSite(folder / "forge")
    server = ScriptedServer(site, {token: "tidemill"})
    async with serving(server) as url:
        settings = {
            "forges": {
                "demo": {"kind": kind.value, "url": url, "token_secret": "demo-token", "webhook_secret": "demo-hook"}
            },
            "outbound": {"allow": ["127.0.0.1"]},
        }
        async with hub(folder, settings) as client:
            for name, value in (("demo-token", token), ("demo-hook", secret)):
                (await client.put(f"/v1/secrets/{name}", json={"value": value})).raise_for_status()
            server.webhook = Webhook(str(client.base_url.join(f"/webhooks/{kind.value}")), kind, secret)
            yield Demonstration(site, server, client, short)


@asynccontextmanager
async def serving(server: ScriptedServer) -> AsyncIterator[str]:
    """The forge's address."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        serve = uvicorn.Server(uvicorn.Config(server.app, log_level="warning"))
        task = asyncio.create_task(serve.serve(sockets=[listening]))

        async def up() -> bool:
            return serve.started

        await wait_for(up, "the forge")
        yield f"http://127.0.0.1:{port}"
        serve.should_exit = True
        await task


@asynccontextmanager
async def hub(folder: Path, settings: dict[str, Any]) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a hub with these settings, as its admin."""
    config, data = folder / "tidemill.yaml", folder / "data"
    config.write_text(json.dumps(settings))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TIDEMILL_")}
    environment = {**kept, "TIDEMILL_CONFIG": str(config), "TIDEMILL_DATA_DIR": str(data)}
    start = [sys.executable, "-m", "tidemill", "up", "--no-download", "--port", "0"]
    print("Starting a forge, and a hub with a database of its own …")
    with (folder / "hub.log").open("wb") as log:
        process = subprocess.Popen(start, env=environment, stdout=log, stderr=log)  # noqa: ASYNC220 - it goes on
    address = data / "run" / "hub.json"

    async def up() -> Any:
        if process.poll() is not None:
            sys.exit(f"The hub ended:\n{(folder / 'hub.log').read_text()[-2000:]}")
        found = json.loads(address.read_text()) if address.exists() else {}
        return found if found and await answers(f"{found['url']}/ready") else None

    try:
        found = await wait_for(up, "the hub")
        headers = {"authorization": f"Bearer {found['key']}"}
        async with httpx.AsyncClient(base_url=found["url"], headers=headers, timeout=60, trust_env=False) as client:
            yield client
    except BaseException:
        print((folder / "hub.log").read_text()[-6000:], file=sys.stderr)
        raise
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 30)


async def wait_for(condition: Callable[[], Awaitable[Any]], what: str) -> Any:
    """The first true value."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := await condition():
            return found
        await asyncio.sleep(0.1)
    raise TimeoutError(f"{what} did not come about within {PATIENCE} s")


async def answers(url: str) -> bool:
    """Whether something answers there."""
    async with httpx.AsyncClient(timeout=2, trust_env=False) as client:
        try:
            return (await client.get(url)).is_success
        except httpx.HTTPError:
            return False


if __name__ == "__main__":
    asyncio.run(main())
