"""How sensitive a text is, by rules: credentials, personal data, and what its author marked it as.

Every rule is named, and gives its name and nothing of what it found. Each looks for a cheap sign first (an `@`, eight
digits in a row), has bounded repetition, and so takes time that grows with the text's length alone.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping

from tidemill.analysis.identifiers import iban_is_valid, is_card_number, is_citizen_number, is_phone_number
from tidemill.analysis.markings import markings
from tidemill.analysis.privacy import CARD, CITIZEN, IBAN, PHONE, SSN, has_address
from tidemill.analysis.secrets import secret_rules
from tidemill.core.classification import Classified, Level, together
from tidemill.core.json import Json

NUMBERS = re.compile(r"[0-9](?:[ \-.()/]{0,3}[0-9]){7,}")
"""Eight digits or more with little between them: whatever may be a number of a person or a card."""
OLD_CITIZEN = re.compile(r"(?:cmnd|cmt|chứng minh (?:nhân dân|thư))\D{0,20}\d{9}(?!\d)")
DATA_URL = re.compile(r"data:[\w.+-]{1,60}/[\w.+-]{1,60};base64,[A-Za-z0-9+/=]*", re.ASCII)
SOUND = {"data", "format"}
SOUNDS = ("wav", "mp3")
NAMES = frozenset({"role", "type", "status", "id", "call_id"})
NAMED = re.compile(r"[a-z_]{1,30}|[a-z]{1,9}_[0-9a-f]{8,40}")
"""What OpenAI calls roles and types of parts, and ids as they are made here; anything else of such a name is a text."""


def classify(text: str, default: Level = Level.INTERNAL) -> Classified:
    """The level of one text, with the rules that say so; `default` where none does.

    Secret: credentials, private keys, card numbers, what is marked so. Confidential: e-mail addresses, telephone
    numbers, numbers of identity and of bank accounts, what is marked so. Public: only what says so itself.
    """
    credentials = secret_rules(text)
    composed = text if text.isascii() else unicodedata.normalize("NFC", text)
    folded = composed.lower()
    numbers, people = _numbers(text, folded)
    if "@" in text and has_address(text):
        people.append("email-address")
    if IBAN.search(text) and any(iban_is_valid(match[0]) for match in IBAN.finditer(text)):
        people.append("iban")
    marks = markings(composed, folded)
    secret = [*credentials, *numbers, *(rule for level, rule in marks.items() if level is Level.SECRET)]
    confidential = [*people, *(rule for level, rule in marks.items() if level is Level.CONFIDENTIAL)]
    if secret or confidential:
        return Classified(Level.SECRET if secret else Level.CONFIDENTIAL, (*secret, *confidential))
    if Level.INTERNAL in marks:
        return Classified(max(Level.INTERNAL, default, key=lambda level: level.rank), (marks[Level.INTERNAL],))
    if Level.PUBLIC in marks and default.rank <= Level.INTERNAL.rank:
        return Classified(Level.PUBLIC, (marks[Level.PUBLIC],))
    return Classified(default)


def classify_all(texts: Iterable[str], default: Level = Level.INTERNAL) -> Classified:
    """The level of several texts that go one way together: the highest of theirs."""
    parts = list(texts)
    found = classify("\n".join(parts), default)  # in one piece, since a short text costs as much as a long one
    if found.level is not Level.PUBLIC or len(parts) == 1:
        return found
    return together(classify(part, default) for part in parts)


def texts_in(value: Json) -> Iterator[str]:
    """Every text in a JSON value, save names of roles and types, ids, and images and sounds, which no rule can read."""
    found: list[str] = []
    _gather(value, found)
    return iter(found)


def _gather(value: Json, found: list[str]) -> None:
    """Notes the texts of a value; into a list, since generators within generators take twice as long."""
    if isinstance(value, str):
        if not (value.startswith("data:") and DATA_URL.fullmatch(value)):
            found.append(value)
    elif isinstance(value, Mapping):
        sound = value.keys() == SOUND and value["format"] in SOUNDS
        for name, part in value.items():
            named = name in NAMES and isinstance(part, str) and NAMED.fullmatch(part)
            if not named and not (sound and name == "data"):
                _gather(part, found)
    elif isinstance(value, list | tuple):
        for part in value:
            _gather(part, found)


def _numbers(text: str, folded: str) -> tuple[list[str], list[str]]:
    """The rules that find a card's number, and those that find a person's."""
    runs = [text[max(0, m.start() - 2) : m.end() + 2] for m in NUMBERS.finditer(text)]
    secret: list[str] = []
    people: list[str] = []
    if not runs:
        return secret, people
    joined = "\n".join(runs)
    checks: tuple[tuple[list[str], str, re.Pattern[str], Callable[[str], bool]], ...] = (
        (secret, "card-number", CARD, is_card_number),
        (people, "social-security-number", SSN, lambda found: True),
        (people, "citizen-number-vn", CITIZEN, is_citizen_number),
        (people, "phone-number", PHONE, is_phone_number),
    )
    for rules, name, pattern, holds in checks:
        if any(holds(match[0]) for match in pattern.finditer(joined)):
            rules.append(name)
    if "citizen-number-vn" not in people and OLD_CITIZEN.search(folded):
        people.append("citizen-number-vn")
    return secret, people
