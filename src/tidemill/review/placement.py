"""What is to stand on a pull request, compared with what stands there: the difference is what is written.

Pure: no forge is asked. A finding is written inline once in a pull request's life. What a person resolved, deleted or
ignored is not said again.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from tidemill.analysis.secrets import mask
from tidemill.core.change import ChangeKind, ChangeSet, Diff
from tidemill.core.finding import Finding
from tidemill.core.placed_comment import PlacedComment, PlacedState
from tidemill.core.pull_request import ForgeComment, Position
from tidemill.core.review_policy import ReviewPolicy
from tidemill.review.markers import FINDING, own_marked
from tidemill.review.ranking import weight

MODEL = "model"


class FoldedBecause(StrEnum):
    """Why a finding is in the summary's folded list and not inline."""

    SEVERITY = "severity"
    MOST = "most"
    OUTSIDE = "outside"
    AGAIN = "again"
    REFUSED = "refused"
    SET_ASIDE = "set_aside"


@dataclass(frozen=True, slots=True)
class Folded:
    """A finding of the folded list. `said` is what the forge said of it, where it refused it."""

    finding: Finding
    because: FoldedBecause
    said: str = ""


@dataclass(frozen=True, slots=True)
class Inline:
    """A comment to be written."""

    finding: Finding
    position: Position


@dataclass(frozen=True, slots=True)
class Turned:
    """A placed comment that stands otherwise now than its row says."""

    placed: PlacedComment
    state: PlacedState


@dataclass(frozen=True, slots=True)
class Placement:
    """What is to be done.

    Attributes:
        adopt: findings whose comment stands there without a row: what a killed step had written.
        turn: placed comments whose state is to be noted: a person resolved or deleted them.
        moved: placed comments whose file has another name now, each with its finding there.
        fixed: placed comments whose finding is gone; their threads are to be resolved.
        inline: comments to be written, most important first.
        folded: findings for the folded list, most important first.
        standing: findings that stand there already and still hold, those of `adopt` included.
        quiet: findings that are not said since a person asked for that, or had resolved or deleted them.
    """

    adopt: tuple[tuple[Finding, ForgeComment], ...] = ()
    turn: tuple[Turned, ...] = ()
    moved: tuple[tuple[PlacedComment, Finding], ...] = ()
    fixed: tuple[PlacedComment, ...] = ()
    inline: tuple[Inline, ...] = ()
    folded: tuple[Folded, ...] = ()
    standing: tuple[Finding, ...] = ()
    quiet: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """What stands on the pull request now.

    Attributes:
        placed: the rows of what was placed on this or earlier heads.
        comments: every comment that the forge has.
        ignored: fingerprints of which nobody wants to be told.
        listed_until: a comment that was placed later may be missing from `comments` though nobody deleted it; `None`
            where there is none.
    """

    placed: Sequence[PlacedComment] = ()
    comments: Sequence[ForgeComment] = ()
    ignored: Collection[str] = ()
    listed_until: datetime | None = None


def place_findings(
    findings: Sequence[Finding],
    set_aside: Sequence[Finding],
    change: ChangeSet,
    diff: Diff,
    standing: Standing,
    policy: ReviewPolicy,
    engines: Mapping[str, Collection[str]],
) -> Placement:
    """Plans what is written.

    Args:
        findings: of the review of this head, under the fingerprints that `recognized` gives them.
        set_aside: what the review itself left for the folded list.
        change: what was reviewed.
        diff: the same, parsed.
        standing: what stands on the pull request.
        policy: how many inline comments, and how severe at least.
        engines: the engines that ran, each with the files that it did not read in full: what one of them found earlier
            in the others and finds no more is fixed.
    """
    marks = own_marked(standing.comments, FINDING)
    rows = {placed.finding.fingerprint: placed for placed in standing.placed}
    now = {finding.fingerprint: finding for finding in (*findings, *set_aside)}
    there = {comment.id: comment for comment in standing.comments}
    turned = _turned(standing, there)
    states = {placed.finding.fingerprint: placed.state for placed in standing.placed}
    states |= {one.placed.finding.fingerprint: one.state for one in turned}
    adopt = tuple((now[name], comment) for name, comment in marks.items() if name not in rows and name in now)
    states |= {finding.fingerprint: _state_of(comment) for finding, comment in adopt}
    fixed = tuple(
        placed
        for placed in standing.placed
        if states[placed.finding.fingerprint] is PlacedState.OPEN
        and placed.finding.fingerprint not in now
        and is_gone(placed.finding, change, diff, engines)
    )
    held, quiet, fresh, folded = _sorted(findings, states, standing.ignored)
    open_now = sum(state is PlacedState.OPEN for state in states.values()) - len(fixed)
    inline, more = _chosen(fresh, diff, policy, max(0, policy.max_comments - open_now))
    folded += more
    folded += [Folded(finding, FoldedBecause.SET_ASIDE) for finding in _said(set_aside, states, standing.ignored)]
    return Placement(
        adopt=adopt,
        turn=turned,
        moved=tuple(
            (row, finding)
            for row in standing.placed
            if (finding := now.get(row.finding.fingerprint)) is not None and finding.path != row.finding.path
        ),
        fixed=fixed,
        inline=tuple(inline),
        folded=tuple(sorted(folded, key=lambda one: rank(one.finding))),
        standing=tuple(held),
        quiet=tuple(quiet),
    )


