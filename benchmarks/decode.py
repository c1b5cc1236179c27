"""Decoding through the hub beside the same child asked directly, alone and four at once."""

import asyncio
import json
import os
import statistics
import time

import httpx

from benchmarks.processes import hub
from tidemill.settings import load_settings

TOKENS = 96
ROUNDS = 5
PROMPT = "Write a long story about a mill that is driven by the tide."


def run() -> None:
    """Needs the default model (or `BENCH_MODEL`) in the data folder; prints tokens per second and ratios."""
    models_dir = load_settings().models_dir
    model = os.environ.get("BENCH_MODEL", "qwen2.5-coder-0.5b-instruct-q4_k_m")
    path = models_dir / f"{model}.gguf"
    if not path.exists():
        print(f"decode: not run; `tidemill models pull {model}` fetches what it needs")
        return
    settings = json.dumps({"models": {"default": "bench", "files": {"bench": str(path)}}})
    with hub(settings) as running:
        httpx.post(
            f"{running.url}/v1/models/load",
            json={"model": "bench"},
            headers={"authorization": f"Bearer {running.key}"},
            timeout=180,
        ).raise_for_status()
        child = json.loads((running.data_dir / "run" / "models" / "bench.json").read_text())
        targets = {"child": (child["base_url"], child["api_key"]), "hub": (f"{running.url}/v1", running.key)}
        asyncio.run(_compare(targets))


async def _compare(targets: dict[str, tuple[str, str]]) -> None:
    rates: dict[tuple[str, int], list[float]] = {}
    for number in range(ROUNDS):
        for at_once in (1, 4):
            for name in sorted(targets, reverse=bool(number % 2)):
                url, key = targets[name]
                rates.setdefault((name, at_once), []).append(await _rate(url, key, at_once, number))
    for (name, at_once), values in sorted(rates.items()):
        print(f"decode, {at_once} at once  {name:<6} {statistics.median(values):6.1f} tokens/s")
    for at_once in (1, 4):
        pairs = zip(rates["hub", at_once], rates["child", at_once], strict=True)
        print(f"decode, {at_once} at once  hub / child: {statistics.median(a / b for a, b in pairs):.3f}")


async def _rate(url: str, key: str, at_once: int, number: int) -> float:
    """Completion tokens per second of streams that begin together, from the first token to the last."""
    async with httpx.AsyncClient(timeout=600, trust_env=False) as client:
        spans = await asyncio.gather(*(_stream(client, url, key, f"{PROMPT} ({number}.{i})") for i in range(at_once)))
    tokens = sum(count for count, _, _ in spans)
    return tokens / (max(end for _, _, end in spans) - min(start for _, start, _ in spans))


async def _stream(client: httpx.AsyncClient, url: str, key: str, prompt: str) -> tuple[int, float, float]:
    body = {
        "model": "bench",
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": TOKENS,
        "temperature": 0,
        "stream": True,
    }
    headers = {"authorization": f"Bearer {key}"}
    count, first = 0, 0.0
    async with client.stream("POST", f"{url}/chat/completions", json=body, headers=headers) as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                choices = json.loads(line[6:])["choices"]
                if choices and choices[0]["delta"].get("content"):
                    count += 1
                    first = first or time.perf_counter()
    return count - 1, first, time.perf_counter()
