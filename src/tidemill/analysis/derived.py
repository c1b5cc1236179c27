"""What can be said of a document from its text alone, for filters and lists: length, readability, topics, entities."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from tidemill.analysis.sentences import paragraphs, sentences
from tidemill.core.document import CleanDocument
from tidemill.core.json import Json

READ_A_MINUTE = 200
"""Words."""
MOST_TOPICS = 8
MOST_ENTITIES = 12
LOOKED_AT = 200_000
"""Characters; of a longer text the beginning is looked at, and its length alone is of the whole."""

_WORD = re.compile(r"[^\W\d_]+(?:['’\-][^\W\d_]+)*")
_VOWELS = re.compile(r"[aeiouy]+")
_PHRASE_END = re.compile(r"[^\w\s'’\-]|\n")
_NO_TOPICS = (
    "the a an and or but if of to in on at by for from with without into over under than then as is are was were be "
    "been being it its this that these those there here he she they we you i me my your our their his her them us "
    "not no nor only own same so too very can may must should would will shall do does did done has have had each "
    "any all both few more most other some such what who whom which when where why how before after during again "
    "up down out off about above below between through per also one two three first second every within until "
    "và hoặc hay nhưng mà thì là của cho với về từ đến tới trong ngoài trên dưới trước sau giữa bằng theo do bởi vì "
    "để nên nếu khi các những một hai ba mỗi mọi này kia đó ấy đây được bị có không chưa đã đang sẽ phải cần cũng "
    "vẫn còn chỉ rất hơn nhất lại ra vào lên xuống tại ở như người việc ngày tháng năm tối đa thiểu kể quá mức nào "
    "gì ai đâu sao bao nhiêu mấy"
)
_STOP_WORDS = frozenset(_NO_TOPICS.split())
_SYLLABIC = frozenset({"vi"})
"""Languages whose words are written as several syllables apart: a single one is no topic."""
_ENTITIES: Mapping[str, re.Pattern[str]] = {
    "emails": re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{2,63}){1,4}"),
    "sites": re.compile(r"https?://([\w.-]{4,100})"),
    "dates": re.compile(r"(?<![\d/.-])(?:\d{1,2}/\d{1,2}/\d{4}|\d{4}-\d{2}-\d{2})(?![\d/-])"),
    "amounts": re.compile(
        r"(?<![\w.,])(?:[$€£]\s?\d[\d.,]{0,20}\d?|\d[\d.,]{0,20}\s?(?:đồng|VND|VNĐ|USD|EUR|%|₫|US dollars|đô la Mỹ))"
    ),
    "codes": re.compile(r"(?<![\w-])[A-ZĐ]{2,8}(?:-[A-ZĐ0-9]{1,8}){1,4}(?![\w-])"),
    "names": re.compile(
        r"(?<![\w.] )(?<=[\w,;:(] )(?!(?:Phòng|Ban|Bộ|Tổng|Giám|Hội|Mục|Điều|Chương) )"
        r"(?:[A-ZÀ-ỸĐ][a-zà-ỹđ]{1,20} ){1,4}[A-ZÀ-ỸĐ][a-zà-ỹđ]{0,20}(?!\w)"
    ),
}


def derived(document: CleanDocument, language: str | None) -> dict[str, Json]:
    """What its text tells of a document.

    `characters`, `words`, `sentences`, `paragraphs`, `reading_minutes`; `readability`, Flesch's reading ease (from
    about 0, hard, to 100, easy; https://doi.org/10.1037/h0057532), in English alone, for which it was made; `topics`,
    the phrases that it repeats, those of its headings first; `entities`, by kind, the most frequent first. Code has
    its length alone.
    """
    text = document.text[:LOOKED_AT]
    words = _WORD.findall(text)
    share = len(document.text) / max(len(text), 1)
    found: dict[str, Json] = {"characters": len(document.text), "words": round(len(words) * share)}
    if document.markup == "code":
        return found
    ends = sentences(text, language)
    found["sentences"] = round(len(ends) * share)
    found["paragraphs"] = round(sum(1 for _ in paragraphs(text)) * share)
    found["reading_minutes"] = max(1, round(len(words) * share / READ_A_MINUTE))
    if language == "en" and words and ends:
        found["readability"] = round(_reading_ease(words, len(ends)), 1)
    found["topics"] = list(_topics(text, [heading.title for heading in document.headings], language))
    found["entities"] = {kind: list(values) for kind, values in _entities(text)}
    return found


def _reading_ease(words: list[str], count: int) -> float:
    syllables = sum(_syllables(word.lower()) for word in words)
    return 206.835 - 1.015 * len(words) / count - 84.6 * syllables / len(words)


def _syllables(word: str) -> int:
    groups = len(_VOWELS.findall(word))
    silent = word.endswith("e") and not word.endswith("le") and groups > 1
    return max(groups - silent, 1)


def _topics(text: str, titles: list[str], language: str | None) -> list[str]:
    counts: Counter[tuple[str, ...]] = Counter()
    for title in titles:
        counts.update(dict.fromkeys(_phrases(title, language), 2))
    for part in _PHRASE_END.split(text):
        counts.update(_phrases(part, language))
    repeated = {phrase: count * len(phrase) ** 0.5 for phrase, count in counts.items() if count > 1}
    chosen: list[tuple[str, ...]] = []
    for phrase in sorted(repeated, key=lambda phrase: (-repeated[phrase], phrase)):
        if not any(_within(phrase, other) or _within(other, phrase) for other in chosen):
            chosen.append(phrase)
        if len(chosen) == MOST_TOPICS:
            break
    return [" ".join(phrase) for phrase in chosen]


def _phrases(text: str, language: str | None) -> Iterable[tuple[str, ...]]:
    """Runs of two and three words without a stop word, and in most languages of one."""
    words = [word.lower() for word in _WORD.findall(text)]
    for length in (2, 3) if language in _SYLLABIC else (1, 2, 3):
        for at in range(len(words) - length + 1):
            phrase = tuple(words[at : at + length])
            if _STOP_WORDS.isdisjoint(phrase) and len(" ".join(phrase)) > 3:
                yield phrase


def _within(part: tuple[str, ...], whole: tuple[str, ...]) -> bool:
    return any(whole[at : at + len(part)] == part for at in range(len(whole) - len(part) + 1))


def _entities(text: str) -> Iterable[tuple[str, list[str]]]:
    for kind, pattern in _ENTITIES.items():
        counts = Counter(" ".join(match[match.lastindex or 0].split()) for match in pattern.finditer(text))
        if counts:
            yield kind, [value for value, _ in counts.most_common(MOST_ENTITIES)]
