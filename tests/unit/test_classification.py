"""Each text gets the level that a person would give it, for a reason that never repeats what was found."""

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.classified_texts import TEXTS, Labelled
from tidemill.analysis.classification import classify, classify_all, texts_in
from tidemill.core.classification import USES, Classified, Level, Use, UseLimits, highest, together
from tidemill.core.json import Json


@pytest.mark.parametrize("labelled", TEXTS, ids=range(len(TEXTS)))
def test_a_text_has_the_level_that_a_person_gives_it_and_the_rule_says_why(labelled: Labelled) -> None:
    found = classify(labelled.text)
    assert found.level is labelled.level
    assert labelled.rule is None or labelled.rule in found.rules


@pytest.mark.parametrize("labelled", TEXTS, ids=range(len(TEXTS)))
def test_a_reason_is_a_rules_name_and_nothing_of_the_text(labelled: Labelled) -> None:
    for rule in classify(labelled.text).rules:
        assert rule == rule.lower()
        assert " " not in rule
        assert len(rule) < 40


@pytest.mark.parametrize("labelled", [one for one in TEXTS if one.level.rank > 1], ids=lambda one: one.rule)
def test_what_is_found_is_found_in_the_middle_of_a_long_text_too(labelled: Labelled) -> None:
    around = "some ordinary words of a text, as it is\n" * 500
    assert classify(around + labelled.text + "\n" + around).level is labelled.level


def test_several_texts_together_have_the_highest_level_of_theirs() -> None:
    licensed = "# SPDX-License-Identifier: MIT"
    assert classify_all([licensed]).level is Level.PUBLIC
    assert classify_all([licensed, "Explain this file."]).level is Level.INTERNAL
    both = classify_all([licensed, "lan.nguyen@congty.vn", "0912345678"])
    assert both == Classified(Level.CONFIDENTIAL, ("phone-number", "email-address"))
    assert classify_all([]).level is together([]).level is Level.INTERNAL


def test_another_default_holds_where_no_rule_finds_anything() -> None:
    assert classify("Hello", Level.PUBLIC).level is Level.PUBLIC
    assert classify("Hello", Level.CONFIDENTIAL).level is Level.CONFIDENTIAL
    assert classify("for internal use only", Level.PUBLIC).level is Level.INTERNAL
    assert classify("Classification: public", Level.CONFIDENTIAL).level is Level.CONFIDENTIAL


IMAGE = "data:image/png;base64,iVBORw0KGgo="


def test_all_texts_of_a_request_are_read_and_no_image() -> None:
    request: Json = {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "one"}, {"image_url": {"url": IMAGE}}]},
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": '{"data": "two"}'}}]},
            {"role": "user", "content": [{"input_audio": {"data": "UklGRg==", "format": "wav"}}]},
        ],
        "metadata": {"data": "three", "count": 4, "nothing": None},
    }
    texts = set(texts_in(request))
    assert {"one", '{"data": "two"}', "three"} <= texts
    assert not {"UklGRg==", IMAGE, "user", "text"} & texts


@pytest.mark.parametrize(
    "request_",
    [
        {"messages": [{"role": "user", "content": "data:\n  owner: lan.nguyen@congty.vn\n"}]},
        {"messages": [{"role": "user", "content": f"{IMAGE} is from lan.nguyen@congty.vn"}]},
        {"messages": [{"role": "user", "content": "data:text/plain,lan.nguyen@congty.vn"}]},
        {"tools": [{"parameters": {"data": "lan.nguyen@congty.vn", "format": "email"}}]},
        {"tools": [{"parameters": {"data": "lan.nguyen@congty.vn", "format": ["email"]}}]},
        {"tools": [{"parameters": {"properties": {"role": {"description": "such as lan.nguyen@congty.vn"}}}}]},
        {"tools": [{"parameters": {"properties": {"type": {"default": "lan.nguyen@congty.vn"}}}}]},
        {"tools": [{"type": "lan.nguyen@congty.vn"}]},
        {"tool_calls": [{"id": "lan.nguyen@congty.vn"}]},
    ],
)
def test_nothing_passes_as_an_image_or_a_type_that_is_a_text(request_: Json) -> None:
    assert classify_all(texts_in(request_)) == Classified(Level.CONFIDENTIAL, ("email-address",))


@given(st.text())
def test_any_text_has_a_level(text: str) -> None:
    assert classify(text).level in Level


HOSTILE = ("0", "1 ", "4111-", "12.", "1(1)", "+", "a@", "@a.", "DE89 ", "[[", "mật ", "secret ", "key=", "://a", "eyJ")


@pytest.mark.parametrize("unit", HOSTILE)
def test_no_text_is_slow_to_read(unit: str) -> None:
    started = time.process_time()
    classify(unit * (1_000_000 // len(unit)))
    assert time.process_time() - started < 20  # seconds; backtracking would take hours


def test_each_level_may_be_used_for_no_more_than_the_one_below_it() -> None:
    levels = sorted(Level, key=lambda level: level.rank)
    for lower, higher in pairwise(levels):
        assert USES[higher] <= USES[lower]
    assert {use: highest(use) for use in Use} == {
        Use.LOGGING: Level.CONFIDENTIAL,
        Use.TRAINING: Level.INTERNAL,
        Use.OUTSIDE: Level.INTERNAL,
    }


def test_limits_take_uses_away_and_add_none() -> None:
    strict = UseLimits(outside=Level.PUBLIC)
    assert not strict.allow(Level.INTERNAL, Use.OUTSIDE)
    assert strict.allow(Level.PUBLIC, Use.OUTSIDE)
    loose = UseLimits(Level.SECRET, Level.SECRET, Level.SECRET)
    assert not any(loose.allow(Level.SECRET, use) for use in Use)
