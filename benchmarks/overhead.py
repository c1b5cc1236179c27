"""What the hub adds to a request, beside the least that FastAPI and httpx need to pass it on."""

import asyncio
import statistics

from benchmarks.load import Sample, chat_request, measure
from benchmarks.processes import free_port, hub, process

ROUNDS = 5


def run() -> None:
    """Measures both in turn, several rounds, and prints medians and ratios."""
    upstream_port, bare_port = free_port(), free_port()
    upstream = f"http://127.0.0.1:{upstream_port}"
    bare = f"http://127.0.0.1:{bare_port}"
    settings = f"models:\n  default: scripted\n  endpoints:\n    scripted:\n      url: {upstream}/v1\n"
    uvicorn = ("-m", "uvicorn", "benchmarks.passthrough:app", "--port", str(bare_port), "--no-access-log")
    with (
        process("-m", "tidemill.llm.scripted_server", "--port", str(upstream_port), ready=f"{upstream}/health"),
        process(*uvicorn, ready=f"{bare}/docs", environment={"UPSTREAM": f"{upstream}/v1"}),
        hub(settings) as running,
    ):
        targets = {
            "passthrough": (f"{bare}/v1/chat/completions", ""),
            "hub": (f"{running.url}/v1/chat/completions", running.key),
        }
        for clients, requests in ((1, 400), (32, 2000)):
            samples: dict[str, list[Sample]] = {name: [] for name in targets}
            for _ in range(ROUNDS):
                for name, (url, key) in targets.items():
                    request = chat_request(url, key, "scripted")
                    samples[name].append(asyncio.run(measure(url, request, clients=clients, requests=requests)))
            _print(clients, samples)


def _print(clients: int, samples: dict[str, list[Sample]]) -> None:
    for name, runs in samples.items():
        p50 = statistics.median(run.p50 for run in runs)
        rate = statistics.median(run.per_second for run in runs)
        print(f"{clients:>3} clients  {name:<12} p50 {p50:7.2f} ms  {rate:7.0f} requests/s")
    pairs = list(zip(samples["hub"], samples["passthrough"], strict=True))
    added = statistics.median(ours.p50 - theirs.p50 for ours, theirs in pairs)
    ratio = statistics.median(ours.per_second / theirs.per_second for ours, theirs in pairs)
    print(
        f"{clients:>3} clients  hub − passthrough: p50 {added:+.2f} ms;  hub / passthrough: {ratio:.2f} of the rate\n"
    )
