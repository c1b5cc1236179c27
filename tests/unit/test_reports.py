"""What people, clients and code hosts read of a review."""

import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from tidemill.core.deployment import Deployment, Task
from tidemill.core.finding import Category, Finding, Necessity, Severity, TraceStep
from tidemill.core.review import ReadHunk, Rejected, ReviewResult, ReviewState, SkippedFile
from tidemill.review.reports import (
    RENDERERS,
    fails_at,
    render_json,
    render_markdown,
    render_sarif,
    render_text,
    result_from_json,
    result_json,
)
from tidemill.review.sarif import sarif_document


def finding(**changes: Any) -> Finding:
    values = {
        "engine": "ruff",
        "rule": "F821",
        "path": "src/a.py",
        "line": 3,
        "severity": Severity.HIGH,
        "title": "Undefined name",
        "message": "Undefined name `x`.",
        "quote": "    return x",
        "fingerprint": "f" * 64,
        "details": {"url": "https://docs.astral.sh/ruff/rules/undefined-name"},
    }
    return Finding(**{**values, **changes})


RESULT = ReviewResult(
    id="0198",
    title="Add <b>totals</b> @all",
    base="a" * 40,
    head="b" * 40,
    state=ReviewState.DONE,
    findings=(
        finding(severity=Severity.LOW, path="b.py"),
        finding(line=9),
        finding(),
        finding(
            engine="model", rule="bug", severity=Severity.MEDIUM, path="a b/đ:%.py", quote="a ``b`` | c", details={}
        ),
        finding(engine="bandit", rule="B608", severity=Severity.CRITICAL, details={"cwe": 89, "confidence": "low"}),
    ),
    hunks=(
        ReadHunk("src/a.py", 0, 1, 20, Necessity(0.61, {"base": -1.6, "size": 2.05}), asked=True, model_opinion=False),
        ReadHunk(
            "src/a.py", 1, 40, 41, Necessity(0.17, {"base": -1.6}), asked=False, reason="score 0.17 is under 0.30"
        ),
        ReadHunk("yarn.lock", 0, 1, 5, None, asked=False, reason="lock file"),
    ),
    skipped=(SkippedFile("yarn.lock", "lock file"),),
    notes=("ruff needs whole files and did not check c.py: only the diff is known.",),
    rejected=(Rejected("the message says nothing", "{}"),),
    timings={"ruff": 0.1, "total": 1.5},
    engines={"ruff": "0.17.5", "bandit": "1.9.4", "secrets": "1"},
    deployment=Deployment(Task.REVIEW_COMMENT, "coder", "sha256:1d96", None, "review.comment/1", {"temperature": 0}),
)
EMPTY = ReviewResult("1", "", None, None, ReviewState.DONE)


def test_findings_come_most_severe_first_then_by_path_and_line() -> None:
    shown: Any = result_json(RESULT)["findings"]
    assert [(one["severity"], one["path"], one["line"]) for one in shown] == [
        ("critical", "src/a.py", 3),
        ("high", "src/a.py", 3),
        ("high", "src/a.py", 9),
        ("medium", "a b/đ:%.py", 3),
        ("low", "b.py", 3),
    ]


def test_json_is_the_documented_shape_and_reads_back_the_same() -> None:
    document = json.loads(render_json(RESULT))
    assert list(document) == [
        *("schema_version", "id", "title", "base", "head", "state", "worst_severity", "findings", "hunks", "skipped"),
        *("notes", "rejected", "timings", "engines", "deployment", "error", "folded", "deployments"),
        *("gates", "unread", "failures"),
    ]
    assert list(document["hunks"][0]) == [
        *("path", "index", "start", "end", "score", "signals", "asked", "reason", "model_opinion")
    ]
    assert [hunk["model_opinion"] for hunk in document["hunks"]] == [False, None, None]
    assert render_json(result_from_json(document)) == render_json(RESULT)
    for hunk in document["hunks"]:
        del hunk["model_opinion"]
    assert result_from_json(document).hunks[0].model_opinion is None
    assert render_json(result_from_json(json.loads(render_json(EMPTY)))) == render_json(EMPTY)


def test_text_says_what_was_found_what_was_read_and_what_was_not() -> None:
    text = render_text(RESULT)
    assert "5 findings: 1 critical, 2 high, 1 medium, 1 low." in text
    assert "src/a.py:9  [ruff F821] Undefined name" in text
    assert "Model: coder, prompt review.comment/1 read 1 of 3 hunks. 1 comment of it did not hold." in text
    assert "1 hunk: score is under 0.30: " in text
    assert "1 file: lock file: yarn.lock" in text
    assert "Note: ruff needs whole files" in text
    assert "No findings." in render_text(EMPTY)


def test_a_failed_review_says_why() -> None:
    failed = ReviewResult("1", "t", None, None, ReviewState.FAILED, error="ruff failed with exit code 2: x")
    for render in (render_text, render_markdown):
        assert "ruff failed with exit code 2: x" in render(failed)


