"""What a change's gates come to: which are asked for, which must be measured, and how it is shown."""

import json

from tests.unit.test_gate_measures import TEN
from tests.unit.test_policy_filter import finding
from tidemill.analysis.diff import parse_diff
from tidemill.core.finding import Severity
from tidemill.core.gate import Gate, GateName, GatePlace, GateReport, GateState
from tidemill.core.review_policy import GatePolicy, ReviewPolicy
from tidemill.review.gates.code import SHOWN_PLACES
from tidemill.review.gates.judging import GateInputs, judge, judge_findings, with_failures
from tidemill.review.gates.measuring import GateSources, measure
from tidemill.review.gates.table import gates_from_json, gates_json, gates_text
from tidemill.review.pull_request_text import gate_table

DIFF = parse_diff(TEN.diff)
OFF = GatePolicy(coverage=None, duplication=None, complexity=None, critical=None, audit="off")


def states(policy: GatePolicy, inputs: GateInputs | None = None) -> dict[str, str]:
    report = judge(TEN, DIFF, (), ReviewPolicy(gates=policy), inputs or GateInputs())
    return {gate.name.value: gate.state.value for gate in report.gates}


def test_every_gate_is_asked_for_unless_the_policy_says_otherwise() -> None:
    assert states(GatePolicy()) == {
        "coverage": "not_measured",
        "duplication": "passed",
        "complexity": "passed",
        "dependencies": "passed",
        "critical": "passed",
    }
    assert states(OFF) == {}


def test_what_is_not_measured_lets_a_change_pass_unless_it_is_required() -> None:
    plain = judge(TEN, DIFF, (), ReviewPolicy(), GateInputs())
    assert plain.holds
    required = ReviewPolicy(gates=GatePolicy(required=frozenset({GateName.COVERAGE})))
    assert not judge(TEN, DIFF, (), required, GateInputs()).holds


def test_findings_are_counted_from_the_severity_that_the_policy_names() -> None:
    findings = [finding("A", Severity.HIGH), finding("B", Severity.LOW)]
    assert judge_findings(findings, Severity.CRITICAL).state is GateState.PASSED
    gate = judge_findings(findings, Severity.HIGH)
    assert (gate.state, gate.threshold, gate.measured) == (
        GateState.FAILED,
        "no finding of high or more",
        "1 of 2 findings",
    )


def test_where_an_engine_failed_no_severe_finding_is_not_measured() -> None:
    report = judge(TEN, DIFF, (), ReviewPolicy(), GateInputs())
    assert with_failures(report, {}, ReviewPolicy()) is report
    held = with_failures(report, ["semgrep"], ReviewPolicy()).gates[-1]
    assert (held.name, held.state, held.reason, held.holds) == (
        GateName.CRITICAL,
        GateState.NOT_MEASURED,
        "failed: semgrep",
        True,
    )
    required = ReviewPolicy(gates=GatePolicy(required=frozenset({GateName.CRITICAL})))
    assert not with_failures(report, ["semgrep"], required).gates[-1].holds
    severe = judge(TEN, DIFF, [finding("A", Severity.CRITICAL)], ReviewPolicy(), GateInputs())
    assert with_failures(severe, ["semgrep"], ReviewPolicy()) == severe


def test_a_thousand_places_are_as_many_as_a_person_reads_and_a_count() -> None:
    gate = judge_findings([finding(str(n), Severity.CRITICAL) for n in range(1000)], Severity.CRITICAL)
    assert (len(gate.places), gate.more) == (SHOWN_PLACES, 1000 - SHOWN_PLACES)
    assert gates_text(GateReport((gate,)))[-1] == f"      and {1000 - SHOWN_PLACES} more"


async def test_a_report_that_can_not_be_read_is_a_reason_and_no_error() -> None:
    sources = GateSources(coverage=b"<report/>", advisories=b"nonsense", manifests={"go.mod": "module a\n"})
    inputs = await measure(TEN, DIFF, ReviewPolicy(), sources)
    assert isinstance(inputs.coverage, str)
    assert "JaCoCo" in inputs.coverage
    assert inputs.advisories == "the file of advisories is neither JSON, nor JSON on each line, nor a zip of it."


async def test_gates_that_are_off_are_not_measured() -> None:
    inputs = await measure(TEN, DIFF, ReviewPolicy(gates=OFF), GateSources(coverage=b"<report/>", advisories=b"x"))
    assert inputs.coverage == "no coverage report was given"
    assert inputs.advisories == ()


HOSTILE = GateReport(
    (
        Gate(
            GateName.COMPLEXITY,
            GateState.FAILED,
            "< 15",
            "at most 16",
            "a|b.py: `x`",
            (GatePlace("a|b`.py", 3, "f<script>\x1b[2J @all: 16"), GatePlace("b.py", 0, "whole file")),
            more=2,
        ),
        Gate(GateName.COVERAGE, GateState.NOT_MEASURED, "≥ 80 %", reason="no report", required=True),
    )
)


def test_a_report_reads_back_the_same() -> None:
    assert gates_from_json(json.loads(json.dumps(gates_json(HOSTILE)))) == HOSTILE


def test_what_a_repository_says_moves_no_cursor_and_makes_no_markup() -> None:
    text = "\n".join(gates_text(HOSTILE))
    assert "\x1b" not in text
    assert "NOT MEASURED, required" in text
    assert "      b.py  whole file" in text
    table = "\n".join(gate_table(HOSTILE, "en"))
    assert "<script>" not in table
    assert "@all" not in table
    assert all(line.count("|") == 5 for line in table.replace("\\|", "").splitlines() if line.startswith("|"))
    assert "and 2 more" in table