def rank(finding: Finding) -> tuple[float, str, int]:
    """For sorting: what matters most first, by severity and how sure it is, then by place."""
    return (-weight(finding), finding.path, finding.line)


def is_gone(finding: Finding, change: ChangeSet, diff: Diff, engines: Mapping[str, Collection[str]]) -> bool:
    """Whether what was found earlier, and is not found now, holds no more.

    An engine that read the same files again has proved it. One that did not, and a model, prove nothing by their
    silence: there the line has to be gone.
    """
    changed = {file.path for file in diff.files}
    renamed = {file.old_path: file.path for file in diff.files if file.kind is ChangeKind.RENAMED}
    path, *others = (renamed.get(one, one) for one in (finding.path, *(step.path for step in finding.trace)))
    if path not in changed:
        return True  # the file is no longer part of the change
    read = changed - set(engines[finding.engine]) if finding.engine in engines else set[str]()
    if finding.engine != MODEL and {path, *others} <= read:
        return True
    source = change.files.get(path)
    wanted = "".join(finding.quote.split())
    if source is None or not wanted:
        return False
    lines = (mask(line) if "…" in finding.quote else line for line in source.split("\n"))
    return not any(wanted == "".join(line.split())[: len(wanted)] for line in lines)


def commentable(diff: Diff) -> Mapping[str, frozenset[int]]:
    """The lines of the new side on which a forge takes a comment: those that the diff shows."""
    lines: dict[str, set[int]] = {}
    for hunk in diff.hunks:
        lines.setdefault(hunk.path, set()).update(line.new for line in hunk.lines if line.new is not None)
    return {path: frozenset(numbers) for path, numbers in lines.items()}


def position_of(finding: Finding, diff: Diff) -> Position | None:
    """Where its comment goes: the lines that its suggestion replaces, if all are in one hunk; else its own line."""
    suggestion = finding.suggestion
    if suggestion is not None and suggestion.start <= finding.line <= suggestion.end:
        wanted = set(range(suggestion.start, suggestion.end + 1))
        for hunk in diff.hunks:
            if hunk.path == finding.path and wanted <= {line.new for line in hunk.lines}:
                return Position(finding.path, suggestion.start, suggestion.end)
    if finding.line in commentable(diff).get(finding.path, ()):
        return Position(finding.path, finding.line, finding.line)
    return None


def _turned(standing: Standing, there: Mapping[str, ForgeComment]) -> tuple[Turned, ...]:
    """Rows that a person has made untrue."""
    turned = []
    for placed in standing.placed:
        comment = there.get(placed.comment)
        state = placed.state
        listed = standing.listed_until is None or placed.placed_at <= standing.listed_until
        if placed.finding.fingerprint in standing.ignored:
            state = PlacedState.IGNORED
        elif comment is None and listed and placed.state in {PlacedState.OPEN, PlacedState.RESOLVED}:
            state = PlacedState.DISMISSED
        elif comment is not None and placed.state in {PlacedState.OPEN, PlacedState.RESOLVED}:
            state = _state_of(comment)
        if state is not placed.state:
            turned.append(Turned(placed, state))
    return tuple(turned)


def _state_of(comment: ForgeComment) -> PlacedState:
    return PlacedState.RESOLVED if comment.resolved else PlacedState.OPEN


def _said(findings: Sequence[Finding], states: Mapping[str, PlacedState], ignored: Collection[str]) -> list[Finding]:
    """Those that nobody has had a say on."""
    return [one for one in findings if one.fingerprint not in states and one.fingerprint not in ignored]


def _sorted(
    findings: Sequence[Finding], states: Mapping[str, PlacedState], ignored: Collection[str]
) -> tuple[list[Finding], list[Finding], list[Finding], list[Folded]]:
    """Findings that stand, that are kept quiet, that are new, and that came back after they were fixed."""
    held: list[Finding] = []
    quiet: list[Finding] = []
    fresh: list[Finding] = []
    folded: list[Folded] = []
    for finding in sorted(findings, key=rank):
        state = states.get(finding.fingerprint)
        if finding.fingerprint in ignored:
            quiet.append(finding)
        elif state is None:
            fresh.append(finding)
        elif state is PlacedState.OPEN:
            held.append(finding)
        elif state is PlacedState.FIXED:
            folded.append(Folded(finding, FoldedBecause.AGAIN))
        else:
            quiet.append(finding)
    return held, quiet, fresh, folded


def _chosen(fresh: Sequence[Finding], diff: Diff, policy: ReviewPolicy, room: int) -> tuple[list[Inline], list[Folded]]:
    """What is written inline, and why the rest is not."""
    inline: list[Inline] = []
    folded: list[Folded] = []
    for finding in fresh:
        position = position_of(finding, diff)
        if finding.severity.rank < policy.min_severity.rank:
            folded.append(Folded(finding, FoldedBecause.SEVERITY))
        elif position is None:
            folded.append(Folded(finding, FoldedBecause.OUTSIDE))
        elif len(inline) >= room:
            folded.append(Folded(finding, FoldedBecause.MOST))
        else:
            inline.append(Inline(finding, position))
    return inline, folded
