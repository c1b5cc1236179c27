"""How much of what a change adds stands elsewhere already: runs of equal tokens, spacing and comments left out."""

import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from tidemill.core.change import ChangeKind, Diff
from tidemill.core.gate import Gate, GateName, GatePlace, GateState
from tidemill.review.gates.code import code_files, is_code, ranges, with_places

WINDOW = 50
"""Tokens in a row that make a copy: some five to ten lines."""
MOST_CHARACTERS = 6_000_000
"""Of all that is compared: more is left out, largest files last named. On one core, some three seconds."""
_BASE = np.uint64(1_000_003)
_HASHES = frozenset([".py", ".pyi", ".rb", ".sh", ".bash", ".pl", ".pm", ".r", ".ex", ".exs", ".jl", ".tcl"])
_IMPORT = re.compile(
    r"\s*(?:import\b|from\s+\S+\s+import\b|package\b|using\b|use\s+[\w:\\]|#\s*include\b|require\b|"
    r"(?:const|let|var)\s+[\w{},\s]+=\s*require\(|export\s+(?:\*|\{[^}]*\})\s+from\b|\}\s*from\s)"
)
"""Lines that many files share without being copies of each other."""
_STRING = r"\"(?:\\.|[^\"\\\n])*\"?|'(?:\\.|[^'\\\n])*'?"
"""What is not closed ends with the line, or with the file: so no text takes longer to read than its length."""
_WORD = r"\n|[^\W\d]\w*|\d[\w.]*|\S"
_HASH_TOKENS = re.compile(rf"\"\"\"[\s\S]*?(?:\"\"\"|\Z)|'''[\s\S]*?(?:'''|\Z)|{_STRING}|#[^\n]*|{_WORD}")
_SLASH_TOKENS = re.compile(rf"/\*[\s\S]*?(?:\*/|\Z)|//[^\n]*|{_STRING}|`(?:\\[\s\S]|[^`\\])*`?|{_WORD}")


@dataclass(frozen=True, slots=True)
class _Tokens:
    """A file's tokens as numbers, one for each text, and the line that each begins on."""

    path: str
    ids: NDArray[np.uint64]
    lines: NDArray[np.int64]


def judge_duplication(
    diff: Diff,
    files: Mapping[str, str],
    tree: Mapping[str, str] | None,
    below: float,
    *,
    required: bool,
    unseen: int = 0,
) -> Gate:
    """Of the added lines of code, the share that stands in runs of `WINDOW` tokens that are elsewhere too.

    "Elsewhere" is another place of a changed file's new side, or of the tree. A line without tokens is none; one of
    which a token differs is no copy.

    Args:
        diff: what the change adds.
        files: the new side's texts of the changed files.
        tree: texts of the repository's other files; `None` where only the changed ones are known.
        below: percent.
        required: whether the gate fails where it can't be measured.
        unseen: files of the tree that were not read.
    """
    name, threshold = GateName.DUPLICATION, f"< {below:g} %"
    changed = code_files(diff)
    added = {file.path: file.changed_lines for file in changed if file.changed_lines}
    if not added:
        return Gate(name, GateState.PASSED, threshold, "no code added", required=required)
    known = {path: files[path] for path in added if path in files}
    unknown = len(added) - len(known)
    if not known:
        reason = "of these files only the diff is known"
        return Gate(name, GateState.NOT_MEASURED, threshold, reason=reason, required=required)
    gone = {file.path for file in diff.files} | {
        file.old_path for file in diff.files if file.old_path and file.kind is ChangeKind.RENAMED
    }
    others = {path: text for path, text in (tree or {}).items() if path not in gone and is_code(path)}
    compared, left_out = _within(known, others)
    copies, total = _copies(_tokenized(compared), {path: added[path] for path in known if path in compared})
    copied = sum(len(lines) for lines in copies.values())
    share = 100 * copied / total if total else 0.0
    places = [
        GatePlace(path, first, f"lines {first}–{last} stand in {lines[first]} too")
        for path, lines in sorted(copies.items())
        for first, last in ranges(list(lines))
    ]
    gate = Gate(
        name,
        GateState.PASSED if share < below else GateState.FAILED,
        threshold,
        f"{share:.1f} % ({copied} of {total} lines)",
        _compared_with(len(compared) - len(known), tree is not None, left_out + unseen, unknown),
        required=required,
    )
    return with_places(gate, places, _same)


def _compared_with(others: int, tree: bool, left_out: int, unknown: int) -> str:
    said = f"compared with the change itself and {others} other files" if tree else "compared with the changed files"
    if left_out:
        said += f"; {left_out} files were too much to compare"
    if unknown:
        said += f"; of {unknown} changed files only the diff is known"
    return said


def _within(known: Mapping[str, str], others: Mapping[str, str]) -> tuple[dict[str, str], int]:
    """The changed files, and of the others the smallest, up to `MOST_CHARACTERS` in all; how many are left out."""
    chosen: dict[str, str] = {}
    left = MOST_CHARACTERS
    ordered = [*known.items(), *sorted(others.items(), key=lambda item: (len(item[1]), item[0]))]
    for path, text in ordered:
        if len(text) <= left:
            chosen[path] = text
            left -= len(text)
    return chosen, len(ordered) - len(chosen)


