"""What a text may hold to be stored and sent."""

import re

_NOT_TEXT = re.compile("[\\x00\\ud800-\\udfff]")
"""PostgreSQL's texts hold no NUL and UTF-8 no surrogate; JSON, a patch and a quoted path can bring both."""


def storable(text: str) -> str:
    """The text with U+FFFD for each character that no database or UTF-8 can hold; of the same length."""
    return _NOT_TEXT.sub("\ufffd", text)
