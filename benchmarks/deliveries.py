"""How soon a hub answers a forge's delivery, beside `/health` of the same hub in turn.

Each delivery is signed, new, and queues work: a comment on a pull request, in a body as long as GitHub's are. The work
goes on meanwhile.
"""

import asyncio
import hashlib
import hmac
import json
import time
from uuid import uuid4

import httpx

from benchmarks.processes import Hub, free_port, hub

SECRET = "hook-of-the-benchmark"
PADDING = 25_000
"""Bytes: a `pull_request` payload of GitHub has 20,000 to 30,000."""
LARGEST = 25_000_000
ONE_BY_ONE = 200
ROUNDS = 20
AT_ONCE = 10


def run() -> None:
    """Prints milliseconds, and the ratio to `/health`."""
    forge = {"kind": "github", "url": f"http://127.0.0.1:{free_port()}", "token_secret": "t", "webhook_secret": "hook"}
    settings = {"forges": {"bench": forge}, "outbound": {"allow": ["127.0.0.1"]}}
    with hub(json.dumps(settings)) as running:
        asyncio.run(_measure(running))


async def _measure(running: Hub) -> None:
    headers = {"authorization": f"Bearer {running.key}"}
    async with httpx.AsyncClient(base_url=running.url, headers=headers, trust_env=False, timeout=60) as client:
        for name, value in (("t", "token"), ("hook", SECRET)):
            (await client.put(f"/v1/secrets/{name}", json={"value": value})).raise_for_status()
        await asyncio.sleep(2)  # a hub that has just started is still busy with that
        alone, bare = [], []
        for _ in range(ONE_BY_ONE):
            alone.append(await _delivered(client))
            started = time.perf_counter()
            (await client.get("/health")).raise_for_status()
            bare.append(time.perf_counter() - started)
        together = [
            seconds
            for _ in range(ROUNDS)
            for seconds in await asyncio.gather(*(_delivered(client) for _ in range(AT_ONCE)))
        ]
        largest = [await _delivered(client, LARGEST - 1000) for _ in range(3)]
    _show("/health", bare)
    _show("one by one", alone)
    _show(f"{AT_ONCE} at once", together)
    _show("of 25 MB", largest)
    print(f"one by one / /health: {_at(alone, 50) / _at(bare, 50):.1f}\n")


async def _delivered(client: httpx.AsyncClient, padding: int = PADDING) -> float:
    """Seconds until a new delivery was answered."""
    body = json.dumps(
        {
            "action": "created",
            "issue": {"number": 1, "pull_request": {}},
            "comment": {"id": uuid4().int >> 80, "body": "Looks good."},
            "repository": {"full_name": "acme/shop"},
            "sender": {"login": "lan", "type": "User"},
            "more": "x" * padding,
        }
    ).encode()
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    headers = {
        "x-github-event": "issue_comment",
        "x-github-delivery": str(uuid4()),
        "x-hub-signature-256": f"sha256={signature}",
        "content-type": "application/json",
    }
    started = time.perf_counter()
    answer = await client.post("/webhooks/bench", content=body, headers=headers)
    seconds = time.perf_counter() - started
    if answer.status_code != 202:
        raise RuntimeError(f"A delivery was answered with {answer.status_code}: {answer.text[:300]}")
    return seconds


def _show(name: str, samples: list[float]) -> None:
    print(f"delivery, {name:<12} " + "  ".join(f"p{at} {_at(samples, at) * 1000:7.1f} ms" for at in (50, 95, 100)))


def _at(samples: list[float], percent: int) -> float:
    return sorted(samples)[min(len(samples) - 1, len(samples) * percent // 100)]
