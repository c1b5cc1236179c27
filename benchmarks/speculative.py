"""Speculative decoding beside plain decoding: a 0.5B model drafting for a 1.5B one, and drafts from the text itself."""

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

import httpx

from tidemill.llm.catalog import QWEN_CODER_0_5B, QWEN_CODER_1_5B, find_model
from tidemill.llm.runtime.local import LocalRuntime
from tidemill.settings import ModelSettings, Settings, load_settings

TOKENS = 64
ROUNDS = 2
CODE = Path(__file__).with_name("decode.py").read_text("utf-8")[2000:2700]
PROMPTS = {
    "editing": f"Rename `number` to `index` in this code. Print the whole code and nothing else.\n\n{CODE}",
    "writing": "Write a long story about a mill that is driven by the tide.",
}
"""An answer that repeats most of its prompt, and one that repeats nothing."""
DRAFTS = {"plain": {}, "ngram": {"target": "ngram"}, "draft": {"target": "small"}}


def run() -> None:
    """Needs both catalog models in the data folder; prints tokens per second and ratios to plain decoding."""
    settings = load_settings()
    names = {"target": QWEN_CODER_1_5B, "small": QWEN_CODER_0_5B}
    if missing := [one.name for one in names.values() if not (settings.models_dir / one.file).exists()]:
        print(f"speculative: not run; `tidemill models pull {missing[0]}` fetches what it needs")
        return
    files = {name: find_model(settings, one.name).path for name, one in names.items()}
    asyncio.run(_compare(files))


async def _compare(files: dict[str, Path | None]) -> None:
    rates: dict[tuple[str, str], list[float]] = {}
    for _ in range(ROUNDS):
        for kind, draft in DRAFTS.items():
            with tempfile.TemporaryDirectory() as folder:
                models = ModelSettings(files=files, draft=draft, slots=1, context_tokens=2048)
                runtime = LocalRuntime(Settings(data_dir=Path(folder) / "data", models=models))
                try:
                    for work, prompt in PROMPTS.items():
                        rates.setdefault((work, kind), []).append(await _rate(runtime, prompt))
                finally:
                    await runtime.aclose()
    for (work, kind), values in rates.items():
        ratio = statistics.median(a / b for a, b in zip(values, rates[work, "plain"], strict=True))
        print(f"speculative, {work:<8} {kind:<6} {statistics.median(values):6.2f} tokens/s, {ratio:.2f} of plain")


async def _rate(runtime: LocalRuntime, prompt: str) -> float:
    """Tokens per second of one answer, from its first token on, as llama-server counts them."""
    async with runtime.serve("target") as served, httpx.AsyncClient(timeout=600, trust_env=False) as client:
        body = {"messages": [{"role": "user", "content": prompt}], "max_tokens": TOKENS, "temperature": 0}
        headers = {"authorization": f"Bearer {served.endpoint.api_key}"}
        started = time.perf_counter()
        answer = await client.post(f"{served.endpoint.base_url}/chat/completions", json=body, headers=headers)
        answer.raise_for_status()
        timings = answer.json()["timings"]
        rate = float(timings["predicted_per_second"])
        drafted, taken = timings.get("draft_n", 0), timings.get("draft_n_accepted", 0)
        print(
            f"  {rate:.2f} tokens/s, {time.perf_counter() - started:.1f} s, drafted {drafted}, taken {taken}",
            flush=True,
        )
        return rate
