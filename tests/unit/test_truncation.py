"""What is left of a text or a conversation that is too long."""

import json
import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.analysis.truncation import WORD, drop_middle, drop_middle_of_messages, left_out_mark
from tidemill.core.json import JsonObject

TEXTS = st.text(alphabet=st.sampled_from("ab ế\n\t.中ก็😀é\u0301x"), max_size=300)
MARK = re.compile(r"\n\[… ([\d,]+) words? left out …\]\n")


def words_of(text: str) -> list[str]:
    return [match[0] for match in WORD.finditer(text)]


@given(TEXTS, st.integers(0, 300))
def test_a_shortened_text_fits_and_holds_whole_words_from_both_ends(text: str, limit: int) -> None:
    cut = drop_middle(text, limit, len)
    assert len(cut) <= limit
    if len(text) <= limit:
        assert cut == text
        return
    if not cut:
        assert limit < len(left_out_mark(max(1, len(words_of(text)))))
        return
    mark = MARK.search(cut)
    assert mark is not None
    head, tail = cut[: mark.start()], cut[mark.end() :]
    words, begin, end = words_of(text), words_of(head), words_of(tail)
    assert words[: len(begin)] == begin
    assert words[len(words) - len(end) :] == end
    assert len(begin) + len(end) + int(mark[1].replace(",", "")) == len(words)


@given(TEXTS, st.integers(0, 120))
def test_it_fits_by_any_measure_that_grows_with_the_text(text: str, limit: int) -> None:
    def tokens(text: str) -> int:
        return len(text.encode()) // 3

    assert tokens(drop_middle(text, limit, tokens)) <= limit


def test_as_much_is_kept_as_fits_and_most_of_it_from_the_beginning() -> None:
    text = " ".join(f"word{i}" for i in range(10_000))
    cut = drop_middle(text, 10_000, len)
    head, tail = MARK.split(cut)[::2]
    assert 9_980 <= len(cut) <= 10_000
    assert 0.65 <= len(head) / (len(head) + len(tail)) <= 0.75


def test_the_cut_stands_between_lines_where_one_is_near() -> None:
    text = "\n".join(f"line {i} of the log, with some words" for i in range(1000))
    head, _, tail = MARK.split(drop_middle(text, 2000, len))
    assert head.endswith("with some words")
    assert tail.startswith("line ")


def test_the_mark_says_how_many_words_are_gone() -> None:
    cut = drop_middle("word " * 3000, 300, len)
    assert re.search(r"\n\[… 2,9\d\d words left out …\]\n", cut)


def said(role: str, content: object, **more: object) -> dict[str, object]:
    return {"role": role, "content": content, **more}


def weight(messages: Sequence[JsonObject]) -> int:
    return sum(
        len(str(m["content"] or "")) + len(json.dumps(m["tool_calls"]) if "tool_calls" in m else "") for m in messages
    )


SYSTEM = said("system", "You answer briefly.")
OLD = [said("user", "first question " * 10), said("assistant", "first answer " * 10)]
CALLS = [
    said("user", "second question " * 5),
    said("assistant", None, tool_calls=[{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]),
    said("tool", "result " * 20, tool_call_id="a"),
    said("assistant", "second answer"),
]
LAST = said("user", "And what about the third?")


def test_messages_that_fit_are_as_they_were() -> None:
    messages = [SYSTEM, *OLD, LAST]
    assert drop_middle_of_messages(messages, 10_000, len) is messages


def test_the_oldest_turn_goes_first() -> None:
    messages = [SYSTEM, *OLD, *CALLS, LAST]
    assert drop_middle_of_messages(messages, weight(messages) - 1, len) == [SYSTEM, *CALLS, LAST]


def test_a_tools_result_goes_with_its_call() -> None:
    messages = [SYSTEM, *OLD, *CALLS, LAST]
    assert drop_middle_of_messages(messages, weight([SYSTEM, *CALLS, LAST]) - 1, len) == [SYSTEM, LAST]


def test_a_long_result_in_the_last_turn_loses_its_middle_before_the_question_does() -> None:
    turn = [LAST, CALLS[1], said("tool", "row " * 500, tool_call_id="a")]
    left = drop_middle_of_messages([SYSTEM, *OLD, *turn], 400, len)
    assert left is not None
    assert left[:3] == [SYSTEM, LAST, CALLS[1]]
    assert MARK.search(str(left[3]["content"]))
    assert weight(left) <= 400


def test_the_question_loses_its_middle_when_nothing_else_is_left() -> None:
    left = drop_middle_of_messages([SYSTEM, said("user", "please " + "x y " * 1000)], 200, len)
    assert left is not None
    assert left[0] == SYSTEM
    assert str(left[1]["content"]).startswith("please x y")
    assert weight(left) <= 200


def test_texts_among_images_are_cut_and_images_stay() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 5000}}
    left = drop_middle_of_messages([said("user", [image, {"type": "text", "text": "word " * 200}])], 100, len)
    assert left is not None
    parts = left[0]["content"]
    assert isinstance(parts, list)
    assert parts[0] == image
    assert MARK.search(parts[1]["text"])


def test_what_cannot_fit_is_said() -> None:
    assert drop_middle_of_messages([said("user", "word " * 100)], 5, len) is None
    assert (
        drop_middle_of_messages([said("user", "hi"), said("assistant", None, tool_calls=[{"id": "x" * 99}])], 50, len)
        is None
    )


ROLES = st.sampled_from(["system", "user", "assistant", "tool"])


@given(st.lists(st.tuples(ROLES, TEXTS), max_size=8), st.integers(0, 500))
def test_any_messages_fit_or_are_given_up(pairs: list[tuple[str, str]], limit: int) -> None:
    messages = [said(role, text) for role, text in pairs]
    left = drop_middle_of_messages(messages, limit, len)
    if left is None:
        return
    assert weight(left) <= limit
    assert any(m["role"] == "user" for m in left) == any(m["role"] == "user" for m in messages)
    assert [m["role"] for m in left].count("system") == [m["role"] for m in messages].count("system")


@pytest.mark.parametrize("limit", [60, 100, 1000])
def test_a_text_without_spaces_is_cut_between_its_characters(limit: int) -> None:
    cut = drop_middle("漢字" * 2000, limit, len)
    assert limit - 3 <= len(cut) <= limit
