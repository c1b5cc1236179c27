"""What engines found is remembered of the same change alone, and never where a run said more than its findings."""

from dataclasses import replace

import pytest

from tidemill.analysis.diff import parse_diff
from tidemill.core.change import ChangeSet, Diff
from tidemill.core.finding import Finding, Severity
from tidemill.review.engines import EngineMemory, EngineResult, name_of
from tidemill.review.engines.memory import REMEMBERED_RESULTS

DIFF = "diff --git a/a.py b/a.py\n--- a/a.py\n+++ b/a.py\n@@ -0,0 +1 @@\n+one = 1\n"
CHANGE = ChangeSet("A change", None, None, DIFF, {"a.py": "one = 1\n"})
FOUND = Finding("counting", "R", "a.py", 1, Severity.LOW, "t", "m", "q", "f")


class CountingEngine:
    """Says the same each time, and counts how often it was asked."""

    name = "counting"

    def __init__(self, *notes: str) -> None:
        self.version = "1"
        self.runs = 0
        self._notes = notes

    async def run(self, change: ChangeSet, diff: Diff) -> EngineResult:
        self.runs += 1
        return EngineResult((FOUND,), self._notes)


async def told(memory: EngineMemory, engine: CountingEngine, change: ChangeSet = CHANGE) -> EngineResult:
    diff = parse_diff(change.diff)
    return await memory.run(engine, change, diff, name_of(change, diff))


async def test_the_same_change_is_read_once() -> None:
    memory, engine = EngineMemory(), CountingEngine()
    assert [await told(memory, engine), await told(memory, engine, replace(CHANGE, title="Another"))] == [
        EngineResult((FOUND,))
    ] * 2
    assert engine.runs == 1


@pytest.mark.parametrize(
    "other",
    [
        replace(CHANGE, diff=DIFF.replace("one", "two")),
        replace(CHANGE, files={"a.py": "two = 1\n"}),
        replace(CHANGE, before={"a.py": ""}),
        replace(CHANGE, around={"b.py": "import a\n"}),
        replace(CHANGE, attributes={".gitattributes": "* -text\n"}),
    ],
)
async def test_another_change_is_read_anew(other: ChangeSet) -> None:
    memory, engine = EngineMemory(), CountingEngine()
    await told(memory, engine)
    await told(memory, engine, other)
    assert engine.runs == 2


async def test_files_that_a_policy_leaves_out_make_it_another_change() -> None:
    assert name_of(CHANGE, parse_diff(DIFF)) != name_of(CHANGE, Diff(()))


async def test_another_version_and_a_run_with_notes_are_not_answered_from_memory() -> None:
    memory, engine = EngineMemory(), CountingEngine()
    await told(memory, engine)
    engine.version = "2"
    await told(memory, engine)
    noting = CountingEngine("A rule took too long.")
    noting.version = "3"
    await told(memory, noting)
    await told(memory, noting)
    assert (engine.runs, noting.runs) == (2, 2)


async def test_only_the_latest_results_are_kept() -> None:
    memory, engine = EngineMemory(), CountingEngine()
    for number in range(REMEMBERED_RESULTS + 1):
        await told(memory, engine, replace(CHANGE, files={"a.py": f"{number}\n"}))
    await told(memory, engine, replace(CHANGE, files={"a.py": "0\n"}))
    assert engine.runs == REMEMBERED_RESULTS + 2
    await told(memory, engine, replace(CHANGE, files={"a.py": f"{REMEMBERED_RESULTS}\n"}))
    assert engine.runs == REMEMBERED_RESULTS + 2
