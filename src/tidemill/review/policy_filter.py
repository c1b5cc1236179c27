"""Applies a repository's policy to findings: which are off, which have another severity, which are folded away."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tidemill.analysis.patterns import PathPatterns
from tidemill.core.change import Diff
from tidemill.core.finding import Finding, Severity
from tidemill.core.review import ReviewResult, by_weight
from tidemill.core.review_policy import ReviewPolicy


@dataclass(frozen=True, slots=True)
class Sifted:
    """Findings, each in one place.

    Attributes:
        findings: what the policy lets be reported, with its severities, most severe first. What gates and exit codes
            are about.
        shown: of these, what is worth an inline comment: as severe as `min_severity`, `max_comments` at most.
        folded: the rest of these, for the folded list.
        off: what the policy switched off, by its rule or its file.
    """

    findings: tuple[Finding, ...]
    shown: tuple[Finding, ...]
    folded: tuple[Finding, ...]
    off: tuple[Finding, ...]


def without_ignored(diff: Diff, policy: ReviewPolicy) -> Diff:
    """The diff without the files that the policy leaves out: what engines and gates judge."""
    if not policy.ignore:
        return diff
    ignore = PathPatterns(policy.ignore)
    return Diff(tuple(file for file in diff.files if ignore.match(file.path) is None))


def sift(findings: Sequence[Finding], policy: ReviewPolicy) -> Sifted:
    """The findings as the policy wants them. A rule is named `engine:rule` or `rule`; the longer name goes first."""
    ignore = PathPatterns(policy.ignore)
    kept: list[Finding] = []
    off: list[Finding] = []
    for finding in findings:
        if _disabled(finding, policy) or ignore.match(finding.path) is not None:
            off.append(finding)
        else:
            kept.append(replace(finding, severity=_severity(finding, policy)))
    ordered = by_weight(kept)
    worthy = [finding for finding in ordered if finding.severity.rank >= policy.min_severity.rank]
    shown = tuple(worthy[: policy.max_comments])
    chosen = {id(finding) for finding in shown}
    folded = tuple(finding for finding in ordered if id(finding) not in chosen)
    return Sifted(ordered, shown, folded, by_weight(off))


def with_policy(result: ReviewResult, policy: ReviewPolicy) -> ReviewResult:
    """A finished review as the policy wants it shown: the rest folded, and what is wrong with the policy noted."""
    sifted = sift((*result.findings, *result.folded), policy)
    notes = tuple(dict.fromkeys((*result.notes, *policy.notes)))
    return replace(result, findings=sifted.shown, folded=sifted.folded, notes=notes)


def unfolded(result: ReviewResult) -> ReviewResult:
    """The same review with every finding shown: for machines, exit codes and gates."""
    return replace(result, findings=by_weight((*result.findings, *result.folded)), folded=())


def _disabled(finding: Finding, policy: ReviewPolicy) -> bool:
    return f"{finding.engine}:{finding.rule}" in policy.disabled or finding.rule in policy.disabled


def _severity(finding: Finding, policy: ReviewPolicy) -> Severity:
    named = policy.severities.get(f"{finding.engine}:{finding.rule}", policy.severities.get(finding.rule))
    return finding.severity if named is None else named
