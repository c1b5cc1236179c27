"""Where a text can be cut without cutting what a reader takes for one character.

The rules that matter of https://www.unicode.org/reports/tr29/#Grapheme_Cluster_Boundary_Rules: combining and joining
characters stay with what they follow, and line ends, Hangul syllables, emoji sequences and flags stay whole.
"""

import unicodedata

_JOINER = "\u200d"
_NON_JOINER = "\u200c"
_FLAGS = ("\U0001f1e6", "\U0001f1ff")
_SKIN = ("\U0001f3fb", "\U0001f3ff")
_TAGS = ("\U000e0020", "\U000e007f")
_LONGEST_FLAG_RUN = 2_000


def is_boundary(text: str, at: int) -> bool:
    """Whether the text can be cut before the character at this place."""
    if at <= 0 or at >= len(text):
        return True
    before, after = text[at - 1], text[at]
    if before < "\u0300" and after < "\u0300":
        return not (before == "\r" and after == "\n")
    return not (
        _extends(after)
        or (before == _JOINER and not after.isspace())
        or _surrogates(before, after)
        or _syllable(before, after)
        or (_is_flag(before) and _is_flag(after) and _flags_before(text, at) % 2 == 1)
    )


def boundary_before(text: str, at: int, start: int) -> int:
    """The last place up to `at` where the text can be cut, after `start`; `at` itself where there is none."""
    place = at
    while place > start and not is_boundary(text, place):
        place -= 1
    return place if place > start else at


def _extends(character: str) -> bool:
    return (
        character in (_JOINER, _NON_JOINER)
        or _SKIN[0] <= character <= _SKIN[1]
        or _TAGS[0] <= character <= _TAGS[1]
        or unicodedata.category(character)[0] == "M"
    )


def _surrogates(before: str, after: str) -> bool:
    return "\ud800" <= before <= "\udbff" and "\udc00" <= after <= "\udfff"


def _is_flag(character: str) -> bool:
    return _FLAGS[0] <= character <= _FLAGS[1]


def _flags_before(text: str, at: int) -> int:
    count = 0
    while count < min(at, _LONGEST_FLAG_RUN) and _is_flag(text[at - 1 - count]):
        count += 1
    return count


def _syllable(before: str, after: str) -> bool:
    """Hangul: leading consonants, vowels, trailing consonants, and syllables made of them."""
    if not ("\u1160" <= after <= "\u11ff" or "\u1100" <= after <= "\u115f" or "\uac00" <= after <= "\ud7a3"):
        return False
    composed = "\uac00" <= before <= "\ud7a3"
    if "\u1100" <= before <= "\u115f":
        return "\u1100" <= after <= "\u11a7" or "\uac00" <= after <= "\ud7a3"
    if "\u1160" <= after <= "\u11a7":
        return "\u1160" <= before <= "\u11a7" or (composed and (ord(before) - 0xAC00) % 28 == 0)
    return "\u11a8" <= after <= "\u11ff" and ("\u1160" <= before <= "\u11ff" or composed)
