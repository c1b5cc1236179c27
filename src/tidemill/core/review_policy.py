"""What a repository asks of its reviews: its `.tidemill.yml`, read from the base side, never from the change itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tidemill.core.finding import Severity
from tidemill.core.gate import GateName


@dataclass(frozen=True, slots=True)
class GatePolicy:
    """What a change must reach. `None` leaves a gate out.

    Attributes:
        coverage: percent of the changed lines that tests run, at least.
        coverage_report: where the repository keeps its Cobertura or LCOV report.
        duplication: percent of added lines that stand elsewhere, less than.
        complexity: cyclomatic complexity of a function that the change adds or alters, less than.
        advisories: a file of advisories (OSV's JSON) against which dependencies are held.
        critical: findings of this severity or worse fail the gate.
        audit: `changed` holds the dependencies that the change adds or alters against the advisories, `all` every one,
            `off` none.
        required: the gates that fail where they can't be measured.
    """

    coverage: float | None = 80.0
    coverage_report: str | None = None
    duplication: float | None = 5.0
    complexity: int | None = 15
    advisories: str | None = None
    critical: Severity | None = Severity.CRITICAL
    audit: str = "changed"
    required: frozenset[GateName] = frozenset()


@dataclass(frozen=True, slots=True)
class ReviewPolicy:
    """How a repository wants to be reviewed.

    Attributes:
        enabled: whether pull requests are reviewed by themselves; a command still asks for one.
        drafts: whether drafts are, too.
        language: `en` or `vi`: of comments and summaries.
        max_comments: inline comments a pull request, at most; the rest stands in the folded list.
        min_severity: less severe findings are in the folded list alone.
        ignore: patterns (gitignore's form) of files that are not read.
        include: patterns of files that are read though they look generated or vendored.
        instructions: guidelines for the model, by pattern of path; `**` for all. Data for it, never a command.
        disabled: rules that are off, as `engine:rule` or `rule`.
        severities: another severity for a rule.
        test_command: how the repository's tests are run, in the sandbox: program and arguments.
        format_command: how a file is formatted; `{path}` stands for it.
        gates: what a change must reach.
        notes: what was wrong with the file, with its line, for the summary comment.
    """

    enabled: bool = True
    drafts: bool = False
    language: str = "en"
    max_comments: int = 8
    min_severity: Severity = Severity.LOW
    ignore: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    instructions: Mapping[str, str] = field(default_factory=dict)
    disabled: frozenset[str] = frozenset()
    severities: Mapping[str, Severity] = field(default_factory=dict)
    test_command: tuple[str, ...] = ()
    format_command: tuple[str, ...] = ()
    gates: GatePolicy = field(default_factory=GatePolicy)
    notes: tuple[str, ...] = ()
