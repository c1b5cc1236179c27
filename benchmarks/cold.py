"""A cold model asked through the hub, beside its child started by hand: both until the first answer is whole."""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import httpx

from benchmarks.processes import hub
from tidemill.llm.catalog import available_cores
from tidemill.llm.runtime.options import ChildOptions
from tidemill.settings import load_settings

ROUNDS = 5
CONTEXT_TOKENS = 8192
SLOTS = 4
ASK = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 1, "temperature": 0}


def run() -> None:
    """Needs the default model (or `BENCH_MODEL`); prints seconds of both and their ratio."""
    model = os.environ.get("BENCH_MODEL", "qwen2.5-coder-0.5b-instruct-q4_k_m")
    path = load_settings().models_dir / f"{model}.gguf"
    if not path.exists():
        print(f"cold: not run; `tidemill models pull {model}` fetches what it needs")
        return
    _child(path)  # the file is in the system's cache for both, from here on
    pairs = []
    with hub(json.dumps({"models": {"default": "bench", "files": {"bench": str(path)}}})) as running:
        for _ in range(ROUNDS):
            pairs.append((_through(running.url, running.key), _child(path)))
    ours, theirs = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"cold load of {model} and one token: hub {ours:.2f} s, child {theirs:.2f} s, hub / child: {ratio:.2f}\n")


def _through(url: str, key: str) -> float:
    headers = {"authorization": f"Bearer {key}"}
    with httpx.Client(base_url=f"{url}/v1", headers=headers, timeout=180, trust_env=False) as client:
        started = time.perf_counter()
        client.post("/chat/completions", json={"model": "bench", **ASK}).raise_for_status()
        took = time.perf_counter() - started
        client.post("/models/unload", json={"model": "bench"}).raise_for_status()
    return took


def _child(path: Path) -> float:
    options = ChildOptions(
        path=str(path),
        alias="bench",
        api_key="bench",
        context_tokens=CONTEXT_TOKENS,
        slots=SLOTS,
        threads=available_cores(),
        parent=os.getpid(),
    )
    command = [sys.executable, "-m", "tidemill.llm.runtime.child", "bench"]
    started = time.perf_counter()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(options.to_line())
        child.stdin.flush()
        port = json.loads(child.stdout.readline())["port"]
        with httpx.Client(headers={"authorization": "Bearer bench"}, timeout=180, trust_env=False) as client:
            client.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=ASK).raise_for_status()
        took = time.perf_counter() - started
        child.terminate()
    return took
