"""Everything that the engines find in a tree of files, whatever changed."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

from tidemill.analysis.paths import PathKind, kind_of
from tidemill.core.finding import Finding
from tidemill.core.ids import new_id
from tidemill.core.review import ReviewResult, ReviewState, by_weight
from tidemill.review.duplicates import unsaid
from tidemill.review.engines import Reading, TreeEngine
from tidemill.review.placing import all_lines, place_on

_LEFT_OUT = (PathKind.VENDORED, PathKind.GENERATED, PathKind.LOCK)


async def scan(
    title: str,
    files: Mapping[str, str],
    engines: Sequence[TreeEngine],
    *,
    rules: Sequence[str] = (),
    notes: Sequence[str] = (),
    ended: Callable[[str], None] = lambda engine: None,
) -> ReviewResult:
    """A review of whole files: findings, no hunks.

    Args:
        title: what was scanned, for a person.
        files: texts by path. Third-party, generated and lock files among them are left out, and said so.
        engines: all at once; of what two find in one line, the earlier one's finding is kept.
        rules: only findings of these: a rule, an engine, `engine:rule` or a category; all where there are none.
        notes: what else to say.
        ended: is told each engine that has ended.

    Raises:
        EngineFailed: an engine failed.
    """
    started = time.monotonic()
    read = {path: text for path, text in files.items() if kind_of(path) not in _LEFT_OUT}
    timings: dict[str, float] = {}

    async def timed(engine: TreeEngine) -> Reading:
        begun = time.monotonic()
        reading = await _read(engine, read)
        timings[engine.name] = round(time.monotonic() - begun, 3)
        ended(engine.name)
        return reading

    tasks = [asyncio.create_task(timed(engine)) for engine in engines]
    try:
        readings = await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    texts = all_lines(read)
    found: list[Finding] = []
    for engine, reading in zip(engines, readings, strict=True):
        found += unsaid(place_on(engine.name, reading.remarks, texts), found)
    kept = [finding for finding in found if not rules or _is_named(finding, rules)]
    left_out = len(files) - len(read)
    said = [f"{left_out} third-party, generated and lock files were not read."] if left_out else []
    return ReviewResult(
        id=str(new_id()),
        title=title,
        base=None,
        head=None,
        state=ReviewState.DONE,
        findings=by_weight(kept),
        notes=(*notes, *said, *(note for reading in readings for note in reading.notes)),
        timings={**timings, "total": round(time.monotonic() - started, 3)},
        engines={engine.name: engine.version for engine in engines},
    )


async def _read(engine: TreeEngine, files: Mapping[str, str]) -> Reading:
    wanted = {path: text for path, text in files.items() if engine.reads(path)}
    if not wanted:
        return Reading()
    why = engine.unavailable()
    return Reading((), (why,)) if why is not None else await engine.read(wanted)


def _is_named(finding: Finding, rules: Sequence[str]) -> bool:
    names = {finding.rule, finding.engine, f"{finding.engine}:{finding.rule}", finding.category.value}
    return not names.isdisjoint(rules)
