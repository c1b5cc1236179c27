"""A whole hub and a forge over HTTP: signed webhooks, ten at once, and kills at each step; nothing is written twice."""

import asyncio
import hashlib
import hmac
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.conftest import reachable
from tests.support.hubs import Hub, scripted_settings, start_hub, stop, upstream
from tests.support.pull_requests import BUNDLE, PROJECT, TWO, own_comments
from tests.support.rows import connected
from tests.support.scripted_forge import TOKEN, serving
from tidemill.core.pull_request import ForgeKind
from tidemill.forges.scripted import Fault
from tidemill.forges.scripted_server import ScriptedServer, Webhook
from tidemill.forges.scripted_site import ScriptedPull, ScriptedSite

SECRET = "hook-of-the-mill"
PATIENCE = 90.0


async def until(condition: Callable[[], Any], what: str) -> Any:
    """The first true value of a condition that asks nobody, looked at often."""
    for _ in range(int(PATIENCE / 0.01)):
        if found := condition():
            return found
        await asyncio.sleep(0.01)
    raise AssertionError(f"{what} did not come about")


async def ended(hub: Hub, wanted: int) -> list[dict[str, Any]]:
    """The runs of the pull request, once there are so many and all have ended."""
    headers = {"authorization": f"Bearer {hub.key}"}
    async with httpx.AsyncClient(base_url=hub.url, headers=headers, trust_env=False, timeout=30) as client:
        for _ in range(int(PATIENCE / 0.2)):
            answer = await client.get(f"/v1/pull-requests/demo/{PROJECT}/1")
            runs = answer.json()["runs"] if answer.is_success else []
            if len(runs) == wanted and all(run["finished_at"] for run in runs):
                return list(runs)
            await asyncio.sleep(0.2)
    raise AssertionError("the runs did not end")


async def ten_at_once(server: ScriptedServer) -> list[int]:
    """The last delivery's body, sent ten times at once under ids of their own; the statuses of the answers."""
    assert server.webhook is not None
    url, body = server.webhook.url, server.sent[-1].body
    mac = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    headers = {
        "x-github-event": server.sent[-1].event,
        "x-hub-signature-256": f"sha256={mac}",
        "content-type": "application/json",
    }
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        posts = [
            client.post(url, content=body, headers={**headers, "x-github-delivery": str(uuid4())}) for _ in range(10)
        ]
        return [answer.status_code for answer in await asyncio.gather(*posts)]


async def opened(site: ScriptedSite) -> ScriptedPull:
    repository = (await site.add_project(PROJECT, BUNDLE)).repository
    tip = await repository.commit_of("refs/heads/main")
    await repository.commit("work", dict(TWO), message="Work", author="author", at=site.clock(), parent=tip)
    return await site.open(PROJECT, "work", title="Work on orders")


