"""What guardrails find in one text, and the finders that know where each thing stands."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tidemill.analysis.plain import Plain
from tidemill.analysis.privacy import Kind, find_private
from tidemill.analysis.secrets import NAME_NEEDLES, RULES, secrets_in
from tidemill.analysis.topics import TopicWords
from tidemill.core.guardrail import Guardrail

PRIVATE_KEY = "private-key"
KEY_BLOCK = re.compile(
    r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:\s{1,4}[A-Z][A-Za-z-]{2,20}: [^\n]{1,80}){0,4}"
    r"(?:(?:\s{0,4}[A-Za-z0-9+/=]{16,200}){1,400}(?:\s{0,4}[A-Za-z0-9+/]{1,76}={0,2}(?=\s{0,4}-----END))?)?"
    r"(?:\s{0,4}-----END [A-Z0-9 ]{1,60}-----)?"
)
KEY_BEGINS = re.compile(r"-----BEGIN(?: [A-Z0-9]{0,20}){0,6}-{0,5}\Z")
KEY_ENDS = re.compile(r"-----END [A-Z0-9 ]{1,60}-----\Z")
KEY_LINE = 120
"""Characters of a key's text within which it may still go on."""
LONGEST_LINE = 2_000
LAST = 120
"""Characters at the end of a line in which its last word stands, unless it is no plain one."""
BEFORE_WORDS, AFTER_WORDS = "(\"'*`", ".,;!?)*"
"""What may stand beside a plain word."""
SIGNS = (
    *dict.fromkeys(needle for rule in RULES for needle in rule.needles if needle[0].isalnum()),
    *("sk_live_", "rk_live_", "doo_v1_", "dop_v1_", "dor_v1_"),
)
BEGINNINGS = frozenset(sign[:length] for sign in SIGNS for length in range(1, len(sign) + 1))
NAMED = (*NAME_NEEDLES, "aws", "accountkey", "://")
"""Signs in a line that a credential may stand in it because of its name."""
NUMBER_CHARACTERS = "0123456789 +().-/\t"
LONGEST_NUMBER, ENOUGH_FOR_NUMBER = 200, 100
IBAN_TAIL = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}[A-Z0-9 ]{0,44}\Z", re.ASCII)
PLACEHOLDER = re.compile(r"\[[A-Z][A-Z_]{1,20}_[0-9]{1,5}\]")


@dataclass(frozen=True, slots=True)
class Found:
    """Something that a guardrail found at `text[start:end]` of a plain text. It never holds what it found."""

    guardrail: Guardrail
    rule: str
    start: int
    end: int


class Finder(Protocol):
    """Finds something in a text, also while the text still grows."""

    def find(self, text: Plain) -> Sequence[Found]:
        """Everything in the text, in any order; findings may overlap."""
        ...

    def held_from(self, text: str) -> int:
        """From where on more text may change what is found; what ends before is final."""
        ...


class SecretFinder:
    """Credentials, and keys with the whole of their blocks."""

    def find(self, text: Plain) -> Sequence[Found]:
        """As `Finder` says."""
        found: list[Found] = []
        for match in secrets_in(text.text, overlapping=True):
            block = KEY_BLOCK.match(text.text, match.start) if match.rule == PRIVATE_KEY else None
            found.append(Found(Guardrail.SECRETS, match.rule, match.start, block.end() if block else match.end))
        return found

    def held_from(self, text: str) -> int:
        """As `Finder` says. Plain words, with which no credential begins, are not held."""
        line = text[max(text.rfind("\n"), len(text) - LONGEST_LINE) + 1 :]
        last = line[-LAST:].rstrip(" \t").rsplit(None, 1)[-1:]
        word = last[0].lstrip(BEFORE_WORDS).rstrip(AFTER_WORDS) if last else ""
        named = ("=" in line or ":" in line) and any(sign in line.lower() for sign in NAMED)
        if named or not word.isalpha() or word in BEGINNINGS or word.startswith(SIGNS):
            return min(word_held_from(text), _key_held_from(text))
        return _key_held_from(text)


class PrivateFinder:
    """Personal data of these kinds."""

    def __init__(self, kinds: Collection[Kind]) -> None:
        self._kinds = frozenset(kinds)

    def find(self, text: Plain) -> Sequence[Found]:
        """As `Finder` says."""
        return [
            Found(Guardrail.PRIVACY, match.kind, match.start, match.end)
            for match in find_private(text.text, self._kinds)
        ]

    def held_from(self, text: str) -> int:
        """As `Finder` says."""
        return min(word_held_from(text), _number_held_from(text), _iban_held_from(text))


class TopicFinder:
    """Blocked topics."""

    def __init__(self, topics: Mapping[str, TopicWords]) -> None:
        self._topics = topics
        self._width = max((topic.width for topic in topics.values()), default=0)

    def find(self, text: Plain) -> Sequence[Found]:
        """As `Finder` says."""
        return [
            Found(Guardrail.TOPICS, name, start, end)
            for name, topic in self._topics.items()
            for start, end in topic.find(text.text)
        ]

    def held_from(self, text: str) -> int:
        """As `Finder` says."""
        return min(word_held_from(text), max(0, len(text) - self._width))


class PlaceholderFinder:
    """What stands for something that was masked in the request, to be put back."""

    def find(self, text: Plain) -> Sequence[Found]:
        """As `Finder` says."""
        return [Found(Guardrail.PRIVACY, "placeholder", *m.span()) for m in PLACEHOLDER.finditer(text.text)]

    def held_from(self, text: str) -> int:
        """As `Finder` says."""
        return word_held_from(text)


def word_held_from(text: str) -> int:
    """Where the last run of characters without a space begins, which more of them may follow; spaces may, too."""
    bare = text.rstrip(" \t")
    if not bare or bare[-1].isspace():
        return len(text)
    return len(bare) - len(bare.rsplit(None, 1)[-1])


def _number_held_from(text: str) -> int:
    start = len(text.rstrip(NUMBER_CHARACTERS))
    for at in range(start, len(text)):
        if text[at] in "0123456789+(":
            return at if len(text) - at <= LONGEST_NUMBER else len(text) - ENOUGH_FOR_NUMBER
    return len(text)


def _iban_held_from(text: str) -> int:
    found = IBAN_TAIL.search(text, max(0, len(text) - 60))
    return found.start() if found else len(text)


def _key_held_from(text: str) -> int:
    start = text.rfind("-----BEGIN")
    if start < 0:
        return len(text)
    if KEY_BEGINS.match(text, start):
        return start
    block = KEY_BLOCK.match(text, start)
    if block is None or KEY_ENDS.search(block[0][-KEY_LINE:]) or block.end() < len(text) - KEY_LINE:
        return len(text)
    return start
