"""Which findings of a head are those that stand on its pull request already, though their fingerprints say otherwise.

A fingerprint holds the file, and which of its equal lines a finding is on: a push that mends the first of two, or
renames the file, gives what it left alone another one. It holds the engine, too: where one fails, what another finds
in its place has another. Pure: no forge is asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tidemill.core.change import ChangeKind, Diff
from tidemill.core.finding import Finding
from tidemill.core.placed_comment import PlacedComment, PlacedState
from tidemill.review.duplicates import unsaid
from tidemill.review.placing import even

Lines = Mapping[str, int | None]
"""Where the line of a placed comment stands now, by its fingerprint: `None` where it is gone. What is left out is not
known."""
_Key = tuple[str, str, str]
_Group = tuple[list[PlacedComment], list[tuple[int, Finding]]]


def recognized(
    found: Sequence[Finding], placed: Sequence[PlacedComment], diff: Diff, lines: Lines
) -> tuple[Finding, ...]:
    """The findings in their order, each that is placed already under the fingerprint that it was placed with.

    What no comment says takes the place of what another engine said of its line, and does not find now.

    Args:
        found: of the newest head.
        placed: the rows of the pull request.
        diff: of the newest head.
        lines: of the rows that `unsure` names.
    """
    names = _renamed(found, placed, diff)
    for rows, here in _groups(found, placed):
        names |= _named(rows, [(at, one) for at, one in here if at not in names], lines)
    named = [replace(one, fingerprint=names.get(at, one.fingerprint)) for at, one in enumerate(found)]
    standing = _said_by_others(named, placed, lines)
    return tuple(replace(one, fingerprint=standing.get(one.fingerprint, one.fingerprint)) for one in named)


def unsure(found: Sequence[Finding], placed: Sequence[PlacedComment]) -> list[PlacedComment]:
    """The rows of which it takes the place of their lines to tell which finding is theirs."""
    equal = [row for rows, here in _groups(found, placed) if not _plain(rows, here) for row in rows]
    left, fresh = _unmatched(found, placed)
    others = [row for row in left if any(_says(row, one, one.line) for one in fresh)]
    return [*equal, *(row for row in others if row not in equal)]


def _groups(found: Sequence[Finding], placed: Sequence[PlacedComment]) -> list[_Group]:
    """Rows and findings of equal lines, by line, where there are both."""
    groups: dict[tuple[str, _Key], _Group] = {}
    for row in _ordered(placed):
        groups.setdefault((row.finding.path, _key(row.finding)), ([], []))[0].append(row)
    for at, one in sorted(enumerate(found), key=lambda item: item[1].line):
        if (group := groups.get((one.path, _key(one)))) is not None:
            group[1].append((at, one))
    return [group for group in groups.values() if group[1]]


def _ordered(placed: Sequence[PlacedComment]) -> list[PlacedComment]:
    """By line, those last whose line was mended."""
    return sorted(placed, key=lambda one: (one.state is PlacedState.FIXED, one.finding.line))


def _plain(rows: Sequence[PlacedComment], here: Sequence[tuple[int, Finding]]) -> bool:
    return len(rows) == len(here) == 1 and rows[0].finding.fingerprint == here[0][1].fingerprint


def _named(rows: Sequence[PlacedComment], here: Sequence[tuple[int, Finding]], lines: Lines) -> dict[int, str]:
    """The fingerprints of a group's findings, by their places: those of the rows on whose lines they are; else their
    own; else, where another has that, one that is left over."""
    names: dict[int, str] = {}
    left = []
    for row in rows:
        name = row.finding.fingerprint
        at = next((at for at, one in here if at not in names and lines.get(name) == one.line), None)
        if at is None:
            left.append(name)
        else:
            names[at] = name
    for at, one in here:
        if at not in names and one.fingerprint in left:
            names[at] = one.fingerprint
    spare = [name for name in left if name not in lines]
    for at, one in here:
        if at not in names:
            taken = set(names.values())
            wanted = [*spare, one.fingerprint, *(other.fingerprint for _, other in here)]
            names[at] = next(name for name in wanted if name not in taken)
    return names


def _said_by_others(found: Sequence[Finding], placed: Sequence[PlacedComment], lines: Lines) -> dict[str, str]:
    """The fingerprints of comments that other engines' findings have now, by those findings' own: one for each."""
    left, fresh = _unmatched(found, placed)
    names: dict[str, str] = {}
    for one in fresh:
        row = next((row for row in left if _says(row, one, lines.get(row.finding.fingerprint, one.line))), None)
        if row is not None:
            left.remove(row)
            names[one.fingerprint] = row.finding.fingerprint
    return names


def _unmatched(found: Sequence[Finding], placed: Sequence[PlacedComment]) -> tuple[list[PlacedComment], list[Finding]]:
    """The rows and the findings that have no fingerprint in common."""
    here, there = {one.fingerprint for one in found}, {row.finding.fingerprint for row in placed}
    left = [row for row in _ordered(placed) if row.finding.fingerprint not in here]
    return left, [one for one in found if one.fingerprint not in there]


def _says(row: PlacedComment, finding: Finding, line: int | None) -> bool:
    """Whether another engine said of the same line, which is this one now, what a finding says."""
    if line is None or even(row.finding.quote) != even(finding.quote):
        return False
    return not unsaid([finding], [replace(row.finding, line=line)])


def _renamed(found: Sequence[Finding], placed: Sequence[PlacedComment], diff: Diff) -> dict[int, str]:
    """The fingerprints of findings, by their places, whose file had another name when they were placed.

    Git tells of a rename where the base has the file; where the change had added it, the file under its new name is
    one that is added, and that nothing was placed on.
    """
    here = {file.path for file in diff.files if file.kind is not ChangeKind.DELETED}
    homes = {row.finding.path for row in placed}
    gone: dict[str, list[PlacedComment]] = {}
    for row in _ordered(placed):
        if row.finding.path not in here:
            gone.setdefault(row.finding.path, []).append(row)
    added = [file.path for file in diff.files if file.kind is ChangeKind.ADDED and file.path not in homes]
    names: dict[int, str] = {}
    for path, rows in gone.items():
        told = [file.path for file in diff.files if file.kind is ChangeKind.RENAMED and file.old_path == path]
        targets = told or sorted(added, key=lambda one: one.rpartition("/")[2] != path.rpartition("/")[2])
        best: dict[int, str] = {}
        for target in targets:
            best = max(best, _paired(rows, found, target), key=len)
        names |= best
        added = [one for one in added if one not in {found[at].path for at in names}]
    return names


def _paired(rows: Sequence[PlacedComment], found: Sequence[Finding], path: str) -> dict[int, str]:
    """Rows of one file with equal findings of another, each with the next in line."""
    pairs: dict[int, str] = {}
    there = sorted((one.line, at) for at, one in enumerate(found) if one.path == path)
    for row in rows:
        at = next((at for _, at in there if at not in pairs and _key(found[at]) == _key(row.finding)), None)
        if at is not None:
            pairs[at] = row.finding.fingerprint
    return pairs


def _key(finding: Finding) -> _Key:
    return finding.engine, finding.rule, even(finding.quote)
