"""What a similar text may not differ in: its numbers, its names, and what says no.

Vectors of meaning hardly tell "version 2.3" from "version 2.4", or "is it safe" from "is it not safe".
"""

import re
import unicodedata

WORD = re.compile(r"[^\W\d_](?:[\w'’]*\w)?|\d+(?:[.,:]\d+)*\w*")
SENTENCE = re.compile(r"(?:^|[.!?:\n])\s*$")
NEGATIONS = frozenset(
    {"not", "no", "nor", "never", "none", "nothing", "nobody", "without", "cannot", "except", "unless"}
    | {"không", "chưa", "chẳng", "đừng", "chớ", "trừ"}
)


def particulars(text: str) -> list[str]:
    """The numbers, the names and the negations of a text in English or Vietnamese, sorted, each as often as it stands.

    A name is a word that begins with a capital letter and does not begin its sentence, or has a capital letter, a
    digit or an underscore further on. `không`, which also ends questions, counts wherever it stands.
    """
    composed = unicodedata.normalize("NFC", text)
    return sorted(found for match in WORD.finditer(composed) if (found := _particular(composed, match)))


def _particular(text: str, match: "re.Match[str]") -> str | None:
    word = re.sub(r"['’]s$", "", match[0])
    folded = word.lower()
    if folded in NEGATIONS or folded.endswith(("n't", "n’t")):
        return folded.replace("’", "'")
    if word[0].isdigit() or any(part.isupper() or part.isdigit() or part == "_" for part in word[1:]):
        return word
    begins = SENTENCE.search(text, max(0, match.start() - 20), match.start()) is not None
    return word if word[0].isupper() and not begins and len(word) > 1 else None
