"""Finds words and phrases of a topic in a text, however they are accented or spaced, and patterns as they are."""

import re
import unicodedata
from collections.abc import Iterator, Sequence

_REPEATED = re.compile(r"\{(\d*)(?:,(\d*))?\}")


class TopicWords:
    """One topic's phrases and patterns.

    Args:
        phrases: words; between two of them, up to three characters that belong to no word may stand.
        patterns: regular expressions with bounded repetition and without repeated groups; case does not matter.

    Attributes:
        width: the most characters that a finding and what decides about it can have.
    """

    def __init__(self, phrases: Sequence[str], patterns: Sequence[str]) -> None:
        words = [_folded(phrase)[0].split() for phrase in phrases]
        forms = [r"\W{1,3}".join(map(re.escape, parts)) for parts in words]
        self._phrases = re.compile(rf"(?<!\w)(?:{'|'.join(forms)})(?!\w)") if forms else None
        self._patterns = [re.compile(pattern, re.IGNORECASE) for pattern in patterns]
        repeats = [sum(int(most or least or 0) for least, most in _REPEATED.findall(pattern)) for pattern in patterns]
        self.width = 2 + max(
            [sum(len(part) + 3 for part in parts) for parts in words]
            + [len(pattern) + more for pattern, more in zip(patterns, repeats, strict=True)],
            default=0,
        )

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """Where the topic is spoken of."""
        if self._phrases is not None:
            folded, places = _folded(text)
            for match in self._phrases.finditer(folded):
                yield (match.start(), match.end()) if places is None else (places[match.start()], places[match.end()])
        for pattern in self._patterns:
            yield from (match.span() for match in pattern.finditer(text) if match[0])


def _folded(text: str) -> tuple[str, Sequence[int] | None]:
    """Lower case without accents, and where each of its characters stands where that is not the same place."""
    lowered = text.lower()
    if lowered.isascii():
        return lowered, None
    characters: list[str] = []
    places: list[int] = []
    for at, character in enumerate(text):
        for part in unicodedata.normalize("NFD", character.lower()):
            if not unicodedata.combining(part):
                characters.append("d" if part == "đ" else part)
                places.append(at)
    return "".join(characters), [*places, len(text)]
