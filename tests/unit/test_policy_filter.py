"""A policy is applied to findings once: off, another severity, shown or folded."""

from typing import Any

from tidemill.core.change import ChangeKind, Diff, FileDiff
from tidemill.core.finding import Finding, Severity
from tidemill.core.review_policy import ReviewPolicy
from tidemill.review.policy_filter import sift, without_ignored


def finding(rule: str, severity: Severity = Severity.MEDIUM, **changes: Any) -> Finding:
    values = {"engine": "ruff", "path": "a.py", "line": 1, "title": "t", "message": "m", "quote": "q"}
    return Finding(**{**values, "rule": rule, "severity": severity, "fingerprint": rule, **changes})


def rules(findings: tuple[Finding, ...]) -> list[str]:
    return [one.rule for one in findings]


def test_rules_are_switched_off_by_either_name() -> None:
    policy = ReviewPolicy(disabled=frozenset({"F401", "bandit:B1"}))
    sifted = sift([finding("F401"), finding("B1"), finding("B1", engine="bandit")], policy)
    assert rules(sifted.findings) == ["B1"]
    assert rules(sifted.off) == ["B1", "F401"]


def test_files_are_left_out_by_pattern() -> None:
    policy = ReviewPolicy(ignore=("gen/", "!gen/keep.py"))
    sifted = sift([finding("A", path="gen/a.py"), finding("B", path="gen/keep.py")], policy)
    assert (rules(sifted.findings), rules(sifted.off)) == (["B"], ["A"])
    diff = Diff((FileDiff("gen/a.py", None, ChangeKind.ADDED), FileDiff("b.py", None, ChangeKind.ADDED)))
    assert [file.path for file in without_ignored(diff, policy).files] == ["b.py"]


def test_a_severity_is_changed_before_anything_is_counted() -> None:
    policy = ReviewPolicy(
        severities={"A": Severity.LOW, "ruff:A": Severity.CRITICAL, "B": Severity.INFO}, max_comments=1
    )
    sifted = sift([finding("B"), finding("A")], policy)
    assert [(one.rule, one.severity) for one in sifted.findings] == [("A", Severity.CRITICAL), ("B", Severity.INFO)]
    assert rules(sifted.shown) == ["A"]
    assert rules(sifted.folded) == ["B"]


def test_what_is_less_severe_or_too_many_is_folded_and_never_lost() -> None:
    policy = ReviewPolicy(min_severity=Severity.MEDIUM, max_comments=2)
    findings = [finding(str(n), severity) for n, severity in enumerate((*[Severity.HIGH] * 3, Severity.LOW))]
    sifted = sift(findings, policy)
    assert rules(sifted.shown) == ["0", "1"]
    assert rules(sifted.folded) == ["2", "3"]
