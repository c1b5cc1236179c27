"""Patterns of paths, as .gitignore has them, matched in time that grows with pattern times path, never faster.

A pattern may come from a file that somebody else wrote, so none is turned into a regular expression: many stars in a
row would make one take longer than the world lasts.

The form: https://git-scm.com/docs/gitignore#_pattern_format
"""

from collections.abc import Sequence
from dataclasses import dataclass

_ANY = "*"
_ONE = "?"


@dataclass(frozen=True, slots=True)
class _Class:
    """`[a-z]`: the characters that it holds, or with `negated` those that it does not."""

    ranges: tuple[tuple[str, str], ...]
    negated: bool

    def holds(self, character: str) -> bool:
        return any(low <= character <= high for low, high in self.ranges) is not self.negated


@dataclass(frozen=True, slots=True)
class _Literal:
    character: str


_Atom = str | _Class | _Literal
_Part = tuple[_Atom, ...] | None
"""What one folder's or file's name must be; `None` for any number of folders (`**`)."""


@dataclass(frozen=True, slots=True)
class PathPattern:
    """One pattern, read.

    Attributes:
        text: as it was written.
        parts: of its path.
        folder_only: it ended in `/`: it means a folder, and so all that is in it.
        within: a folder that it names means all that is in it.
        negated: it began with `!`.
    """

    text: str
    parts: tuple[_Part, ...]
    folder_only: bool
    within: bool
    negated: bool

    def matches(self, path: str) -> bool:
        """Whether it means this file, whatever a `!` says."""
        names = path.strip("/").split("/")
        if not self.folder_only and _match(self.parts, names):
            return True
        if not self.within and not self.folder_only:
            return False
        return any(_match(self.parts, names[:end]) for end in range(1, len(names)))


def path_pattern(text: str, *, anywhere: bool = False, within: bool = True, negation: bool = True) -> PathPattern:
    """Reads a pattern.

    Args:
        text: without a `/` in front or within, it means a file or folder of this name at any depth.
        anywhere: one with a `/` within, but none in front, does too (GitLab's code owners).
        within: whether one that means a folder means all that is in it.
        negation: whether `!` in front is a sign, or a letter.
    """
    body = text
    negated = negation and body.startswith("!")
    body = body.removeprefix("!") if negated else body
    folder_only = body.endswith("/")
    body = body.rstrip("/") if folder_only else body
    anchored = body.startswith("/") or ("/" in body and not anywhere)
    parts: list[_Part] = [None if name == "**" else _atoms(name) for name in body.strip("/").split("/")]
    if not anchored:
        parts.insert(0, None)
    return PathPattern(text, tuple(parts), folder_only, within, negated)


class PathPatterns:
    """Patterns of which the last one that means a file decides; `!` in front takes it out again."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = [path_pattern(text) for text in patterns]

    def match(self, path: str) -> str | None:
        """The pattern that takes this file in; `None` where none does."""
        found = next((pattern for pattern in reversed(self._patterns) if pattern.matches(path)), None)
        return None if found is None or found.negated else found.text


def _atoms(name: str) -> tuple[_Atom, ...]:
    atoms: list[_Atom] = []
    at = 0
    while at < len(name):
        character = name[at]
        at += 1
        if character == "\\" and at < len(name):
            atoms.append(_Literal(name[at]))
            at += 1
        elif character == _ANY:
            if not atoms or atoms[-1] != _ANY:
                atoms.append(_ANY)
        elif character == _ONE:
            atoms.append(_ONE)
        elif character == "[" and (end := _class_end(name, at)):
            atoms.append(_class(name[at:end]))
            at = end + 1
        else:
            atoms.append(_Literal(character))
    return tuple(atoms)


def _class_end(name: str, at: int) -> int:
    """Where the `]` stands that closes a class; 0 where none does. One that comes first is a member."""
    start = at + 1 if name[at : at + 1] in ("!", "^") else at
    return max(name.find("]", start + 1), 0)


def _class(text: str) -> _Class:
    negated = text[:1] in ("!", "^")
    members = text[1:] if negated else text
    ranges: list[tuple[str, str]] = []
    at = 0
    while at < len(members):
        if members[at + 1 : at + 2] == "-" and at + 2 < len(members):
            ranges.append((members[at], members[at + 2]))
            at += 3
        else:
            ranges.append((members[at], members[at]))
            at += 1
    return _Class(tuple(ranges), negated)


def _match(parts: Sequence[_Part], names: Sequence[str]) -> bool:
    """Whether the parts mean this path. After a later `**`, an earlier one is never tried again: it can't help."""
    part = name = 0
    resume: tuple[int, int] | None = None
    while name < len(names):
        current = parts[part] if part < len(parts) else ()
        if part < len(parts) and current is None:
            resume = (part, name)
            part += 1
            if part == len(parts):
                return True  # `a/**`: all that is in it
        elif part < len(parts) and current is not None and _match_name(current, names[name]):
            part, name = part + 1, name + 1
        elif resume is not None:
            resume = (resume[0], resume[1] + 1)
            part, name = resume[0] + 1, resume[1]
        else:
            return False
    return part == len(parts)


def _match_name(atoms: Sequence[_Atom], name: str) -> bool:
    atom = at = 0
    resume: tuple[int, int] | None = None
    while at < len(name):
        if atom < len(atoms) and atoms[atom] == _ANY:
            resume = (atom, at)
            atom += 1
        elif atom < len(atoms) and _holds(atoms[atom], name[at]):
            atom, at = atom + 1, at + 1
        elif resume is not None:
            resume = (resume[0], resume[1] + 1)
            atom, at = resume[0] + 1, resume[1]
        else:
            return False
    return all(rest == _ANY for rest in atoms[atom:])


def _holds(atom: _Atom, character: str) -> bool:
    if isinstance(atom, _Class):
        return atom.holds(character)
    return atom == _ONE or (isinstance(atom, _Literal) and atom.character == character)