def told(hub: Hub, *arguments: str) -> str:
    """What a command prints."""
    command = [sys.executable, "-m", "tidemill", "pull-requests", *arguments]
    done = subprocess.run(command, env=hub.environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def shown_by_commands(hub: Hub) -> None:
    """What a person sees of it in a terminal."""
    name = f"demo:{PROJECT}#1"
    assert name in told(hub, "list", "--forge", "demo")
    assert "No pull request" in told(hub, "list", "--project", "other/one")
    shown = told(hub, "show", name)
    assert "2 standing, summary, check" in shown
    assert "merged" in shown
    assert len(told(hub, "feedback", "--since", "2000-01-01").splitlines()) == 4


async def shown_over_http(hub: Hub, review: str) -> None:
    """What became of the comments, and that a login can be forgotten."""
    headers = {"authorization": f"Bearer {hub.key}"}
    async with httpx.AsyncClient(base_url=hub.url, headers=headers, trust_env=False, timeout=30) as client:
        [pull] = (await client.get("/v1/pull-requests")).json()["data"]
        assert (pull["number"], pull["state"], pull["author"]) == (1, "merged", "author")
        rows = (await client.get(f"/v1/reviews/{review}/feedback")).json()["data"]
        assert sorted((row["outcome"], row["login"]) for row in rows if row["login"]) == [("replied", "maintainer")]
        assert sorted(row["outcome"] for row in rows) == ["ignored", "ignored", "replied", "thumbs_up"]
        lines = (await client.get("/v1/feedback")).text.splitlines()
        assert [json.loads(line)["id"] for line in lines] == [row["id"] for row in rows]
        assert "login" not in json.loads(lines[0])
        gone = await client.delete("/v1/pull-requests/logins/demo/maintainer")
        assert gone.json()["rows"] == 1
        again = await client.post(f"/v1/pull-requests/other/{PROJECT}/1/review")
        assert again.status_code == 404


STEPS = ["pr:read", "plan", "finish", "pr:place"]
"""The other steps of a review itself are in `test_durable_review`."""
RECORDED = (
    "SELECT function_name AS step FROM dbos.operation_outputs "
    "WHERE workflow_uuid LIKE 'pull_request:%%' AND function_name = ANY(%s)"
)


async def killed_wherever_it_gets(
    hub: Hub, pull: ScriptedPull, start: Callable[[], Hub]
) -> AsyncIterator[tuple[Hub, str]]:
    """Kills the hub as soon as another of the steps is recorded or something is written, and starts it again. Yields
    each hub with what the one before had just done, until the last step is recorded."""
    steps: set[str] = set()
    written = 0
    with connected(hub) as database:
        while "pr:place" not in steps:
            for _ in range(int(PATIENCE / 0.005)):
                new = {row["step"] for row in database.execute(RECORDED, (STEPS,))} - steps
                if new or len(own_comments(pull)) > written:
                    break
                await asyncio.sleep(0.005)
            else:
                raise AssertionError(f"nothing came after {sorted(steps)} and {written} comments")
            hub.kill()
            done = ", ".join(sorted(new)) or "a comment"
            steps |= new
            written = len(own_comments(pull))
            hub = await asyncio.to_thread(start)
            yield hub, done


@pytest.mark.unmeasured
async def test_a_hub_that_is_killed_at_each_step_leaves_each_comment_once(tmp_path: Path) -> None:
    folder = reachable(tmp_path)
    site = ScriptedSite(folder / "forge")
    server = ScriptedServer(site, {TOKEN: "tidemill"})
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(serving(server))
        model = stack.enter_context(upstream(folder))
        forge = {"kind": "github", "url": url, "token_secret": "token", "webhook_secret": "hook"}
        settings = scripted_settings(model.url, forges={"demo": forge}, outbound={"allow": ["127.0.0.1"]})
        hub = await asyncio.to_thread(start_hub, folder / "data", settings)
        try:
            async with httpx.AsyncClient(
                base_url=hub.url, headers={"authorization": f"Bearer {hub.key}"}, trust_env=False
            ) as client:
                for name, value in (("token", TOKEN), ("hook", SECRET)):
                    (await client.put(f"/v1/secrets/{name}", json={"value": value})).raise_for_status()
            server.webhook = Webhook(f"{hub.url}/webhooks/github", ForgeKind.GITHUB, SECRET)
            server.served.faults.waiting.append(Fault(action="POST /api/v3/repos", seconds=0.4, times=50))
            pull = await opened(site)
            await server.settled()
            assert all(status < 300 for status in await ten_at_once(server))
            killed = []
            async for started, done in killed_wherever_it_gets(hub, pull, lambda: start_hub(folder / "data", settings)):
                hub = started
                killed.append(done)
            runs = await ended(hub, 1)
            server.webhook = Webhook(f"{hub.url}/webhooks/github", ForgeKind.GITHUB, SECRET)
            first = next(said.id for said in pull.comments if said.path)
            await site.react(pull, first, "author", "+1")  # GitHub tells of none: it is counted at the merge
            await site.say(pull, "maintainer", "Right.", reply_to=first)
            await site.merge(pull)
            await server.settled()
            await ended(hub, 2)
            await asyncio.to_thread(shown_by_commands, hub)
            await shown_over_http(hub, runs[0]["id"])
        finally:
            await asyncio.to_thread(stop, hub)
    assert set(", ".join(killed).split(", ")) == {*STEPS, "a comment"}
    assert [run["state"] for run in runs] == ["done"]
    assert len(own_comments(pull, inline=False)) == 1
    found = [body.rpartition("<!-- ")[2] for body in own_comments(pull, inline=True)]
    assert len(found) == len(set(found)) == 2
    assert runs[0]["counts"]["standing"] == 2
