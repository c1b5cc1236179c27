"""What became of the code that a comment is about: told from the file as it was commented on, and as it is now.

Pure: both texts are given.
"""

from dataclasses import dataclass
from difflib import SequenceMatcher

from tidemill.core.feedback import Outcome
from tidemill.core.finding import Finding
from tidemill.core.placed_comment import PlacedState
from tidemill.review.placing import even, lines_of

_MOST_LINES = 4_000
"""Of a file. Of a longer one only the equal beginning and end are matched: the matcher's time grows with the square."""

_ENDLESS = 10**9


@dataclass(frozen=True, slots=True)
class Fate:
    """The lines that a comment is about, before and after, and whether they are other lines now."""

    before: str
    after: str
    changed: bool
    applied: bool


def fate_of(finding: Finding, before: str, after: str | None) -> Fate:
    """What became of a finding's lines, or of those that its suggestion replaces.

    Args:
        finding: what was commented.
        before: the file on the commit that was commented on.
        after: the file now; `None` where it is gone.
    """
    suggestion = finding.suggestion
    start, end = (suggestion.start, suggestion.end) if suggestion else (finding.line, finding.line)
    old = lines_of(before)
    lines = old[start - 1 : end]
    if after is None:
        return Fate("\n".join(lines), "", changed=True, applied=False)
    new = lines_of(after)
    first, last = lines_now(old, new, start, end)
    now = new[first:last]
    applied = suggestion is not None and now == (suggestion.text.split("\n") if suggestion.text else [])
    return Fate("\n".join(lines), "\n".join(now), changed=now != lines, applied=applied and now != lines)


def line_now(line: int, before: str, after: str | None) -> int | None:
    """Where a line (1-based) stands now, whatever its spacing; `None` where it is gone."""
    if after is None:
        return None
    old, new = lines_of(before), lines_of(after)
    first, last = lines_now(old, new, line, line)
    same = last == first + 1 and line <= len(old) and even(new[first]) == even(old[line - 1])
    return first + 1 if same else None


def lines_now(old: list[str], new: list[str], start: int, end: int) -> tuple[int, int]:
    """Where lines `start`…`end` (1-based, inclusive) of the old text stand in the new one, as a slice of its lines."""
    head = 0
    while head < min(len(old), len(new)) and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    shift = len(new) - len(old)
    if end <= head:
        return start - 1, end
    if start > len(old) - tail:
        return start - 1 + shift, end + shift
    inner_old, inner_new = old[head : len(old) - tail], new[head : len(new) - tail]
    if max(len(inner_old), len(inner_new)) > _MOST_LINES:
        return head, len(new) - tail
    first: int | None = None
    last = 0
    for i1, i2, j1, j2 in _blocks(inner_old, inner_new, head):
        meets = start - 1 < i1 < end if i1 == i2 else i1 < end and i2 > start - 1
        if not meets:
            continue
        equal = i2 - i1 == j2 - j1 and old[i1:i2] == new[j1:j2]
        begin = j1 + max(0, start - 1 - i1) if equal else j1
        stop = j1 + min(end, i2) - i1 if equal else j2
        first = begin if first is None else first
        last = stop
    if first is None:
        return head, head
    return first, last


def _blocks(old: list[str], new: list[str], shift: int) -> list[tuple[int, int, int, int]]:
    """The matcher's blocks, in the numbers of the whole texts, with the equal head and tail around them."""
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    inner = [(i1 + shift, i2 + shift, j1 + shift, j2 + shift) for _, i1, i2, j1, j2 in matcher.get_opcodes()]
    old_end, new_end = shift + len(old), shift + len(new)
    return [(0, shift, 0, shift), *inner, (old_end, old_end + _ENDLESS, new_end, new_end + _ENDLESS)]


def at_merge(fate: Fate, state: PlacedState) -> Outcome | None:
    """What a merge makes of a comment; `None` where its end is known already."""
    if fate.applied:
        return Outcome.APPLIED
    if state in {PlacedState.FIXED, PlacedState.DISMISSED, PlacedState.IGNORED}:
        return None
    if fate.changed:
        return Outcome.CHANGED
    return Outcome.RESOLVED if state is PlacedState.RESOLVED else Outcome.IGNORED


def at_push(fate: Fate | None, *, by_engine: bool) -> Outcome:
    """What a push makes of a comment whose finding is gone.

    Args:
        fate: what became of its lines; `None` where their file can't be read any more.
        by_engine: whether an engine found it, and so proves by its silence that it is mended.
    """
    if fate is not None and fate.applied:
        return Outcome.APPLIED
    return Outcome.FIXED if by_engine else Outcome.CHANGED
