"""What a commit, a range, the index or a patch changes: `ChangeSet → Diff → FileDiff → Hunk → Line`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tidemill.core.text import storable


class ChangeKind(StrEnum):
    """What happened to one file."""

    ADDED = "added"
    DELETED = "deleted"
    MODIFIED = "modified"
    RENAMED = "renamed"
    COPIED = "copied"
    MODE = "mode"


class LineKind(StrEnum):
    """The side or sides of a diff on which a line stands."""

    CONTEXT = "context"
    ADDED = "added"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a hunk, without its end-of-line characters.

    `old` and `new` are 1-based line numbers, `None` on the side where the line does not stand. `text + eol` is
    the line as the file has it: `eol` is a line feed, with a carriage return where the file has one, and without
    the line feed on a file's last line that has none.
    """

    kind: LineKind
    text: str
    old: int | None
    new: int | None
    eol: str = "\n"


@dataclass(frozen=True, slots=True)
class Hunk:
    """A run of changed lines with context, as the diff gives it.

    `index` is its 0-based position in the file's diff; `section` the text after the second `@@`.
    """

    path: str
    index: int
    old_start: int
    old_count: int
    new_start: int
    new_count: int
    section: str
    lines: tuple[Line, ...]

    @property
    def added(self) -> tuple[Line, ...]:
        """The lines that stand only on the new side."""
        return tuple(line for line in self.lines if line.kind is LineKind.ADDED)

    @property
    def removed(self) -> tuple[Line, ...]:
        """The lines that stand only on the old side."""
        return tuple(line for line in self.lines if line.kind is LineKind.REMOVED)


@dataclass(frozen=True, slots=True)
class FileDiff:
    """The change of one file. `path` is the new side's (the old one's where the file is deleted)."""

    path: str
    old_path: str | None
    kind: ChangeKind
    hunks: tuple[Hunk, ...] = ()
    binary: bool = False
    submodule: bool = False
    old_mode: str | None = None
    new_mode: str | None = None

    @property
    def changed_lines(self) -> frozenset[int]:
        """Line numbers, on the new side, of the lines that this change adds."""
        return frozenset(line.new for hunk in self.hunks for line in hunk.added if line.new is not None)


@dataclass(frozen=True, slots=True)
class Diff:
    """A parsed unified diff, files in its order."""

    files: tuple[FileDiff, ...]

    @property
    def hunks(self) -> tuple[Hunk, ...]:
        """Every hunk, in the diff's order."""
        return tuple(hunk for file in self.files for hunk in file.hunks)


@dataclass(frozen=True, slots=True)
class FileHistory:
    """What became of a file in the year before a change.

    Attributes:
        changes: commits that changed it, without merges.
        mends: those of them that mended something, as their subjects say.
    """

    changes: int
    mends: int


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """All that a review reads, taken from the repository once: it no longer depends on it.

    Attributes:
        title: the commit's subject, or a name for a range or patch.
        base: the old side's commit, or `None` where there is none (a first commit, a bare patch).
        head: the new side's commit, or `None` for the index or a bare patch.
        diff: the unified diff, as text; bytes that are not UTF-8 stand as U+FFFD.
        files: the new side's text of each changed text file, by path; a file is left out where only the diff
            is known, or where it is larger than the review reads.
        before: the old side's text of the same files, by the new side's path; with the same ones left out, and those
            that the change adds.
        around: texts of the repository's other files which define what the change calls or call what it changes, by
            path, as the new side has them; a few, and where the repository could be asked.
        attributes: the base side's `.gitattributes` files, by path.
        history: of the files that the change found there, by the new side's path; empty where it is not known.
    """

    title: str
    base: str | None
    head: str | None
    diff: str
    files: Mapping[str, str] = field(default_factory=dict)
    before: Mapping[str, str] = field(default_factory=dict)
    around: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)
    history: Mapping[str, FileHistory] = field(default_factory=dict)


def change_from_json(document: Mapping[str, Any]) -> ChangeSet:
    """The change whose `asdict` this is."""
    history = {path: FileHistory(**one) for path, one in document.get("history", {}).items()}
    return ChangeSet(**{**document, "history": history})


def storable_change(change: ChangeSet) -> ChangeSet:
    """The change with `storable` texts throughout. No line moves: a character stands for each that is replaced."""
    return ChangeSet(
        title=storable(change.title),
        base=None if change.base is None else storable(change.base),
        head=None if change.head is None else storable(change.head),
        diff=storable(change.diff),
        files={storable(path): storable(text) for path, text in change.files.items()},
        before={storable(path): storable(text) for path, text in change.before.items()},
        around={storable(path): storable(text) for path, text in change.around.items()},
        attributes={storable(path): storable(text) for path, text in change.attributes.items()},
        history={storable(path): one for path, one in change.history.items()},
    )
