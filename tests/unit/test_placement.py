"""What is to stand on a pull request, and what its texts can't become."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.conftest import NOON
from tidemill.analysis.diff import parse_diff
from tidemill.core.change import ChangeSet
from tidemill.core.finding import Finding, Severity, Suggestion, TraceStep
from tidemill.core.gate import Gate, GateName, GateReport, GateState
from tidemill.core.placed_comment import PlacedComment, PlacedState
from tidemill.core.pull_request import CheckState, ForgeComment, Position
from tidemill.core.review import ReviewResult, ReviewState, SkippedFile
from tidemill.core.review_policy import ReviewPolicy
from tidemill.review.commands import Command, CommandName, command_in
from tidemill.review.finding_text import finding_text
from tidemill.review.markers import FINDING, mark, marked, own_marked, with_mark
from tidemill.review.placement import Folded, FoldedBecause, Placement, Standing, place_findings
from tidemill.review.pull_request_text import Told, check_of, summary_text

DIFF = """\
diff --git a/a.py b/a.py
--- a/a.py
+++ b/a.py
@@ -1,2 +1,4 @@
 one = 1
+two = eval(x)
+three = 3
 four = 4
"""
CHANGE = ChangeSet("A change", "b" * 40, "h" * 40, DIFF, {"a.py": "one = 1\ntwo = eval(x)\nthree = 3\nfour = 4\n"})
FOUND = Finding("bandit", "B307", "a.py", 2, Severity.HIGH, "eval", "No eval.", "two = eval(x)", "f2", confidence=0.9)
ENGINES: Mapping[str, Collection[str]] = {"bandit": ()}
NASTY = (
    "@everyone ![x](http://evil.example/a.png) <img src=x> [click](http://evil.example) `x` "
    "<!-- tidemill:finding f9 -->"
)


def planned(
    *findings: Finding,
    standing: Standing | None = None,
    engines: Mapping[str, Collection[str]] = ENGINES,
    **policy: Any,
) -> Placement:
    diff = parse_diff(DIFF)
    return place_findings(findings, (), CHANGE, diff, standing or Standing(), ReviewPolicy(**policy), engines)


def said(body: str, *, number: str = "1", own: bool = True, resolved: bool = False) -> ForgeComment:
    return ForgeComment(number, "t1", "tidemill", body, NOON, path="a.py", own=own, resolved=resolved)


def row(finding: Finding = FOUND, state: PlacedState = PlacedState.OPEN) -> PlacedComment:
    return PlacedComment(UUID(int=1), UUID(int=2), None, "o" * 40, finding, None, "1", "t1", state, NOON)


def test_a_new_finding_is_written_on_its_line() -> None:
    plan = planned(FOUND)
    assert [(one.finding.fingerprint, one.position) for one in plan.inline] == [("f2", Position("a.py", 2, 2))]
    assert plan.folded == ()


@pytest.mark.parametrize(
    ("finding", "policy", "because"),
    [
        (replace(FOUND, line=40), {}, FoldedBecause.OUTSIDE),
        (replace(FOUND, severity=Severity.INFO), {"min_severity": Severity.LOW}, FoldedBecause.SEVERITY),
        (FOUND, {"max_comments": 0}, FoldedBecause.MOST),
    ],
)
def test_what_gets_no_line_of_its_own_is_folded_with_the_reason(
    finding: Finding, policy: dict[str, Any], because: FoldedBecause
) -> None:
    plan = planned(finding, **policy)
    assert plan.inline == ()
    assert [one.because for one in plan.folded] == [because]


def test_the_most_comments_are_those_that_stand_and_the_weightiest_of_the_new_ones() -> None:
    others = [
        replace(FOUND, fingerprint=f"n{n}", line=n, severity=s) for n, s in ((2, Severity.LOW), (3, Severity.HIGH))
    ]
    standing = Standing((row(),), (said("x\n\n" + mark(FINDING, "f2")),))
    plan = planned(FOUND, *others, standing=standing, max_comments=2)
    assert [one.finding.fingerprint for one in plan.inline] == ["n3"]
    assert [(one.finding.fingerprint, one.because) for one in plan.folded] == [("n2", FoldedBecause.MOST)]
    assert plan.standing == (FOUND,)


def test_a_comment_that_a_killed_step_had_written_is_taken_for_what_it_is() -> None:
    plan = planned(FOUND, standing=Standing((), (said("x\n\n" + mark(FINDING, "f2")),)))
    assert [finding for finding, _ in plan.adopt] == [FOUND]
    assert plan.standing == (FOUND,)
    assert plan.inline == ()


def test_a_quoted_mark_is_none() -> None:
    quoting = finding_text(replace(FOUND, message=NASTY, quote=NASTY), "en", Position("a.py", 2, 2))
    comment = said(f"{quoting}\n\n{mark(FINDING, 'f2')}")
    assert list(own_marked([comment], FINDING)) == ["f2"]
    assert marked(f"{mark(FINDING, 'f9')}\nand more") is None
    assert own_marked([said(mark(FINDING, "f9"), own=False)], FINDING) == {}


@pytest.mark.parametrize(
    ("state", "comments", "quiet", "turned"),
    [
        (PlacedState.OPEN, [said("x", resolved=True)], True, [PlacedState.RESOLVED]),
        (PlacedState.OPEN, [], True, [PlacedState.DISMISSED]),
        (PlacedState.RESOLVED, [said("x", resolved=True)], True, []),
        (PlacedState.RESOLVED, [said("x")], False, [PlacedState.OPEN]),
        (PlacedState.IGNORED, [said("x", resolved=True)], True, []),
    ],
)
def test_what_a_person_settled_is_kept_quiet(
    state: PlacedState, comments: list[ForgeComment], quiet: bool, turned: list[PlacedState]
) -> None:
    plan = planned(FOUND, standing=Standing((row(state=state),), comments))
    assert bool(plan.quiet) is quiet
    assert [one.state for one in plan.turn] == turned
    assert plan.inline == ()


def test_a_comment_that_the_forge_need_not_list_yet_stands() -> None:
    standing = Standing((row(),), (), listed_until=NOON)
    assert [one.state for one in planned(FOUND, standing=standing).turn] == [PlacedState.DISMISSED]
    plan = planned(FOUND, standing=replace(standing, listed_until=NOON - timedelta(seconds=1)))
    assert (plan.turn, plan.standing, plan.inline) == ((), (FOUND,), ())


def test_an_engines_silence_is_a_fix_and_a_models_is_not_while_its_line_stands() -> None:
    by_model = replace(FOUND, engine="model", fingerprint="m1")
    gone = replace(by_model, quote="two = ast.literal_eval(x)")
    comments = [said("x")]
    assert planned(standing=Standing((row(),), comments)).fixed == (row(),)
    assert planned(standing=Standing((row(by_model),), comments)).fixed == ()
    assert planned(standing=Standing((row(gone),), comments)).fixed == (row(gone),)
    assert planned(standing=Standing((row(replace(by_model, path="left.py")),), comments)).fixed != ()
    other_engine = replace(FOUND, engine="semgrep")
    assert planned(standing=Standing((row(other_engine),), comments)).fixed == ()


def test_the_silence_of_an_engine_that_did_not_read_a_file_is_no_fix() -> None:
    standing = Standing((row(),), (said("x"),))
    assert planned(standing=standing, engines={"bandit": ("a.py",)}).fixed == ()
    assert planned(standing=standing, engines={"bandit": ("b.py",)}).fixed == (row(),)
    mended = row(replace(FOUND, quote="two = eval(y)"))
    assert planned(standing=replace(standing, placed=(mended,)), engines={"bandit": ("a.py",)}).fixed == (mended,)
    away = row(replace(FOUND, trace=(TraceStep("source", "c.py", 1, "y = input()"),)))
    assert planned(standing=replace(standing, placed=(away,))).fixed == ()


def test_a_suggestion_applies_only_where_the_comment_stands_on_its_lines() -> None:
    one = replace(FOUND, suggestion=Suggestion(2, 3, "two = int(x)\n```", ("applies", "parses")))
    [inline] = planned(one).inline
    assert inline.position == Position("a.py", 2, 3)
    assert "````suggestion\ntwo = int(x)\n```\n````" in finding_text(one, "en", inline.position)
    assert "suggestion\n" not in finding_text(one, "en", Position("a.py", 2, 2))
    unchecked = replace(one, suggestion=replace(one.suggestion, verified=("applies",)))  # type: ignore[type-var]
    assert "suggestion\n" not in finding_text(unchecked, "en", inline.position)


def told(**more: object) -> Told:
    findings = (replace(FOUND, message=NASTY, trace=(TraceStep("source", "a.py", 1, NASTY),)),)
    result = ReviewResult("1", NASTY, None, "h" * 40, ReviewState.DONE, findings, skipped=(SkippedFile(NASTY, NASTY),))
    policy = ReviewPolicy(notes=(NASTY,))
    return Told(result, policy, "h" * 40, folded=(Folded(findings[0], FoldedBecause.REFUSED, NASTY),), **more)  # type: ignore[arg-type]


def outside_code(text: str) -> str:
    """What a forge reads as Markdown: without spans of code, which it leaves alone."""
    kept, rest = [], text
    while "`" in rest:
        before, _, rest = rest.partition("`")
        ticks = "`" + rest[: len(rest) - len(rest.lstrip("`"))]
        if before.endswith("\\"):
            kept.append(before)
            continue
        kept.append(before)
        rest = rest[len(ticks) - 1 :].partition(ticks)[2]
    return "".join([*kept, rest])


@pytest.mark.parametrize("language", ["en", "vi"])
def test_nothing_that_a_repository_says_becomes_a_mention_a_link_or_an_image(language: str) -> None:
    owners = {NASTY: ("@acme/all",)}
    report = GateReport((Gate(GateName.COVERAGE, GateState.FAILED, NASTY, NASTY, NASTY),))
    one = told(owners=owners, gates=report, refused=NASTY)
    one = replace(one, policy=replace(one.policy, language=language))
    shown = one.result.findings[0]
    for text in (summary_text(one), finding_text(shown, language, Position("a.py", 2, 2))):
        plain = outside_code(text)
        assert "@everyone" not in plain
        assert "@acme" not in plain
        assert "<img" not in plain
        assert "<!--" not in plain
        assert "](http" not in plain.replace("\\]", "")
        assert "http://evil" not in plain


def test_a_failed_gate_fails_the_check_and_one_that_was_not_measured_does_not() -> None:
    failed = Gate(GateName.COMPLEXITY, GateState.FAILED, "< 15", "17")
    missing = Gate(GateName.COVERAGE, GateState.NOT_MEASURED, "≥ 80 %", reason="no report")
    check = check_of(told(gates=GateReport((missing, failed))))
    assert (check.state, check.title) == (CheckState.FAILED, "Gates failed: complexity")
    assert check_of(told(gates=GateReport((missing,)))).state is CheckState.PASSED
    assert len(check.annotations) == 1


def test_a_text_that_is_too_long_is_cut_at_a_paragraph_and_says_so() -> None:
    text = "\n\n".join(["paragraph " * 20] * 20)
    cut = with_mark(text, FINDING, "f2", limit=1000, note="It was cut.")
    assert len(cut) <= 1000
    assert marked(cut) == (FINDING, "f2")
    assert cut.count("It was cut.") == 1
    assert all(part.strip() == ("paragraph " * 20).strip() for part in cut.split("\n\n")[:-2])


@pytest.mark.parametrize(
    ("body", "command"),
    [
        ("/tidemill review", Command(CommandName.REVIEW, "", "review")),
        ("Please\r\n  /Tidemill IGNORE repo", Command(CommandName.IGNORE, "repo", "ignore")),
        ("/tidemill ask Why?\nAnd how?", Command(CommandName.ASK, "Why?\nAnd how?", "ask")),
        ("/tidemill", Command(CommandName.HELP, "", "help")),
        ("/tidemill dance", Command(None, "", "dance")),
        ("> /tidemill review", None),
        ("```\n/tidemill review\n```", None),
        ("    /tidemill review", None),
        ("Say /tidemill review", None),
        ("/tidemillreview", None),
    ],
)
def test_a_command_stands_at_the_start_of_a_line_and_not_in_code_or_a_quotation(
    body: str, command: Command | None
) -> None:
    assert command_in(body) == command
