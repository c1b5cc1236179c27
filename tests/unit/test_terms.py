"""By which terms a text is found."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from tidemill.analysis.terms import LONGEST, is_identifier, stem, terms, without_diacritics, words

WORDS = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=12)


def test_vietnamese_keeps_its_diacritics() -> None:
    assert set(terms("Quy trình MUA hàng, Đường dây")) == {"quy", "trình", "mua", "hàng", "đường", "dây"}


def test_a_decomposed_text_has_the_terms_of_a_composed_one() -> None:
    assert terms(unicodedata.normalize("NFD", "phê duyệt đề nghị")) == terms("phê duyệt đề nghị")


def test_an_identifier_is_found_whole_and_by_its_parts() -> None:
    assert set(terms("parse_url")) == {"parse_url", "pars", "url"}
    assert set(terms("parseURL")) == {"parseurl", "pars", "url"}
    assert {"httpserver2", "http", "server", "2"} == set(terms("HTTPServer2"))
    assert {"xmlhttprequest", "xml", "http", "request"} == set(terms("XMLHttpRequest"))


def test_a_word_counts_once_and_not_once_more_as_its_own_part() -> None:
    assert terms("wing Wing WING") == {"wing": 3}


def test_endings_of_number_and_time_do_not_hide_a_word() -> None:
    for written, plain in (("wings", "wing"), ("policies", "policy"), ("running", "run"), ("classes", "class")):
        assert stem(written) == stem(plain)
    assert stem("bus") == "bus"
    assert stem("string") == "string"
    assert stem("utf8s") == "utf8s"


def test_text_of_no_words_has_no_terms() -> None:
    assert not terms("")
    assert not terms("🙂 … — ¿? \x00")


def test_what_looks_like_a_name_in_code_is_told_from_a_word() -> None:
    assert all(is_identifier(word) for word in ("max_size", "maxSize", "utf8", "HTTPServer"))
    assert not any(is_identifier(word) for word in ("Hello", "SQL", "hợp", "2026", "_"))


def test_marks_fall_as_a_person_without_a_vietnamese_keyboard_types() -> None:
    assert without_diacritics("đường phê duyệt") == "duong phe duyet"


@given(st.text(max_size=300))
def test_terms_are_bounded_and_never_empty(text: str) -> None:
    found = terms(text)
    assert all(0 < len(term) <= LONGEST and count > 0 for term, count in found.items())


@given(st.text(max_size=200))
def test_the_form_of_unicode_makes_no_difference(text: str) -> None:
    assert terms(unicodedata.normalize("NFD", text)) == terms(unicodedata.normalize("NFC", text))


@given(st.lists(WORDS, max_size=20))
def test_the_terms_of_a_text_are_those_of_its_words(parts: list[str]) -> None:
    whole = terms(" ".join(parts))
    apart = sum((terms(part) for part in parts), terms(""))
    assert whole == apart


@given(st.text(max_size=200))
def test_a_words_place_cuts_it_out(text: str) -> None:
    assert all(text[start:end] == word for word, start, end in words(text))
