"""A text as its reader sees it: what looks like ASCII as ASCII, and what shows nothing left out.

Full-width digits, digits of other scripts, dashes and spaces of all kinds, characters of no width: a number that is
written with them is the same number to a person. Each character of the plain text knows where it stands in the
original.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufe00-\ufe0f\ufeff"
)
SPACES = (0xA0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000)
DASHES = (*range(0x2010, 0x2016), 0x2212, 0xFE58, 0xFE63)
DOTS = (0x2024, 0x3002, 0xFE52, 0xFF61)
ZEROS = (
    0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50, 0xed0, 0xf20,
    0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40, 0x1c50, 0xa620, 0xa8d0,
    0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10, 0x104a0, 0x10d30, 0x11066, 0x110f0, 0x11136, 0x111d0, 0x112f0,
    0x11450, 0x114d0, 0x11650, 0x116c0, 0x11730, 0x118e0, 0x11950, 0x11c50, 0x11d50, 0x11da0, 0x16a60, 0x16ac0,
    0x16b50, 0x1d7ce, 0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6, 0x1e140, 0x1e2f0, 0x1e950, 0x1fbf0,
)  # fmt: skip
"""The zero of each script's decimal digits, which the other nine follow (Unicode 15, category Nd)."""
ALIKE: dict[int, str] = {
    **{code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},
    **dict.fromkeys(SPACES, " "),
    **dict.fromkeys(DASHES, "-"),
    **dict.fromkeys(DOTS, "."),
    **{zero + digit: str(digit) for zero in ZEROS for digit in range(10)},
}
"""Each for one character; a text keeps its length by it."""
ODD = re.compile(f"[{INVISIBLE}{''.join(re.escape(chr(code)) for code in sorted(ALIKE))}]")
GONE = re.compile(f"[{INVISIBLE}]")
ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))')
ESCAPED = {"b": " ", "f": " ", "n": "\n", "r": "\r", "t": "\t"}
UNFINISHED = re.compile(r"(?<!\\)(?:\\\\)*(\\(?:u[0-9a-fA-F]{0,3})?)\Z")


@dataclass(frozen=True, slots=True)
class Plain:
    """A plain text, and where each of its characters, and its end, stands in the original; `None`: at the same place.

    `of_json` says that the original is (a part of) a JSON document, whose escapes were read; `apart` is the same text
    with a line's end for each quote that begins or ends a string, so that each string has lines of its own.
    """

    text: str
    places: Sequence[int] | None = None
    of_json: bool = False
    apart: str | None = None

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where a part of the plain text stands in the original."""
        if self.places is None:
            return start, end
        return self.places[start], self.places[end]


def plain(text: str, *, of_json: bool = False) -> Plain:
    """A text as its reader sees it.

    Args:
        text: the original.
        of_json: whether it is a part of a JSON document, in which `\\n` is a line's end and `\\u0040` an `@`.
    """
    escaped = of_json and "\\" in text
    apart = text.replace('"', "\n") if of_json and '"' in text else None
    if not escaped and (text.isascii() or not ODD.search(text)):
        return Plain(text, None, of_json, apart)
    if not escaped and not GONE.search(text):
        return Plain(text.translate(ALIKE), None, of_json, apart and apart.translate(ALIKE))
    characters: list[str] = []
    places: list[int] = []
    quotes: list[int] = []
    at = 0
    while at < len(text):
        found = ESCAPE.match(text, at) if escaped else None
        shown = _unescaped(found) if found else text[at]
        if not GONE.match(shown):
            if apart and text[at] == '"':
                quotes.append(len(characters))
            characters.append(shown.translate(ALIKE))
            places.append(at)
        at = found.end() if found else at + 1
    places.append(len(text))
    read = "".join(characters)
    for quote in quotes:
        characters[quote] = "\n"
    return Plain(read, places, of_json, "".join(characters) if quotes else None)


def unfinished_escape(text: str) -> int:
    """How many characters at the end of a part of a JSON document may be the beginning of an escape."""
    found = UNFINISHED.search(text[-64:]) if "\\" in text[-6:] else None
    return len(found[1]) if found else 0


def _unescaped(found: re.Match[str]) -> str:
    if found[1]:
        return chr(int(found[1], 16))
    return ESCAPED.get(found[2], found[2])
