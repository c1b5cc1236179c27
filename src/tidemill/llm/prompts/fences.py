"""How a repository's text stands in a prompt: between fences that it can't close, short, with credentials masked."""

from tidemill.analysis.secrets import mask
from tidemill.core.change import Hunk, Line, LineKind
from tidemill.core.text import storable

FENCE = "~~~~"
CUT = "…"
LINE_CHARACTERS = 160
HUNK_CHARACTERS = 1500


def fenced(text: str) -> str:
    """Data between fences that it can't close."""
    return f"{FENCE}\n{text.replace(FENCE, '~ ~ ~ ~')}\n{FENCE}"


def quoted(text: str, limit: int) -> str:
    """Prose of a repository or a forge between fences, masked and cut after so many characters; empty for none."""
    clean = mask(storable(text)).strip()
    if not clean:
        return ""
    plain = "".join(character if character.isprintable() or character == "\n" else " " for character in clean)
    return fenced(plain if len(plain) <= limit else f"{plain[:limit].rstrip()}{CUT}")


def one_line(text: str) -> str:
    """On one line, without control characters, cut."""
    return cut("".join(character if character.isprintable() else " " for character in text))


def cut(text: str) -> str:
    """At most `LINE_CHARACTERS` of a line."""
    return text if len(text) <= LINE_CHARACTERS else f"{text[: LINE_CHARACTERS - 1]}{CUT}"


def numbered(hunk: Hunk) -> str:
    """`12 + text` for an added line, `   - text` for a removed one, `12   text` for context; credentials masked.

    Lines are counted from the hunk's first, not the file's: the same hunk is the same prompt wherever it stands, and
    an answer to it is given again. `to_line` turns a number back.
    """
    shown = shown_lines(hunk)
    marks = {LineKind.ADDED: "+", LineKind.REMOVED: "-", LineKind.CONTEXT: " "}
    rows = [f"{_number(line, hunk):>4} {marks[line.kind]} {cut(mask(line.text))}" for line in shown]
    left = len(hunk.lines) - len(shown)
    return "\n".join([*rows, f"{CUT} {left} more lines"] if left else rows)


def _number(line: Line, hunk: Hunk) -> str:
    return "" if line.new is None else str(line_in(hunk, line.new))


def line_in(hunk: Hunk, line: int) -> int:
    """The number in a prompt of a line of the new side."""
    return line - hunk.new_start + 1


def to_line(hunk: Hunk, number: int) -> int:
    """The line of the new side that a prompt calls `number`."""
    return number + hunk.new_start - 1


def shown_lines(hunk: Hunk) -> list[Line]:
    """The hunk's first lines, as many as there is room for."""
    shown: list[Line] = []
    room = HUNK_CHARACTERS
    for line in hunk.lines:
        room -= min(len(line.text), LINE_CHARACTERS) + 8
        if room < 0 and shown:
            break
        shown.append(line)
    return shown
