"""Orders the versions of packages, by the rules of where they come from.

PyPI: https://packaging.python.org/en/latest/specifications/version-specifiers/
npm and Go: https://semver.org/#spec-item-11
Maven: https://maven.apache.org/pom.html#version-order-specification
"""

import re
from enum import StrEnum
from functools import total_ordering
from itertools import zip_longest
from typing import Any

from packaging.version import InvalidVersion, Version

_LONGEST = 200
_SEMVER = re.compile(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.+-]*)?", re.ASCII)
_QUALIFIERS = ("alpha", "beta", "milestone", "rc", "snapshot", "", "sp")
_ALIASES = {"cr": "rc", "ga": "", "final": "", "release": "", "a": "alpha", "b": "beta", "m": "milestone"}
_RELEASE = _QUALIFIERS.index("")


class Ecosystem(StrEnum):
    """Where packages come from, as OSV names it."""

    PYPI = "PyPI"
    NPM = "npm"
    GO = "Go"
    MAVEN = "Maven"


def version_key(ecosystem: Ecosystem, text: str) -> Any | None:
    """What orders a version among those of its ecosystem; `None` where it is none."""
    text = text.strip()
    if not text or len(text) > _LONGEST:
        return None
    if ecosystem is Ecosystem.PYPI:
        try:
            return Version(text)
        except InvalidVersion:
            return None
    if ecosystem is Ecosystem.MAVEN:
        return MavenVersion(text)
    return _semver(text)


def _semver(text: str) -> tuple[Any, ...] | None:
    match = _SEMVER.fullmatch(text)
    if match is None:
        return None
    numbers = tuple(int(part or 0) for part in match.groups()[:3])
    if match[4] is None:
        return (*numbers, 1, ())
    parts = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in match[4].split("."))
    return (*numbers, 0, parts)


@total_ordering
class MavenVersion:
    """A version of Maven: numbers and words, cut at `.`, `-`, `_` and between a digit and a letter.

    What ends a version and says nothing (`.0`, `.Final`) is left out. A word that Maven does not know comes after the
    release, and a number after any word.
    """

    def __init__(self, text: str) -> None:
        pieces = re.findall(r"([-._]?)(\d+|[a-z]+)", text.lower())
        self._parts: list[tuple[int, int | str]] = []
        for number, (separator, piece) in enumerate(pieces):
            followed = number + 1 < len(pieces) and not pieces[number + 1][0] and pieces[number + 1][1].isdigit()
            if separator == "-" or (number and not separator):
                self._trim()
            self._parts.append(_maven_part(piece, dashed=separator != ".", followed=followed))
        self._trim()

    def _trim(self) -> None:
        while self._parts and self._parts[-1] in ((2, 0), (1, 0), (0, _RELEASE)):
            self._parts.pop()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MavenVersion) and self._parts == other._parts

    def __hash__(self) -> int:
        return hash(tuple(self._parts))

    def __lt__(self, other: "MavenVersion") -> bool:
        for ours, theirs in zip_longest(self._parts, other._parts):
            one, its = ours or _nothing(theirs), theirs or _nothing(ours)
            if one != its:
                return _maven_order(one) < _maven_order(its)
        return False


def _maven_part(piece: str, *, dashed: bool, followed: bool) -> tuple[int, int | str]:
    """A number after a dot is (2, n), else (1, n); a word is (0, its rank), or (0, word) where Maven knows none.

    `a`, `b` and `m` stand for alpha, beta and milestone only where a number follows at once.
    """
    if piece.isdigit():
        return (1 if dashed else 2, int(piece))
    word = piece if len(piece) == 1 and not followed else _ALIASES.get(piece, piece)
    return (0, _QUALIFIERS.index(word) if word in _QUALIFIERS else word)


def _nothing(other: tuple[int, int | str]) -> tuple[int, int | str]:
    """What stands in the place of a part that a shorter version lacks: a nought, or the release."""
    return (0, _RELEASE) if other[0] == 0 else (other[0], 0)


def _maven_order(part: tuple[int, int | str]) -> tuple[int, int, str]:
    kind, value = part
    if kind == 0:
        return (0, value, "") if isinstance(value, int) else (0, len(_QUALIFIERS), value)
    return (kind, int(value), "")
