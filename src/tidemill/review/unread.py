"""What of a change no model read, said so that a person can see all of it: one by one, or counted by folder."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from tidemill.core.review import ReadHunk, ReviewResult

ONE_BY_ONE = 8
"""Hunks or files of one reason that are named; of more, the folders are counted."""
_FOLDERS = 8
_DEPTH = 3
_LONGEST = 200
"""Characters of a path."""
_SCORE = re.compile(r"score \d\.\d\d is under")


def unread_lines(result: ReviewResult) -> list[str]:
    """Each reason with what it kept from a model; plain text, with paths of the repository's choosing in it."""
    hunks: dict[str, list[ReadHunk]] = defaultdict(list)
    for hunk in result.hunks:
        if hunk.reason and hunk.necessity:
            hunks[_SCORE.sub("score is under", hunk.reason)].append(hunk)
    files: dict[str, list[str]] = defaultdict(list)
    for file in result.skipped:
        files[file.reason].append(file.path)
    lines = []
    for reason, found in sorted(hunks.items(), key=lambda item: (-len(item[1]), item[0])):
        lines.append(f"{_count(len(found), 'hunk')}: {reason}: {_hunks(found)}")
    for reason, paths in sorted(files.items(), key=lambda item: (-len(item[1]), item[0])):
        named = ", ".join(path[:_LONGEST] for path in paths) if len(paths) <= ONE_BY_ONE else by_folder(paths)
        lines.append(f"{_count(len(paths), 'file')}: {reason}: {named}")
    return lines


def by_folder(paths: Sequence[str]) -> str:
    """The folders with the most of these, and how many are in the others."""
    counted = Counter(_folder(path) for path in paths)
    shown = counted.most_common(_FOLDERS)
    rest = len(paths) - sum(count for _, count in shown)
    others = len(counted) - len(shown)
    named = [f"{folder} {count}" for folder, count in shown]
    return ", ".join([*named, f"{_count(others, 'other folder')} {rest}"] if others else named)


def _folder(path: str) -> str:
    parts = PurePosixPath(path[:_LONGEST]).parts[:-1][:_DEPTH]
    return "/".join(parts) + "/" if parts else "./"


def _hunks(hunks: Iterable[ReadHunk]) -> str:
    scored = sorted(((hunk.necessity.score, hunk) for hunk in hunks if hunk.necessity), key=lambda one: -one[0])
    if len(scored) > ONE_BY_ONE:
        return by_folder([hunk.path for _, hunk in scored])
    return ", ".join(f"{hunk.path[:_LONGEST]}:{hunk.start} ({score:.2f})" for score, hunk in scored)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
