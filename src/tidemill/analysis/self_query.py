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
    rf"\b({_NOUN} )(?:(?:written )?in (vietnamese|english)|(?:viết )?bằng tiếng (việt|anh)|tiếng (việt|anh))\b",
    re.IGNORECASE,
)
_PATH = re.compile(
    r"\b(?:in|under|trong|tại|ở)(?: (?:the |thư mục |tệp |file |folder |directory )?)"
    r"([\w.*-]+(?:/[\w.*-]+)+/?|[\w-]+/|[\w*-]+\.(?:py|md|ts|js|go|java|rst|txt|pdf|docx|csv|yaml|yml|toml|json|html))"
    r"(?=[\s?.,!]|$)",
    re.IGNORECASE,
)
_DAY = r"\d{4}-\d{1,2}-\d{1,2}|\d{1,2}/\d{1,2}/\d{4}"
_MONTH = rf"(?:{'|'.join(MONTHS)})[a-z]* \d{{4}}|tháng \d{{1,2}}(?: năm |/)\d{{4}}|\d{{4}}-\d{{1,2}}"
_MOMENT = rf"((?:ngày )?(?:{_DAY})|{_MONTH}|(?:năm )?(?:19|20)\d\d)"
_DATE = re.compile(
    rf"\b({_NOUN}|{_DONE}) (?:(?:được )?{_DONE} )?"
    rf"(?:(since|after|from|từ|sau)|(before|until|trước|đến)|(in|on|during|trong|vào|năm(?= )))? ?{_MOMENT}(?!\d)",
    re.IGNORECASE,
)
_RECENT = re.compile(
    rf"\b({_NOUN}|{_DONE}) (?:(?:được )?{_DONE} )?(?:in |within |over |from |trong |từ )?(?:the )?"
    r"(?:(?:last|past) (?:(\d{1,3}) )?(day|week|month|year)s?|(\d{1,3}) (ngày|tuần|tháng|năm) (?:qua|gần đây|vừa qua)"
    r"|(hôm nay|today)|(hôm qua|yesterday)|(tuần|tháng|năm) (?:trước|qua|vừa qua|ngoái))\b",
    re.IGNORECASE,
)
_BY = re.compile(
    r"\b(?:by|from|của|bởi|do|tác giả|author) +((?:[^\W\d_][\w.'-]*)(?: +[^\W\d_][\w.'-]*){0,4})", re.IGNORECASE
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
    for rule in (_platform, _language, _path, _dates, _kind):
        guessed, text = rule(guessed, text, now)
    guessed, text = _author(guessed, text, authors)
    rest = " ".join(text.split())
    return SelfQuery(rest or " ".join(question.split()), said, guessed)


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
    language = LANGUAGES[(found[2] or found[3] or found[4]).lower()]
    return replace(filters, languages=[language]), _cut(text, found, keep=found[1])


def _path(filters: Filters, text: str, now: datetime) -> tuple[Filters, str]:
    del now

    def with_path(one: Filters, found: re.Match[str]) -> Filters:
        path = found[1]
        return replace(one, paths=[path if "/" in path else f"*{path}"])

    return _each(_PATH, filters, text, with_path)


def _kind(filters: Filters, text: str, now: datetime) -> tuple[Filters, str]:
    """`articles about …` at the beginning, or `in the code` anywhere."""
    del now
    for words, kind in KINDS.items():
        found = re.match(
            rf"\s*(?:(?:find|show|list|which|what|any|all|the|me|tìm|những|các|cho tôi) ){{0,3}}(?:{words}) "
            r"(?=about|on|by|from|that|which|về|của|nói)",
            text,
            re.IGNORECASE,
        ) or re.search(rf"\b(?:in the|in our|trong) (?:{words})(?=[\s?.,!]|$)", text, re.IGNORECASE)
        if found is not None:
            return replace(filters, kinds=[kind]), _cut(text, found)
    return filters, text


def _dates(filters: Filters, text: str, now: datetime) -> tuple[Filters, str]:
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
    number = int(found[2] or found[4] or 1)
    unit = (found[3] or found[5] or found[8]).lower()
    return now - timedelta(days=number * _DAYS[unit]), None


def _author(filters: Filters, text: str, authors: Sequence[str]) -> tuple[Filters, str]:
    """Who is named after `by` or `của`: the author whose name is, or ends with, the most of those words."""
    known = {_plain(author): author for author in authors}
    for found in _BY.finditer(text):
        named = _plain(found[1]).split()
        for length in range(len(named), 0, -1):
            name = " ".join(named[:length])
            matching = [author for plain, author in known.items() if plain == name or plain.endswith(f" {name}")]
            if matching:
                words = " ".join(found[1].split()[:length])
                rest = text[: found.start()] + " " + text[found.start(1) + len(words) :]
                return replace(filters, authors=matching), rest
    return filters, text


def _span(text: str) -> tuple[datetime, datetime] | None:
    """The beginning and the end of a day, a month or a year; `None` where there is no such one."""
    numbers = [int(number) for number in re.findall(r"\d+", text)]
    named = next((place for place, month in enumerate(MONTHS, 1) if text.lower().startswith(month)), None)
    if named is not None:
        year, month, day = numbers[-1], named, None
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