@pytest.mark.parametrize("character", ["\x1b[31m", "\n\n# heading", "\u202e", "\r"])
def test_a_repository_can_not_move_the_terminals_cursor_or_start_a_line(character: str) -> None:
    hostile = ReviewResult(
        "1", "a" + character, None, None, ReviewState.DONE, (finding(path="a" + character, quote=character),)
    )
    for render in (render_text, render_markdown):
        assert character not in render(hostile)


def test_markdown_is_not_moved_by_what_a_repository_says() -> None:
    text = render_markdown(RESULT)
    assert "&lt;b&gt;totals&lt;/b&gt; @\u200ball" in text
    assert "``` a ``b`` ¦ c ```" in text
    assert "| `src/a.py:1` | 0.61 | size +2.0 | no |" in text
    linked = finding(message="![x](https://evil.test/p.png) <img src=x>")
    shown = render_markdown(ReviewResult("1", "t", None, None, ReviewState.DONE, (linked,)))
    assert "https://evil" not in shown
    assert "<img" not in shown


def test_sarif_has_a_run_for_each_engine_and_results_that_code_hosts_can_match() -> None:
    document = json.loads(render_sarif(RESULT))
    assert document["version"] == "2.1.0"
    assert document["$schema"].endswith("sarif-schema-2.1.0.json")
    names = [run["tool"]["driver"]["name"] for run in document["runs"]]
    assert names == ["tidemill ruff", "tidemill bandit", "tidemill secrets", "tidemill model"]
    for run in document["runs"]:
        rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
        assert len(rules) == len(set(rules))
        for result in run["results"]:
            assert rules[result["ruleIndex"]] == result["ruleId"]
            assert result["level"] in {"none", "note", "warning", "error"}
            assert result["message"]["text"]
            assert result["partialFingerprints"] == {"tidemill/v1": "f" * 64}
            [location] = result["locations"]
            place = location["physicalLocation"]
            assert place["region"]["startLine"] >= 1
            uri = urlsplit(place["artifactLocation"]["uri"])
            assert (uri.scheme, uri.netloc, uri.fragment, uri.query) == ("", "", "", "")
    [model] = document["runs"][3]["results"]
    assert model["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "a%20b/%C4%91%3A%25.py"
    assert document["runs"][3]["tool"]["driver"]["version"] == "sha256:1d96"
    [invocation] = document["runs"][0]["invocations"]
    assert "c.py" in invocation["toolExecutionNotifications"][0]["message"]["text"]


def test_every_format_renders_an_empty_review() -> None:
    assert {name for name, render in RENDERERS.items() if render(EMPTY)} == {
        *("text", "markdown", "json", "sarif", "gitlab"),
    }


def test_fail_on_compares_with_the_worst_finding() -> None:
    assert RESULT.worst_severity is Severity.CRITICAL
    assert fails_at(RESULT, Severity.CRITICAL)
    low = ReviewResult("1", "t", None, None, ReviewState.DONE, (finding(severity=Severity.LOW),))
    assert fails_at(low, Severity.LOW)
    assert not fails_at(low, Severity.MEDIUM)
    assert not fails_at(EMPTY, Severity.INFO)


TRACED = ReviewResult(
    "1",
    "t",
    None,
    None,
    ReviewState.DONE,
    (
        finding(
            engine="semgrep",
            rule="python-sql-injection",
            category=Category.SQL_INJECTION,
            confidence=0.9,
            details={"cwe": 89},
            trace=(
                TraceStep("source", "web/a b.py", 2, "name = request.args['name']"),
                TraceStep("step", "web/a b.py", 3, "query = build(name)"),
                TraceStep("sink", "src/a.py", 3, "db.execute(query)"),
            ),
        ),
    ),
)


def test_every_format_shows_the_way_of_a_value_from_source_to_sink() -> None:
    text = render_text(TRACED)
    assert text.index("source web/a b.py:2") < text.index("step   web/a b.py:3") < text.index("sink   src/a.py:3")
    assert "- source `web/a b.py:2`: `name = request.args['name']`" in render_markdown(TRACED)
    assert result_from_json(json.loads(render_json(TRACED))) == TRACED


def test_sarif_has_the_way_as_a_code_flow_and_tells_what_kind_of_rule_it_is() -> None:
    [run] = json.loads(render_sarif(TRACED))["runs"]
    [rule] = run["tool"]["driver"]["rules"]
    assert rule["properties"] == {
        "tags": ["security", "sql_injection", "external/cwe/cwe-089"],
        "precision": "very-high",
        "security-severity": "8.0",
    }
    [result] = run["results"]
    steps = result["codeFlows"][0]["threadFlows"][0]["locations"]
    places = [step["location"]["physicalLocation"] for step in steps]
    assert [(one["artifactLocation"]["uri"], one["region"]["startLine"]) for one in places] == [
        ("web/a%20b.py", 2),
        ("web/a%20b.py", 3),
        ("src/a.py", 3),
    ]


def test_sarif_holds_no_more_results_than_github_takes_and_says_so() -> None:
    many = tuple(finding(line=number) for number in range(1, 25_003))
    [run] = sarif_document(ReviewResult("1", "t", None, None, ReviewState.DONE, many))["runs"]
    assert len(run["results"]) == 25_000
    assert "2 findings more" in run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"]
