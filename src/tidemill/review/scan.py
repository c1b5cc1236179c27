"""Everything that the engines find in a tree of files, whatever changed."""

import time
from collections.abc import Callable, Mapping, Sequence

from tidemill.analysis.paths import PathKind, kind_of
from tidemill.core.finding import Finding
from tidemill.core.ids import new_id
from tidemill.core.review import ReviewResult, ReviewState, by_weight
from tidemill.review.duplicates import unsaid
from tidemill.review.engines import Reading, TreeEngine
from tidemill.review.engines.together import together
from tidemill.review.placing import all_lines, place_on
from tidemill.review.rule_names import engines_for

FILES_AT_ONCE = 200
"""Files that an engine reads before the next progress: a start of its program takes it about a second."""
_LEFT_OUT = (PathKind.VENDORED, PathKind.GENERATED, PathKind.LOCK)


async def scan(
    title: str,
    files: Mapping[str, str],
    engines: Sequence[TreeEngine],
    *,
    rules: Sequence[str] = (),
    notes: Sequence[str] = (),
    progress: Callable[[str, int, int], None] = lambda engine, done, of: None,
) -> ReviewResult:
    """A review of whole files: findings, no hunks.

    Args:
        title: what was scanned, for a person.
        files: texts by path. Third-party, generated and lock files among them are left out, and said so.
        engines: all at once; of what two find in one line, the earlier one's finding is kept.
        rules: only findings of these: a rule, an engine, `engine:rule` or a category; all where there are none.
        notes: what else to say.
        progress: is told, engine by engine, how many of its files are read, and of how many.

    Raises:
        EngineFailed: an engine failed.
        InvalidInput: there is nothing of a name in `rules`.
    """
    started = time.monotonic()
    asked = engines_for(rules, [engine.name for engine in engines])
    engines = [engine for engine in engines if engine.name in asked]
    read = {path: text for path, text in files.items() if kind_of(path) not in _LEFT_OUT}
    timings: dict[str, float] = {}

    async def timed(engine: TreeEngine) -> Reading:
        begun = time.monotonic()
        reading = await _read(engine, read, progress)
        timings[engine.name] = round(time.monotonic() - begun, 3)
        return reading

    readings = await together(timed(engine) for engine in engines)
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


async def _read(engine: TreeEngine, files: Mapping[str, str], progress: Callable[[str, int, int], None]) -> Reading:
    wanted = {path: text for path, text in files.items() if engine.reads(path)}
    progress(engine.name, 0, len(wanted))
    if not wanted:
        return Reading()
    why = engine.unavailable()
    if why is not None:
        progress(engine.name, len(wanted), len(wanted))
        return Reading((), (why,))
    size = len(wanted) if getattr(engine, "together", False) else FILES_AT_ONCE
    paths, readings = list(wanted), list[Reading]()
    for start in range(0, len(paths), size):
        readings.append(await engine.read({path: wanted[path] for path in paths[start : start + size]}))
        progress(engine.name, min(start + size, len(paths)), len(paths))
    return Reading(
        tuple(remark for reading in readings for remark in reading.remarks),
        tuple(dict.fromkeys(note for reading in readings for note in reading.notes)),
        frozenset(path for reading in readings for path in reading.unread),
    )


def _is_named(finding: Finding, rules: Sequence[str]) -> bool:
    names = {finding.rule, finding.engine, f"{finding.engine}:{finding.rule}", finding.category.value}
    return not names.isdisjoint(rules)
