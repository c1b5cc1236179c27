"""What is said first: severity × confidence × novelty."""

from collections.abc import Sequence
from dataclasses import dataclass

from tidemill.analysis.terms import terms
from tidemill.core.finding import Finding
from tidemill.review.comment import ENGINE

_SAME_RULE = 0.75
"""What the second finding of a rule in a file is worth beside the first, the third beside the second, and so on."""
_LEAST_NOVELTY = 0.2


@dataclass(frozen=True, slots=True)
class Ranked:
    """Findings, what matters most first.

    Attributes:
        findings: all of an engine's, and the model's comments that are shown.
        folded: the model's other comments.
    """

    findings: tuple[Finding, ...]
    folded: tuple[Finding, ...]


def rank(findings: Sequence[Finding], most: int) -> Ranked:
    """Orders findings, and folds the model's comments that are not among the first `most`.

    What an engine found is never folded here: it was proved, and a repository's policy has its own say about it.
    """
    ordered = in_order(findings)
    shown = ordered[:most]
    kept = tuple(one for at, one in enumerate(ordered) if one.engine != ENGINE or at < len(shown))
    folded = tuple(one for one in ordered[most:] if one.engine == ENGINE)
    return Ranked(kept, folded)


def in_order(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The findings by weight; the novelty of each is what those before it in its file have not said."""
    left = sorted(findings, key=lambda one: (-weight(one), one.path, one.line, one.fingerprint))
    said: dict[str, list[Finding]] = {}
    weighed = []
    for finding in left:
        before = said.setdefault(finding.path, [])
        weighed.append((-weight(finding) * novelty(finding, before), finding.path, finding.line, finding))
        before.append(finding)
    weighed.sort(key=lambda one: (*one[:3], one[3].fingerprint))
    return tuple(one[3] for one in weighed)


def novelty(finding: Finding, before: Sequence[Finding]) -> float:
    """1 for what nobody has said of this file, less for the same rule again or for the same words."""
    same = sum(one.rule == finding.rule and one.engine == finding.engine for one in before)
    words = set(terms(finding.message))
    shared = max((len(words & set(terms(one.message))) / max(1, len(words)) for one in before), default=0.0)
    return max(_LEAST_NOVELTY, min(_SAME_RULE**same, 1.0 - shared / 2))


def weight(finding: Finding) -> float:
    """Severity × confidence: what a finding matters by itself."""
    return (finding.severity.rank + 1) * finding.confidence
