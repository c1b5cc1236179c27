"""A review as text, Markdown and JSON. SARIF is in `tidemill.review.sarif`.

The JSON is a contract: docs/review.md describes it, and fields are only ever added.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tidemill.core.deployment import deployment_from_json, deployment_json
from tidemill.core.finding import Category, Finding, Necessity, Severity, Suggestion, TraceStep
from tidemill.core.json import JsonObject
from tidemill.core.review import ReadHunk, Rejected, ReviewResult, ReviewState, SkippedFile, by_weight
from tidemill.review.gates.table import gates_from_json, gates_json, gates_text
from tidemill.review.gitlab_report import render_gitlab
from tidemill.review.markdown import code_span, escape, one_line
from tidemill.review.pull_request_text import gate_table
from tidemill.review.sarif import sarif_document
from tidemill.review.suggestion_text import diff_lines
from tidemill.review.unread import unread_lines

SCHEMA_VERSION = 1
_SHOWN_HUNKS = 10
_MARKS = {
    Severity.CRITICAL: "✖",
    Severity.HIGH: "✖",
    Severity.MEDIUM: "▲",
    Severity.LOW: "•",
    Severity.INFO: "·",
}


# ---------------------------------------------------------------------- JSON


def finding_json(finding: Finding) -> JsonObject:
    """One finding, field by field."""
    return {
        "engine": finding.engine,
        "rule": finding.rule,
        "path": finding.path,
        "line": finding.line,
        "severity": finding.severity.value,
        "title": finding.title,
        "message": finding.message,
        "quote": finding.quote,
        "fingerprint": finding.fingerprint,
        "details": dict(finding.details),
        "category": finding.category.value,
        "confidence": finding.confidence,
        "trace": [{"role": one.role, "path": one.path, "line": one.line, "code": one.code} for one in finding.trace],
        "suggestion": _suggestion_json(finding.suggestion) if finding.suggestion else None,
    }


def _suggestion_json(suggestion: Suggestion) -> JsonObject:
    return {
        "start": suggestion.start,
        "end": suggestion.end,
        "text": suggestion.text,
        "verified": list(suggestion.verified),
        "replaces": suggestion.replaces,
    }


def result_json(result: ReviewResult) -> JsonObject:
    """The whole review, findings most severe first. `result_from_json` reads it back."""
    return {
        "schema_version": SCHEMA_VERSION,
        "id": result.id,
        "title": result.title,
        "base": result.base,
        "head": result.head,
        "state": result.state.value,
        "worst_severity": result.worst_severity.value if result.worst_severity else None,
        "findings": [finding_json(finding) for finding in by_weight(result.findings)],
        "hunks": [_hunk_json(hunk) for hunk in result.hunks],
        "skipped": [{"path": file.path, "reason": file.reason} for file in result.skipped],
        "notes": list(result.notes),
        "rejected": [{"reason": one.reason, "comment": one.comment, "check": one.check} for one in result.rejected],
        "timings": dict(result.timings),
        "engines": dict(result.engines),
        "deployment": deployment_json(result.deployment) if result.deployment else None,
        "error": result.error,
        "folded": [finding_json(finding) for finding in result.folded],
        "deployments": {name: deployment_json(one) for name, one in result.deployments.items()},
        "gates": gates_json(result.gates) if result.gates is not None else None,
        "unread": {name: list(paths) for name, paths in result.unread.items()},
        "failures": dict(result.failures),
    }


def _hunk_json(hunk: ReadHunk) -> JsonObject:
    return {
        "path": hunk.path,
        "index": hunk.index,
        "start": hunk.start,
        "end": hunk.end,
        "score": round(hunk.necessity.score, 4) if hunk.necessity else None,
        "signals": {name: round(value, 4) for name, value in hunk.necessity.signals.items()} if hunk.necessity else {},
        "asked": hunk.asked,
        "reason": hunk.reason,
        "model_opinion": hunk.model_opinion,
    }


def finding_from_json(document: Mapping[str, Any]) -> Finding:
    """What `finding_json` wrote, in this version or one before."""
    suggestion = document.get("suggestion")
    return Finding(
        **{
            **document,
            "severity": Severity(document["severity"]),
            "category": Category(document.get("category", Category.OTHER)),
            "trace": tuple(TraceStep(**step) for step in document.get("trace", ())),
            "suggestion": suggestion and Suggestion(**{**suggestion, "verified": tuple(suggestion["verified"])}),
        }
    )


def result_from_json(document: Mapping[str, Any]) -> ReviewResult:
    """What `result_json` wrote, so that a client can show it in another format."""
    deployment = document["deployment"]
    return ReviewResult(
        id=document["id"],
        title=document["title"],
        base=document["base"],
        head=document["head"],
        state=ReviewState(document["state"]),
        findings=tuple(finding_from_json(finding) for finding in document["findings"]),
        hunks=tuple(_hunk_from_json(hunk) for hunk in document["hunks"]),
        skipped=tuple(SkippedFile(**file) for file in document["skipped"]),
        notes=tuple(document["notes"]),
        rejected=tuple(Rejected(**one) for one in document["rejected"]),
        timings=document["timings"],
        engines=document["engines"],
        deployment=deployment_from_json(deployment) if deployment else None,
        error=document["error"],
        folded=tuple(finding_from_json(finding) for finding in document.get("folded", ())),
        deployments={name: deployment_from_json(one) for name, one in document.get("deployments", {}).items()},
        gates=gates_from_json(document["gates"]) if document.get("gates") else None,
        unread={name: tuple(paths) for name, paths in document.get("unread", {}).items()},
        failures=document.get("failures", {}),
    )


def _hunk_from_json(document: Mapping[str, Any]) -> ReadHunk:
    score = document["score"]
    return ReadHunk(
        path=document["path"],
        index=document["index"],
        start=document["start"],
        end=document["end"],
        necessity=None if score is None else Necessity(score, document["signals"]),
        asked=document["asked"],
        reason=document["reason"],
        model_opinion=document.get("model_opinion"),
    )


# ---------------------------------------------------------------------- text


def render_text(result: ReviewResult) -> str:
    """For a terminal: plain text without colour, findings most severe first, then what was read and what was not."""
    lines = [f"Review of {one_line(result.title) or 'a change'}{_commit(result)}", ""]
    if result.error:
        lines += [f"The review failed: {result.error}", ""]
    for finding in by_weight(result.findings):
        lines += _finding_text(finding)
    lines += [*_folded_text(result.folded), _summary(result), *_reading(result)]
    lines += [f"Note: {note}" for note in result.notes]
    if result.gates is not None:
        lines += ["", *gates_text(result.gates)]
    return "\n".join(lines) + "\n"


def _folded_text(folded: Sequence[Finding]) -> list[str]:
    if not folded:
        return []
    lines = [
        f"  {finding.severity.value:<8} {one_line(finding.path)}:{finding.line}  "
        f"[{finding.engine} {finding.rule}] {one_line(finding.title)}"
        for finding in by_weight(tuple(folded))
    ]
    return [f"And, folded by the repository's policy, {_count(len(folded), 'finding')}:", *lines, ""]


def _finding_text(finding: Finding) -> list[str]:
    place = f"{one_line(finding.path)}:{finding.line}"
    rule = f"[{finding.engine} {finding.rule}]"
    return [
        f"{_MARKS[finding.severity]} {finding.severity.value:<8} {place}  {rule} {one_line(finding.title)}",
        f"    {one_line(finding.quote.strip())[:160]}",
        f"    {one_line(finding.message)}",
        *(f"      {step}" for step in _way(finding)),
        *(f"      {line}" for line in diff_lines(finding)),
        "",
    ]


def _way(finding: Finding) -> list[str]:
    """The trace, a line for each step: what it is, where, and the code."""
    return [
        f"{step.role:<6} {one_line(step.path)}:{step.line}  {one_line(step.code.strip())[:120]}"
        for step in finding.trace
    ]


def _summary(result: ReviewResult) -> str:
    counts = Counter(finding.severity for finding in result.findings)
    said = ", ".join(f"{counts[severity]} {severity.value}" for severity in reversed(Severity) if counts[severity])
    missing = f" What {' and '.join(result.failures)} would have found is missing." if result.failures else ""
    return (f"{_count(len(result.findings), 'finding')}: {said}." if said else "No findings.") + missing


def _reading(result: ReviewResult) -> list[str]:
    """What was read, by whom, and why not the rest."""
    engines = ", ".join(f"{name} {version}" for name, version in result.engines.items()) or "none"
    hunks = f"{_count(len(result.hunks), 'hunk')}, " if result.hunks else ""
    lines = [f"Engines: {engines}; {hunks}{result.timings.get('total', 0):.1f} s."]
    asked = [hunk for hunk in result.hunks if hunk.asked]
    if result.deployment:
        prompt = f", prompt {result.deployment.prompt_version}" if result.deployment.prompt_version else ""
        rejected = f" {_count(len(result.rejected), 'comment')} of it did not hold." if result.rejected else ""
        read = f"{len(asked)} of {_count(len(result.hunks), 'hunk')}"
        lines.append(f"Model: {result.deployment.model}{prompt} read {read}.{rejected}")
    lines += [one_line(why) for why in result.failures.values()]
    lines += [f"  {one_line(line)}" for line in unread_lines(result)]
    return lines


def _commit(result: ReviewResult) -> str:
    if result.head is None:
        return ""
    return f" ({result.base[:12]}..{result.head[:12]})" if result.base else f" ({result.head[:12]})"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


# ---------------------------------------------------------------------- Markdown


def render_markdown(result: ReviewResult) -> str:
    """For a pull request or a chat: a table of findings by file, and a line on how the review was made."""
    lines = [f"## Review of {escape(result.title) or 'a change'}", "", f"**{escape(_summary(result))}**", ""]
    if result.error:
        lines += [f"The review failed: {escape(result.error)}", ""]
    findings = by_weight(result.findings)
    for path in dict.fromkeys(finding.path for finding in findings):
        lines += [f"### {code_span(path)}", ""]
        lines += [_finding_markdown(finding) for finding in findings if finding.path == path]
        lines.append("")
    lines += _folded_markdown(result.folded)
    if result.gates is not None:
        lines += ["### Gates", "", *gate_table(result.gates, "en"), ""]
    lines += ["<details><summary>How this review was made</summary>", ""]
    lines += [f"- {escape(line.strip())}" for line in _reading(result)]
    lines += [f"- {escape(note)}" for note in result.notes]
    lines += ["", "</details>"]
    lines += _score_table(result.hunks)
    return "\n".join(lines) + "\n"


def _folded_markdown(folded: Sequence[Finding]) -> list[str]:
    if not folded:
        return []
    summary = f"{_count(len(folded), 'finding')} folded by the repository's policy"
    lines = [_finding_markdown(finding) for finding in by_weight(tuple(folded))]
    return [f"<details><summary>{summary}</summary>", "", *lines, "", "</details>", ""]


def _finding_markdown(finding: Finding) -> str:
    return (
        f"- **{finding.severity.value}**, line {finding.line} ({escape(finding.engine)} {code_span(finding.rule)}): "
        f"{escape(finding.message)}  \n  {code_span(finding.quote.strip()[:160])}"
        + "".join(f"\n  - {step.role} {_place(step)}: {code_span(step.code.strip()[:120])}" for step in finding.trace)
        + "".join(f"\n  - {code_span(line)}" for line in diff_lines(finding))
    )


def _place(step: TraceStep) -> str:
    return code_span(f"{step.path}:{step.line}")


def _score_table(hunks: Sequence[ReadHunk]) -> list[str]:
    """The hunks that deserve a person's time most."""
    ranked = sorted((hunk for hunk in hunks if hunk.necessity), key=lambda hunk: -_score(hunk))[:_SHOWN_HUNKS]
    if not ranked:
        return []
    rows = [
        f"| {code_span(f'{hunk.path}:{hunk.start}')} | {_score(hunk):.2f} | {_signals(hunk)} | {_opinion(hunk)} |"
        for hunk in ranked
    ]
    return ["", "| Where to look first | Score | Why | Model: look? |", "| --- | --- | --- | --- |", *rows]


