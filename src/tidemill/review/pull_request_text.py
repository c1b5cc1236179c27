"""The texts that are written on a pull request: a finding's comment, the summary, the check.

Nothing that a repository or a model says can become a mention, a link or an image: all of it is escaped.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tidemill.core.finding import Finding, Severity
from tidemill.core.gate import Gate, GateReport
from tidemill.core.pull_request import Annotation, AnnotationLevel, Check, CheckState, Position, PullRequest
from tidemill.core.review import ReviewResult
from tidemill.core.review_policy import ReviewPolicy
from tidemill.review.markdown import code_span, escape
from tidemill.review.placement import Folded, FoldedBecause
from tidemill.review.unread import unread_lines
from tidemill.review.wording import word

CHECK = "tidemill"
FAILED = "<!-- failed -->"
"""In the summary of a review that could not be made: a later one takes its place."""
_MOST_FOLDED = 100
_MOST_LISTED = 20
_LONGEST_CODE = 2_000
_LEVELS = {
    Severity.INFO: AnnotationLevel.NOTICE,
    Severity.LOW: AnnotationLevel.NOTICE,
    Severity.MEDIUM: AnnotationLevel.WARNING,
    Severity.HIGH: AnnotationLevel.WARNING,
    Severity.CRITICAL: AnnotationLevel.FAILURE,
}
_MARKS = {
    Severity.CRITICAL: "🔴",
    Severity.HIGH: "🟠",
    Severity.MEDIUM: "🟡",
    Severity.LOW: "🔵",
    Severity.INFO: "⚪",
}
SHORT_COMMIT = 12
SHORT_MARK = 12
"""Characters of a fingerprint that a person types to name a finding."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a summary tells of.

    Attributes:
        result: the review.
        policy: the repository's, for the language and the notes.
        head: the commit.
        standing: how many findings stand inline.
        folded: the folded list.
        fixed: how many earlier findings are gone with this head.
        unresolved: how many threads of those the forge did not let be resolved.
        quiet: how many are not repeated.
        ignored: fingerprints of which people who may push want no more: they are counted, and not annotated.
        gates: what the gates came to.
        owners: the owners of changed files, by path.
        refused: why the forge takes no comment at all, where it is so.
        link: where the whole review is to be read.
    """

    result: ReviewResult
    policy: ReviewPolicy
    head: str
    standing: int = 0
    folded: tuple[Folded, ...] = ()
    fixed: int = 0
    unresolved: int = 0
    quiet: int = 0
    ignored: frozenset[str] = frozenset()
    gates: GateReport | None = None
    owners: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    refused: str | None = None
    link: str | None = None


def trace_lines(finding: Finding) -> list[str]:
    """The way of the value, a line for each place."""
    return [f"- {step.role}: {code_span(f'{step.path}:{step.line}')} {code_span(step.code)}" for step in finding.trace]


def commit_span(head: str) -> str:
    """A commit, short."""
    return code_span(head[:SHORT_COMMIT])


def summary_text(told: Told) -> str:
    """The one comment on the pull request as a whole, without its mark."""
    language, result = told.policy.language, told.result
    lines = [f"## {word(language, 'title')}", "", _counts(told)]
    for name, why in result.failures.items():
        lines += ["", word(language, "engine_failed", name=escape(name), reason=escape(why))]
    if told.refused is not None:
        lines += ["", word(language, "denied", said=escape(told.refused))]
    unposted = sum(one.because is FoldedBecause.REFUSED for one in told.folded)
    if unposted:
        lines += ["", word(language, "unposted", n=unposted)]
    lines += _folded(told, language)
    if told.gates is not None and told.gates.gates:
        lines += ["", f"### {word(language, 'gates')}", "", *gate_table(told.gates, language)]
    lines += _reading(result, language)
    if told.policy.notes:
        lines += ["", f"**{word(language, 'notes')}**", "", *[f"- {escape(note)}" for note in told.policy.notes]]
    if told.owners:
        lines += ["", f"**{word(language, 'owners')}**", ""]
        owned = list(told.owners.items())[:_MOST_LISTED]
        lines += [f"- {code_span(path)}: {', '.join(code_span(name) for name in names)}" for path, names in owned]
    if told.link:
        lines += ["", f"[{result.id}]({told.link})"]
    return "\n".join(lines)


def failed_text(language: str, head: str, reason: str) -> str:
    """The summary of a review that could not be made."""
    said = word(language, "review_failed", head=commit_span(head), reason=escape(reason))
    return f"## {word(language, 'title')}\n\n{said}\n\n{FAILED}"


def check_name(pull_request: PullRequest) -> str:
    """What a pull request's check is called: `CHECK`, with the target where that is not the default branch.

    A check stands on a commit, of which there can be pull requests onto several branches: the verdict by the rules of
    one of them must not take the place of another's.
    """
    return CHECK if pull_request.to_default else f"{CHECK} ({pull_request.target})"


def check_of(told: Told) -> Check:
    """The check of a review that was made: it fails where a gate or an engine does, since whoever wrote the change may
    have made the engine fail to get round it."""
    language = told.policy.language
    findings = [finding for finding in told.result.findings if finding.fingerprint not in told.ignored]
    failed = [gate for gate in told.gates.gates if not gate.holds] if told.gates else []
    engines = told.result.failures
    if engines:
        title = word(language, "check_engines", names=", ".join(engines))
    elif failed:
        title = word(language, "check_gates", names=", ".join(gate.name.value for gate in failed))
    else:
        title = severity_counts(findings) or word(language, "check_none")
    return Check(
        name=CHECK,
        commit=told.head,
        state=CheckState.FAILED if failed or engines else CheckState.PASSED,
        title=title,
        summary=summary_text(told),
        annotations=tuple(_annotation(finding) for finding in findings),
        link=told.link,
    )


def failed_check(language: str, head: str, reason: str, *, outage: bool) -> Check:
    """The check of a review that could not be made. After an outage it says nothing for or against the change; else it
    fails, since whoever wrote the change could have brought that about to get round its review."""
    state = CheckState.NEUTRAL if outage else CheckState.FAILED
    return Check(CHECK, head, state, word(language, "check_failed"), failed_text(language, head, reason))


def running_check(language: str, head: str) -> Check:
    """The check of a review that is being made."""
    said = word(language, "reading")
    return Check(CHECK, head, CheckState.RUNNING, said, said)


def severity_counts(findings: Sequence[Finding]) -> str:
    """How many of each severity, worst first; empty without any."""
    counts = Counter(finding.severity for finding in findings)
    return ", ".join(f"{counts[severity]} {severity.value}" for severity in reversed(Severity) if counts[severity])


def gate_table(report: GateReport, language: str) -> list[str]:
    """A table of gates, and under it the places where one falls short."""
    lines = [word(language, "gate"), "| --- | --- | --- | --- |", *[_gate(gate, language) for gate in report.gates]]
    for gate in report.gates:
        if not gate.holds and gate.places:
            lines += ["", f"**{gate.name.value}**", ""]
            lines += [f"- {code_span(one.where)} {escape(one.text)}" for one in gate.places]
            lines += [f"- {word(language, 'more', n=gate.more)}"] if gate.more else []
    return lines


def _gate(gate: Gate, language: str) -> str:
    measured = " ".join(part for part in (escape(gate.measured), escape(gate.reason)) if part)
    return f"| {gate.name.value} | {escape(gate.threshold)} | {measured} | {word(language, gate.state.value)} |"


def _counts(told: Told) -> str:
    language, head = told.policy.language, commit_span(told.head)
    said = severity_counts(told.result.findings)
    parts = [word(language, "counts", head=head, count=said) if said else word(language, "none", head=head)]
    for name in ("standing", "quiet", "fixed", "unresolved"):
        if number := getattr(told, name):
            parts.append(word(language, name, n=number))
    return " ".join(parts)


def _folded(told: Told, language: str) -> list[str]:
    if not told.folded:
        return []
    lines = ["", f"<details><summary>{word(language, 'folded', n=len(told.folded))}</summary>", ""]
    for one in told.folded[:_MOST_FOLDED]:
        finding = one.finding
        why = word(language, one.because.value, said=escape(one.said))
        place = code_span(f"{finding.path}:{finding.line}")
        lines.append(
            f"- {_MARKS[finding.severity]} **{finding.severity.value}** {place} {escape(finding.message)} "
            f"({code_span(f'{finding.engine}:{finding.rule}')}, {code_span(finding.fingerprint[:SHORT_MARK])}; {why})"
        )
    if len(told.folded) > _MOST_FOLDED:
        lines.append(f"- {word(language, 'more', n=len(told.folded) - _MOST_FOLDED)}")
    return [*lines, "", "</details>"]


def _reading(result: ReviewResult, language: str) -> list[str]:
    lines = ["", f"<details><summary>{word(language, 'read')}</summary>", ""]
    engines = ", ".join(f"{name} {version}" for name, version in result.engines.items())
    lines.append(f"- {word(language, 'engines', engines=escape(engines))}")
    if result.deployment is None:
        lines.append(f"- {word(language, 'no_model')}")
    else:
        asked = sum(hunk.asked for hunk in result.hunks)
        model = escape(result.deployment.model)
        lines.append(f"- {word(language, 'model', model=model, asked=asked, hunks=len(result.hunks))}")
    if unread := unread_lines(result):
        lines.append(f"- {word(language, 'skipped' if result.deployment is None else 'left_out')}")
        lines += [f"  - {escape(line)}" for line in unread[:_MOST_LISTED]]
        if len(unread) > _MOST_LISTED:
            lines.append(f"  - {word(language, 'more', n=len(unread) - _MOST_LISTED)}")
    lines += [f"- {escape(note)}" for note in result.notes[:_MOST_LISTED]]
    return [*lines, "", "</details>"]


def _annotation(finding: Finding) -> Annotation:
    return Annotation(
        position=Position(finding.path, finding.line, finding.line),
        level=_LEVELS[finding.severity],
        title=f"{finding.engine}:{finding.rule}",
        message=finding.message,
    )
