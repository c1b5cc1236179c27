"""What the tool `review` says of a review that is not whole."""

from typing import Any

import pytest

from tidemill.api.mcp_tools import ReviewArguments, review

FOUND = {
    "path": "a.py",
    "line": 1,
    "severity": "high",
    "title": "t",
    "message": "m",
    "engine": "bandit",
    "rule": "B1",
    "quote": "q",
}


class Done:
    """A hub whose review has ended."""

    def __init__(self, findings: list[dict[str, Any]], failures: dict[str, str]) -> None:
        self._found = {
            "id": "r1",
            "state": "done",
            "title": "A change",
            "findings": findings,
            "result": {"failures": failures},
        }

    async def request(self, method: str, path: str, body: object | None = None) -> Any:
        return self._found


@pytest.mark.parametrize("findings", [[], [FOUND]])
async def test_what_a_failed_engine_would_have_found_is_said_to_be_missing(findings: list[dict[str, Any]]) -> None:
    failures = {"semgrep": "semgrep did not end within 300 s on 1 files."}
    answer = await review(Done(findings, failures), ReviewArguments(diff="x"))
    assert "would have found is missing: semgrep" in answer.text
    assert answer.structured["failures"] == failures
    whole = await review(Done(findings, {}), ReviewArguments(diff="x"))
    assert "missing" not in whole.text
