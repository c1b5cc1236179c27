"""What a sentence says, as far as its words show: terms, numbers, names, and whether it denies something."""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from tidemill.analysis.terms import stem

_WORD = re.compile(r"\d+(?:[.,:]\d+)*|[^\W\d_]+(?:['’][^\W\d_]+)*|\d+")
_CITATION = re.compile(r"\[\d+(?:\s*[,–-]\s*\d+)*\]")
_COUNTED = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
_CALENDAR = "january february march april may june july august september october november december"
_NUMBER_WORDS: Mapping[str, str] = {
    word: str(number) for number, word in enumerate(_COUNTED.split()) if word not in ("zero", "one")
} | {"hai": "2", "ba": "3", "bốn": "4", "sáu": "6", "bảy": "7", "tám": "8", "chín": "9", "mười": "10"}
"""Not `one` and `một`, which are articles, too, nor `năm`, which is a year as well."""
_MONTHS: Mapping[str, str] = {
    name[:length]: str(number)
    for number, name in enumerate(_CALENDAR.split(), 1)
    for length in (3, len(name))
    if name != "may"
}
_STOP_WORDS = (
    "a an and are as at be been being but by can could did do does for from had has have he her hers him his "
    "how i if in into is it its may might more most must of on or our out over she should so some such than "
    "that the their them then there these they this those to under up was we were what when where which while "
    "who whom whose why will with would you your also about after all any because before between both each "
    "during however only other same too very là và của các những cho với được bị trong trên dưới khi thì mà "
    "này đó kia để đến tới từ bởi vì do nên cũng đã đang sẽ có một hay hoặc tại ở ra vào lên xuống rằng như "
    "theo về nếu còn lại rất"
)
_STOP = frozenset(_STOP_WORDS.split())
_DENYING = "not no never none neither nor without cannot nobody nothing hardly không chưa chẳng đừng chớ cấm trừ"
_NEGATIONS = frozenset(_DENYING.split())


_OPPOSED: tuple[tuple[str, str], ...] = (
    ("before", "after"), ("above", "below"), ("over", "under"), ("more than", "less than"),
    ("at least", "at most"), ("minimum", "maximum"), ("open", "closed"), ("allowed", "forbidden"),
    ("required", "optional"), ("first", "last"), ("increase", "decrease"), ("increased", "decreased"),
    ("higher", "lower"), ("accept", "reject"), ("accepted", "rejected"), ("enabled", "disabled"), ("win", "lose"),
    ("won", "lost"), ("north", "south"), ("east", "west"), ("buy", "sell"), ("internal", "external"),
    ("trên", "dưới"), ("trước", "sau"), ("tối đa", "tối thiểu"), ("mở cửa", "đóng cửa"), ("được phép", "bị cấm"),
    ("bắt buộc", "tùy chọn"), ("tăng", "giảm"), ("cao hơn", "thấp hơn"), ("chấp nhận", "từ chối"), ("bật", "tắt"),
    ("mua vào", "bán ra"), ("đầu tiên", "cuối cùng"), ("nhiều hơn", "ít hơn"), ("nội bộ", "bên ngoài"),
)  # fmt: skip
_POLES: Mapping[str, int] = {
    word: sign * number for number, pair in enumerate(_OPPOSED, 1) for word, sign in zip(pair, (1, -1), strict=True)
}
_POLE = re.compile(rf"\b(?:{'|'.join(sorted(_POLES, key=len, reverse=True))})\b")
_VIETNAMESE = frozenset("ăâđêôơưạảấầẩẫậắằẳẵặẹẻẽếềểễệỉĩịọỏốồổỗộớờởỡợụủũứừửữựỳỵỷỹáàãéèíìóòõúùý")
_AMOUNT = r"(\d+(?:[.,]\d+)*)(?:\s+(nghìn|ngàn|thousand|triệu|million|tỷ|tỉ|billion)\b)?"
_FROM = r"từ|trên|hơn|ít nhất|tối thiểu|from|over|above|more than|at least|exceeding|between"
_UP_TO = r"đến dưới|đến|tới|dưới|tối đa|không quá|không vượt quá|up to|to|under|below|less than|at most|and"
_UNIT = r"(?:\s+(?!(?:and|to|or|đến|tới|trở)\b)\w{1,6})?"
_MORE, _LESS = "trở lên|or more|and above", "trở xuống|or less|or fewer"
_BOUND = re.compile(
    rf"\b(?:(?P<low>{_FROM})|(?P<high>{_UP_TO}))\s+{_AMOUNT}{_UNIT}(?:\s+(?P<more>{_MORE}))?"
    rf"|{_AMOUNT}{_UNIT}\s+(?:(?P<least>{_MORE})|(?P<most>{_LESS}))",
    re.IGNORECASE,
)
_PERCENT = re.compile(r"\s?(?:%|percent\b|per cent\b|phần trăm\b)", re.IGNORECASE)
_LEAST_MARKED = 0.2
"""The part of the words that has such a letter: a name in an English text has it, too."""
_SCALES: Mapping[str, int] = {
    "nghìn": 3, "ngàn": 3, "thousand": 3, "triệu": 6, "million": 6, "tỷ": 9, "tỉ": 9, "billion": 9,
}  # fmt: skip
"""How many zeros a word behind a number stands for."""


