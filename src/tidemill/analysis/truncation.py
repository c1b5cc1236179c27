"""Makes an over-long text or conversation fit, by leaving out its middle or what is oldest.

A cut stands between lines where one is near, else between words, and never within a word. (Of scripts that write no
spaces, each character counts as a word.) What was left out is said in its place.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from tidemill.core.json import Json, JsonObject

Measure = Callable[[str], int]
"""How much a text counts, such as its tokens; a longer text never counts less."""

HEAD_SHARE = 0.7
"""Of what is kept, what stands before the cut: who begins a text says what it is about."""
LINE_SHARE = 0.2
"""Of each side, what is given up at most so that the cut stands between lines."""
UNSPACED = (
    "\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
"""Thai, Lao, Burmese, Khmer, Japanese and Chinese, which put no spaces between words."""
MARKS = "\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece\u102b-\u103e\u17b4-\u17d3\u3099\u309a"
"""Vowels and tones that belong to the character before them."""
WORD = re.compile(rf"[{UNSPACED}][{MARKS}]*|[^\s{UNSPACED}]+")
KEPT_WHOLE = ("system", "developer")


def left_out_mark(words: int) -> str:
    """What stands in the place of so many words."""
    return f"\n[… {words:,} {'word' if words == 1 else 'words'} left out …]\n"


def drop_middle(text: str, limit: int, measure: Measure) -> str:
    """The text without so much of its middle that it counts no more than `limit`.

    About 70 % of what is kept stands before the mark. A text that fits is returned as it is. Where not even the mark
    fits, the result is empty.
    """
    if measure(text) <= limit:
        return text
    words = [match.span() for match in WORD.finditer(text)]

    def kept(count: int) -> str:
        start, end = _cut(text, words, count)
        return _joined(text, start, end, len(words) - count)

    least, most = 0, max(0, len(words) - 1)  # what keeps `least` words fits, what keeps more than `most` does not
    if measure(kept(0)) > limit:
        return ""
    while least < most:
        middle = (least + most + 1) // 2
        least, most = (middle, most) if measure(kept(middle)) <= limit else (least, middle - 1)
    between_lines = _at_lines(text, words, least)
    return between_lines if measure(between_lines) <= limit else kept(least)


def _cut(text: str, words: Sequence[tuple[int, int]], count: int) -> tuple[int, int]:
    """Where the middle begins and ends if so many words are kept."""
    head = round(count * HEAD_SHARE)
    tail = count - head
    return words[head - 1][1] if head else 0, words[len(words) - tail][0] if tail else len(text)


def _joined(text: str, start: int, end: int, left_out: int) -> str:
    return text[:start].rstrip(" \t\r\n") + left_out_mark(left_out) + text[end:].lstrip(" \t\r\n")


def _at_lines(text: str, words: Sequence[tuple[int, int]], count: int) -> str:
    """As many of the words at most, with either cut moved to the end of a line where one is near."""
    start, end = _cut(text, words, count)
    line = text.rfind("\n", 0, start + 1)
    start = line if line >= start * (1 - LINE_SHARE) else start
    line = text.find("\n", max(0, end - 1))
    end = line if 0 <= line <= end + (len(text) - end) * LINE_SHARE else end
    left_out = sum(1 for first, last in words if first >= start and last <= end)
    return _joined(text, start, end, left_out)


def drop_middle_of_messages(
    messages: Sequence[JsonObject], limit: int, measure: Measure
) -> Sequence[JsonObject] | None:
    """Messages in OpenAI's form that count no more than `limit`.

    What the system says and all from the last message of the user on stays whole where it fits. The oldest of the other
    turns go first: a turn is a user's message with all that follows it, so that no tool's result loses its call. Where
    that is not enough, the longest texts lose their middle, those of the system and the user last. Calls of tools are
    never cut. Images and sounds count nothing.

    Returns:
        `None` where nothing is left to leave out.
    """
    if _weight(messages, measure) <= limit:
        return messages
    left = list(messages)
    while (turn := _oldest_turn(left)) is not None:
        del left[turn]
        if _weight(left, measure) <= limit:
            return left
    question = max((i for i, message in enumerate(left) if message.get("role") == "user"), default=-1)
    kept = {i for i, message in enumerate(left) if message.get("role") in KEPT_WHOLE or i == question}
    for cut in (set(range(len(left))) - kept, set(range(len(left)))):
        shortened = _shortened(left, cut, limit, measure)
        if shortened is not None:
            return shortened
    return None


def _oldest_turn(messages: Sequence[JsonObject]) -> slice | None:
    """The first run of messages that belong together, save what the system says and the last turn."""
    asked = [i for i, message in enumerate(messages) if message.get("role") == "user"]
    if not asked:
        return None
    start = next(i for i, message in enumerate(messages) if message.get("role") not in KEPT_WHOLE)
    if start == asked[-1]:
        return None
    ends = (i for i in range(start + 1, asked[-1] + 1) if messages[i].get("role") in ("user", *KEPT_WHOLE))
    return slice(start, next(ends))


def _shortened(
    messages: Sequence[JsonObject], cut: set[int], limit: int, measure: Measure
) -> Sequence[JsonObject] | None:
    """The messages with the longest texts of those in `cut` made as short as need be, all to the same length."""
    whole = [message for i, message in enumerate(messages) if i not in cut]
    texts = sorted(measure(text) for i in cut for text in _texts(messages[i]))
    calls = sum(_weight_of_calls(messages[i], measure) for i in cut)
    room = limit - _weight(whole, measure) - calls
    cap = _level(texts, room)
    if cap is None:
        return None
    shortened = []
    for i, message in enumerate(messages):
        if i in cut:
            message = _mapped(message, lambda text: drop_middle(text, cap, measure))
            if any(not new and old for old, new in zip(_texts(messages[i]), _texts(message), strict=True)):
                return None
        shortened.append(message)
    return shortened


def _level(lengths: Sequence[int], room: int) -> int | None:
    """The length to which the longest are cut so that all together fill the room; `None` where there is none."""
    for i, length in enumerate(lengths):
        others = len(lengths) - i
        if length * others > room:
            return room // others if room > 0 else None
        room -= length
    return max(lengths, default=0) if room >= 0 else None


def _weight(messages: Iterable[JsonObject], measure: Measure) -> int:
    return sum(
        sum(measure(text) for text in _texts(message)) + _weight_of_calls(message, measure) for message in messages
    )


def _weight_of_calls(message: JsonObject, measure: Measure) -> int:
    calls = message.get("tool_calls")
    return measure(json.dumps(calls, ensure_ascii=False)) if calls else 0


def _texts(message: JsonObject) -> list[str]:
    content = message.get("content")
    if isinstance(content, str):
        return [content]
    parts = content if isinstance(content, list | tuple) else ()
    return [text for part in parts if (text := _text_of(part)) is not None]


def _mapped(message: JsonObject, change: Callable[[str], str]) -> JsonObject:
    content = message.get("content")
    if isinstance(content, str):
        return {**message, "content": change(content)}
    if isinstance(content, list | tuple):
        parts: list[Json] = []
        for part in content:
            text = _text_of(part)
            parts.append(part if text is None or not isinstance(part, Mapping) else {**part, "text": change(text)})
        return {**message, "content": parts}
    return message


def _text_of(part: Json) -> str | None:
    text = part.get("text") if isinstance(part, Mapping) else None
    return text if isinstance(text, str) else None
