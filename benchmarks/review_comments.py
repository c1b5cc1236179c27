"""What a local model says of real hunks, and what is left of it: checks, second pass, lines that mend.

The hunks are those that a review would put to a model: of commits of `examples/orders.bundle`, four with defects and
two sound; and, where `BENCH_REVIEWS` names `crc_py_manual.json`
(https://github.com/busraicoz/crc-py-dataset), a sample of hunks on which people commented, beside what they said.
Whether a comment is right, nobody but a reader can tell: everything that is shown is printed, to be read.
"""

import asyncio
import json
import os
import re
import subprocess
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tidemill.analysis.diff import parse_diff
from tidemill.core.change import ChangeSet, Diff
from tidemill.core.context import Priority
from tidemill.core.deployment import Deployment, Task
from tidemill.core.errors import InvalidInput
from tidemill.core.finding import Finding
from tidemill.core.ids import new_id
from tidemill.forges.local_git import read_change
from tidemill.llm.openai_http import OpenAIHTTP, Target
from tidemill.llm.prompts import review_comment, review_doubt, review_refine
from tidemill.llm.prompts.shipped import ShippedPrompts
from tidemill.llm.runtime.local import LocalRuntime
from tidemill.registry.deployments import REVIEW_SAMPLING
from tidemill.review.asking import Asking
from tidemill.review.commenter import Commenter, HunkQuestion
from tidemill.review.doubt import dropped, survived
from tidemill.review.offline import default_engines, run_engines
from tidemill.review.refiner import Refiner
from tidemill.review.selection import plan
from tidemill.review.trying import Trying
from tidemill.settings import ModelSettings, ReviewSettings, Settings, load_settings

DEFECTIVE = ("cc8c558", "4437c3a", "e7e0bbb", "e573693")
SOUND = 2
SAMPLE = 8
SECONDS = 300.0


@dataclass(frozen=True)
class Case:
    """A change whose hunks are asked about. `said` is what a person said of it, where one did."""

    name: str
    change: ChangeSet
    said: str = ""


class Bench:
    """Asks about cases and counts what became of the answers."""

    def __init__(self, model: OpenAIHTTP, name: str) -> None:
        asking, prompts = Asking(model), ShippedPrompts()
        self._engines = default_engines()
        self._commenter = Commenter(asking, prompts)
        self._refiner = Refiner(asking, prompts, Trying(self._engines))

        def deployment(task: Task, prompt: str, tokens: int) -> Deployment:
            version = prompts.current(prompt).version
            return Deployment(
                task, name, "1", prompt_version=version, sampling={**REVIEW_SAMPLING, "max_tokens": tokens}
            )

        self._comment = deployment(Task.REVIEW_COMMENT, review_comment.NAME, review_comment.MAX_TOKENS)
        self._doubt = deployment(Task.REVIEW_COMMENT, review_doubt.NAME, review_doubt.MAX_TOKENS)
        self._refine = deployment(Task.REVIEW_REFINE, review_refine.NAME, review_refine.MAX_TOKENS)
        self.counts: Counter[str] = Counter()
        self.seconds: defaultdict[str, float] = defaultdict(float)

    async def case(self, case: Case) -> None:
        """Asks about the hunks that a review would ask about."""
        diff = parse_diff(case.change.diff)
        findings = (await run_engines(self._engines, case.change, diff)).findings
        planned = plan(case.change, diff, findings, ReviewSettings(), with_model=True)
        print(f"\n{case.name}: {case.change.title}" + (f"\n  a person said: {case.said}" if case.said else ""))
        shown: list[Finding] = []
        for index, read in enumerate(planned.hunks):
            if not read.asked:
                continue
            question = HunkQuestion(case.change, diff.hunks[index], (*findings, *shown))
            shown += await self._asked(question)
        for finding in [*shown, *[one for one in findings if one.severity.rank >= 2][:1]]:
            await self._mended(case, diff, findings, finding)

    async def _asked(self, question: HunkQuestion) -> list[Finding]:
        started = time.perf_counter()
        answer = await self._commenter.comment(question, deployment=self._comment, review_id=new_id(), seconds=SECONDS)
        self.counts["hunks"] += 1
        self.seconds["comment"] += time.perf_counter() - started
        if answer.failure:
            print(f"  no answer: {answer.failure}")
        for one in answer.accepted.rejected:
            self.counts[f"rejected by {one.check}"] += 1
            print(f"  rejected ({one.check}: {one.reason}): {one.comment[:300]}")
        stands = []
        for comment in answer.accepted.findings:
            started = time.perf_counter()
            doubt = await self._commenter.doubt(
                question, comment, deployment=self._doubt, review_id=new_id(), seconds=SECONDS
            )
            self.seconds["doubt"] += time.perf_counter() - started
            if doubt.stands:
                comment = survived(comment, doubt)
                stands.append(comment)
                self.counts["shown"] += 1
                print(f"  SHOWN {comment.path}:{comment.line} ({comment.confidence}) {comment.message}")
                print(f"        {comment.quote.strip()}\n        against it: {doubt.reason}")
            else:
                self.counts["dropped by the second pass"] += 1
                print(
                    f"  dropped {comment.path}:{comment.line} {comment.message}\n    {dropped(comment, doubt).reason}"
                )
        return stands

    async def _mended(self, case: Case, diff: Diff, findings: tuple[Finding, ...], finding: Finding) -> None:
        hunk = next(
            (h for h in diff.hunks if h.path == finding.path and finding.line in {x.new for x in h.lines}), None
        )
        if hunk is None:
            return
        started = time.perf_counter()
        refined = await self._refiner.refine(
            HunkQuestion(case.change, hunk, findings),
            diff,
            finding,
            deployment=self._refine,
            review_id=new_id(),
            seconds=SECONDS,
        )
        self.seconds["refine"] += time.perf_counter() - started
        kind = "suggestion" if refined.suggestion else "text" if refined.proposal else "nothing"
        self.counts[f"mended: {kind}, by {refined.by or 'nobody'}"] += 1
        offered = refined.suggestion or refined.proposal
        print(f"  mend {finding.engine} {finding.rule} {finding.path}:{finding.line}: {kind} {refined.reason or ''}")
        if offered is not None:
            print("".join(f"      | {line}\n" for line in offered.text.split("\n")), end="")


