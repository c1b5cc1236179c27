"""Puts passages into what a model reads: the best first, up to a budget, and never a sentence cut in two."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tidemill.analysis.injection import find_injection
from tidemill.analysis.plain import plain
from tidemill.analysis.sentences import sentences
from tidemill.core.answer import Given
from tidemill.core.document import Span
from tidemill.core.json import Json
from tidemill.knowledge.citations import source_name

BYTES_PER_TOKEN = 3
"""Of the tokenizers of today's models, for English and Vietnamese, rather fewer than most."""
FRAME_TOKENS = 24
"""Of what stands around a passage."""
LEFT_OUT = "[…]"
"""Stands where a sentence was left out that gives orders to a model."""
LONGEST_SENTENCE, PART_OF_SENTENCE = 600, 160
"""Characters of a sentence that is packed whole or not at all, and of the parts of a longer one."""
NAMELESS = {"en": "a document", "vi": "một tài liệu"}
LONGEST_NAME = 200
"""Characters of a passage's title that a model is told."""
_PARAGRAPH = re.compile(r"\n\s*\n")
_ANSWER_THIS = re.compile(
    r"\W*(?:(?:and|then|instead|also|please|now|always|you must|you will|you should)\W+){0,3}"
    r"(?:say|answer|reply|respond|tell|state|write|output|print|claim|confirm|repeat)\b"
    r"|\W*(?:(?:hãy|vui lòng|thay vào đó|sau đó|luôn|bạn phải|bạn sẽ|rồi)\s+){1,3}"
    r"(?:trả lời|nói|viết|khẳng định|thông báo|xác nhận|ghi|in ra)\b",
    re.IGNORECASE,
)
_PUNCTUATION = re.compile(r"[\W_]+")
_FENCE = re.compile(r"<(?=\s*/?\s*passage\b)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Packed:
    """The passages that a model is given.

    Attributes:
        given: by the number under which each can be cited.
        shown: the text of each as the model reads it.
        withheld: the parts of each that the model does not read, and that support nothing.
        tokens: of all of it, roughly.
    """

    given: Mapping[int, Given]
    shown: Mapping[int, str]
    withheld: Mapping[int, Sequence[Span]] = field(default_factory=dict)
    tokens: int = 0

    @property
    def texts(self) -> dict[int, str]:
        """The whole texts, for the check of citations."""
        return {number: one.text for number, one in self.given.items()}

    def values(self, language: str) -> list[dict[str, Json]]:
        """For a prompt's `passages`."""
        return [
            {
                "number": number,
                "source": _named(one, language),
                "level": one.level.value,
                "text": self.shown[number],
            }
            for number, one in self.given.items()
        ]


def tokens_of(text: str) -> int:
    """About how many tokens a text has."""
    return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)


def pack(passages: Sequence[Given], budget: int) -> Packed:
    """As many passages as the budget of tokens holds, in their order; of the first that does not fit, its beginning.

    What a passage holds of orders to a model is withheld with the sentences in which it stands.
    """
    given: dict[int, Given] = {}
    shown: dict[int, str] = {}
    withheld: dict[int, Sequence[Span]] = {}
    left = budget
    seen: set[str] = set()
    for one in passages:
        if one.text in seen:
            continue
        seen.add(one.text)
        hidden = orders_in(one.text)
        apart = list(_pieces(one.text))
        kept, text = _fitting(one.text, apart, hidden, left - FRAME_TOKENS)
        if not text.strip(" \n" + LEFT_OUT):
            if kept < len(apart):
                break
            continue
        number = len(given) + 1
        given[number], shown[number] = one, text
        withheld[number] = [*hidden, *([Span(apart[kept].start, len(one.text))] if kept < len(apart) else [])]
        left -= tokens_of(text) + FRAME_TOKENS
        if kept < len(apart):
            break
    return Packed(given, shown, withheld, budget - left)


def _named(given: Given, language: str) -> str:
    """What a model is told that a passage is called. A title or file name that gives orders is not told."""
    name = " ".join(source_name(given, language).split()).replace('"', "'")
    if orders_in(name) or orders_in(_PUNCTUATION.sub(" ", name)):
        return NAMELESS[language]
    return _FENCE.sub("‹", name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}…")


def orders_in(text: str) -> list[Span]:
    """The sentences in which orders to a model stand, and what follows them: the rest of the paragraph, and sentences
    of the passage that say what is to be answered, since the order is seldom the whole of it."""
    clear = plain(text)
    found = [Span(*clear.span(one.start, one.end)) for one in find_injection(clear.text)]
    if not found:
        return []
    hidden = [_paragraph_after(text, one) for one in found]
    return [
        span
        for span in sentences(text)
        if any(one.start < span.end and span.start < one.end for one in hidden) or _ANSWER_THIS.match(span.of(text))
    ] or found


def _paragraph_after(text: str, order: Span) -> Span:
    end = _PARAGRAPH.search(text, order.end)
    return Span(order.start, end.start() if end else len(text))


def _pieces(text: str) -> Iterator[Span]:
    """A text's sentences; one that is very long, such as a table or code, in parts that end with a word."""
    for span in sentences(text):
        start = span.start
        if span.end - start > LONGEST_SENTENCE:
            while span.end - start > PART_OF_SENTENCE:
                end = text.rfind(" ", start + 1, start + PART_OF_SENTENCE)
                end = end if end > 0 else start + PART_OF_SENTENCE
                yield Span(start, end)
                start = end
        if span.end > start:
            yield Span(start, span.end)


def _fitting(text: str, apart: Sequence[Span], hidden: Sequence[Span], budget: int) -> tuple[int, str]:
    """How many of a passage's sentences fit, and these as the model reads them."""
    pieces: list[str] = []
    used, end = 0, 0
    for place, span in enumerate(apart):
        orders = any(one.start < span.end and span.start < one.end for one in hidden)
        piece = text[end : span.start] + (LEFT_OUT if orders else span.of(text))
        used += tokens_of(piece)
        if used > budget:
            return place, _FENCE.sub("‹", "".join(pieces))
        pieces.append(piece)
        end = span.end
    return len(apart), _FENCE.sub("‹", "".join(pieces))
