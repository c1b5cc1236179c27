"""Titles, snippets, cuts and headers, whatever they are made of."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import NOON
from tidemill.api.files import disposition
from tidemill.conversations.fitting import Room, newest_that_fit, weight
from tidemill.conversations.snippets import snippet
from tidemill.conversations.titles import LONGEST, title_of
from tidemill.core.conversation import Message, Speaker
from tidemill.core.errors import InvalidInput
from tidemill.core.ids import new_id
from tidemill.files.service import shown_name
from tidemill.llm.prompts.conversation import cut

plain = st.text(st.characters(exclude_categories=["Cs"]))


@given(plain)
def test_a_title_is_one_short_line(text):
    title = title_of(text)
    assert len(title) <= LONGEST
    assert title.isprintable()


@given(plain, st.integers(10, 200))
def test_a_cut_text_is_about_as_long_as_it_may_be(text, limit):
    assert len(cut(text, limit).encode()) <= max(limit, len("é […] é".encode())) + 4
    if len(text.encode()) <= limit:
        assert cut(text, limit) == text


@given(plain, plain)
def test_a_snippet_is_one_line_of_the_text(text, query):
    found = snippet(text, query)
    assert len(found) <= 170
    assert "\n" not in found


def test_a_snippet_shows_where_the_word_is_and_not_where_it_is_a_part_of_one():
    text = "duongs " * 30 + "Con đường này rất dài. " + "x " * 200
    assert "Con đường này" in snippet(text, "DUONG nay")
    assert snippet(text, "DUONG nay").startswith("… ")
    assert snippet("Kế hoạch", "*").startswith("Kế")


@given(plain)
def test_a_name_of_any_characters_is_harmless_in_a_header(name):
    try:
        header = disposition(shown_name(name))
    except InvalidInput:
        return
    assert re.fullmatch(r"attachment; filename=\"[A-Za-z0-9 ._()+-]*\"; filename\*=UTF-8''[A-Za-z0-9%._~-]+", header)


@given(st.lists(st.integers(0, 300), max_size=10), st.integers(0, 2000))
def test_what_is_kept_of_a_path_fits_begins_with_a_question_and_ends_with_the_last(sizes, budget):
    sizes = [*sizes, 50] if len(sizes) % 2 == 0 else [*sizes, 10, 50]
    speakers = [Speaker.USER, Speaker.ASSISTANT]
    path = [
        Message(new_id(), new_id(), None, speakers[number % 2], "x" * size, NOON) for number, size in enumerate(sizes)
    ]
    start = newest_that_fit(path, budget)
    kept = path[start:]
    assert kept
    assert kept[0].role is Speaker.USER
    assert len(kept) == 1 or sum(weight(one.content) for one in kept) <= budget


@pytest.mark.parametrize(("asked", "kept"), [(None, 250), (100, 100), (700, 700), (5000, 750)])
def test_room_for_an_answer_is_what_was_asked_for_within_reason(asked, kept):
    assert Room(1000, asked, 0.5).answer_tokens == kept
    assert Room(1000, asked, 0.5).prompt_bytes == (1000 - kept) * 2
