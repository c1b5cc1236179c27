"""About how many tokens a text has, where the model's own counter is not at hand.

Counted as the vocabularies of multilingual models cut: a short word is one token, a long one several, two digits are
one, and so is a sign. On documents and code, Vietnamese and English, it gives .9 to 1.3 times what
multilingual-e5-small counts.
"""

import re

_PIECE = re.compile(r"[^\W\d_]+|\d+|[^\w\s]|_")
_SHORT = 5
"""Letters of the longest word that is one token."""
_MORE = 3
"""Letters beyond that for one more."""
_DIGITS = 2
_WIDE = "\u2e80"
"""From this character on, each is a token by itself: Chinese, Japanese, Korean and what comes after."""


def about_tokens(text: str) -> int:
    """The tokens of a text, by estimate."""
    return sum(_tokens(piece) for piece in _PIECE.findall(text))


def _tokens(piece: str) -> int:
    if piece[0].isdigit():
        return -(-len(piece) // _DIGITS)
    if max(piece) >= _WIDE:
        return len(piece)
    return 1 + -(-max(0, len(piece) - _SHORT) // _MORE)
