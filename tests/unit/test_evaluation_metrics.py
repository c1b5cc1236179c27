"""Metrics of rankings and of grounding, against figures worked out by hand, and what always holds of them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.analysis.grounding_metrics import (
    Rates,
    answer_relevancy,
    best_threshold,
    citation_precision,
    citation_recall,
    context_precision,
    context_recall,
    covers,
    faithfulness,
    rates,
    roc_area,
)
from tidemill.analysis.paired_test import paired_test
from tidemill.analysis.retrieval_metrics import ndcg, precision, recall, reciprocal_rank

NAMES = st.sampled_from("abcdefghij")
RANKINGS = st.lists(NAMES, unique=True)
GRADES = st.dictionaries(NAMES, st.integers(1, 4), min_size=1)


def test_a_ranking_gets_what_was_worked_out_by_hand() -> None:
    relevant = {"a": 3, "b": 1, "c": 2}
    ranking = ["b", "x", "a", "y"]
    found = 1 / 1 + 3 / math.log2(4)
    best = 3 / 1 + 2 / math.log2(3) + 1 / math.log2(4)
    assert ndcg(ranking, relevant, 10) == pytest.approx(found / best)
    assert ndcg(ranking, relevant, 1) == pytest.approx(1 / 3)
    assert recall(ranking, relevant, 10) == pytest.approx(2 / 3)
    assert recall(ranking, relevant, 1) == pytest.approx(1 / 3)
    assert precision(ranking, relevant, 4) == pytest.approx(0.5)
    assert precision(ranking, relevant, 10) == pytest.approx(0.2)
    assert reciprocal_rank(["x", "y", "a"], relevant, 10) == pytest.approx(1 / 3)
    assert reciprocal_rank(["x", "y", "a"], relevant, 2) == 0.0


def test_what_is_found_twice_counts_once() -> None:
    assert ndcg(["a", "a", "b"], {"a": 1, "b": 1}, 2) == pytest.approx(1.0)
    assert precision(["a", "a"], {"a": 1}, 2) == pytest.approx(0.5)


@given(RANKINGS, GRADES, st.integers(1, 12))
def test_every_metric_is_between_0_and_1(ranking: list[str], relevant: dict[str, int], k: int) -> None:
    for metric in (ndcg, recall, precision, reciprocal_rank):
        assert 0.0 <= metric(ranking, relevant, k) <= 1.0 + 1e-12


@given(GRADES, st.integers(1, 12))
def test_the_best_ranking_has_the_highest_gain(relevant: dict[str, int], k: int) -> None:
    best = sorted(relevant, key=lambda one: -relevant[one])
    assert ndcg(best, relevant, k) == pytest.approx(1.0)


@given(RANKINGS, GRADES)
def test_recall_never_falls_with_more_places(ranking: list[str], relevant: dict[str, int]) -> None:
    found = [recall(ranking, relevant, k) for k in range(1, 12)]
    assert found == sorted(found)


@pytest.mark.parametrize(("relevant", "k"), [({}, 10), ({"a": 0}, 10), ({"a": 1}, 0)])
def test_a_question_that_nothing_answers_has_no_figure(relevant: dict[str, int], k: int) -> None:
    with pytest.raises(ValueError, match=r"at least 1|is relevant"):
        ndcg(["a"], relevant, k)


def test_precision_and_recall_of_decisions() -> None:
    found = rates([True, True, True, False], [True, False, False, True])
    assert found == Rates(pytest.approx(1 / 3), pytest.approx(1 / 2), pytest.approx(2 / 5))
    assert rates([False, False], [True, False]) == Rates(None, 0.0, 0.0)
    assert rates([False], [False]) == Rates(None, None, None)


def test_shares_of_an_answer() -> None:
    assert faithfulness([True, True, False]) == pytest.approx(2 / 3)
    assert answer_relevancy([0.9, 0.5]) == pytest.approx(0.7)
    assert context_precision([True, False, True]) == pytest.approx((1 + 2 / 3) / 2)
    assert context_precision([False, True]) == pytest.approx(0.5)
    assert context_recall([True, False]) == pytest.approx(0.5)
    assert citation_precision([True]) == 1.0
    assert citation_recall([True, False, False, False]) == pytest.approx(0.25)


def test_what_has_nothing_to_divide_by_has_no_figure() -> None:
    for metric in (faithfulness, context_precision, context_recall, citation_precision, citation_recall):
        assert metric([]) is None
    assert answer_relevancy([]) is None
    assert context_precision([False]) is None
    assert roc_area([0.1], [True]) is None


def test_the_area_and_the_threshold_of_scores() -> None:
    assert roc_area([0.9, 0.8, 0.3, 0.8], [True, True, False, False]) == pytest.approx(3.5 / 4)
    assert best_threshold([0.9, 0.6, 0.2], [True, True, False]) == 0.6


def test_evidence_is_covered_by_one_whole_set() -> None:
    assert covers([1, 2, 5], [[3], [1, 5]])
    assert not covers([1, 2], [[1, 5], [3]])


@given(st.lists(st.booleans()))
def test_context_precision_is_highest_where_relevant_passages_come_first(flags: list[bool]) -> None:
    found, best = context_precision(flags), context_precision(sorted(flags, reverse=True))
    assert found is None or best is None or found <= best


def test_a_difference_that_holds_for_each_question_is_told_from_chance() -> None:
    a = [0.1 * (one % 7) for one in range(40)]
    clear = paired_test(a, [one + 0.1 + 0.001 * (place % 3) for place, one in enumerate(a)])
    assert clear.difference == pytest.approx(0.101, abs=0.001)
    assert clear.low > 0.09
    assert clear.p < 0.001
    chance = paired_test(a, [one + (0.1 if place % 2 else -0.1) for place, one in enumerate(a)])
    assert chance.p > 0.5
    assert chance.low < 0 < chance.high


def test_the_exact_chance_of_three_differences_is_met() -> None:
    """Of eight ways to choose three signs, two are as far from 0 as what was seen."""
    found = paired_test([0, 0, 0], [1, 2, 3], repeats=20_000)
    assert found.p == pytest.approx(2 / 8, abs=0.02)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=20))
def test_a_comparison_the_other_way_round_is_its_mirror(pairs: list[tuple[float, float]]) -> None:
    a, b = [one for one, _ in pairs], [other for _, other in pairs]
    forth, back = paired_test(a, b, repeats=200), paired_test(b, a, repeats=200)
    assert forth == paired_test(a, b, repeats=200)
    assert (forth.difference, forth.p) == (pytest.approx(-back.difference), back.p)
    assert forth.low <= forth.high


def test_two_equal_configurations_do_not_differ() -> None:
    found = paired_test([0.5, 0.25], [0.5, 0.25])
    assert (found.difference, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize(("a", "b"), [([], []), ([1.0], [1.0, 2.0])])
def test_what_has_no_pairs_is_refused(a: list[float], b: list[float]) -> None:
    with pytest.raises(ValueError, match="same questions"):
        paired_test(a, b)
