"""What a review of a pull request of 1,000 hunks takes beside its engines alone, and what is read beside a hunk.

The code is real: Python files of installed packages. The pull request brings back lines that were taken out of them,
one hunk in every 30 lines or so. Both sides are commits of a git repository, read as any change is.
"""

import asyncio
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import httpx

from benchmarks.processes import hub
from tidemill.analysis.diff import parse_diff
from tidemill.core.change import ChangeSet
from tidemill.core.finding import Finding
from tidemill.flows.surroundings import surrounded_locally
from tidemill.forges.local_git import read_change
from tidemill.review.context import hunk_context, symbols_of
from tidemill.review.offline import default_engines, review_without_model, run_engines
from tidemill.review.selection import plan
from tidemill.settings import ReviewSettings

HUNKS = 1000
EVERY = 30
"""Lines between two hunks; those of context must not touch."""
TAKEN = (1, 3, 6, 12)
"""Lines that are taken out, in turn."""
PACKAGES = ("httpx", "starlette", "fastapi", "pydantic", "dbos", "anyio", "rich", "click", "jinja2", "openai")


def run() -> None:
    """Prints seconds and their ratio."""
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as folder:
        asyncio.run(_run(Path(folder)))


async def _run(folder: Path) -> None:
    made = _repository(folder)
    limits = ReviewSettings()
    started = time.perf_counter()
    change = await read_change(folder, None, staged=False, limits=limits)
    read = time.perf_counter() - started
    diff = parse_diff(change.diff)
    print(f"\nA pull request of {len(diff.hunks)} hunks in {made} files, {len(change.diff):,} bytes of diff")
    print(f"reading it from git            {read:6.2f} s")
    before, findings = await _alone(change)
    started = time.perf_counter()
    result = await review_without_model(change, default_engines(), limits)
    whole = time.perf_counter() - started
    after, _ = await _alone(change)
    alone = (before + after) / 2
    started = time.perf_counter()
    planned = plan(change, parse_diff(change.diff), findings, limits, with_model=True)
    own = time.perf_counter() - started
    print(f"engines alone, before, after   {before:6.2f} s, {after:.2f} s  ({len(findings)} findings)")
    print(f"the whole review between them  {whole:6.2f} s  ({whole / alone:.2f}× the engines)")
    print(f"parsing, necessity and plan    {own:6.2f} s  ({1 + own / alone:.3f}× the engines with them)")
    print(f"put to a model                 {sum(hunk.asked for hunk in planned.hunks):6} of {len(result.hunks)} hunks")
    await _beside(change, folder)
    _on_a_hub(change)


def _on_a_hub(change: ChangeSet) -> None:
    """Twice: the second time the hub remembers what the engines found."""
    body = {"diff": change.diff, "files": dict(change.files), "before": dict(change.before), "model": False}
    with (
        hub() as running,
        httpx.Client(
            base_url=running.url, headers={"authorization": f"Bearer {running.key}"}, trust_env=False, timeout=60
        ) as client,
    ):
        for name in ("on a hub, with its database", "the same head once more"):
            started = time.perf_counter()
            asked = client.post("/v1/reviews", json=body).raise_for_status().json()
            while (found := client.get(f"/v1/reviews/{asked['id']}").json())["state"] not in {"done", "failed"}:
                time.sleep(0.02)
            if found["state"] == "failed":
                raise RuntimeError(found["error"])
            print(f"{name:<30} {time.perf_counter() - started:6.2f} s")


async def _alone(change: ChangeSet) -> tuple[float, Sequence[Finding]]:
    diff = parse_diff(change.diff)
    started = time.perf_counter()
    ran = await run_engines(default_engines(), change, diff)
    return time.perf_counter() - started, ran.findings


async def _beside(change: ChangeSet, folder: Path) -> None:
    started = time.perf_counter()
    around = await surrounded_locally(change, folder)
    searched = time.perf_counter() - started
    started = time.perf_counter()
    symbols = symbols_of(around)
    parsed = time.perf_counter() - started
    diff = parse_diff(change.diff)
    started = time.perf_counter()
    contexts = [hunk_context(symbols, hunk) for hunk in diff.hunks]
    each = (time.perf_counter() - started) / len(contexts)
    with_any = sum(bool(one.excerpts) for one in contexts)
    print(f"the repository, searched       {searched:6.2f} s  ({len(around.around)} files around the change)")
    print(f"names of {len(symbols.texts):4} files             {parsed:6.2f} s")
    print(
        f"context of a hunk              {each * 1000:6.1f} ms "
        f"({with_any} of {len(contexts)} have some, {median(one.tokens for one in contexts):.0f} tokens in the middle)"
    )


def _repository(folder: Path) -> int:
    """Two commits; returns how many files the second one changes."""
    site = Path(sysconfig.get_paths()["purelib"])
    texts = {
        path.relative_to(site): path.read_text("utf-8")
        for package in PACKAGES
        for path in sorted((site / package).rglob("*.py"))
        if path.stat().st_size < 200_000
    }
    left, changed = HUNKS, 0
    for path, text in texts.items():
        before, hunks = _taken_out(text, left)
        left -= hunks
        changed += bool(hunks)
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(before, "utf-8")
    _commit(folder, "before", first=True)
    for path, text in texts.items():
        (folder / path).write_text(text, "utf-8")
    _commit(folder, "after")
    return changed


def _taken_out(text: str, most: int) -> tuple[str, int]:
    """The text without a few lines in every `EVERY`, and how many times lines were taken."""
    lines = text.split("\n")
    kept: list[str] = []
    hunks = at = 0
    while at < len(lines):
        kept += lines[at : at + EVERY]
        at += EVERY
        count = TAKEN[hunks % len(TAKEN)]
        if hunks < most and at + count + EVERY < len(lines):
            at += count
            hunks += 1
    return "\n".join(kept), hunks


def _commit(folder: Path, title: str, *, first: bool = False) -> None:
    who = ["-c", "user.name=bench", "-c", "user.email=bench@example.org", "-c", "commit.gpgsign=false"]
    if first:
        subprocess.run(["git", "init", "-q", str(folder)], check=True)
    subprocess.run(["git", "-C", str(folder), "add", "-A"], check=True)
    subprocess.run(["git", "-C", str(folder), *who, "commit", "-q", "-m", title], check=True)
