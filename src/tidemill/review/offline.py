"""A review by the engines alone: no model, no database."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tidemill.analysis.diff import parse_diff
from tidemill.analysis.necessity import NecessityModel
from tidemill.core.change import ChangeSet, Diff
from tidemill.core.finding import Finding
from tidemill.core.ids import new_id
from tidemill.core.review import ReviewResult, ReviewState, by_weight
from tidemill.core.review_policy import ReviewPolicy
from tidemill.review.duplicates import unsaid
from tidemill.review.engines import (
    BanditEngine,
    Engine,
    EngineFailed,
    EngineResult,
    FlowEngine,
    ManifestsEngine,
    RuffEngine,
    SecretsEngine,
    SemgrepEngine,
    TreeEngine,
)
from tidemill.review.engines.together import together
from tidemill.review.policy_filter import with_policy, without_ignored
from tidemill.review.refiner import with_own_fixes
from tidemill.review.selection import plan
from tidemill.review.trying import Trying
from tidemill.settings import ReviewSettings


def default_engines(folder: Path | None = None) -> tuple[Engine, ...]:
    """The engines of every review; their private copies of the code go under `folder`, the system's own if `None`.

    Of what two find in one line, the earlier one's finding is kept.
    """
    return tree_engines(folder)


def tree_engines(folder: Path | None = None, *, jobs: int = 2, seconds: float = 300.0) -> tuple[TreeEngine, ...]:
    """The same, as engines that read whole trees too.

    Args:
        folder: as of `default_engines`.
        jobs: processes that each engine may use.
        seconds: after which an engine is stopped.
    """
    return (
        SecretsEngine(),
        FlowEngine(),  # before Semgrep: of what both see it knows the way
        SemgrepEngine(timeout=seconds, folder=folder, jobs=jobs),
        ManifestsEngine(),
        BanditEngine(timeout=seconds, folder=folder, jobs=jobs),
        RuffEngine(timeout=seconds, folder=folder),
    )


@dataclass(frozen=True, slots=True)
class EnginesRun:
    """What all engines found and noted, the seconds that each took, and why one failed, by its name."""

    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    timings: Mapping[str, float]
    failures: Mapping[str, str]


async def run_engines(engines: Sequence[Engine], change: ChangeSet, diff: Diff) -> EnginesRun:
    """All engines at once. One that fails leaves what the others find.

    Raises:
        InvalidInput: an engine's; the others are stopped.
    """
    timings: dict[str, float] = {}
    failures: dict[str, str] = {}

    async def timed(engine: Engine) -> EngineResult:
        started = time.monotonic()
        try:
            result = await engine.run(change, diff)
        except EngineFailed as error:
            failures[engine.name] = error.message
            result = EngineResult(())
        timings[engine.name] = round(time.monotonic() - started, 3)
        return result

    results = await together(timed(engine) for engine in engines)
    findings: list[Finding] = []
    for result in results:
        findings += unsaid(result.findings, findings)
    notes = tuple(note for result in results for note in result.notes)
    return EnginesRun(by_weight(findings), notes, timings, failures)


async def review_without_model(
    change: ChangeSet,
    engines: Sequence[Engine],
    settings: ReviewSettings,
    *,
    review_id: str | None = None,
    policy: ReviewPolicy | None = None,
    necessity: NecessityModel | None = None,
) -> ReviewResult:
    """A finished review without a model's comments; every hunk has its score, so a person sees where to look.

    With a policy, the files that it ignores are not read, and its rules, severities and limits hold. Hunks are scored
    by the model that is given, or by the shipped one.

    Raises:
        InvalidInput: the diff can't be read.
    """
    started = time.monotonic()
    whole = await asyncio.to_thread(parse_diff, change.diff)
    diff = without_ignored(whole, policy or ReviewPolicy())
    ran = await run_engines(engines, change, diff)
    trying = Trying(engines)
    findings = await with_own_fixes(ran.findings, change, diff, trying, policy or ReviewPolicy())
    planned = await asyncio.to_thread(
        lambda: plan(change, whole, findings, settings, with_model=False, policy=policy, necessity=necessity)
    )
    result = ReviewResult(
        id=review_id or str(new_id()),
        title=change.title,
        base=change.base,
        head=change.head,
        state=ReviewState.DONE,
        findings=findings,
        hunks=planned.hunks,
        skipped=planned.skipped,
        notes=ran.notes,
        timings={**ran.timings, "total": round(time.monotonic() - started, 3)},
        engines={engine.name: engine.version for engine in engines},
        failures=ran.failures,
    )
    return result if policy is None else with_policy(result, policy)
