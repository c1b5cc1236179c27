"""SARIF that GitHub takes: OASIS's schema, and what GitHub asks beyond it.

https://docs.github.com/en/code-security/code-scanning/integrating-with-code-scanning/sarif-support-for-code-scanning
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema_rs
import pytest

from tests.unit.test_reports import EMPTY, RESULT, finding
from tidemill.core.finding import Category, Severity, Suggestion, TraceStep
from tidemill.core.review import ReviewResult
from tidemill.review.reports import render_sarif

SCHEMA = json.loads((Path(__file__).parents[1] / "data" / "sarif" / "sarif-schema-2.1.0.json").read_text())
VALIDATOR = jsonschema_rs.validator_for(SCHEMA)
TRACED = finding(
    engine="semgrep",
    rule="python.sql-injection",
    category=Category.SQL_INJECTION,
    confidence=0.9,
    trace=(
        TraceStep("source", "a b/ü.py", 1, 'name = request.args["name"]'),
        TraceStep("step", "a b/ü.py", 2, "query = 'x' + name"),
        TraceStep("sink", "src/a.py", 3, "cursor.execute(query)"),
    ),
    suggestion=Suggestion(3, 3, "    return y", ("applies",)),
    details={"cwe": 89},
)
HOSTILE = [
    finding(path="/etc/x", rule="r" * 300, line=1),
    finding(path="a:b/..%2f<x>\\y.py", message="\u202e\u0000|`[x](javascript:1)", quote="\ufffd\t" * 300),
    finding(path="ü/ đường #1?.py", title="", message="", severity=Severity.INFO),
]


def document(result: ReviewResult) -> Any:
    return json.loads(render_sarif(result))


REVIEWS = {
    "empty": EMPTY,
    "usual": RESULT,
    "traced": replace(RESULT, findings=(TRACED,)),
    "hostile": replace(RESULT, findings=tuple(HOSTILE)),
    "failed": replace(EMPTY, error="x"),
}


@pytest.mark.parametrize("result", REVIEWS.values(), ids=REVIEWS)
def test_every_review_is_valid_by_the_schema(result: ReviewResult) -> None:
    errors = [f"{error.instance_path}: {error.message}" for error in VALIDATOR.iter_errors(document(result))]
    assert errors == []


@pytest.mark.parametrize(
    "broken",
    [{"version": "2.0"}, {"runs": [{}]}, {"runs": [{"tool": {"driver": {"name": "x"}}, "results": [{}]}]}, {"x": 1}],
)
def test_the_schema_refuses_what_is_not_sarif(broken: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid({**document(EMPTY), **broken})


def test_github_takes_the_runs_and_results() -> None:
    runs = document(replace(RESULT, findings=(*RESULT.findings, TRACED)))["runs"]
    assert 0 < len(runs) <= 20
    categories = [(run["tool"]["driver"]["name"], run["automationDetails"]["id"].rpartition("/")[0]) for run in runs]
    assert len(set(categories)) == len(categories), "GitHub refuses two runs of one tool and category"
    for run in runs:
        rules = run["tool"]["driver"]["rules"]
        for result in run["results"]:
            assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
            assert result["message"]["text"]
            assert result["partialFingerprints"]
            for location in result["locations"]:
                uri = urlsplit(location["physicalLocation"]["artifactLocation"]["uri"])
                assert not uri.scheme
                assert not uri.netloc
        for rule in rules:
            severity = rule.get("properties", {}).get("security-severity")
            assert severity is None or 0.0 <= float(severity) <= 10.0
