"""Changing the LoRA adapter with each request, beside keeping to one."""

import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path

import httpx
from tests.support.gguf import write_adapter

from tidemill.llm.runtime.local import LocalRuntime
from tidemill.settings import ModelSettings, Settings, load_settings

TOKENS = 48
REQUESTS = 6
ROUNDS = 4


def run() -> None:
    """Needs the default model (or `BENCH_MODEL`) in the data folder; prints requests per second and their ratio."""
    model = os.environ.get("BENCH_MODEL", "qwen2.5-coder-0.5b-instruct-q4_k_m")
    path = load_settings().models_dir / f"{model}.gguf"
    if not path.exists():
        print(f"adapters: not run; `tidemill models pull {model}` fetches what it needs")
        return
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_compare(Path(folder), path))


async def _compare(folder: Path, path: Path) -> None:
    files = {name: write_adapter(folder / f"{name}.gguf", path, seed=seed) for seed, name in enumerate(("one", "two"))}
    adapters = {name: {"base": "bench", "path": file} for name, file in files.items()}
    models = ModelSettings.model_validate({"files": {"bench": path}, "adapters": adapters, "context_tokens": 1024})
    runtime = LocalRuntime(Settings(data_dir=folder / "data", models=models))
    ways = {"kept": ("one", "one"), "changed": ("one", "two")}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    try:
        for number in range(-1, ROUNDS):
            for name in sorted(ways, reverse=bool(number % 2)):
                rate = await _rate(runtime, ways[name], number)
                if number >= 0:
                    rates[name].append(rate)
    finally:
        await runtime.aclose()
    for name, values in rates.items():
        print(f"adapter {name:<8} {statistics.median(values):6.3f} requests/s")
    ratio = statistics.median(a / b for a, b in zip(rates["changed"], rates["kept"], strict=True))
    print(f"adapter changed / kept: {ratio:.3f}")


async def _rate(runtime: LocalRuntime, adapters: tuple[str, str], number: int) -> float:
    """Requests per second, one after the other; no prompt is like another, so that no cache helps either way."""
    started = time.perf_counter()
    async with httpx.AsyncClient(timeout=600, trust_env=False) as client:
        for index in range(REQUESTS):
            async with runtime.serve(f"bench:{adapters[index % 2]}") as served:
                prompt = f"{index} {number} {adapters[1]}: write a story about a mill that is driven by the tide."
                body = {
                    **served.options,
                    "messages": [{"role": "user", "content": prompt}],
                    "max_tokens": TOKENS,
                    "ignore_eos": True,
                    "cache_prompt": False,
                }
                headers = {"authorization": f"Bearer {served.endpoint.api_key}"}
                answer = await client.post(f"{served.endpoint.base_url}/chat/completions", json=body, headers=headers)
                answer.raise_for_status()
    return REQUESTS / (time.perf_counter() - started)
