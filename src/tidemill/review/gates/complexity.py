"""Cyclomatic complexity of the functions that a change adds or alters, by lizard in a process of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tidemill.core.change import ChangeSet, Diff, FileDiff
from tidemill.core.gate import Gate, GateName, GatePlace, GateState
from tidemill.review.engines.port import EngineFailed
from tidemill.review.engines.process import Program, Workplace, origin, python_module, rows, run_on_copies
from tidemill.review.gates.code import code_files, with_places

SECONDS = 60.0
MEMORY = 2**31
"""Bytes of address space that lizard may take."""
_READ = frozenset(
    [
        *(".py", ".pyi", ".js", ".jsx", ".mjs", ".cjs", ".ts", ".tsx", ".vue", ".java", ".kt", ".kts", ".scala", ".go"),
        *(".rs", ".c", ".cc", ".cpp", ".cxx", ".h", ".hpp", ".cs", ".swift", ".m", ".mm", ".rb", ".php", ".lua"),
        *(".pl", ".pm", ".sol", ".zig", ".erl", ".r"),
    ]
)
"""Suffixes that lizard has a reader for."""


@dataclass(frozen=True, slots=True)
class Function:
    """A function as lizard sees it; lines are 1-based, both ends in it."""

    name: str
    start: int
    end: int
    complexity: int


@dataclass(frozen=True, slots=True)
class FunctionsMeasured:
    """What lizard found in both sides' texts of the changed files.

    Attributes:
        after: functions of the new side, by path; `before` those of the old one, by the new side's path.
        unread: why a file could not be measured, by path.
    """

    after: Mapping[str, Sequence[Function]] = field(default_factory=dict)
    before: Mapping[str, Sequence[Function]] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)


async def measure_functions(
    change: ChangeSet, diff: Diff, *, folder: Path | None = None, seconds: float = SECONDS
) -> FunctionsMeasured | str:
    """The functions of both sides of the changed files of code; or why they could not be measured.

    Args:
        change: with both sides' texts.
        diff: the same change, parsed; files that the policy ignores left out.
        folder: where the private copies are made and removed; the system's own if `None`.
        seconds: after which lizard is killed.
    """
    paths = [file.path for file in code_files(diff) if Path(file.path).suffix.lower() in _READ]
    sides = {("after", path): change.files[path] for path in paths if path in change.files}
    sides |= {("before", path): change.before[path] for path in paths if path in change.before}
    unread = {path: "only its diff is known" for path in paths if path not in change.files}
    if not sides:
        return FunctionsMeasured(unread=unread)
    # Names of our own, since two sides have one path; the suffix tells lizard the language.
    copies = {f"{number}{Path(path).suffix.lower()}": side for number, (side, path) in enumerate(sides)}
    texts = dict(zip(copies, sides.values(), strict=True))
    program = Program("lizard", _command, seconds, folder, accepted=(0,), memory=MEMORY)
    try:
        found = rows("lizard", await run_on_copies(program, texts))
    except EngineFailed as error:
        return error.message
    measured: dict[str, dict[str, Sequence[Function]]] = {"after": {}, "before": {}}
    names = dict(zip(texts, sides, strict=True))
    for row in found:
        side, path = names[origin(row["file"], list(texts))]
        if row["error"] is not None:
            unread[path] = f"lizard could not read it ({row['error']})"
        measured[side][path] = tuple(Function(**one) for one in row["functions"])
    return FunctionsMeasured(measured["after"], measured["before"], unread)


def _command(place: Workplace) -> Sequence[str]:
    return python_module("tidemill.review.gates.lizard_process", f"../{place.files.name}")


def judge_complexity(diff: Diff, measured: FunctionsMeasured | str, below: int, *, required: bool) -> Gate:
    """Holds each function that the change adds or alters against the threshold.

    A function that was as complex before does not fail the gate: who mends a line of it did not make it so.

    Args:
        diff: which lines the change adds and removes.
        measured: of both sides; or why there is nothing.
        below: the threshold.
        required: whether the gate fails where it can't be measured.
    """
    name, threshold = GateName.COMPLEXITY, f"< {below}"
    files = [file for file in code_files(diff) if Path(file.path).suffix.lower() in _READ]
    if not files:
        return Gate(name, GateState.PASSED, threshold, "no code changed", required=required)
    if isinstance(measured, str):
        return Gate(name, GateState.NOT_MEASURED, threshold, reason=measured, required=required)
    unread = "; ".join(f"{path}: {why}" for path, why in sorted(measured.unread.items())[:3])
    touched = [(file, one) for file in files for one in measured.after.get(file.path, ()) if _touched(file, one)]
    if not touched:
        if unread:
            return Gate(name, GateState.NOT_MEASURED, threshold, reason=unread, required=required)
        return Gate(name, GateState.PASSED, threshold, "no function added or altered", required=required)
    over: list[tuple[FileDiff, Function, str]] = []
    old = 0
    for file, one in sorted(touched, key=lambda item: -item[1].complexity):
        was = _before(one, measured.before.get(file.path, ()))
        if one.complexity >= below and was is not None and was >= one.complexity:
            old += 1
        elif one.complexity >= below:
            over.append((file, one, f" (was {was})" if was is not None else ""))
    reasons = [f"{old} that had it before are not counted"] if old else []
    gate = Gate(
        name,
        GateState.FAILED if over else GateState.PASSED,
        threshold,
        f"at most {max(one.complexity for _, one in touched)} in {len(touched)} functions",
        "; ".join([*reasons, *([unread] if unread else [])]),
        required=required,
    )
    return with_places(
        gate,
        over,
        lambda found: GatePlace(found[0].path, found[1].start, f"{found[1].name}: {found[1].complexity}{found[2]}"),
    )


def _touched(file: FileDiff, function: Function) -> bool:
    """The change adds a line to it, or removes one from between its first and its last."""
    for hunk in file.hunks:
        at = hunk.new_start if hunk.new_count else hunk.new_start + 1
        for line in hunk.lines:
            if line.new is not None:
                at = line.new + 1
                if line.old is None and function.start <= line.new <= function.end:
                    return True
            elif function.start < at <= function.end:
                return True
    return False


def _before(function: Function, before: Sequence[Function]) -> int | None:
    """How complex the function of this name was; where several have it, the one that stood nearest."""
    named = [one for one in before if one.name == function.name]
    nearest = min(named, key=lambda one: abs(one.start - function.start), default=None)
    return None if nearest is None else nearest.complexity
