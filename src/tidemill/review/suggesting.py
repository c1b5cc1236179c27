"""Whether lines that are to stand in the place of others may be offered for a click. Pure.

A forge applies a suggestion as it stands, so each claim of `Suggestion.verified` was tried on the file's whole text.
"""

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

from tidemill.analysis.secrets import mask
from tidemill.analysis.syntax import error_count
from tidemill.core.change import Diff, Hunk
from tidemill.core.finding import Suggestion

APPLIES, PARSES, FORMATTED, TESTS, CLEARS = "applies", "parses", "formatted", "tests", "clears"
"""What can be verified of a suggestion. `clears`: what found the defect finds it no more, and nothing new."""
_PARSING = Lock()
"""Python 3.11.7 is one that counts the depth of the trees of all threads together, and fails where two are mixed."""
_WIDEST = 120
_ADDRESS = re.compile(r"\b[a-z][a-z0-9+.-]{1,12}://[^\s'\"`)>]{3,}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Replacement:
    """Lines `start`…`end` (1-based, inclusive, new side) are to become `lines`, which have no ends of line."""

    start: int
    end: int
    lines: tuple[str, ...]


class Unfit(Exception):
    """Why a replacement is not offered at all."""


class NotPlaceable(Exception):
    """Why a replacement that would mend the file is offered as text alone."""


@dataclass(frozen=True, slots=True)
class Applied:
    """A replacement that was applied.

    Attributes:
        replacement: as it was applied, indented as the lines before.
        text: the whole file with it.
        verified: what holds so far.
        old: the lines that it replaces.
    """

    replacement: Replacement
    text: str
    verified: tuple[str, ...]
    old: tuple[str, ...] = ()

    @property
    def suggestion(self) -> Suggestion:
        """For the finding."""
        one = self.replacement
        old = "\n".join(mask(line) for line in self.old)
        return Suggestion(one.start, one.end, "\n".join(one.lines), self.verified, old)


def apply(path: str, source: str, replacement: Replacement) -> Applied:
    """The file with the replacement, once it is known to fit and to parse as well as before.

    Raises:
        Unfit: it does not, and why.
    """
    lines = source.split("\n")
    if not 1 <= replacement.start <= replacement.end <= len(lines):
        raise Unfit("it names lines that the file does not have")
    old = lines[replacement.start - 1 : replacement.end]
    return_ends = {line.endswith("\r") for line in old}
    if len(return_ends) > 1:
        raise Unfit("the lines that it replaces end in different ways")
    end = "\r" if return_ends.pop() else ""
    bare = [line.removesuffix("\r") for line in old]
    new = _indented([line.rstrip() for line in replacement.lines], bare)
    _check_lines(new, bare, source)
    lines[replacement.start - 1 : replacement.end] = [line + end for line in new]
    text = "\n".join(lines)
    verified = (APPLIES, PARSES) if _parses(path, source, text) else (APPLIES,)
    return Applied(Replacement(replacement.start, replacement.end, tuple(new)), text, verified, tuple(bare))


def check_place(diff: Diff, path: str, source: str, replacement: Replacement) -> None:
    """Goes on where a forge takes the suggestion: its lines stand on the new side of one hunk.

    Raises:
        NotPlaceable: they don't, or the hunk does not show what the file holds.
    """
    hunk = hunk_around(diff, path, replacement)
    if hunk is None:
        raise NotPlaceable("its lines are not in one part of the diff, and a forge takes suggestions only there")
    lines = source.split("\n")
    shown = {line.new: line.text for line in hunk.lines if line.new is not None}
    for number in range(replacement.start, replacement.end + 1):
        if lines[number - 1].removesuffix("\r") != shown[number].removesuffix("\r"):
            raise NotPlaceable("the file and the diff differ on its lines")


def hunk_around(diff: Diff, path: str, replacement: Replacement) -> Hunk | None:
    """The hunk on whose new side all lines of the replacement stand."""
    wanted = set(range(replacement.start, replacement.end + 1))
    for hunk in diff.hunks:
        if hunk.path == path and wanted <= {line.new for line in hunk.lines}:
            return hunk
    return None


def replacement_between(old: str, new: str) -> Replacement | None:
    """The lines of `old` that differ in `new`, as one replacement; `None` where none do.

    Where lines are only added, the line before them is among those replaced, since a replacement has at least one.
    """
    before, after = old.split("\n"), new.split("\n")
    head = 0
    while head < min(len(before), len(after)) and before[head] == after[head]:
        head += 1
    if head == len(before) == len(after):
        return None
    tail = 0
    while tail < min(len(before), len(after)) - head and before[-1 - tail] == after[-1 - tail]:
        tail += 1
    if head == len(before) - tail:
        head, tail = (head - 1, tail) if head else (head, tail - 1)
    lines = tuple(line.removesuffix("\r") for line in after[head : len(after) - tail])
    return Replacement(head + 1, len(before) - tail, lines)


def within(replacement: Replacement, old: str, new: str) -> Replacement | None:
    """The replacement as a formatter would have it, where it changed nothing else.

    Args:
        replacement: what was applied.
        old: the whole text with it, as it was given to the formatter.
        new: what the formatter made of that.

    Returns:
        `None` where the formatter changed lines beyond the replacement.
    """
    before, after = old.split("\n"), new.split("\n")
    head = replacement.start - 1
    tail = len(before) - head - len(replacement.lines)
    if len(after) < head + tail or before[:head] != after[:head]:
        return None
    if tail and before[-tail:] != after[-tail:]:
        return None
    lines = tuple(line.removesuffix("\r") for line in after[head : len(after) - tail])
    return Replacement(replacement.start, replacement.end, lines)


def _check_lines(new: Sequence[str], old: Sequence[str], source: str) -> None:
    """Raises what is wrong with the lines themselves."""
    if [" ".join(line.split()) for line in new] == [" ".join(line.split()) for line in old]:
        raise Unfit("it changes nothing but spacing")
    if any(not (character.isprintable() or character == "\t") for line in new for character in line):
        raise Unfit("it holds characters that nobody sees")
    if any(mask(line) != line for line in new):
        raise Unfit("it holds what looks like a credential")
    if any("…" in line for line in new) and any(mask(line) != line for line in old):
        raise Unfit("it would put a mask in the place of a credential")
    widest = max(_WIDEST, *(len(line) for line in old))
    if any(len(line) > widest for line in new):
        raise Unfit(f"it has a line of over {widest} characters")
    if any(address[0] not in source for line in new for address in _ADDRESS.finditer(line)):
        raise Unfit("it holds an address that the file does not have")


def _indented(new: list[str], old: Sequence[str]) -> list[str]:
    """The new lines moved so that the first one stands where the first of the old ones stood.

    Raises:
        Unfit: tabs and spaces are mixed otherwise than before.
    """
    while new and not new[-1]:
        new.pop()
    first_old = next((line for line in old if line.strip()), "")
    first_new = next((line for line in new if line), "")
    wanted, given = _indent(first_old), _indent(first_new)
    if not first_new or not first_old or wanted == given:
        return _checked(new, old)
    if any(line and not line.startswith(given) for line in new):
        raise Unfit("its lines are not indented alike")
    return _checked([wanted + line.removeprefix(given) if line else line for line in new], old)


def _checked(new: list[str], old: Sequence[str]) -> list[str]:
    uses = {character for line in old for character in _indent(line)}
    if len(uses) == 1 and any(set(_indent(line)) - uses for line in new):
        raise Unfit("it mixes tabs and spaces")
    return new


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _parses(path: str, before: str, after: str) -> bool:
    """Whether the file is known to parse as well as before.

    Raises:
        Unfit: it parses worse.
    """
    if path.endswith((".py", ".pyi")) and _python(before) and not _python(after):
        raise Unfit("the file does not parse with it")
    had, has = error_count(before, path), error_count(after, path)
    if had is None or has is None:
        return False
    if has > had:
        raise Unfit("the file does not parse with it")
    return True


def _python(text: str) -> bool:
    """Whether Python's own parser takes it; nothing is compiled or run."""
    try:
        with _PARSING:
            ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
