"""Findings that stand on a pull request already are known again, though lines were mended and files renamed."""

from collections.abc import Mapping
from dataclasses import replace
from uuid import UUID

import pytest

from tests.conftest import NOON
from tidemill.analysis.diff import parse_diff
from tidemill.core.change import ChangeSet
from tidemill.core.finding import Category, Finding, Severity, Suggestion, TraceStep
from tidemill.core.placed_comment import PlacedComment, PlacedState
from tidemill.flows.pull_request_placing import with_suggestion_of
from tidemill.review.outcomes import line_now
from tidemill.review.placement import is_gone
from tidemill.review.recognition import recognized, unsure

QUOTE = "run(c, shell=True)"
ADDED = "diff --git a/{0} b/{0}\nnew file mode 100644\n--- /dev/null\n+++ b/{0}\n@@ -0,0 +1 @@\n+x\n"
RENAMED = (
    "diff --git a/old.py b/b.py\nsimilarity index 90%\nrename from old.py\nrename to b.py\n"
    "--- a/old.py\n+++ b/b.py\n@@ -1 +1 @@\n-y\n+x\n"
)


def found(line: int, name: str, path: str = "a.py", quote: str = QUOTE) -> Finding:
    return Finding("bandit", "B602", path, line, Severity.HIGH, "shell", "No shell.", quote, name)


def row(finding: Finding, state: PlacedState = PlacedState.OPEN) -> PlacedComment:
    return PlacedComment(UUID(int=1), UUID(int=2), None, "o" * 40, finding, None, "1", "t1", state, NOON)


def names(
    findings: list[Finding], rows: list[PlacedComment], lines: Mapping[str, int | None], *paths: str
) -> list[str]:
    diff = parse_diff("".join(ADDED.format(path) for path in paths or ("a.py",)))
    return [one.fingerprint for one in recognized(findings, rows, diff, lines)]


A, B = row(found(2, "A")), row(found(5, "B"))


@pytest.mark.parametrize(
    ("findings", "rows", "lines", "expected"),
    [
        ([found(5, "A")], [A, B], {"A": None, "B": 5}, ["B"]),
        ([found(2, "A")], [A, B], {"A": 2, "B": None}, ["A"]),
        ([found(4, "A"), found(7, "B")], [A, B], {"A": 4, "B": 7}, ["A", "B"]),
        ([found(1, "A"), found(3, "B"), found(6, "C")], [A, B], {"A": 3, "B": 6}, ["C", "A", "B"]),
        ([found(5, "A")], [B], {"B": 5}, ["B"]),
        ([found(2, "A")], [B], {"B": None}, ["A"]),
        ([found(2, "A"), found(5, "B")], [B], {}, ["A", "B"]),
        ([found(5, "A")], [row(found(2, "A"), PlacedState.FIXED), B], {"A": None, "B": 5}, ["B"]),
        ([found(5, "A"), found(9, "B")], [B], {"B": 5}, ["B", "A"]),
        ([found(3, "A")], [A], {}, ["A"]),
        ([found(3, "A", quote="other()")], [B], {}, ["A"]),
    ],
)
def test_equal_lines_are_told_apart_by_where_they_stand_now(
    findings: list[Finding], rows: list[PlacedComment], lines: Mapping[str, int | None], expected: list[str]
) -> None:
    given = names(findings, rows, lines)
    assert given == expected
    assert len(set(given)) == len(given)


def test_the_place_of_a_line_is_asked_only_where_it_takes_one() -> None:
    assert unsure([found(3, "A")], [A]) == []
    assert unsure([found(3, "A")], [B]) == [B]
    assert unsure([], [A, B]) == []


def test_a_line_is_found_again_by_what_stands_around_it() -> None:
    before = f"a\n{QUOTE}\nb\nc\n{QUOTE}\nd\n"
    after = f"z\na\nrun(c)\nb\nc\n    {QUOTE}\r\nd\n"
    assert (line_now(2, before, after), line_now(5, before, after), line_now(5, before, None)) == (None, 6, None)


def test_a_file_that_the_change_had_added_keeps_its_comments_under_a_new_name() -> None:
    rows = [row(found(2, "A", "gone.py")), row(found(5, "B", "gone.py")), row(found(1, "C", "b.py"))]
    findings = [found(2, "n1", "new.py"), found(5, "n2", "new.py"), found(1, "C", "b.py"), found(9, "n3", "b.py")]
    assert names(findings, rows, {"C": 1}, "new.py", "b.py") == ["A", "B", "C", "n3"]
    mended = replace(rows[0], state=PlacedState.FIXED)
    assert names(findings[:1], [mended, *rows[1:]], {}, "new.py", "b.py") == ["B"]


