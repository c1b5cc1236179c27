"""A text that is read while it passes: what may go on goes on, what may still become a finding is held back."""

import json
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from tidemill.analysis.plain import Plain, plain, unfinished_escape
from tidemill.llm.guardrails.finding import Finder, Found

MOST_HELD = 16_384
"""Characters that are held back at most: longer than any credential that is known by its form."""
KEPT_OF_HELD = 1_000
"""Of so many, those that are held on to where it has become more."""
CONTEXT, LONGEST_LINE = 400, 600
"""Characters that are kept of what has passed, since what follows may mean something because of them."""
MID_LINE = "\x01"
"""Stands at the beginning of what is kept where that is no beginning of a line."""
_QUOTE = re.compile(r'\\.|"', re.DOTALL)

Decide = Callable[[Found, str], str | None]
"""What to put in the place of a finding with this value; `None` leaves it. May raise what refuses the text."""
Weigh = Callable[[Found], int]


@dataclass(frozen=True, slots=True)
class Edit:
    """`text[start:end]` becomes `new`; places are counted from the beginning of the whole text."""

    start: int
    end: int
    new: str


class TextInPassing:
    """Reads one text piece by piece. The edits are the same however the text was cut into pieces.

    Args:
        finders: what to look for; findings that overlap become one.
        decide: what becomes of a finding.
        weigh: how much a finding weighs; see `together`.
        of_json: whether the text is a JSON document, as the arguments of a call are.
    """

    def __init__(
        self, finders: Sequence[Finder], decide: Decide, *, weigh: Weigh | None = None, of_json: bool = False
    ) -> None:
        self._finders = finders
        self._weigh = weigh
        self._decide = decide
        self._of_json = of_json
        self._buffer = ""
        self._base = 0
        self._in_string = False
        self.done = 0
        """How much of the text may go on, with the edits that there were."""

    def feed(self, piece: str) -> list[Edit]:
        """Takes in the next piece; returns the edits of what may go on by it."""
        self._buffer += piece
        return self._advance(final=False)

    def end(self, rest: str = "", found: Sequence[Found] | None = None) -> list[Edit]:
        """The text is complete with this rest: all of it may go on.

        `found` is what stands in it, where that is known and all of the text is the rest.
        """
        self._buffer += rest
        return self._advance(final=True, known=found)

    def _advance(self, *, final: bool, known: Sequence[Found] | None = None) -> list[Edit]:
        cut = 0 if final or not self._of_json else unfinished_escape(self._buffer)
        text = plain(self._buffer[: len(self._buffer) - cut], of_json=self._of_json)
        done = _place_in(text, self.done - self._base)
        length = len(text.text)
        held = length if final else _held_from(text, self._finders)
        if held <= done and length - done <= MOST_HELD and not final:
            return []
        found = known if known is not None else find_all(text, self._finders, self._weigh)
        if length - held > MOST_HELD:
            held = max((one.end for one in found if one.start < length - KEPT_OF_HELD), default=0)
            held = max(held, length - KEPT_OF_HELD)
        held = min((one.start for one in found if one.start < held < one.end), default=held)
        if held <= done and not final:
            return []
        edits = self._edits(text, found, done, held)
        self.done = self._base + (len(self._buffer) if final else text.span(held, held)[0])
        self._forget()
        return edits

    def _edits(self, text: Plain, finds: Sequence[Found], done: int, held: int) -> list[Edit]:
        edits: list[Edit] = []
        last = done
        for found in finds:
            if found.end <= done or found.start >= held:
                continue
            start = max(found.start, done)
            first, end = text.span(start, found.end)
            self._follow_quotes(text, last, start)
            new = self._decide(found, text.text[found.start : found.end])
            if new is not None:
                edits.append(Edit(self._base + first, self._base + end, self._written(new)))
            self._follow_quotes(text, start, found.end)
            last = found.end
        self._follow_quotes(text, last, held)
        return edits

    def _written(self, new: str) -> str:
        if not self._of_json:
            return new
        written = json.dumps(new, ensure_ascii=False)
        return written[1:-1] if self._in_string else written

    def _follow_quotes(self, text: Plain, start: int, end: int) -> None:
        if not self._of_json:
            return
        first, last = text.span(start, end)
        for match in _QUOTE.finditer(self._buffer, first, last):
            if match[0] == '"':
                self._in_string = not self._in_string

    def _forget(self) -> None:
        kept = self.done - self._base - CONTEXT
        if kept <= 0:
            return
        line = self._buffer.rfind("\n", max(0, kept - LONGEST_LINE), kept)
        if line >= 0:
            start, begins = line + 1, True
        else:
            start, begins = max(0, kept - LONGEST_LINE), False
        if start == 0:
            return
        self._base += start
        self._buffer = self._buffer[start:] if begins else MID_LINE + self._buffer[start + 1 :]


def find_all(text: Plain, finders: Sequence[Finder], weigh: Weigh | None = None) -> list[Found]:
    """Everything in a text; see `together`.

    A JSON document is read as a whole, since a name may stand in another string than its value, and string by string,
    since a quote that ends a string is no part of what it says.
    """
    found = [one for finder in finders for one in finder.find(text)]
    if text.apart is not None:
        apart = replace(text, text=text.apart, apart=None)
        inside = (one for finder in finders for one in finder.find(apart))
        found += [one for one in inside if text.text[one.start : one.end] == apart.text[one.start : one.end]]
    return together(found, weigh)


def together(found: Iterable[Found], weigh: Weigh | None = None) -> list[Found]:
    """Findings leftmost first, with those that overlap made one, called as the one that weighs most, or the first."""
    joined: list[Found] = []
    for one in sorted(found, key=lambda one: (one.start, -one.end)):
        before = joined[-1] if joined else None
        if before is None or one.start >= before.end:
            joined.append(one)
            continue
        named = one if weigh is not None and weigh(one) > weigh(before) else before
        joined[-1] = replace(named, start=before.start, end=max(before.end, one.end))
    return joined


def _held_from(text: Plain, finders: Sequence[Finder]) -> int:
    readings = [text.text, *([] if text.apart is None else [text.apart])]
    return min((finder.held_from(reading) for finder in finders for reading in readings), default=len(text.text))


def _place_in(text: Plain, place: int) -> int:
    """Where a place of the original is in the plain text."""
    return place if text.places is None else bisect_left(text.places, place)


def edited(text: str, edits: Sequence[Edit], start: int = 0) -> str:
    """A text with the edits made; `start` is where it begins in the text that their places are counted in."""
    parts: list[str] = []
    at = 0
    for edit in edits:
        parts += [text[at : edit.start - start], edit.new]
        at = edit.end - start
    return "".join([*parts, text[at:]])
