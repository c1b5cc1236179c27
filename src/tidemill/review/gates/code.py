"""Which files of a change hold code that gates judge, and where a gate falls short."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TypeVar

from tidemill.analysis.paths import PathKind, kind_of
from tidemill.core.change import ChangeKind, Diff, FileDiff
from tidemill.core.gate import Gate, GatePlace

SUFFIXES = frozenset(
    [
        *(".py", ".pyi", ".js", ".jsx", ".mjs", ".cjs", ".ts", ".tsx", ".mts", ".cts", ".vue", ".java", ".kt", ".kts"),
        *(".scala", ".groovy", ".go", ".rs", ".c", ".cc", ".cpp", ".cxx", ".h", ".hpp", ".cs", ".swift", ".m", ".mm"),
        *(".rb", ".php", ".lua", ".pl", ".pm", ".r", ".sh", ".bash", ".sol", ".zig", ".erl"),
    ]
)
SHOWN_PLACES = 10


def is_code(path: str) -> bool:
    """Code that people write and ship: no tests, nothing generated, vendored or locked."""
    return PurePosixPath(path).suffix.lower() in SUFFIXES and kind_of(path) is PathKind.SOURCE


def code_files(diff: Diff) -> tuple[FileDiff, ...]:
    """The files of code to which the change adds lines, or in which it alters some."""
    return tuple(
        file for file in diff.files if file.kind is not ChangeKind.DELETED and file.hunks and is_code(file.path)
    )


_Found = TypeVar("_Found")


def with_places(gate: Gate, found: Sequence[_Found], place: Callable[[_Found], GatePlace]) -> Gate:
    """The gate with as many places as a person reads, and how many more there are."""
    return replace(gate, places=tuple(map(place, found[:SHOWN_PLACES])), more=max(0, len(found) - SHOWN_PLACES))


def ranges(lines: list[int]) -> list[tuple[int, int]]:
    """Runs of numbers that follow one another, as (first, last)."""
    found: list[tuple[int, int]] = []
    for line in sorted(lines):
        if found and line == found[-1][1] + 1:
            found[-1] = (found[-1][0], line)
        else:
            found.append((line, line))
    return found