def test_a_rename_that_git_tells_of_counts_before_a_file_that_is_like_it() -> None:
    rows, diff = [row(found(2, "A", "old.py"))], parse_diff(RENAMED + ADDED.format("c.py"))
    findings = [found(2, "n1", "c.py"), found(4, "n2", "b.py")]
    assert [one.fingerprint for one in recognized(findings, rows, diff, {})] == ["n1", "A"]
    change = ChangeSet("t", None, None, "", {"b.py": f"{QUOTE}\n"})
    said = replace(found(1, "M", "old.py"), engine="model")
    assert not is_gone(said, change, diff, {})
    assert is_gone(replace(said, quote="other()"), change, diff, {})
    traced = replace(found(1, "F", "old.py"), trace=(TraceStep("source", "old.py", 1, "x"),))
    assert is_gone(traced, change, diff, {"bandit": ()})
    assert not is_gone(traced, change, diff, {"bandit": ("b.py",)})


def test_what_a_comment_offers_goes_with_its_lines() -> None:
    placed = replace(found(2, "A", "old.py"), suggestion=Suggestion(2, 3, "run(c)"))
    moved = with_suggestion_of(placed, found(7, "A", "b.py"))
    assert (moved.path, moved.suggestion) == ("b.py", Suggestion(7, 8, "run(c)"))
    assert with_suggestion_of(found(2, "A"), replace(moved)).suggestion is None


def shell(engine: str, line: int, name: str, category: Category = Category.COMMAND_INJECTION) -> Finding:
    return replace(found(line, name), engine=engine, rule=f"{engine}-shell", category=category)


S, T = row(shell("semgrep", 2, "S")), row(shell("semgrep", 2, "T"))
VAGUE = row(shell("semgrep", 2, "V", Category.CORRECTNESS))


@pytest.mark.parametrize(
    ("findings", "rows", "lines", "expected"),
    [
        ([shell("bandit", 4, "b")], [S], {"S": 4}, ["S"]),
        ([shell("bandit", 4, "b")], [S], {"S": 5}, ["b"]),
        ([shell("bandit", 4, "b")], [S], {"S": None}, ["b"]),
        ([shell("bandit", 4, "b")], [S], {}, ["S"]),
        ([replace(shell("bandit", 4, "b"), quote="other()")], [S], {}, ["b"]),
        ([replace(shell("bandit", 4, "b"), path="b.py")], [S], {"S": 4}, ["b"]),
        ([shell("bandit", 4, "b", Category.XSS)], [S], {"S": 4}, ["b"]),
        ([shell("bandit", 4, "b", Category.CORRECTNESS)], [VAGUE], {"V": 4}, ["b"]),
        ([replace(shell("semgrep", 4, "s"), rule="new")], [S], {"S": 4}, ["s"]),
        ([shell("bandit", 4, "b"), shell("semgrep", 4, "S")], [S], {"S": 4}, ["b", "S"]),
        ([shell("bandit", 4, "b"), shell("flow", 4, "f")], [S], {"S": 4}, ["S", "f"]),
        ([shell("bandit", 4, "b"), shell("flow", 4, "f")], [S, T], {"S": 4, "T": 4}, ["S", "T"]),
        ([shell("bandit", 4, "b")], [row(S.finding, PlacedState.FIXED), T], {"S": 4, "T": 4}, ["T"]),
        ([shell("bandit", 4, "b")], [row(S.finding, PlacedState.IGNORED)], {"S": 4}, ["S"]),
    ],
)
def test_what_another_engine_finds_takes_the_comment_of_one_that_finds_it_no_more(
    findings: list[Finding], rows: list[PlacedComment], lines: Mapping[str, int | None], expected: list[str]
) -> None:
    assert names(findings, rows, lines) == expected


def test_the_place_of_another_engines_line_is_asked_where_it_may_have_said_the_same() -> None:
    assert unsure([shell("bandit", 4, "b")], [S]) == [S]
    assert unsure([shell("bandit", 4, "b", Category.XSS)], [S]) == []
    assert unsure([shell("bandit", 4, "b"), shell("semgrep", 4, "S")], [S]) == []
