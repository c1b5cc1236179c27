"""Notes what became of comments: at pushes, from reactions, and at the merge. Nothing noted is ever overwritten."""

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

from tidemill.analysis.secrets import mask
from tidemill.core.change import ChangeSet
from tidemill.core.classification import Use
from tidemill.core.errors import NotFound
from tidemill.core.feedback import Feedback, Outcome
from tidemill.core.ids import new_id
from tidemill.core.placed_comment import PlacedComment, PlacedState
from tidemill.core.pull_request import ForgeComment, PullRequest
from tidemill.flows.pull_request_parts import LAG, PullRequestParts, Work
from tidemill.review.outcomes import Fate, at_merge, at_push, fate_of
from tidemill.review.placement import MODEL, Turned

_REACTIONS = {"+1": Outcome.THUMBS_UP, "-1": Outcome.THUMBS_DOWN}
_LONGEST_CODE = 4_000

log = logging.getLogger(__name__)


class Outcomes:
    """The outcomes of one pull request's comments."""

    def __init__(self, parts: PullRequestParts, work: Work) -> None:
        self._parts = parts
        self._work = work
        self._files: dict[tuple[str, str], str | None] = {}

    async def of_push(
        self, fixed: Iterable[PlacedComment], turned: Iterable[Turned], now: PullRequest, change: ChangeSet
    ) -> None:
        """What a push, or a person since the last one, has made of comments."""
        rows = []
        for placed in fixed:
            fate = await self._fate(placed, now, change)
            outcome = at_push(fate, by_engine=placed.finding.engine != MODEL)
            rows.append(self._row(placed, outcome, f"push:{now.head}", fate))
        for one in turned:
            if one.state is PlacedState.DISMISSED:
                rows.append(self._row(one.placed, Outcome.DISMISSED, f"comment:{one.placed.comment}", None))
        await self._parts.placed.add_feedback(rows)

    async def of_reactions(self, placed: Iterable[PlacedComment], comments: Sequence[ForgeComment]) -> int:
        """Thumbs that no event told of; returns how many rows were new. A count that grew later is one of its own."""
        there = {comment.id: comment for comment in comments}
        rows = []
        for one in placed:
            comment = there.get(one.comment)
            for name, outcome in _REACTIONS.items():
                count = comment.reactions.get(name, 0) if comment is not None else 0
                if count > await self._parts.placed.counted(one.id, outcome):
                    rows.append(self._row(one, outcome, f"reactions:{count}", None, count=count))
        return await self._parts.placed.add_feedback(rows)

    async def of_merge(self, merged: PullRequest, comments: Sequence[ForgeComment]) -> int:
        """What the merge makes of every comment; returns how many outcomes were new."""
        placed = await self._parts.placed.of(self._work.row.id)
        await self.of_reactions(placed, comments)
        there = {comment.id: comment for comment in comments}
        rows = []
        for one in placed:
            fate = await self._fate(one, merged, None)
            if fate is None:
                log.info("What became of %s on %s can't be told: a commit is gone.", one.finding.path, self._work)
                continue
            listed_until = self._parts.clock() - LAG
            outcome = at_merge(fate, _state_now(one, there.get(one.comment), listed_until))
            if outcome is not None:
                rows.append(self._row(one, outcome, f"merge:{merged.head}", fate))
        return await self._parts.placed.add_feedback(rows)

    async def _fate(self, placed: PlacedComment, now: PullRequest, change: ChangeSet | None) -> Fate | None:
        """What became of a comment's lines; `None` where the commit that it was written on is gone."""
        texts = await self.texts(placed, now, change)
        return None if texts is None else fate_of(placed.finding, *texts)

    async def texts(
        self, placed: PlacedComment, now: PullRequest, change: ChangeSet | None
    ) -> tuple[str, str | None] | None:
        """A comment's file as it was written on and as it is now, `None` for the latter where it is gone; `None` where
        the commit that it was written on is gone."""
        path = placed.finding.path
        before = await self._file(now, path, placed.head)
        if before is None:
            return None
        after = change.files.get(path) if change is not None else None
        if after is None:
            after = await self._file(now, path, now.head)
        return before, after

    async def _file(self, pull_request: PullRequest, path: str, commit: str) -> str | None:
        """A file's text at a commit; `None` where either is not there any more."""
        if (path, commit) not in self._files:
            try:
                data = await self._work.forge.file(pull_request, path, commit)
            except NotFound:
                data = None
            self._files[path, commit] = None if data is None else data.decode("utf-8", "replace")
        return self._files[path, commit]

    def _row(
        self, placed: PlacedComment, outcome: Outcome, source: str, fate: Fate | None, *, count: int | None = None
    ) -> Feedback:
        """An outcome, with the code where it may be kept."""
        before = _short(fate.before) if fate is not None else None
        after = _short(fate.after) if fate is not None else None
        found = self._parts.classify([text for text in (before, after) if text])
        kept = self._parts.limits.allow(found.level, Use.LOGGING)
        return Feedback(
            id=new_id(),
            placed_id=placed.id,
            outcome=outcome,
            source=source,
            at=self._parts.clock(),
            code_before=before if kept else None,
            code_after=after if kept else None,
            level=found.level,
            detail={} if count is None else {"count": count},
        )


def feedback_of(placed_id: UUID, outcome: Outcome, source: str, parts: PullRequestParts, login: str) -> Feedback:
    """An outcome that an event told of."""
    return Feedback(new_id(), placed_id, outcome, source, parts.clock(), login=login or None)


def _state_now(placed: PlacedComment, comment: ForgeComment | None, listed_until: datetime) -> PlacedState:
    if placed.state not in {PlacedState.OPEN, PlacedState.RESOLVED}:
        return placed.state
    if comment is None:
        return PlacedState.DISMISSED if placed.placed_at <= listed_until else placed.state
    return PlacedState.RESOLVED if comment.resolved else PlacedState.OPEN


def _short(text: str) -> str:
    return mask(text)[:_LONGEST_CODE].replace("\0", "\ufffd")
