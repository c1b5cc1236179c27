"""The terms by which a text is found: words as they are written, and the parts of identifiers."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator

LONGEST = 64
"""Characters of a term that count; what goes beyond is no word that anybody types."""
_WORD = re.compile(r"\w+")
_PART = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[^\W\dA-Z_]+|[A-Z]+|\d+|[^\W_]+")
_STROKES = str.maketrans("đĐ", "dD")
_VOWELS = frozenset("aeiouy")
_SHORTEST_STEMMED = 4


def terms(text: str) -> Counter[str]:
    """Each term of a text with how often it occurs.

    A word is a run of letters, digits and `_` in NFC and lower case, its diacritics kept. An identifier, such as
    `parse_url`, `parseURL` or `utf8`, is a term as a whole, and so is each of its parts. English endings of number
    and time are taken off, so that `wings` finds `wing`.
    """
    return Counter(_terms(text))


def words(text: str) -> Iterator[tuple[str, int, int]]:
    """Each word of a text in NFC as it is written, with where it begins and ends."""
    for found in _WORD.finditer(text):
        yield found[0], found.start(), found.end()


def word_terms(word: str) -> list[str]:
    """The terms of one word, itself first."""
    whole = _normal(word)
    parts = [_normal(part) for part in _PART.findall(word)] if _composed(word) else []
    return [stem(whole), *(stem(part) for part in parts if part != whole)]


def is_identifier(word: str) -> bool:
    """Whether a word is written as names in code are: with `_`, with capitals inside, or with digits beside letters."""
    return _composed(word) and len(_PART.findall(word)) > 1


def without_diacritics(term: str) -> str:
    """A term in the letters that are left when it is typed without marks: `quy trình` becomes `quy trinh`."""
    letters = unicodedata.normalize("NFD", term.translate(_STROKES))
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


def stem(term: str) -> str:
    """A term without an English ending of number or time; one with other letters or with digits stays as it is.

    Light on purpose: no ending goes that makes another word of it, as Porter's later steps do.
    """
    if len(term) < _SHORTEST_STEMMED or not (term.isascii() and term.isalpha()):
        return term
    return _without_time(_without_number(term))


def _terms(text: str) -> Iterator[str]:
    for found in _WORD.finditer(unicodedata.normalize("NFC", text)):
        yield from word_terms(found[0])


def _composed(word: str) -> bool:
    return not word.isalpha() or not (word.islower() or word[1:].islower() or word.isupper())


def _normal(word: str) -> str:
    return unicodedata.normalize("NFC", word.lower())[:LONGEST]


def _without_number(term: str) -> str:
    if term.endswith("ies") and len(term) > _SHORTEST_STEMMED:
        return f"{term[:-3]}y"
    if term.endswith(("sses", "xes", "ches", "shes", "zes")):
        return term[:-2]
    if term.endswith("s") and not term.endswith(("ss", "us", "is")):
        return term[:-1]
    return term


def _without_time(term: str) -> str:
    for ending in ("ing", "ed"):
        rest = term.removesuffix(ending)
        if rest != term and len(rest) > 2 and _VOWELS & set(rest):
            return _whole(rest)
    return term.removesuffix("e") if len(term) > _SHORTEST_STEMMED else term


def _whole(rest: str) -> str:
    if len(rest) > 3 and rest[-1] == rest[-2] and rest[-1] not in "lsz":
        return rest[:-1]
    return rest.removesuffix("e")
