"""A review as SARIF 2.1.0, which code hosts read as check results.

The format: https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/sarif-v2.1.0-os.html
"""

from collections.abc import Sequence
from urllib.parse import quote

from tidemill.core.finding import Finding, Severity
from tidemill.core.json import Json, JsonObject
from tidemill.core.review import ReviewResult, by_weight

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
_SECURITY_ENGINES = frozenset({"bandit", "secrets"})


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
    rules = {finding.rule: finding for finding in findings}
    order = list(rules)
    driver: dict[str, Json] = {
        "name": f"tidemill {engine}",
        "rules": [_rule(engine, finding) for finding in rules.values()],
    }
    if version:
        driver["version"] = version
    notes: list[Json] = [
        {"level": "note", "message": {"text": note}} for note in result.notes if note.startswith(f"{engine} ")
    ]
    run: dict[str, Json] = {
        "tool": {"driver": driver},
        "automationDetails": {"id": f"tidemill/{engine}/{result.id}"},
        "columnKind": "unicodeCodePoints",
        "results": [_result(finding, order.index(finding.rule)) for finding in findings],
        "invocations": [{"executionSuccessful": result.error is None, "toolExecutionNotifications": notes}],
    }
    return run


def _rule(engine: str, finding: Finding) -> JsonObject:
    url = finding.details.get("url")
    rule: dict[str, Json] = {
        "id": finding.rule,
        "shortDescription": {"text": finding.title},
        "defaultConfiguration": {"level": _LEVELS[finding.severity]},
    }
    if isinstance(url, str):
        rule["helpUri"] = url
    if engine in _SECURITY_ENGINES:
        rule["properties"] = {"tags": ["security"], "security-severity": _SECURITY_SEVERITY[finding.severity]}
    return rule


def _result(finding: Finding, rule_index: int) -> JsonObject:
    region: JsonObject = {"startLine": finding.line, "snippet": {"text": finding.quote}}
    return {
        "ruleId": finding.rule,
        "ruleIndex": rule_index,
        "level": _LEVELS[finding.severity],
        "message": {"text": finding.message},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": _uri(finding.path)}, "region": region}}],
        "partialFingerprints": {"tidemill/v1": finding.fingerprint},
    }


def _uri(path: str) -> str:
    """A relative URI reference (RFC 3986): a colon in its first part would make that a scheme."""
    return quote(path, safe="/!$&'()*+,;=@-._~")
