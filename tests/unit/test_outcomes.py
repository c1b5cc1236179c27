"""What became of the lines that a comment is about."""

from dataclasses import replace
from uuid import UUID

import pytest

from tidemill.core.feedback import Outcome
from tidemill.core.finding import Finding, Severity, Suggestion
from tidemill.core.placed_comment import PlacedState
from tidemill.flows.pull_request_placing import inference_of
from tidemill.review.outcomes import at_merge, at_push, fate_of

BEFORE = "a = 1\nb = eval(x)\nc = 3\n"


def finding(line: int = 2, suggestion: Suggestion | None = None) -> Finding:
    return Finding(
        "bandit", "B307", "a.py", line, Severity.HIGH, "eval", "No eval.", "b = eval(x)", "f1", suggestion=suggestion
    )


@pytest.mark.parametrize(
    ("after", "code", "changed"),
    [
        (BEFORE, "b = eval(x)", False),
        ("z = 0\ny = 0\n" + BEFORE, "b = eval(x)", False),
        ("import ast\n\na = 2\nb = eval(x)\nc = 4\nd = 5\n", "b = eval(x)", False),
        ("a = 1\nb = int(x)\nc = 3\n", "b = int(x)", True),
        ("a = 1\nc = 3\n", "", True),
        ("z = 0\na = 1\nif x:\n    b = int(x)\nc = 3\n", "if x:\n    b = int(x)", True),
        (None, "", True),
        ("", "", True),
    ],
)
def test_the_lines_are_found_in_the_merged_file(after: str | None, code: str, changed: bool) -> None:
    fate = fate_of(finding(), BEFORE, after)
    assert fate.before == "b = eval(x)"
    assert (fate.after, fate.changed) == (code, changed)


def test_a_suggestion_whose_lines_stand_there_was_applied() -> None:
    one = finding(suggestion=Suggestion(2, 2, "b = literal(x)\nassert b"))
    fate = fate_of(one, BEFORE, "top = 0\na = 1\nb = literal(x)\nassert b\nc = 3\n")
    assert fate.applied
    assert at_merge(fate, PlacedState.RESOLVED) is Outcome.APPLIED
    assert at_push(fate, by_engine=True) is Outcome.APPLIED
    assert not fate_of(one, BEFORE, BEFORE).applied


def test_a_suggestion_to_remove_lines_was_applied_where_they_are_gone() -> None:
    one = finding(suggestion=Suggestion(2, 2, ""))
    assert fate_of(one, BEFORE, "a = 1\nc = 3\n").applied


def test_a_suggestion_was_applied_to_a_file_whose_lines_end_as_on_windows() -> None:
    one = finding(suggestion=Suggestion(2, 2, "b = literal(x)\nassert b"))
    before = BEFORE.replace("\n", "\r\n")
    fate = fate_of(one, before, "a = 1\r\nb = literal(x)\nassert b\r\nc = 3\r\n")
    assert (fate.applied, fate.before) == (True, "b = eval(x)")
    assert not fate_of(one, before, BEFORE).changed


@pytest.mark.parametrize(
    ("after", "state", "outcome"),
    [
        (BEFORE, PlacedState.OPEN, Outcome.IGNORED),
        (BEFORE, PlacedState.RESOLVED, Outcome.RESOLVED),
        ("a = 1\nb = 2\nc = 3\n", PlacedState.RESOLVED, Outcome.CHANGED),
        ("a = 1\nb = 2\nc = 3\n", PlacedState.OPEN, Outcome.CHANGED),
        (BEFORE, PlacedState.IGNORED, None),
        (BEFORE, PlacedState.DISMISSED, None),
    ],
)
def test_a_merge_says_what_became_of_each_comment(after: str, state: PlacedState, outcome: Outcome | None) -> None:
    assert at_merge(fate_of(finding(), BEFORE, after), state) is outcome


def test_an_outcome_names_the_inference_that_mended_an_engines_finding() -> None:
    wrote, said = UUID(int=7), UUID(int=8)
    mended = replace(finding(), details={"refined_by": str(wrote)})
    assert inference_of(mended) == wrote
    assert inference_of(replace(mended, details={**mended.details, "inference_id": str(said)})) == said
    assert inference_of(finding()) is None


def test_an_engines_silence_proves_a_fix_and_a_models_only_a_change() -> None:
    assert at_push(None, by_engine=True) is Outcome.FIXED
    assert at_push(None, by_engine=False) is Outcome.CHANGED
