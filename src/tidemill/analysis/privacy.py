"""Finds what identifies a person or an account in a text, and says where it stands.

A number counts where its check digits and its structure hold, or, where it has none, where the words before it say what
it is. Every pattern has bounded repetition, and none is tried where no `@` and no run of digits is. Texts are given as
their reader sees them (see `tidemill.analysis.plain`).
"""

import ipaddress
import re
import unicodedata
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum

from tidemill.analysis.identifiers import (
    iban_is_valid,
    is_card_number,
    is_citizen_number,
    is_phone_number,
    is_tax_code,
)


class Kind(StrEnum):
    """What can be found."""

    EMAIL = "email"
    IBAN = "iban"
    CARD = "card"
    CITIZEN_ID = "citizen-id"
    TAX_CODE = "tax-code"
    SSN = "ssn"
    PASSPORT = "passport"
    PHONE = "phone"
    BANK_ACCOUNT = "bank-account"
    IP_ADDRESS = "ip-address"


@dataclass(frozen=True, slots=True)
class PrivateMatch:
    """Something of this kind at `text[start:end]`. It never holds the thing itself."""

    kind: Kind
    start: int
    end: int


CARD = re.compile(
    r"(?<![\d.])(?:\d{14,19}|\d{4}([ .-])\d{4}\1\d{4}\1\d{1,7}|\d{4}([ .-])\d{6}\2\d{4,5}|\d(?: \d){13,18})"
    r"(?!\d|\.\d)",
    re.ASCII,
)
SSN = re.compile(r"(?<![\d-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])", re.ASCII)
CITIZEN = re.compile(r"(?<![\w.-])\d{3}([ .-]?)\d{3}\1\d{3}\1\d{3}(?![\w-]|\.\d)", re.ASCII)
PHONE = re.compile(
    r"(?<![\w.+/-])(?:\(\+\d{1,3}\) ?\d|(?:\+|00)?(?:\(0?\d{1,4}\)|\d))"
    r"(?:[ .\-]{0,2}(?:\(0\) ?)?(?:\(\d{1,4}\)|\d)){6,14}(?![\w/]|[-.]\d)",
    re.ASCII,
)
IBAN = re.compile(
    r"[A-Z](?<![A-Za-z0-9].)[A-Z]\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Za-z0-9])", re.ASCII
)
EMAIL = re.compile(
    r"(?<![\w.+%-])[A-Za-z0-9][\w.+%-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.){1,6}[A-Za-z]{2,24}(?![\w-])", re.ASCII
)
NOBODYS = re.compile(
    r"^(?:no-?reply|do-?not-?reply|git|hg|svn)@|@(?:[\w-]+\.)*(?:example(?:\.(?:com|org|net))?|invalid|test|localhost)$"
    r"|@\dx\.",
    re.ASCII | re.IGNORECASE,
)
"""Addresses at names that RFC 2606 keeps for examples, of machines, and `icon@2x.png`."""
AROUND = 330
"""Characters before and after an `@` in which its whole address stands (RFC 5321: 64 and 255)."""

RUNS = re.compile(r"[+(]{0,2}[0-9](?:[ \-.()/]{0,3}[0-9]){5,}", re.ASCII)
"""Six digits or more with little between them."""
OLD_CITIZEN = re.compile(r"(?<![\w.-])\d{3}([ .]?)\d{3}\1\d{3}(?![\w-]|\.\d)", re.ASCII)
TAX_CODE = re.compile(r"(?<![\w.-])\d{10}(?:-?\d{3})?(?![\w-]|\.\d)", re.ASCII)
PASSPORT = re.compile(r"(?<![\w-])(?:[A-Z]{1,2}\d{6,8}|\d{9})(?![\w-])", re.ASCII)
BANK_ACCOUNT = re.compile(r"(?<![\w.-])\d(?:[ .-]?\d){5,18}(?![\w-]|\.\d)", re.ASCII)
IP4 = re.compile(r"(?<![\w.-])\d{1,3}(?:\.\d{1,3}){3}(?![\w-]|\.\w)", re.ASCII)
IP6 = re.compile(r"(?<![\w.:])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])", re.ASCII)

