"""The piece of a message that shows why a search found it."""

import re
import unicodedata
from functools import lru_cache

BEFORE, AFTER = 40, 120
"""Characters that are shown before and after the first word that matches."""
COMBINING = range(0x300, 0x370)
WITHOUT_DECOMPOSITION = str.maketrans("đĐ", "dD")


@lru_cache(maxsize=8192)
def folded(character: str) -> str:
    """A character as the search sees it: in lower case and without diacritics; the same as SQL's `search_text`."""
    bare = "".join(part for part in unicodedata.normalize("NFD", character) if ord(part) not in COMBINING)
    return bare.translate(WITHOUT_DECOMPOSITION).lower()


def snippet(text: str, query: str) -> str:
    """The surroundings of the first of the query's words in a text, in one line; its beginning where none is there."""
    flat, places = [], []
    for place, character in enumerate(text):
        found = folded(character)
        flat.append(found)
        places.extend([place] * len(found))
    words = [re.escape("".join(map(folded, word))) for word in re.findall(r"\w+", query)]
    match = re.search(rf"(?<!\w)(?:{'|'.join(words)})(?!\w)", "".join(flat)) if words else None
    at = places[match.start()] if match else 0
    start, end = max(0, at - BEFORE), min(len(text), at + AFTER)
    if start:
        start = text.find(" ", start, at) + 1 or start
    line = " ".join(text[start:end].split())
    return f"{'… ' if start else ''}{line}{' …' if end < len(text) else ''}"
