"""What a review asks of the rest of a repository, once, when the change is taken in.

What is found is kept with the change: a review is the same however often its steps run, and needs no repository.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from tidemill.analysis.diff import parse_diff
from tidemill.analysis.paths import PathKind, kind_of
from tidemill.analysis.syntax import language_of
from tidemill.core.change import ChangeSet
from tidemill.review.context import changed_names, symbols_of

MOST_NAMES = 200
MOST_FILES = 24
"""That are asked for of each kind: those that define what is called, those that call what is changed."""
LARGEST_FILE = 200_000
"""Characters."""
MOST_CHARACTERS = 1_500_000


class CodeIndex(Protocol):
    """The code of a repository, by the names in it."""

    async def files_naming(self, names: Sequence[str], *, most: int) -> Mapping[str, str]:
        """Texts of files in which these names stand, by path; those with the most of the rarest names first."""
        ...


async def with_surroundings(change: ChangeSet, index: CodeIndex) -> ChangeSet:
    """The change with the files around it: those that define what it calls, and those that call what it changes.

    Raises:
        TidemillError: the index can't be asked.
    """
    diff = await asyncio.to_thread(parse_diff, change.diff)
    symbols = await asyncio.to_thread(symbols_of, change)
    missing, changed = changed_names(symbols, diff.hunks)
    found: dict[str, str] = {}
    for names in (missing, changed):
        if names:
            asked = sorted(names, key=lambda name: (-len(name), name))[:MOST_NAMES]
            found |= await index.files_naming(asked, most=MOST_FILES)
    return replace(change, around=_within(found, change))


def _within(found: Mapping[str, str], change: ChangeSet) -> dict[str, str]:
    kept: dict[str, str] = {}
    left = MOST_CHARACTERS
    for path, text in found.items():
        own = (
            path in change.files
            or language_of(path) is None
            or kind_of(path) in (PathKind.VENDORED, PathKind.GENERATED)
        )
        if not own and len(text) <= min(LARGEST_FILE, left):
            kept[path] = text
            left -= len(text)
    return kept
