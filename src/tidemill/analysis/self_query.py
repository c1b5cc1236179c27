"""What a question says of where to look: who wrote it, on which platform, of which kind, when, in which language.

Rules in English and Vietnamese. A filter that is guessed wrongly hides the answer, so each rule asks for the words
that make it one: `on GitHub`, `bài viết của Lan` where Lan wrote something, `documents from 2024`. What is said as
`platform:github` always counts.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from tidemill.analysis.terms import without_diacritics
from tidemill.core.document import DocumentKind
from tidemill.core.errors import InvalidInput
from tidemill.core.search import Filters

PLATFORMS = ("github", "gitlab", "medium", "substack", "linkedin")
KINDS: Mapping[str, DocumentKind] = {
    "articles?|bài viết|bài báo": DocumentKind.ARTICLE,
    "posts?|bài đăng": DocumentKind.POST,
    "web ?pages?|trang web": DocumentKind.PAGE,
    "(?:source )?code|mã nguồn": DocumentKind.CODE,
    "issues?": DocumentKind.ISSUE,
    "notebooks?": DocumentKind.NOTEBOOK,
    "spreadsheets?|bảng tính": DocumentKind.TABLE,
}
LANGUAGES = {
    "vi": "vi", "vietnamese": "vi", "việt": "vi", "en": "en", "english": "en", "anh": "en",
}  # fmt: skip
LONGEST_PATH = 300
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")

_OPERATOR = re.compile(
    r"(?<!\S)(author|platform|kind|type|lang|language|path|source|after|before):(?:\"([^\"]{1,200})\"|(\S{1,200}))",
    re.IGNORECASE,
)
_NOUN = (
    r"(?:documents?|docs|files?|pages?|articles?|posts?|notes?|anything|tài liệu|văn bản|bài viết|bài đăng|bài báo|tệp)"
)
_DONE = r"(?:published|written|posted|updated|modified|changed|đăng|viết|cập nhật|sửa|thay đổi|ban hành)"
_PLATFORM = re.compile(rf"\b(?:on|from|in|trên|từ|ở|trong) ({'|'.join(PLATFORMS)})\b", re.IGNORECASE)
_LANGUAGE = re.compile(
    rf"\b({_NOUN} )(?:(?:written )?in (vietnamese|english)|(?:viết )?bằng tiếng (việt|anh)|tiếng (việt|anh))\b"
    rf"|\b(vietnamese|english)(?= {_NOUN}\b)",
    re.IGNORECASE,
)
_PATH = re.compile(
    r"\b(?:(?:in|under|trong|tại|ở) (?:the )?(?:(?:thư mục|tệp|file|folder|directory) )?|(?:thư mục|tệp|file) )"
    r"([\w.*-]+(?:/[\w.*-]+)+/?|[\w-]+/|[\w*-]+\.(?:py|md|ts|js|go|java|rst|txt|pdf|docx|csv|yaml|yml|toml|json|html))"
    r"(?=[\s?.,!]|$)",
    re.IGNORECASE,
)
_NAMED_MONTH = rf"(?:{'|'.join(MONTHS)})[a-z]*"
_DAY = (
    r"\d{4}-\d{1,2}-\d{1,2}|\d{1,2}/\d{1,2}/\d{4}|\d{1,2} tháng \d{1,2},? năm \d{4}"
    rf"|\d{{1,2}}(?:st|nd|rd|th)? {_NAMED_MONTH},? \d{{4}}|{_NAMED_MONTH} \d{{1,2}}(?:st|nd|rd|th)?,? \d{{4}}"
)
_MONTH = rf"{_NAMED_MONTH} \d{{4}}|tháng \d{{1,2}}(?: năm |/)\d{{4}}|\d{{4}}-\d{{1,2}}"
_SOME_TIME = rf"(?:ngày )?(?:{_DAY})|{_MONTH}|(?:năm )?(?:19|20)\d\d"
_MOMENT = rf"({_SOME_TIME})"
_BETWEEN = re.compile(
    rf"\b({_NOUN}|{_DONE}) (?:(?:được )?{_DONE} )?(?:between|from|từ|trong khoảng) {_MOMENT} "
    rf"(?:and|to|until|đến|tới|và) {_MOMENT}(?!\d)",
    re.IGNORECASE,
)
_DATE = re.compile(
    rf"\b({_NOUN}|{_DONE}) (?:(?:được )?{_DONE} )?"
    rf"(?:(since|after|from|từ|sau)|(before|until|trước|đến)|(in|on|during|trong|vào|năm(?= )))? ?{_MOMENT}(?!\d)",
    re.IGNORECASE,
)
_RECENT = re.compile(
    rf"\b({_NOUN}|{_DONE}) (?:(?:được )?{_DONE} )?(?:in |within |over |from |trong |từ )?(?:the )?"
    r"(?:(?:last|past) (?:(\d{1,3}) )?(day|week|month|year)s?|(\d{1,3}) (ngày|tuần|tháng|năm) (?:qua|gần đây|vừa qua)"
    r"|(hôm nay|today)|(hôm qua|yesterday)|(tuần|tháng|năm) (?:trước|qua|vừa qua|ngoái)"
    r"|this (week|month|year)|(tuần|tháng|năm) (?:này|nay))\b",
    re.IGNORECASE,
)
_BY = re.compile(
    r"\b(?:by|from|của|bởi|do|tác giả|author) +(?:(?:anh|chị|em|cô|thầy|ông|bà|bạn|mr|mrs|ms|dr)\b\.? +)?"
    r"((?:[^\W\d_][\w.'-]*)(?: +[^\W\d_][\w.'-]*){0,4})",
    re.IGNORECASE,
)
_DAYS = {"day": 1, "ngày": 1, "week": 7, "tuần": 7, "month": 30, "tháng": 30, "year": 365, "năm": 365}


@dataclass(frozen=True, slots=True)
class SelfQuery:
    """What a question narrows the search to.

    Attributes:
        query: the question without what was said to be a filter.
        said: filters in the form `name:value`.
        guessed: filters that rules read from the words.
    """

    query: str
    said: Filters = field(default_factory=Filters)
    guessed: Filters = field(default_factory=Filters)


def read_filters(question: str, now: datetime, authors: Sequence[str] = ()) -> SelfQuery:
    """The filters of a question, and the question without them.

    Args:
        now: from which `last week` counts.
        authors: who there is; only what names one of them is read as an author.

    Raises:
        InvalidInput: a `name:value` has a value that is none.
    """
    text = unicodedata.normalize("NFC", question)
    said, text = _said(text)
    guessed = Filters()
    kind = _kind(text)
    for rule in (_platform, _language, _path):
        guessed, text = rule(guessed, text, now)
    guessed, text = _author(guessed, text, authors)
    guessed, text = _dates(guessed, " ".join(text.split()), now)
    if kind is not None:
        guessed = replace(guessed, kinds=[kind.kind])
        text = text.replace(kind.words, " ", 1)
    rest = " ".join(text.split())
    return SelfQuery(rest or " ".join(question.split()), said, guessed)


def filters_named(named: Mapping[str, object], authors: Sequence[str]) -> Filters:
    """The filters that a model named, by `author`, `platform`, `kind`, `language`, `path`, `after` and `before`.

    A model guesses: what names no author, platform, kind or language that there is, and no date, is left out.
    """
    texts = {name: value.strip() for name, value in named.items() if isinstance(value, str) and value.strip()}
    author = _named(authors, _plain(texts.get("author", "")))
    platform, kind = texts.get("platform", "").lower(), texts.get("kind", "").lower()
    language = LANGUAGES.get(texts.get("language", "").lower())
    path, after, before = texts.get("path", ""), _span(texts.get("after", "")), _span(texts.get("before", ""))
    return Filters(
        kinds=[DocumentKind(kind)] if kind in set(DocumentKind) else (),
        platforms=[platform] if platform in PLATFORMS else (),
        authors=author,
        languages=[language] if language else (),
        paths=[path] if 0 < len(path) <= LONGEST_PATH else (),
        after=after[0] if after else None,
        before=before[0] if before else None,
    )


def mentions_author(question: str) -> bool:
    """Whether a question may name an author, so that it is worth asking who there is."""
    return _BY.search(unicodedata.normalize("NFC", question)) is not None


def joined(one: Filters, other: Filters) -> Filters:
    """Both filters: the fields of `one`, and those of `other` where `one` has none."""
    names = ("sources", "kinds", "platforms", "authors", "languages", "paths", "after", "before")
    return replace(one, **{name: getattr(one, name) or getattr(other, name) for name in names})


def _said(text: str) -> tuple[Filters, str]:
    filters = Filters()
    for found in _OPERATOR.finditer(text):
        name, value = found[1].lower(), found[2] or found[3]
        filters = _with_operator(filters, name, value)
    return filters, _OPERATOR.sub(" ", text)


def _with_operator(filters: Filters, name: str, value: str) -> Filters:
    match name:
        case "author":
            return replace(filters, authors=[*filters.authors, value])
        case "platform":
            return replace(filters, platforms=[*filters.platforms, value.lower()])
        case "source":
            return replace(filters, sources=[*filters.sources, value])
        case "path":
            return replace(filters, paths=[*filters.paths, value])
        case "lang" | "language":
            return replace(filters, languages=[*filters.languages, LANGUAGES.get(value.lower(), value.lower())])
        case "kind" | "type":
            if value.lower() not in {str(kind) for kind in DocumentKind}:
                kinds = ", ".join(DocumentKind)
                raise InvalidInput(f"`{name}:{value}` names no kind of document. These exist: {kinds}.", param="query")
            return replace(filters, kinds=[*filters.kinds, DocumentKind(value.lower())])
        case _:
            span = _span(value)
            if span is None:
                raise InvalidInput(f"`{name}:{value}` is no date. Write one as 2026-03-01.", param="query")
            return replace(filters, after=span[0]) if name == "after" else replace(filters, before=span[0])


def _platform(filters: Filters, text: str, now: datetime) -> tuple[Filters, str]:
    del now
    return _each(_PLATFORM, filters, text, lambda one, found: replace(one, platforms=[found[1].lower()]))


def _language(filters: Filters, text: str, now: datetime) -> tuple[Filters, str]:
    del now
    found = _LANGUAGE.search(text)
    if found is None:
        return filters, text
    language = LANGUAGES[(found[2] or found[3] or found[4] or found[5]).lower()]
    return replace(filters, languages=[language]), _cut(text, found, keep=found[1] or "")


def _path(filters: Filters, text: str, now: datetime) -> tuple[Filters, str]:
    del now

    def with_path(one: Filters, found: re.Match[str]) -> Filters:
        path = found[1]
        return replace(one, paths=[path if "/" in path else f"*{path}"])

    return _each(_PATH, filters, text, with_path)


@dataclass(frozen=True, slots=True)
class _Kind:
    kind: DocumentKind
    words: str


def _kind(text: str) -> _Kind | None:
    """`articles about …` at the beginning, or `in the code` anywhere."""
    for words, kind in KINDS.items():
        found = re.match(
            rf"\s*(?:(?:find|show|list|which|what|any|all|the|me|tìm|những|các|cho tôi) ){{0,3}}({words}) "
            r"(?=about|on|by|from|that|which|về|của|nói)",
            text,
            re.IGNORECASE,
        ) or re.search(rf"(\b(?:in the|in our|trong) (?:{words}))(?=[\s?.,!]|$)", text, re.IGNORECASE)
        if found is not None:
            return _Kind(kind, found[1])
    return None


def _dates(filters: Filters, text: str, now: datetime) -> tuple[Filters, str]:
    if (found := _BETWEEN.search(text)) and (first := _span(found[2])) and (last := _span(found[3])):
        return replace(filters, after=first[0], before=last[1]), _cut(text, found, keep=found[1])
    if found := _RECENT.search(text):
        since, until = _recent(found, now)
        return replace(filters, after=since, before=until), _cut(text, found, keep=found[1])
    found = _DATE.search(text)
    span = _span(found[5]) if found else None
    if found is None or span is None:
        return filters, text
    start, end = span
    if found[2]:
        narrowed = replace(filters, after=start)
    elif found[3]:
        narrowed = replace(filters, before=start)
    else:
        narrowed = replace(filters, after=start, before=end)
    return narrowed, _cut(text, found, keep=found[1])


def _recent(found: re.Match[str], now: datetime) -> tuple[datetime, datetime | None]:
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if found[6]:
        return midnight, None
    if found[7]:
        return midnight - timedelta(days=1), midnight
    if this := found[9] or found[10]:
        return _beginning(midnight, this.lower()), None
    number = int(found[2] or found[4] or 1)
    unit = (found[3] or found[5] or found[8]).lower()
    return now - timedelta(days=number * _DAYS[unit]), None


def _beginning(day: datetime, unit: str) -> datetime:
    """Of the week, the month or the year that the day is in."""
    if _DAYS[unit] == 7:
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if _DAYS[unit] == 30 else day.replace(month=1, day=1)


def _author(filters: Filters, text: str, authors: Sequence[str]) -> tuple[Filters, str]:
    """Who is named after `by` or `của`: the author whose name is, or ends with, the most of those words."""
    for found in _BY.finditer(text):
        named = _plain(found[1]).split()
        for length in range(len(named), 0, -1):
            name = " ".join(named[:length])
            matching = _named(authors, name)
            if matching:
                words = " ".join(found[1].split()[:length])
                rest = text[: found.start()] + " " + text[found.start(1) + len(words) :]
                return replace(filters, authors=matching), rest
    return filters, text


def _named(authors: Sequence[str], name: str) -> tuple[str, ...]:
    """Those whose name this is, or ends with it: `Lan` is Nguyễn Lan."""
    return tuple(author for author in authors if name and f" {_plain(author)}".endswith(f" {name}"))


def _span(text: str) -> tuple[datetime, datetime] | None:
    """The beginning and the end of a day, a month or a year; `None` where there is no such one."""
    numbers = [int(number) for number in re.findall(r"\d+", text)]
    letters = re.search(r"[a-z]{3,}", text.lower())
    named = MONTHS.index(letters[0][:3]) + 1 if letters and letters[0][:3] in MONTHS else None
    if named is not None and numbers:
        year, month, day = numbers[-1], named, numbers[0] if len(numbers) == 2 else None
    elif len(numbers) == 3:
        year, month, day = numbers if numbers[0] > 31 else reversed(numbers)
    elif len(numbers) == 2:
        year, month, day = max(numbers), min(numbers), None
    elif len(numbers) == 1:
        year, month, day = numbers[0], None, None
    else:
        return None
    try:
        start = datetime(year, month or 1, day or 1, tzinfo=UTC)
        if day:
            return start, start + timedelta(days=1)
        if month:
            return start, datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
        return start, datetime(year + 1, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _each(
    rule: re.Pattern[str], filters: Filters, text: str, change: Callable[[Filters, re.Match[str]], Filters]
) -> tuple[Filters, str]:
    found = rule.search(text)
    return (filters, text) if found is None else (change(filters, found), _cut(text, found))


def _cut(text: str, found: re.Match[str], keep: str = "") -> str:
    return f"{text[: found.start()]} {keep} {text[found.end() :]}"


def _plain(name: str) -> str:
    return " ".join(without_diacritics(unicodedata.normalize("NFC", name).lower()).split())
