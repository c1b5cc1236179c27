"""A review as SARIF 2.1.0, which code hosts read as check results.

The format: https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/sarif-v2.1.0-os.html
"""

from collections.abc import Sequence
from urllib.parse import quote

from tidemill.core.finding import Category, Finding, Severity, TraceStep
from tidemill.core.json import Json, JsonObject
from tidemill.core.review import ReviewResult, by_weight
from tidemill.review.suggestion_text import sarif_fix

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {
    Severity.CRITICAL: "error",
    Severity.HIGH: "error",
    Severity.MEDIUM: "warning",
    Severity.LOW: "note",
    Severity.INFO: "note",
}
_SECURITY_SEVERITY = {
    Severity.CRITICAL: "9.5",
    Severity.HIGH: "8.0",
    Severity.MEDIUM: "5.0",
    Severity.LOW: "2.0",
    Severity.INFO: "0.0",
}
"""GitHub sorts results of security rules by this number, 0 to 10."""
_NO_SECURITY = frozenset({Category.CORRECTNESS, Category.MAINTAINABILITY, Category.OTHER})
_MOST_RESULTS = 25_000
"""GitHub refuses a run with more. Its other limits (20 runs, 1,000 locations a result, 20 tags a rule) are far off."""


def sarif_document(result: ReviewResult) -> JsonObject:
    """One run for each engine, the model among them; an engine without findings has a run without results.

    Paths are relative URIs, percent-encoded, to be read against the repository's root.
    """
    versions = dict(result.engines)
    if result.deployment is not None:
        versions["model"] = result.deployment.model_version
    findings = by_weight(result.findings)
    for finding in findings:
        versions.setdefault(finding.engine, "")
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            _run(name, version, [finding for finding in findings if finding.engine == name], result)
            for name, version in versions.items()
        ],
    }


def _run(engine: str, version: str, findings: Sequence[Finding], result: ReviewResult) -> JsonObject:
    shown = findings[:_MOST_RESULTS]
    rules: dict[str, Finding] = {}
    for finding in shown:
        rules.setdefault(finding.rule, finding)
    order = {rule: index for index, rule in enumerate(rules)}
    driver: dict[str, Json] = {
        "name": f"tidemill {engine}",
        "rules": [_rule(finding) for finding in rules.values()],
    }
    if version:
        driver["version"] = version
    said = [note for note in result.notes if note.startswith(f"{engine} ")]
    if len(findings) > len(shown):
        said.append(f"{len(findings) - len(shown)} findings more, the least severe, are left out of this file.")
    notes: list[Json] = [{"level": "note", "message": {"text": note}} for note in said]
    failure = result.error or result.failures.get(engine)
    if failure:
        notes.append({"level": "error", "message": {"text": failure}})
    run: dict[str, Json] = {
        "tool": {"driver": driver},
        "automationDetails": {"id": f"tidemill/{engine}/{result.id}"},
        "columnKind": "unicodeCodePoints",
        "results": [_result(finding, order[finding.rule]) for finding in shown],
        "invocations": [{"executionSuccessful": failure is None, "toolExecutionNotifications": notes}],
    }
    return run


def _rule(finding: Finding) -> JsonObject:
    """A rule, from the most severe finding of it. A rule of security has a number by which GitHub sorts."""
    url = finding.details.get("url")
    rule: dict[str, Json] = {
        "id": finding.rule,
        "shortDescription": {"text": finding.title},
        "fullDescription": {"text": finding.title},
        "help": {"text": finding.message},
        "defaultConfiguration": {"level": _LEVELS[finding.severity]},
    }
    if isinstance(url, str):
        rule["helpUri"] = url
    tags: list[Json] = [finding.category.value]
    properties: dict[str, Json] = {"precision": _precision(finding.confidence)}
    if finding.category not in _NO_SECURITY:
        tags.insert(0, "security")
        properties["security-severity"] = _SECURITY_SEVERITY[finding.severity]
    if isinstance(cwe := finding.details.get("cwe"), int):
        tags.append(f"external/cwe/cwe-{cwe:03d}")
    rule["properties"] = {"tags": tags, **properties}
    return rule


def _precision(confidence: float) -> str:
    """GitHub's words for how often a rule is right."""
    return (
        "very-high" if confidence >= 0.9 else "high" if confidence >= 0.7 else "medium" if confidence >= 0.4 else "low"
    )


def _result(finding: Finding, rule_index: int) -> JsonObject:
    result: dict[str, Json] = {
        "ruleId": finding.rule,
        "ruleIndex": rule_index,
        "level": _LEVELS[finding.severity],
        "message": {"text": finding.message},
        "locations": [_location(finding.path, finding.line, finding.quote)],
        "partialFingerprints": {"tidemill/v1": finding.fingerprint},
    }
    if finding.trace:
        steps: list[Json] = [_step(step) for step in finding.trace]
        result["codeFlows"] = [{"threadFlows": [{"locations": steps}]}]
    if (fix := sarif_fix(finding, _uri(finding.path))) is not None:
        result["fixes"] = [fix]
    return result


def _step(step: TraceStep) -> JsonObject:
    location = {**_location(step.path, step.line, step.code), "message": {"text": step.role}}
    importance = "important" if step.role == "step" else "essential"
    return {"location": location, "kinds": [step.role], "importance": importance}


def _location(path: str, line: int, text: str) -> dict[str, Json]:
    region: JsonObject = {"startLine": line, "snippet": {"text": text}}
    return {"physicalLocation": {"artifactLocation": {"uri": _uri(path)}, "region": region}}


def _uri(path: str) -> str:
    """A relative URI reference (RFC 3986): a colon in its first part would make that a scheme."""
    return quote(path, safe="/!$&'()*+,;=@-._~")
