"""The words of a question as terms to look for, with others that say the same."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tidemill.analysis.terms import is_identifier, stem, without_diacritics, word_terms, words

EXPANDED = 0.4
"""What a word that the question does not have weighs, of what one that it has does."""
JOINED = 12
"""Words up to which neighbours are also looked for as one identifier; a longer question is prose."""

ABBREVIATIONS = {
    "pr": "pull request", "mr": "merge request", "ci": "continuous integration", "db": "database",
    "config": "configuration", "env": "environment", "repo": "repository", "k8s": "kubernetes",
    "auth": "authentication", "docs": "documentation", "po": "purchase order", "rfq": "request for quotation",
    "sla": "service level agreement",
    "nda": "non disclosure agreement", "vat": "value added tax", "hr": "human resources",
    "ncc": "nhà cung cấp", "hđ": "hợp đồng", "đđh": "đơn đặt hàng", "gtgt": "giá trị gia tăng",
    "bhxh": "bảo hiểm xã hội", "bhyt": "bảo hiểm y tế", "cntt": "công nghệ thông tin", "tscđ": "tài sản cố định",
    "cbnv": "cán bộ nhân viên", "hđlđ": "hợp đồng lao động", "đnmh": "đề nghị mua hàng", "bgđ": "ban giám đốc",
}  # fmt: skip
"""Common short forms, and what they stand for."""

_SYLLABLE = re.compile(
    r"(?:b|ch?|d|gh?|gi|h|kh?|l|m|ngh?|nh|n|ph?|qu|r|s|th|tr|t|v|x)?[aeiouy]{1,3}(?:ch|c|m|ng|nh|n|p|t)?"
)
"""A Vietnamese syllable without its marks."""
_ONLY_VIETNAMESE = re.compile("[ăđơưạ-ỹ]")
_ENGLISH_WORDS = (
    "a an and any are at be by can come do does for from get go has have he her him his how i if in is it its "
    "list long made make man many me more my name no not of on one or our out page put ran run set she show sign "
    "so some text than that the then there they this to up us use was we what when where which who why with you "
    "your"
)
_ENGLISH = frozenset(_ENGLISH_WORDS.split())
"""English words that look like Vietnamese syllables, or that no Vietnamese question has."""


@dataclass(frozen=True, slots=True)
class QueryTerm:
    """A term to look for.

    Attributes:
        word: of the question, for explanations.
        weight: 1 for each time the question has it; less for what was added.
        added: the question does not have it.
    """

    term: str
    word: str
    weight: float
    added: bool = False


def query_terms(question: str, *, expand: bool = True) -> list[QueryTerm]:
    """The terms of a question, then those that rules add: long forms and short ones, and neighbours as one name."""
    text = unicodedata.normalize("NFC", question)
    plain = [word for word, _, _ in words(text)]
    counted: Counter[str] = Counter()
    named: dict[str, str] = {}
    for word in plain:
        for term in word_terms(word):
            counted[term] += 1
            named.setdefault(term, word)
    found = [QueryTerm(term, named[term], float(count)) for term, count in counted.items()]
    if not expand:
        return found
    added = dict.fromkeys(term for term in _added([word.lower() for word in plain]) if term not in counted)
    return [*found, *(QueryTerm(term, term, EXPANDED, added=True) for term in added)]


def marks_left_out(question: str) -> bool:
    """Whether a question seems to be Vietnamese typed without diacritics, as in `quy trinh mua hang`."""
    found = [word.lower() for word, _, _ in words(question)]
    syllables = [word for word in found if not word.isdigit()]
    return (
        len(syllables) > 1
        and all(word.isascii() and _SYLLABLE.fullmatch(word) for word in syllables)
        and not _ENGLISH & set(syllables)
    )


def question_language(question: str) -> str | None:
    """`vi` or `en`, as far as letters tell; `None` where they don't. Detectors need longer texts than questions are."""
    letters = unicodedata.normalize("NFC", question).lower()
    if _ONLY_VIETNAMESE.search(letters) or marks_left_out(question):
        return "vi"
    if letters.isascii():
        return "en"
    plain = [without_diacritics(word) for word, _, _ in words(letters)]
    return "vi" if plain and all(_SYLLABLE.fullmatch(word) or word.isdigit() for word in plain) else None


def identifier_share(question: str) -> float:
    """The share of the question's words that are written as names in code are, from 0 to 1."""
    found = [word for word, _, _ in words(question)]
    return sum(is_identifier(word) for word in found) / len(found) if found else 0.0


def _added(plain: Sequence[str]) -> Iterator[str]:
    padded = f" {' '.join(plain)} "
    for short, long in ABBREVIATIONS.items():
        if f" {short} " in padded:
            yield from (stem(word) for word in long.split())
        elif f" {long} " in padded:
            yield short
    if len(plain) <= JOINED:
        for first, second in pairwise(plain):
            if all(len(word) > 2 and word.isascii() and word.isalpha() for word in (first, second)):
                yield from (f"{first}_{second}", f"{first}{second}")