def _tokenized(files: Mapping[str, str]) -> list[_Tokens]:
    numbers: dict[str, int] = {}
    return [_tokens(path, text, numbers) for path, text in files.items()]


def _tokens(path: str, text: str, numbers: dict[str, int]) -> _Tokens:
    """The tokens of a file; `numbers` gives each text its number, and grows."""
    hashes = PurePosixPath(path).suffix.lower() in _HASHES
    pattern, comments = (_HASH_TOKENS, ("#",)) if hashes else (_SLASH_TOKENS, ("//", "/*"))
    lines = text.split("\n")
    skipped = {number for number, line in enumerate(lines, start=1) if _IMPORT.match(line[:300])}
    ids: list[int] = []
    at: list[int] = []
    line = 1
    for piece in pattern.findall(text):
        if piece == "\n":
            line += 1
            continue
        if line not in skipped and not piece.startswith(comments):
            ids.append(numbers.setdefault(piece, len(numbers) + 1))
            at.append(line)
        if piece[0] in "\"'`/":
            line += piece.count("\n")
    return _Tokens(path, np.asarray(ids, dtype=np.uint64), np.asarray(at, dtype=np.int64))


def _hashes(ids: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A number for each run of `WINDOW` tokens; unsigned, so that it wraps."""
    count = len(ids) - WINDOW + 1
    if count <= 0:
        return np.zeros(0, dtype=np.uint64)
    total = np.zeros(count, dtype=np.uint64)
    for offset in range(WINDOW):
        total = total * _BASE + ids[offset : offset + count]
    return total


_Place = tuple[_Tokens, int]
"""A run of `WINDOW` tokens: the file, and which of its tokens is the first."""


def _copies(files: list[_Tokens], added: Mapping[str, frozenset[int]]) -> tuple[dict[str, dict[int, str]], int]:
    """The added lines that stand elsewhere, each with where; and how many added lines have a token."""
    marks = {file.path: np.isin(file.lines, list(added.get(file.path, ()))) for file in files}
    total = sum(len(np.unique(file.lines[marks[file.path]])) for file in files)
    hashed = {file.path: _hashes(file.ids) for file in files}
    starts = {file.path: _whole_windows(marks[file.path]) for file in files if file.path in added}
    wanted = np.unique(np.concatenate([np.zeros(0, np.uint64), *(hashed[path][at] for path, at in starts.items())]))
    first, last = _ends(files, hashed, wanted)
    copies: dict[str, dict[int, str]] = {}
    for file in files:
        copied = np.zeros(len(file.ids), dtype=np.bool_)
        where: dict[int, str] = {}
        for start in starts.get(file.path, ()):
            number = int(hashed[file.path][start])
            other = next((end for end in (first[number], last[number]) if _is_copy((file, int(start)), end)), None)
            if other is not None:
                copied[start : start + WINDOW] = True
                where.setdefault(int(file.lines[start]), f"{other[0].path}:{int(other[0].lines[other[1]])}")
        whole = np.setdiff1d(file.lines[copied], file.lines[~copied])
        if len(whole):
            copies[file.path] = _filled([int(line) for line in whole], where)
    return copies, total


def _ends(
    files: list[_Tokens], hashed: Mapping[str, NDArray[np.uint64]], wanted: NDArray[np.uint64]
) -> tuple[dict[int, _Place], dict[int, _Place]]:
    """Where each of these runs stands first, and where last: a copy of any is at one of its two ends."""
    first: dict[int, _Place] = {}
    last: dict[int, _Place] = {}
    for file in files:
        for at in _standing_in(wanted, hashed[file.path]):
            number = int(hashed[file.path][at])
            first.setdefault(number, (file, int(at)))
            last[number] = (file, int(at))
    return first, last


def _standing_in(wanted: NDArray[np.uint64], numbers: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Where one of the wanted numbers, which are in order, stands."""
    if not len(wanted):
        return np.zeros(0, dtype=np.int64)
    places = np.minimum(np.searchsorted(wanted, numbers), len(wanted) - 1)
    return np.flatnonzero(wanted[places] == numbers)


def _filled(lines: list[int], where: Mapping[int, str]) -> dict[int, str]:
    """Each line with the copy that begins on it, or else on the nearest line before."""
    begins = sorted(where)
    return {line: where[begins[bisect_right(begins, line) - 1]] for line in lines}


def _whole_windows(marked: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Where a run of `WINDOW` tokens begins that stands on added lines alone."""
    if len(marked) < WINDOW:
        return np.zeros(0, dtype=np.int64)
    sums = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(marked, dtype=np.int64)))
    return np.flatnonzero(sums[WINDOW:] - sums[:-WINDOW] == WINDOW)


def _is_copy(one: _Place, other: _Place) -> bool:
    """Not the same place, nor one that overlaps it, and equal token by token: hashes can meet by chance."""
    (file, start), (its_file, its_start) = one, other
    if file is its_file and abs(start - its_start) < WINDOW:
        return False
    return bool(np.array_equal(file.ids[start : start + WINDOW], its_file.ids[its_start : its_start + WINDOW]))


def _same(place: GatePlace) -> GatePlace:
    return place