BEFORE = 60
"""Characters before a number in which the words that explain it stand."""
_CITIZEN_WORDS = re.compile(r"\b(?:cmnd|cmt(?:nd)?|cccd|chung minh|can cuoc|dinh danh|id card|identity card)\b")
_TAX_WORDS = re.compile(r"\b(?:mst|ma so thue|ma thue|tax (?:code|id|no|number)|tin|vat (?:id|no|number))\b")
_PASSPORT_WORDS = re.compile(r"\b(?:passport|ho chieu)\b")
_BANKS = (
    r"vietcombank|vcb|techcombank|tcb|bidv|agribank|vietinbank|mb ?bank|acb|vp ?bank|sacombank|tp ?bank|vib|shb"
    r"|hd ?bank|ocb|msb|seabank|eximbank"
)
_ACCOUNT_WORDS = re.compile(
    r"\b(?:stk|so tk|so tai khoan|tai khoan ngan hang|tk ngan hang|bank (?:account|acct)|account (?:no|nr|number)"
    rf"|acct (?:no|number)|(?:tai khoan|tk|account)[^\n]{{0,20}}(?:{_BANKS}))\b"
)
_NO_BANK = re.compile(r"\b(?:aws|azure|gcp|github|user|service|subscription)\b")
_CLOSE = 40
"""Characters between those words and the number, at most."""


def folded(text: str) -> str:
    """Lower case, without accents: as many people type Vietnamese."""
    bare = unicodedata.normalize("NFD", text.lower()).replace("đ", "d")
    return bare if bare.isascii() else "".join(c for c in bare if not unicodedata.combining(c))


def find_private(text: str, kinds: Collection[Kind] = frozenset(Kind) - {Kind.IP_ADDRESS}) -> list[PrivateMatch]:
    """What of these kinds stands in a text. What two kinds see is there twice, in the order of `Kind`, roughly."""
    finders = (_addresses(text), _ibans(text), _numbers(text, kinds), _networks(text, kinds))
    return [match for matches in finders for match in matches if match.kind in kinds]


def has_address(text: str) -> bool:
    """Whether an e-mail address of somebody stands in a text."""
    return next(_addresses(text), None) is not None


def _addresses(text: str) -> Iterator[PrivateMatch]:
    at, done = text.find("@"), 0
    while at >= 0:
        after = at + AROUND
        for match in EMAIL.finditer(text, max(done, at - AROUND), min(len(text), after + AROUND)):
            if text.index("@", match.start()) >= after:
                break  # its end may not have been seen
            done = match.end()
            if not NOBODYS.search(match[0]):
                yield PrivateMatch(Kind.EMAIL, *match.span())
        at = text.find("@", after)


def _ibans(text: str) -> Iterator[PrivateMatch]:
    for match in IBAN.finditer(text):
        if iban_is_valid(match[0]):
            yield PrivateMatch(Kind.IBAN, *match.span())


def _numbers(text: str, kinds: Collection[Kind]) -> Iterator[PrivateMatch]:
    for run in RUNS.finditer(text):
        first, last = max(0, run.start() - 3), min(len(text), run.end() + 2)
        words: str | None = None
        taken = first
        for kind, pattern, needed, holds in NUMBER_RULES:
            if kind not in kinds:
                continue
            for match in pattern.finditer(text, taken, last):
                if needed is not None:
                    words = folded(text[max(0, run.start() - BEFORE) : run.start()]) if words is None else words
                    if not _said(needed, words, kind):
                        break
                if holds(match[0]):
                    yield PrivateMatch(kind, *match.span())


def _said(needed: re.Pattern[str], words: str, kind: Kind) -> bool:
    """Whether the words before a number name its kind, not too far from it."""
    if kind is Kind.BANK_ACCOUNT and _NO_BANK.search(words):
        return False
    return any(len(words) - match.end() <= _CLOSE for match in needed.finditer(words))


def _networks(text: str, kinds: Collection[Kind]) -> Iterator[PrivateMatch]:
    if Kind.IP_ADDRESS not in kinds:
        return
    for pattern in (IP4, IP6):
        for match in pattern.finditer(text):
            if _is_address(match[0]):
                yield PrivateMatch(Kind.IP_ADDRESS, *match.span())


def _is_address(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified)


NUMBER_RULES: tuple[tuple[Kind, re.Pattern[str], re.Pattern[str] | None, Callable[[str], bool]], ...] = (
    (Kind.CARD, CARD, None, is_card_number),
    (Kind.SSN, SSN, None, lambda found: True),
    (Kind.CITIZEN_ID, CITIZEN, None, is_citizen_number),
    (Kind.CITIZEN_ID, OLD_CITIZEN, _CITIZEN_WORDS, lambda found: True),
    (Kind.TAX_CODE, TAX_CODE, _TAX_WORDS, is_tax_code),
    (Kind.PASSPORT, PASSPORT, _PASSPORT_WORDS, lambda found: True),
    (Kind.BANK_ACCOUNT, BANK_ACCOUNT, _ACCOUNT_WORDS, lambda found: True),
    (Kind.PHONE, PHONE, None, is_phone_number),
)
"""The kind, its form, the words that must stand before it where the form alone proves nothing, and its check."""
