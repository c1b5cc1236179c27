"""What became of comments on pull requests, as examples of hunks that needed a person's eye and of those that did not.

Known are only hunks on which something was said: of the others nobody's opinion is.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from uuid import UUID

from tidemill.analysis.necessity import worst_rank
from tidemill.core.change import ChangeSet, Diff, FileHistory, Hunk, LineKind
from tidemill.core.classification import Level
from tidemill.core.errors import NotFound
from tidemill.core.feedback import CommentFeedback, Outcome
from tidemill.core.finding import Finding, Severity
from tidemill.core.json import JsonObject
from tidemill.flows.review_run import stored_change
from tidemill.review.comment import ENGINE
from tidemill.store.blobs import BlobStore
from tidemill.store.reviews import ReviewRepository

NEEDED = frozenset({Outcome.APPLIED, Outcome.FIXED, Outcome.CHANGED, Outcome.THUMBS_UP})
NOT_NEEDED = frozenset({Outcome.THUMBS_DOWN, Outcome.DISMISSED, Outcome.MUTED, Outcome.IGNORED, Outcome.RESOLVED})
_MARKS = {LineKind.ADDED: "+", LineKind.REMOVED: "-", LineKind.CONTEXT: " "}


async def necessity_examples(
    feedback: AsyncIterator[CommentFeedback], reviews: ReviewRepository, blobs: BlobStore, *, most: Level
) -> AsyncIterator[JsonObject]:
    """A line for each hunk on which something was said and became of it; needed where any of it was.

    Hunks of changes that are deleted by now (`retention.review_change_days`) are left out, and those whose code is
    more sensitive than `most`.
    """
    hunks: dict[tuple[UUID, str, int], tuple[bool, CommentFeedback]] = {}
    reviewed: dict[UUID, _Reviewed | None] = {}
    async for one in feedback:
        outcome = one.feedback.outcome
        sensitive = one.feedback.level.rank > most.rank
        if one.review_id is None or sensitive or outcome not in NEEDED | NOT_NEEDED:
            continue
        if one.review_id not in reviewed:
            reviewed[one.review_id] = await _reviewed(one.review_id, reviews, blobs)
        hunk = _hunk_at(reviewed[one.review_id], one.path, one.line)
        if hunk is not None:
            key = (one.review_id, one.path, hunk.index)
            before = hunks.get(key)
            hunks[key] = (outcome in NEEDED or (before is not None and before[0]), one)
    for (review_id, path, index), (needed, one) in hunks.items():
        of = reviewed[review_id]
        assert of is not None  # noqa: S101 - the hunk was found in it
        hunk = next(hunk for hunk in of.diff.hunks if hunk.path == path and hunk.index == index)
        yield _row(one, hunk, worst_rank(hunk, of.findings), of.change.history.get(path), needed=needed)


@dataclass(frozen=True, slots=True)
class _Reviewed:
    """What a review read, and what engines found in it."""

    change: ChangeSet
    diff: Diff
    findings: Sequence[Finding]


async def _reviewed(review_id: UUID, reviews: ReviewRepository, blobs: BlobStore) -> _Reviewed | None:
    row = await reviews.get(review_id)
    if row is None:
        return None
    try:
        change, diff, _ = stored_change(await blobs.get(row.change_digest))
    except NotFound:
        return None
    return _Reviewed(change, diff, [one for one in await reviews.findings(review_id) if one.engine != ENGINE])


def _hunk_at(read: _Reviewed | None, path: str, line: int) -> Hunk | None:
    hunks = read.diff.hunks if read is not None else ()
    inside = (hunk for hunk in hunks if hunk.path == path and hunk.new_start <= line < hunk.new_start + hunk.new_count)
    return next(inside, None)


def _row(one: CommentFeedback, hunk: Hunk, rank: int, history: FileHistory | None, *, needed: bool) -> JsonObject:
    body = "".join(f"{_MARKS[line.kind]}{line.text}\n" for line in hunk.lines)
    return {
        "forge": one.forge,
        "project": one.project,
        "number": one.number,
        "path": hunk.path,
        "hunk": f"@@ -{hunk.old_start},{hunk.old_count} +{hunk.new_start},{hunk.new_count} @@\n{body}",
        "needed": needed,
        "severity": list(Severity)[rank],
        **({} if history is None else asdict(history)),
    }
