"""Judges a change by its repository's gates: a pure function over what was measured."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tidemill.core.change import ChangeSet, Diff
from tidemill.core.finding import Finding, Severity
from tidemill.core.gate import Gate, GateName, GatePlace, GateReport, GateState
from tidemill.core.review_policy import ReviewPolicy
from tidemill.review.gates.advisories import Advisory
from tidemill.review.gates.code import with_places
from tidemill.review.gates.complexity import FunctionsMeasured, judge_complexity
from tidemill.review.gates.coverage import CoverageReport, judge_coverage
from tidemill.review.gates.dependencies import Inventory, judge_dependencies

NO_REPORT = "no coverage report was given"
NO_ADVISORIES = "no file of advisories was given"


@dataclass(frozen=True, slots=True)
class GateInputs:
    """What gates are held against; a text in the place of a value is why there is none.

    Attributes:
        coverage: which lines tests ran.
        functions: the complexity of both sides' functions.
        inventory: the dependencies to audit.
        advisories: of those dependencies.
        tree: texts of the repository's other files, to look for copies in; `None` where only the change is known.
        unseen: how many of the repository's other files were too much to read.
    """

    coverage: CoverageReport | str = NO_REPORT
    functions: FunctionsMeasured | str = field(default_factory=FunctionsMeasured)
    inventory: Inventory = field(default_factory=Inventory)
    advisories: Sequence[Advisory] | str = NO_ADVISORIES
    tree: Mapping[str, str] | None = None
    unseen: int = 0


def judge(
    change: ChangeSet, diff: Diff, findings: Sequence[Finding], policy: ReviewPolicy, inputs: GateInputs
) -> GateReport:
    """Each gate that the policy asks for, in the order of `GateName`.

    Args:
        change: what is judged.
        diff: the same, parsed, without the files that the policy ignores.
        findings: as the policy lets them be reported (`policy_filter.sift`).
        policy: the thresholds, and which gates fail where they can't be measured.
        inputs: what was measured.
    """
    asked = policy.gates
    gates: list[Gate] = []
    if asked.coverage is not None:
        required = GateName.COVERAGE in asked.required
        gates.append(judge_coverage(diff, inputs.coverage, asked.coverage, required=required))
    if asked.duplication is not None:
        from tidemill.review.gates.duplication import judge_duplication  # noqa: PLC0415 - numpy, which is heavy

        required = GateName.DUPLICATION in asked.required
        gates.append(
            judge_duplication(
                diff, change.files, inputs.tree, asked.duplication, required=required, unseen=inputs.unseen
            )
        )
    if asked.complexity is not None:
        required = GateName.COMPLEXITY in asked.required
        gates.append(judge_complexity(diff, inputs.functions, asked.complexity, required=required))
    if asked.audit != "off":
        required = GateName.DEPENDENCIES in asked.required
        gates.append(judge_dependencies(inputs.inventory, inputs.advisories, required=required))
    if asked.critical is not None:
        gates.append(judge_findings(findings, asked.critical))
    return GateReport(tuple(gates))


def judge_findings(findings: Sequence[Finding], worst: Severity) -> Gate:
    """Whether no finding is as severe as this, or more."""
    over = [finding for finding in findings if finding.severity.rank >= worst.rank]
    threshold = f"no {worst.value} finding" if worst is Severity.CRITICAL else f"no finding of {worst.value} or more"
    state = GateState.FAILED if over else GateState.PASSED
    gate = Gate(GateName.CRITICAL, state, threshold, f"{len(over)} of {len(findings)} findings")
    return with_places(gate, over, lambda one: GatePlace(one.path, one.line, f"{one.severity.value}: {one.title}"))


def with_failures(report: GateReport, failures: Collection[str], policy: ReviewPolicy) -> GateReport:
    """The same where every engine came to its end. Where one failed, that nothing severe was found says nothing."""
    if not failures:
        return report
    required = GateName.CRITICAL in policy.gates.required
    reason = f"failed: {', '.join(failures)}"
    return GateReport(
        tuple(
            replace(gate, state=GateState.NOT_MEASURED, reason=reason, required=required)
            if gate.name is GateName.CRITICAL and gate.state is GateState.PASSED
            else gate
            for gate in report.gates
        )
    )