def run() -> None:
    """Needs the default model (or `BENCH_MODEL`) in the data folder; prints all that was said, and the counts."""
    name = os.environ.get("BENCH_MODEL", "qwen2.5-coder-0.5b-instruct-q4_k_m")
    path = load_settings().models_dir / f"{name}.gguf"
    if not path.exists():
        print(f"review_comments: not run; `tidemill models pull {name}` fetches what it needs")
        return
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_measured(Path(folder), path, name))


async def _measured(folder: Path, path: Path, name: str) -> None:
    async with _served(folder, path) as model:
        bench = Bench(model, "bench")
        for group, cases in (("orders", await _orders(folder)), ("crc", list(_commented()))):
            for case in cases[: int(os.environ.get("BENCH_CASES", "99"))]:
                await bench.case(case)
            print(f"\n{name} on {group}:")
            for what, count in sorted(bench.counts.items()):
                print(f"  {what:<45} {count}")
            print("  " + ", ".join(f"{what} {seconds:.0f} s" for what, seconds in bench.seconds.items()))
            bench.counts.clear()
            bench.seconds.clear()


@asynccontextmanager
async def _served(folder: Path, path: Path) -> AsyncIterator[OpenAIHTTP]:
    models = ModelSettings.model_validate({"files": {"bench": path}, "context_tokens": 4096, "slots": 1})
    runtime = LocalRuntime(Settings(data_dir=folder / "data", models=models))

    @asynccontextmanager
    async def serve(wanted: str, priority: Priority = Priority.INTERACTIVE) -> AsyncIterator[Target]:
        async with runtime.serve(wanted, priority) as served:
            yield Target(served.endpoint.base_url, served.endpoint.api_key, served.model, served.options)

    try:
        async with httpx.AsyncClient(timeout=600, trust_env=False) as client:
            yield OpenAIHTTP(client, serve)
    finally:
        await runtime.aclose()


def _cloned(repo: Path) -> list[str]:
    """The example repository; the ids of its commits, newest first."""
    bundle = Path(__file__).parents[1] / "examples" / "orders.bundle"
    subprocess.run(["git", "clone", "--quiet", str(bundle), str(repo)], check=True)
    log = ["git", "-C", str(repo), "log", "--format=%h", "--abbrev=7"]
    return subprocess.run(log, check=True, capture_output=True, text=True).stdout.split()


async def _orders(folder: Path) -> list[Case]:
    repo = folder / "orders"
    commits = await asyncio.to_thread(_cloned, repo)
    sound = [one for one in commits if one not in DEFECTIVE][:SOUND]
    limits = ReviewSettings()
    return [Case(one, await read_change(repo, one, staged=False, limits=limits)) for one in (*DEFECTIVE, *sound)]


def _commented() -> Iterator[Case]:
    """Hunks of Python files with a comment on a defect, evenly spread over the set."""
    named = os.environ.get("BENCH_REVIEWS")
    rows = json.loads(Path(named).read_text("utf-8")) if named else []
    kept = [row for row in rows if row["file_path"].endswith(".py") and row["subcategory"] in _ABOUT_DEFECTS]
    for row in kept[:: max(1, len(kept) // SAMPLE)][:SAMPLE]:
        change = _change(row)
        if change is not None:
            yield Case(f"{row['repo']} {row['pr_number']}", change, " ".join(row["comment"].split())[:300])


_ABOUT_DEFECTS = ("validation", "logical", "functional", "resource", "timing")


def _change(row: dict[str, Any]) -> ChangeSet | None:
    """The hunk alone, its counts made anew: some were cut where the comment stands."""
    head, _, body = row["code"].partition("\n")
    found = re.match(r"@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@(.*)", head)
    if found is None:
        return None
    lines = [line or " " for line in body.split("\n")]
    old, new = sum(line[0] != "+" for line in lines), sum(line[0] != "-" for line in lines)
    top = f"@@ -{found[1]},{old} +{found[2]},{new} @@{found[3]}"
    path = row["file_path"]
    diff = "\n".join([f"diff --git a/{path} b/{path}", f"--- a/{path}", f"+++ b/{path}", top, *lines, ""])
    try:
        parse_diff(diff)
    except InvalidInput:
        return None
    return ChangeSet(path, None, None, diff)
