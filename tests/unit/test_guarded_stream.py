"""What is masked in a stream is what would be masked in the whole, however it is cut, and nothing of it gets out."""

import json
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.guarded_texts import FRAGMENTS, JWT, PASSWORD, PEM, TOKEN
from tidemill.analysis.privacy import Kind
from tidemill.analysis.topics import TopicWords
from tidemill.llm.guardrails.finding import Finder, Found, PlaceholderFinder, PrivateFinder, SecretFinder, TopicFinder
from tidemill.llm.guardrails.passing import Edit, TextInPassing, edited

TOPIC = TopicWords(["cối xay", "the old mill"], [r"mill[a-z]{0,5}"])
FINDERS: tuple[Finder, ...] = (
    SecretFinder(),
    PrivateFinder(frozenset(Kind)),
    TopicFinder({"mill": TOPIC}),
    PlaceholderFinder(),
)
TEXTS = st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join)
SHORT = st.lists(st.sampled_from(FRAGMENTS), max_size=4).map("".join)
"""For what goes character by character: it is read anew at each, and fragments meddle with their neighbours alone."""


def name_of(found: Found, _: str) -> str:
    return f"<{found.rule}>"


def passed(pieces: list[str], *, of_json: bool = False, finders: tuple[Finder, ...] = FINDERS) -> str:
    """What leaves when the pieces come one after another."""
    passing = TextInPassing(finders, name_of, of_json=of_json)
    text, left, out = "", 0, ""
    edits: list[Edit] = []
    for piece in [*pieces, None]:
        if piece is None:
            edits = passing.end()
        else:
            text += piece
            edits = passing.feed(piece)
        assert left <= passing.done <= len(text)
        out += edited(text[left : passing.done], edits, left)
        left = passing.done
    assert left == len(text)
    return out


@settings(max_examples=300)
@given(TEXTS, st.data())
def test_a_cut_stream_is_masked_as_the_whole_is(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=8)) | {0, len(text)})
    pieces = [text[a:b] for a, b in pairwise(cuts)]
    assert passed(pieces) == passed([text])


@settings(max_examples=150)
@given(SHORT)
def test_a_stream_of_single_characters_is_masked_as_the_whole_is(text: str) -> None:
    assert passed(list(text)) == passed([text])


@settings(max_examples=60)
@given(st.lists(SHORT, max_size=3), st.booleans())
@example(["\nDB_PASSWORD=k9Xq27TzR4nWc8YpL3sHd6" + TOKEN], True)
@example(["token=k9Xq27TzR4nWc8YpL3sHd6" + TOKEN, "7"], False)
def test_arguments_of_a_call_stay_json_and_say_the_same_wherever_they_are_cut(texts: list[str], ascii_: bool) -> None:
    document = json.dumps({str(n): text for n, text in enumerate(texts)}, ensure_ascii=ascii_)
    whole = passed([document], of_json=True)
    assert passed(list(document), of_json=True) == whole
    for text, masked in zip(texts, json.loads(whole).values(), strict=True):
        assert TOKEN not in masked or TOKEN in passed([text])


def test_a_string_of_a_calls_arguments_is_read_as_it_would_be_alone() -> None:
    line = "export DB_PASSWORD=k9Xq27TzR4nWc8YpL3sHd6"
    document = json.dumps({"path": ".env", "content": line, "password": PASSWORD})
    masked = {"path": ".env", "content": "export DB_PASSWORD=<credential-literal>", "password": "<password-literal>"}
    assert json.loads(passed(list(document), of_json=True)) == masked


@pytest.mark.parametrize("secret", [TOKEN, PEM, JWT, "lan.nguyen@congty.vn", "4111 1111 1111 1111", "0912 345 678"])
def test_no_half_of_it_leaves_wherever_the_stream_is_cut(secret: str) -> None:
    text = f"Here it is: {secret} and that was it."
    for cut in range(len(text)):
        out = passed([text[:cut], text[cut:]])
        assert out.startswith("Here it is: <")
        assert out.endswith("> and that was it.")
        assert out.count("<") == 1


def test_a_number_outside_of_a_string_becomes_one_in_json() -> None:
    document = '{"card": 4111111111111111, "name": "x", "also": "4111111111111111"}'
    assert json.loads(passed(list(document), of_json=True)) == {"card": "<card>", "name": "x", "also": "<card>"}


def test_words_leave_as_soon_as_the_next_one_begins() -> None:
    passing = TextInPassing((SecretFinder(), PrivateFinder(frozenset(Kind))), name_of)
    passing.feed("Here are some plain words")
    assert passing.done == len("Here are some plain ")


def test_plain_words_are_not_held_at_all_for_credentials() -> None:
    passing = TextInPassing((SecretFinder(),), name_of)
    passing.feed("Here are some plain words")
    assert passing.done == len("Here are some plain words")
    passing.feed(" gh")
    assert passing.done == len("Here are some plain words ")


@settings(max_examples=200)
@given(SHORT)
def test_credentials_alone_are_masked_alike_however_the_stream_is_cut(text: str) -> None:
    finders = (SecretFinder(),)
    assert passed(list(text), finders=finders) == passed([text], finders=finders)


def test_a_password_that_stands_beside_its_name_is_held_until_it_is_whole() -> None:
    passing = TextInPassing((SecretFinder(),), name_of)
    for piece in ("password = ", "'", PASSWORD[:5]):
        passing.feed(piece)
    assert passing.done <= len("password = ")
    edits = passing.feed(PASSWORD[5:] + "' # mine")
    assert [edit.new for edit in edits] == ["<password-literal>"]


def test_no_more_is_held_back_than_a_bound_and_a_finding_is_masked_all_the_same() -> None:
    long = "x" * 40_000 + "." + TOKEN
    pieces = [long[at : at + 100] for at in range(0, len(long), 100)]
    passing = TextInPassing(FINDERS, name_of)
    most = 0
    for fed, piece in enumerate(pieces, 1):
        passing.feed(piece)
        most = max(most, min(fed * 100, len(long)) - passing.done)
    assert most <= 16_500


def test_a_long_text_costs_no_more_than_its_length() -> None:
    text = "some words of a text without any end of a line, " * 2000
    assert passed([text[at : at + 50] for at in range(0, len(text), 50)]) == text