@dataclass(frozen=True, slots=True)
class Words:
    """A sentence's words.

    Attributes:
        terms: those that carry meaning, in lower case and without English endings, with how often each is there.
        numbers: in one form (`1,200` and `1200` alike; months and small numbers that are written out, too).
        names: terms that are written with a capital where grammar asks for none.
        denies: whether it holds a negation.
        bounds: least and most of each "from 20", "under 100" or "50 or more" in it.
        poles: which words it has of pairs of opposites, such as `before` and `after`: one is the other's negative.
    """

    terms: Mapping[str, int]
    numbers: frozenset[str]
    names: frozenset[str]
    denies: bool
    poles: frozenset[int] = frozenset()
    bounds: tuple[tuple[float, float], ...] = ()

    def opposes(self, other: "Words") -> bool:
        """Whether it has the opposite of a word of the other."""
        return any(-one in other.poles and one not in other.poles and -one not in self.poles for one in self.poles)

    def bounded_by(self, number: str) -> bool:
        """Whether a number is itself a bound that is named."""
        return any(str(int(end)) == number for pair in self.bounds for end in pair if math.isfinite(end))

    def bounds_of(self, other: "Words") -> frozenset[tuple[float, float]]:
        """The bounds that both name."""
        return frozenset(self.bounds) & frozenset(other.bounds)

    def holds(self, number: str) -> bool:
        """Whether a number is within bounds that are named, of which there is one."""
        try:
            value = float(number)
        except ValueError:
            return False
        return bool(self.bounds) and all(low <= value <= high for low, high in self.bounds)


@lru_cache(maxsize=20_000)
def words_of(sentence: str) -> Words:
    """The words of a sentence. References such as `[1]` are none of them."""
    text = unicodedata.normalize("NFC", _CITATION.sub(" ", sentence))
    matches = list(_WORD.finditer(text))
    found = [match.group() for match in matches]
    capitals = sum(word[0].isupper() for word in found)
    in_title_case = capitals > len(found) * 0.6
    terms: list[str] = []
    numbers: set[str] = set()
    names: set[str] = set()
    denies = False
    for place, word in enumerate(found):
        low = word.lower().replace("’", "'")
        denies = denies or low in _NEGATIONS or low.endswith("n't")
        if word[0].isdigit():
            after = found[place + 1].lower() if place + 1 < len(found) else ""
            percent = "%" if _PERCENT.match(text, matches[place].end()) else ""
            numbers.add(_scaled(_plain_number(word), _SCALES.get(after, 0)) + percent)
            continue
        if low in _SCALES and place and found[place - 1][0].isdigit():
            continue
        if low in _MONTHS and word[0].isupper():
            numbers.add(f"month {_MONTHS[low]}")
            continue
        if low in _NUMBER_WORDS:
            numbers.add(_NUMBER_WORDS[low])
            continue
        if low in _STOP or low in _NEGATIONS or low.endswith("n't") or (len(low) < 2 and low.isascii()):
            continue
        term = stem(low.removesuffix("'s"))
        terms.append(term)
        if place and word[0].isupper() and not in_title_case:
            names.add(term)
    poles = frozenset(_POLES[match.group()] for match in _POLE.finditer(text.lower()))
    return Words(Counter(terms), frozenset(numbers), frozenset(names), denies, poles, tuple(_bounds(text)))


def _plain_number(word: str) -> str:
    """One form for one number: thousands are not set apart, and a fraction has a point and no zeros at its end."""
    if ":" in word:
        return word
    groups = re.split(r"[.,]", word)
    if len(groups) > 1 and all(len(group) == 3 for group in groups[1:]) and len(groups[0]) <= 3:
        whole = "".join(groups)
        return whole.lstrip("0") or "0"
    if len(groups) == 2:
        whole, fraction = groups[0].lstrip("0") or "0", groups[1].rstrip("0")
        return f"{whole}.{fraction}" if fraction else whole
    return ".".join(group.lstrip("0") or "0" for group in groups)


def _scaled(number: str, zeros: int) -> str:
    """`1.5` with six zeros is `1500000`."""
    whole, _, fraction = number.partition(".")
    if not zeros or not whole.isdigit() or len(fraction) > zeros:
        return number
    return (whole + fraction.ljust(zeros, "0")).lstrip("0") or "0"


def is_vietnamese(text: str) -> bool:
    """Whether a text is written in Vietnamese letters, by those that no other language here has."""
    words = text.split()
    marked = sum(any(letter in _VIETNAMESE for letter in unicodedata.normalize("NFC", word.lower())) for word in words)
    return marked >= 1 and marked >= len(words) * _LEAST_MARKED


def opposite_of(text: str) -> str | None:
    """The text with one word replaced by its opposite; `None` where it has no such word."""
    found = _POLE.search(text)
    if found is None:
        return None
    instead = next(word for word, number in _POLES.items() if number == -_POLES[found[0]])
    return text[: found.start()] + instead + text[found.end() :]


def without_numbers(text: str, numbers: Collection[str]) -> str:
    """The text without these numbers, given in their one form."""
    kept, end = [], 0
    for found in re.finditer(_AMOUNT, text, re.IGNORECASE):
        if _amount(found[1], found[2]) in numbers:
            kept.append(text[end : found.start()])
            end = found.end()
    return "".join([*kept, text[end:]])


def _amount(number: str, scale: str | None) -> str:
    return _scaled(_plain_number(number), _SCALES.get((scale or "").lower(), 0))


def _bounds(text: str) -> Iterator[tuple[float, float]]:
    """Least and most of each amount that is one of the two."""
    for found in _BOUND.finditer(text):
        number, scale = (found[3], found[4]) if found[3] else (found[6], found[7])
        try:
            value = float(_amount(number, scale))
        except ValueError:
            continue
        upper = bool(found["high"] or found["most"]) and not found["more"]
        yield (-math.inf, value) if upper else (value, math.inf)
