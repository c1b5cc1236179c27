"""What a whole review comes to: its findings, what was read, what was left out and why."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tidemill.core.deployment import Deployment
from tidemill.core.finding import Finding, Necessity, Severity
from tidemill.core.gate import GateReport


@dataclass(frozen=True, slots=True)
class ReviewDeployments:
    """What a review's questions are put to. What is `None` is not asked.

    Attributes:
        comment: comments on hunks (`review.comment`).
        doubt: the strongest reason against a comment, before it is shown; of the task `review.comment`, with a prompt
            of its own.
        refine: the lines that mend a finding (`review.refine`).
        necessity: whether a person should look at a hunk (`review.necessity`).
    """

    comment: Deployment
    doubt: Deployment | None = None
    refine: Deployment | None = None
    necessity: Deployment | None = None


class ReviewState(StrEnum):
    """How far a review has come."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ReadHunk:
    """One hunk of the change and whether a model was asked about it.

    Attributes:
        path: the file, on the new side.
        index: 0-based position of the hunk in its file's diff.
        start: first line on the new side; `end` the last. A hunk that only removes has `end` = `start` - 1.
        necessity: its score; `None` where its file was skipped as a whole.
        asked: a model was asked, or (in a plan) will be.
        reason: why a model was not asked, for a person; `None` where it was.
        model_opinion: whether the model that was asked would have a person look at the hunk; `None` where it did not
            say. Recorded, to be compared with what people say later; it gates nothing.
    """

    path: str
    index: int
    start: int
    end: int
    necessity: Necessity | None
    asked: bool
    reason: str | None = None
    model_opinion: bool | None = None


@dataclass(frozen=True, slots=True)
class SkippedFile:
    """A file whose hunks are not put to a model, and why, for a person."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """A comment of a model that is not shown. `comment` is what the model said, for the log of the review.

    `check` names what it did not stand up to: a function of `review.checking`, `is_json`, `doubt` or
    `no_verdict`.
    """

    reason: str
    comment: str
    check: str = ""


@dataclass(frozen=True, slots=True)
class ReviewResult:
    """A review, as it is stored, rendered and sent.

    Attributes:
        id: the review's id; of a review that is not stored, too.
        title: of the change.
        base: the old side's commit, where there is one.
        head: the new side's commit, where there is one.
        state: how far it has come.
        findings: engines' findings and models' comments, most severe first, then by path and line.
        hunks: every hunk of the change, in the diff's order.
        skipped: files that no model reads, with the reason.
        notes: what a person should know about how this review was made (an engine that could not read a file).
        rejected: comments of the model that are not shown, with the reason.
        timings: seconds by part: an engine's name, `model`, `total`.
        engines: each engine's version, by name.
        deployment: the exact model, adapter and prompt that were asked; `None` without a model.
        error: why the review failed, for a person, where it did.
        folded: findings and comments that are less severe, or more, than the policy would show; for a folded list.
        deployments: what else was asked, by what for: `doubt` (the second pass), `refine`, `necessity`.
        gates: what the repository's quality gates came to; `None` where they were not asked for.
        unread: the files that an engine should have read and did not, or not in full, by the engine's name.
        failures: why an engine came to no end, by its name: what it would have found is missing.
    """

    id: str
    title: str
    base: str | None
    head: str | None
    state: ReviewState
    findings: tuple[Finding, ...] = ()
    hunks: tuple[ReadHunk, ...] = ()
    skipped: tuple[SkippedFile, ...] = ()
    notes: tuple[str, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    engines: Mapping[str, str] = field(default_factory=dict)
    deployment: Deployment | None = None
    error: str | None = None
    folded: tuple[Finding, ...] = ()
    deployments: Mapping[str, Deployment] = field(default_factory=dict)
    gates: GateReport | None = None
    unread: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)

    @property
    def worst_severity(self) -> Severity | None:
        """The severity of the worst finding, a folded one too; `None` where nothing was found."""
        found = (*self.findings, *self.folded)
        return max((finding.severity for finding in found), key=lambda severity: severity.rank, default=None)


def by_weight(findings: tuple[Finding, ...] | list[Finding]) -> tuple[Finding, ...]:
    """The findings in the order in which a person should read them: most severe first, then path and line."""
    return tuple(sorted(findings, key=lambda f: (-f.severity.rank, f.path, f.line, f.engine, f.rule, f.fingerprint)))
