"""A review as GitLab's code quality report: a part of Code Climate's form.

The format: https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format
"""

import json
from collections import Counter

from tidemill.core.finding import Severity
from tidemill.core.ids import digest
from tidemill.core.json import JsonObject
from tidemill.core.review import ReviewResult, by_weight

_SEVERITIES = {
    Severity.INFO: "info",
    Severity.LOW: "minor",
    Severity.MEDIUM: "major",
    Severity.HIGH: "critical",
    Severity.CRITICAL: "blocker",
}


def gitlab_issues(result: ReviewResult) -> list[JsonObject]:
    """An issue for each finding. GitLab takes issues of one fingerprint for one, so each has its own."""
    seen: Counter[str] = Counter()
    issues: list[JsonObject] = []
    for finding in by_weight(result.findings):
        again = seen[finding.fingerprint]
        seen[finding.fingerprint] += 1
        issues.append(
            {
                "type": "issue",
                "check_name": f"{finding.engine}:{finding.rule}",
                "description": f"{finding.title}: {finding.message}",
                "severity": _SEVERITIES[finding.severity],
                "fingerprint": digest(finding.fingerprint, str(again)) if again else finding.fingerprint,
                "location": {"path": finding.path, "lines": {"begin": max(finding.line, 1)}},
            }
        )
    return issues


def render_gitlab(result: ReviewResult) -> str:
    """`gitlab_issues` as text."""
    return json.dumps(gitlab_issues(result), ensure_ascii=False, indent=2) + "\n"
