"""Which language a text is in.

Vietnamese and English are told by their letters and small words, which is quick, and right for a question of a few
words; any other by py3langid, whose model (100 MB once loaded) is read when a text first needs it.
"""

import re
from functools import lru_cache
from typing import Any

SAMPLE = 6_000
LEAST_BYTES = 24
"""A shorter text is not given to the model, which would guess."""
LEAST_PROBABILITY = 0.6
_WORD = re.compile(r"[^\W\d_]+")
_ONLY_VIETNAMESE = frozenset("ăđơưạảấầẩẫậắằẳẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹ")
"""Letters that no other language of Latin script has in daily use (Romanian has ă, South Slavic đ: see the share)."""
_VIETNAMESE_SHARE = 0.15
_FOREIGN = re.compile(r"[^\W\d_a-zA-Z]")
_ENGLISH = frozenset(
    {
        *("the", "of", "and", "to", "is", "are", "was", "were", "what", "who", "how", "which", "when", "where", "why"),
        *("does", "do", "did", "can", "may", "must", "should", "will", "with", "for", "from", "that", "this", "these"),
        *("it", "its", "be", "been", "by", "has", "have", "had", "not", "you", "your", "we", "our", "they", "there"),
        *("if", "an", "or", "at", "than", "then", "only", "each", "any", "i", "my", "he", "she", "his", "her"),
    }
)
_ENGLISH_SHARE = 0.2


def language_of(text: str) -> str | None:
    """The ISO 639-1 code of a text's language; `None` where it has too few words to tell."""
    sample = text if len(text) <= SAMPLE else text[: SAMPLE // 2] + text[len(text) // 2 :][: SAMPLE // 2]
    words = [word.lower() for word in _WORD.findall(sample)]
    if not words:
        return None
    vietnamese = sum(1 for word in words if not _ONLY_VIETNAMESE.isdisjoint(word))
    if vietnamese >= len(words) * _VIETNAMESE_SHARE and vietnamese >= min(2, max(len(words) // 2, 1)):
        return "vi"
    english = sum(1 for word in words if word in _ENGLISH)
    if english >= len(words) * _ENGLISH_SHARE and len(_FOREIGN.findall(sample)) <= len(words) * 0.02:
        return "en"
    if len(" ".join(words).encode()) < LEAST_BYTES:
        return None
    code, probability = _identifier().classify(" ".join(words))
    return str(code) if probability >= LEAST_PROBABILITY else None


@lru_cache(maxsize=1)
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # noqa: PLC0415 - its model is large

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
