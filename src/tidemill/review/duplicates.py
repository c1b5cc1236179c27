"""One defect is said once: what two engines see in one line is the finding of the one that saw it first."""

from collections.abc import Iterable, Sequence

from tidemill.core.finding import Category, Finding

_VAGUE = frozenset({Category.CORRECTNESS, Category.MAINTAINABILITY, Category.OTHER})
"""Categories that say too little: two findings of them in one line may be two defects."""


def unsaid(findings: Sequence[Finding], said: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings whose kind of defect no other engine has found in their line.

    Args:
        findings: of one engine.
        said: of all engines before it; findings of its own among them do not count.
    """
    engines = {finding.engine for finding in findings}
    known = {_place(one) for one in said if one.engine not in engines and one.category not in _VAGUE}
    return tuple(finding for finding in findings if _place(finding) not in known)


def _place(finding: Finding) -> tuple[str, int, Category]:
    return finding.path, finding.line, finding.category
