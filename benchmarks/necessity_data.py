"""Pieces of real hunks that drew a review comment, and pieces of the same hunks that did not.

The file is `crc_py_manual.json` of https://github.com/busraicoz/crc-py-dataset: review comments on Python projects,
each with what the forge shows above it, which is the hunk from its head down to the commented line and no further.
It has no hunk without a comment. So the unit here is a piece: a run of changed lines between lines of context, and a
long run of added lines cut where a definition or paragraph begins after an empty line.

    needed       the piece that the commented line ends; what came after that line is not in the file
    not needed   the pieces above it in the same hunk: the reviewer passed them to reach the line, and the file has
                 no comment on them. Each is cut at a random line of its own, as the comment cut the other one: without
                 that, whatever is long would be "not needed"

Left out: comments that a program wrote, hunks of one piece (nothing to compare with), comments that are not on a
changed line, and hunks whose lines were lost.
"""

import json
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidemill.core.change import Line, LineKind

_HEAD = re.compile(r"@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@")
_BY_PROGRAM = re.compile(
    r"codereviewagent|please provide (?:return )?type hint|please provide descriptive name|please provide doctest"
    r"|as there is no test file in this pull request|an error occurred while parsing the file",
    re.IGNORECASE,
)
_BEGINS = re.compile(r"(?:@|def |class |async def |if __name__|\"\"\"|#|[A-Za-z_])")
_SHALLOW = 4
"""Columns of the deepest line that begins a piece within added lines."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a hunk. `group` names the pull request; `place` counts from the hunk's top."""

    path: str
    lines: tuple[Line, ...]
    needed: bool
    group: str
    place: int

    @property
    def text(self) -> str:
        """With the marks of a diff."""
        return "\n".join(("+" if line.kind is LineKind.ADDED else "-") + line.text for line in self.lines)


@dataclass(frozen=True, slots=True)
class Commented:
    """A comment with its category, on what."""

    path: str
    lines: tuple[Line, ...]
    comment: str
    category: str
    group: str


def read_comments(path: Path) -> tuple[list[tuple[dict[str, Any], tuple[Line, ...]]], Counter[str]]:
    """Each record that people wrote with its lines, and why the others are left out."""
    left: Counter[str] = Counter()
    kept = []
    for record in json.loads(path.read_bytes()):
        if _BY_PROGRAM.search(record["comment"]):
            left["a program's comment"] += 1
        elif not (lines := _lines(_hunk_of(record))):
            left["no lines"] += 1
        else:
            kept.append((record, lines))
    return kept, left


def read_pieces(path: Path, *, seed: int = 7) -> tuple[list[Piece], Counter[str]]:
    """Every piece of the hunks that can be used, and why the others are left out."""
    chance = random.Random(seed)
    records, left = read_comments(path)
    pieces: list[Piece] = []
    for record, lines in records:
        parts = [_trimmed(part) for part in _parts(lines)]
        if record["line_number"] not in (lines[-1].old, lines[-1].new) or not parts or parts[-1][-1] is not lines[-1]:
            left["not on a changed line, or cut elsewhere"] += 1
        elif len(parts) == 1:
            left["one piece"] += 1
        else:
            left["used"] += 1
            for place, part in enumerate(parts):
                needed = place == len(parts) - 1
                shown = part if needed else _cut(part, chance)
                pieces.append(Piece(record["file_path"], tuple(shown), needed, group_of(record), place))
    return pieces, left


def group_of(record: dict[str, Any]) -> str:
    """The pull request."""
    return f"{record['owner']}/{record['repo']}#{record['pr_number']}"


def _hunk_of(record: dict[str, Any]) -> str:
    """Some records lost their line feeds in `code`, and have them in `enriched`."""
    code: str = record["code"]
    if "\n" in code or "\nCode: " not in record.get("enriched", ""):
        return code
    shown: str = record["enriched"].split("\nCode: ", 1)[1].split("\nComment: ", 1)[0]
    return shown


def _lines(text: str) -> tuple[Line, ...]:
    head, *body = text.rstrip("\n").split("\n")
    match = _HEAD.match(head)
    if match is None:
        return ()
    old, new = int(match[1]) - 1, int(match[2]) - 1
    lines = []
    for row in body:
        if row.startswith("\\"):
            continue
        kind = {"+": LineKind.ADDED, "-": LineKind.REMOVED}.get(row[:1], LineKind.CONTEXT)
        old, new = old + (kind is not LineKind.ADDED), new + (kind is not LineKind.REMOVED)
        lines.append(
            Line(
                kind,
                row[1:],
                None if kind is LineKind.ADDED else old,
                None if kind is LineKind.REMOVED else new,
            )
        )
    return tuple(lines)


def _parts(lines: Sequence[Line]) -> list[list[Line]]:
    parts: list[list[Line]] = [[]]
    before: Line | None = None
    for line in lines:
        if line.kind is LineKind.CONTEXT or _begins(before, line):
            parts.append([])
        if line.kind is not LineKind.CONTEXT:
            parts[-1].append(line)
        before = line
    return [part for part in parts if any(line.text.strip() for line in part)]


def _begins(before: Line | None, line: Line) -> bool:
    """A definition or paragraph, after an empty line."""
    added = before is not None and before.kind is LineKind.ADDED and line.kind is LineKind.ADDED
    shallow = len(line.text) - len(line.text.lstrip()) <= _SHALLOW
    return (
        added and before is not None and not before.text.strip() and shallow and bool(_BEGINS.match(line.text.strip()))
    )


def _trimmed(part: list[Line]) -> list[Line]:
    """Without empty lines at its ends, which no comment stands on."""
    full = [at for at, line in enumerate(part) if line.text.strip()]
    return part[full[0] : full[-1] + 1]


def _cut(part: list[Line], chance: random.Random) -> list[Line]:
    ends = [at for at, line in enumerate(part) if line.text.strip()]
    return part[: chance.choice(ends) + 1]
