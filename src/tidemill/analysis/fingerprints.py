"""Fingerprints of a text, by which a long passage of it is known again in another.

Winnowing (Schleimer, Wilkerson, Aiken 2003): of every `WINDOW` successive runs of `RUN` words, the one with the least
hash is kept. Two texts that share `RUN + WINDOW - 1` words in a row share a fingerprint.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TypeVar

RUN = 8
WINDOW = 4
WORD = re.compile(r"\w+")
MOST = 20_000
"""Fingerprints of one text at most: some 50,000 words."""

Source = TypeVar("Source")


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The hash (64 bits, signed) of the `RUN` words from number `at` on."""

    hash: int
    at: int


def fingerprints(text: str) -> list[Fingerprint]:
    """The text's fingerprints, in order. Case, punctuation and spaces make no difference."""
    words = [word.casefold() for word in WORD.findall(text)]
    hashes = [_hash(words[at : at + RUN]) for at in range(len(words) - RUN + 1)]
    kept: list[Fingerprint] = []
    last = -1
    for start in range(max(1, len(hashes) - WINDOW + 1) if hashes else 0):
        window = hashes[start : start + WINDOW]
        least = start + len(window) - 1 - window[::-1].index(min(window))
        if least != last:
            kept.append(Fingerprint(hashes[least], least))
            last = least
    return kept


def longest_shared(
    prints: Sequence[Fingerprint], seen: Mapping[int, Collection[Source]], without: Collection[int] = ()
) -> int:
    """Words in a row that the text shares with one source, at least.

    Args:
        prints: of the text.
        seen: in which sources each fingerprint is.
        without: fingerprints that do not count.
    """
    longest = 0
    begun: dict[Source, int] = {}
    for one in prints:
        sources = seen.get(one.hash, ()) if one.hash not in without else ()
        begun = {source: begun.get(source, one.at) for source in sources}
        longest = max([longest, *(one.at + RUN - start for start in begun.values())])
    return longest


def _hash(words: Sequence[str]) -> int:
    return int.from_bytes(
        blake2b(" ".join(words).encode("utf-8", "surrogatepass"), digest_size=8).digest(), signed=True
    )