def _score(hunk: ReadHunk) -> float:
    return hunk.necessity.score if hunk.necessity else 0.0


def _opinion(hunk: ReadHunk) -> str:
    return {True: "yes", False: "no", None: ""}[hunk.model_opinion]


def _signals(hunk: ReadHunk) -> str:
    signals = hunk.necessity.signals if hunk.necessity else {}
    return ", ".join(f"{name} {value:+.1f}" for name, value in signals.items() if name != "base" and value)


# ---------------------------------------------------------------------- files


def render_json(result: ReviewResult) -> str:
    """`result_json` as text."""
    return json.dumps(result_json(result), ensure_ascii=False, indent=2) + "\n"


def render_sarif(result: ReviewResult) -> str:
    """`tidemill.review.sarif` as text."""
    return json.dumps(sarif_document(result), ensure_ascii=False, indent=2) + "\n"


RENDERERS: Mapping[str, Callable[[ReviewResult], str]] = {
    "text": render_text,
    "markdown": render_markdown,
    "json": render_json,
    "sarif": render_sarif,
    "gitlab": render_gitlab,
}
"""By the name of the format."""


def fails_at(result: ReviewResult, threshold: Severity) -> bool:
    """A finding is as severe as `threshold`, or more: what `--fail-on` asks."""
    worst = result.worst_severity
    return worst is not None and worst.rank >= threshold.rank
