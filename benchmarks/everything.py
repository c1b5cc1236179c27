"""What the hub adds with everything on, beside the bare passthrough: every wrapper of the model port at work.

The upstream is a provider asked through its SDK, behind a route with a second target; guardrails read both ways; the
cache is looked up, missed and written; a budget is reserved and settled; a rate limit is counted; spans are made. Each
request asks something else, so nothing but the last measurement, of hits, comes from the cache.
"""

import asyncio
import itertools
import json
import statistics
import urllib.request

from benchmarks.load import Sample, chat_request, measure
from benchmarks.processes import Hub, free_port, hub, process

ROUNDS = 5


def run() -> None:
    """Measures the passthrough and the hub in turn, several rounds, then hits of the cache in memory."""
    upstream_port, bare_port = free_port(), free_port()
    upstream = f"http://127.0.0.1:{upstream_port}"
    bare = f"http://127.0.0.1:{bare_port}"
    uvicorn = ("-m", "uvicorn", "benchmarks.passthrough:app", "--port", str(bare_port), "--no-access-log")
    with (
        process("-m", "tidemill.llm.scripted_server", "--port", str(upstream_port), ready=f"{upstream}/health"),
        process(*uvicorn, ready=f"{bare}/docs", environment={"UPSTREAM": f"{upstream}/v1"}),
        hub(json.dumps(settings_for(upstream))) as running,
    ):
        for path, body in (
            ("/v1/budgets", {"scope": "all", "period": "day", "limit_usd": 1000}),
            (
                "/v1/rate-limits",
                {"scope": "all", "requests_per_minute": 10_000_000, "tokens_per_minute": 1_000_000_000},
            ),
        ):
            _put(running, path, body)
        targets = {
            "passthrough": (f"{bare}/v1/chat/completions", "", "scripted"),
            "everything on": (f"{running.url}/v1/chat/completions", running.key, "team"),
        }
        for clients, requests in ((1, 400), (32, 2000)):
            samples: dict[str, list[Sample]] = {name: [] for name in targets}
            for _ in range(ROUNDS):
                for name, (url, key, model) in targets.items():
                    samples[name].append(_measured(url, key, model, clients=clients, requests=requests))
            _print(clients, samples)
        url, key, model = targets["everything on"]
        again = chat_request(url, key, model, text="Again.", temperature=0)
        for clients, requests in ((1, 400), (32, 2000)):
            hits = [asyncio.run(measure(url, again, clients=clients, requests=requests)) for _ in range(ROUNDS)]
            p50, rate = (statistics.median(getattr(one, of) for one in hits) for of in ("p50", "per_second"))
            print(f"{clients:>3} clients  cache hit in memory: p50 {p50:.2f} ms  {rate:.0f} requests/s")


def settings_for(upstream: str) -> dict[str, object]:
    """The `tidemill.yaml` of a hub with everything on."""
    price = {"input": 1.0, "output": 2.0, "max_output_tokens": 200}
    provider = {
        "kind": "openai_compatible",
        "base_url": f"{upstream}/v1",
        "allow_private": True,
        "models": {"first": price, "second": price},
    }
    return {
        "providers": {"house": provider},
        "routes": {"team": {"targets": ["house/first", "house/second"]}},
        "cache": {"sampled": True},
    }


_numbers = itertools.count()


def _measured(url: str, key: str, model: str, *, clients: int, requests: int) -> Sample:
    def request(_: int) -> bytes:
        return chat_request(url, key, model, text=f"Say hello to number {next(_numbers)}.")

    return asyncio.run(measure(url, request, clients=clients, requests=requests))


def _put(running: Hub, path: str, body: dict[str, object]) -> None:
    request = urllib.request.Request(
        f"{running.url}{path}",
        data=json.dumps(body).encode(),
        headers={"authorization": f"Bearer {running.key}", "content-type": "application/json"},
        method="PUT",
    )
    with urllib.request.urlopen(request) as answer:
        answer.read()


def _print(clients: int, samples: dict[str, list[Sample]]) -> None:
    for name, runs in samples.items():
        p50 = statistics.median(run.p50 for run in runs)
        rate = statistics.median(run.per_second for run in runs)
        print(f"{clients:>3} clients  {name:<13} p50 {p50:7.2f} ms  {rate:7.0f} requests/s")
    pairs = list(zip(samples["everything on"], samples["passthrough"], strict=True))
    added = statistics.median(ours.p50 - theirs.p50 for ours, theirs in pairs)
    ratio = statistics.median(ours.per_second / theirs.per_second for ours, theirs in pairs)
    print(
        f"{clients:>3} clients  everything − passthrough: p50 {added:+.2f} ms;  everything / passthrough: {ratio:.2f} "
        "of the rate\n"
    )
