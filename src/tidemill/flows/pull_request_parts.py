"""What work on pull requests is done with, and how it is tried again when a forge is away."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, TypeVar
from uuid import UUID

from tidemill.core.change import ChangeSet, Diff
from tidemill.core.classification import UseLimits
from tidemill.core.clock import Clock
from tidemill.core.errors import NotFound, NotPermitted, TidemillError
from tidemill.core.finding import Finding, Suggestion
from tidemill.core.gate import GateReport
from tidemill.core.pull_request import Project, PullRequest, PullRequestKey, is_project_path
from tidemill.core.review_policy import ReviewPolicy
from tidemill.flows.review import ReviewFlow
from tidemill.flows.review_run import PAUSES as OUTAGE_PAUSES
from tidemill.flows.review_run import is_outage
from tidemill.forges.port import Forge, Refused
from tidemill.llm.outside import Classify
from tidemill.settings import ReviewSettings
from tidemill.store.blobs import BlobStore
from tidemill.store.placed_comments import PlacedCommentRepository
from tidemill.store.pull_requests import PullRequestRepository, PullRequestRow, RunRow
from tidemill.store.reviews import ReviewRepository

log = logging.getLogger(__name__)

Record = Mapping[str, Any]
T = TypeVar("T")

LAG = timedelta(seconds=60)
"""In which a forge that tells of something may still show what was before."""
PAUSES = (0.5, 2.0)
"""Seconds that are waited in place. For longer a run is put off, and its worker is free."""
LONGEST_PAUSE = 3.0
FIRST_WAIT = 10.0
LONGEST_WAIT = 900.0
MOST_ATTEMPTS = 10
"""After which a run gives up: about an hour, and as much longer as the forge itself asked for."""


class Gates(Protocol):
    """Holds a change against the thresholds of its repository."""

    async def judge(
        self,
        forge: Forge,
        pull_request: PullRequest,
        change: ChangeSet,
        findings: Sequence[Finding],
        policy: ReviewPolicy,
    ) -> GateReport:
        """What the gates came to. Raises a `TidemillError` where they can't be held against anything."""
        ...


class Mender(Protocol):
    """Offers a change that mends a finding."""

    async def mend(
        self, finding: Finding, change: ChangeSet, diff: Diff, policy: ReviewPolicy, review_id: UUID
    ) -> Suggestion | str:
        """The change, or why there is none, for a person. Raises a `TidemillError`."""
        ...


class Answerer(Protocol):
    """Answers a question about a change."""

    async def answer(self, question: str, change: ChangeSet, diff: Diff, language: str, run_id: UUID) -> str:
        """Markdown, with the places that it comes from. Raises a `TidemillError` where it can't be answered."""
        ...


@dataclass(frozen=True, slots=True)
class PullRequestParts:
    """What work on pull requests is done with.

    Attributes:
        rows: pull requests and their runs.
        placed: comments that stand, and their outcomes.
        reviews: stores and runs reviews; `review_rows` and `blobs` are what it keeps them in.
        forges: the forges, by their names in the settings.
        settings: limits of a review.
        clock: gives times.
        sleep: waits so many seconds.
        link: where a review is to be read, if that is known.
        observe: is told the kind of a run and the state in which it ended.
        observe_comments: is told what became of comments to be written, and of how many.
        classify: says how sensitive code is; `limits` whether it may be kept then.
        allows: says whether a project's pull requests are looked at.
        gates: holds changes against thresholds; `None` where there are none.
        mender: mends findings; `None` where no model is there for it.
        answerer: answers questions; `None` likewise.
    """

    rows: PullRequestRepository
    placed: PlacedCommentRepository
    reviews: ReviewFlow
    review_rows: ReviewRepository
    blobs: BlobStore
    forges: Mapping[str, Forge]
    settings: ReviewSettings
    clock: Clock
    sleep: Callable[[float], Awaitable[None]]
    link: Callable[[UUID], str | None]
    observe: Callable[[str, str], None]
    observe_comments: Callable[[str, int], None]
    classify: Classify
    limits: UseLimits
    allows: Callable[[Project], bool] = lambda project: is_project_path(project.path)
    gates: Gates | None = None
    mender: Mender | None = None
    answerer: Answerer | None = None

    def forge(self, key: PullRequestKey) -> Forge:
        """The forge of a pull request; `NotFound` where there is none, or it is to look at other projects alone."""
        found = self.forges.get(key.project.forge)
        if found is None:
            raise NotFound(f"There is no forge {key.project.forge} in the settings any more (`forges`).")
        if not self.allows(key.project):
            raise NotFound(
                f"{key.project.path!r} is none of the projects that `forges.{key.project.forge}.projects` names."
            )
        return found


@dataclass(frozen=True, slots=True)
class Work:
    """One run, with its pull request and its forge."""

    run: RunRow
    row: PullRequestRow
    forge: Forge

    @property
    def key(self) -> PullRequestKey:
        """The pull request's."""
        return self.row.key

    def __str__(self) -> str:
        return f"{self.key.project.forge}:{self.key.project.path}#{self.key.number}"


class Superseded(Exception):
    """Another commit is the pull request's newest. `head` is that commit, where it is known; `onto` the branch that it
    is to be merged into, where that is another one."""

    def __init__(self, head: str | None = None, onto: str = "") -> None:
        super().__init__(f"It is to be merged into {onto} now." if onto else "A newer commit took its place.")
        self.head = head
        self.onto = onto


class Skipped(Exception):
    """There is nothing to do, for a reason that is told."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def wait_after(attempt: int) -> float:
    """Seconds from an attempt that failed until the next one, at least."""
    return min(LONGEST_WAIT, FIRST_WAIT * float(2**attempt))


async def lasting(work: Callable[[], Awaitable[T]], sleep: Callable[[float], Awaitable[None]]) -> T:
    """What the work gives, which can be repeated and is tried again while the database is restarted.

    It is for what a workflow does between its steps: an error there would end it without a trace in its row.
    """
    for pause in OUTAGE_PAUSES:
        try:
            return await work()
        except TidemillError as error:
            if not error.transient:
                raise
            log.warning("Tried again in %.1f s: %s", pause, error.message)
        await sleep(pause)
    return await work()


async def settled(work: Work, thread: str) -> bool:
    """Resolves a thread; false where the forge does not let it be done, which the log says."""
    try:
        return await work.forge.resolve(work.key, thread)
    except (NotPermitted, Refused, NotFound) as error:
        log.warning("The thread %s on %s was not resolved: %s", thread, work, error.message)
        return False


async def steadily(
    work: Callable[[], Awaitable[Record]], sleep: Callable[[float], Awaitable[None]], what: str
) -> Record:
    """What the work gives; or why it gave nothing: `wait` (seconds), `error`, `superseded` or `skipped`, and `reason`.
    With `error`, `outage` says what `is_outage` does.

    What may pass soon is tried again at once.
    """
    for pause in (*PAUSES, None):
        try:
            return await work()
        except Superseded as superseded:
            return {"superseded": superseded.head or "", "onto": superseded.onto, "reason": str(superseded)}
        except Skipped as skipped:
            return {"skipped": True, "reason": skipped.reason}
        except TidemillError as error:
            if not error.transient:
                return {"error": True, "reason": error.message, "outage": is_outage(error)}
            wanted = error.retry_after or 0.0
            if pause is None or wanted > LONGEST_PAUSE:
                return {"wait": wanted, "reason": error.message}
            await sleep(max(pause, wanted))
        except Exception:
            log.exception("Failed at %s.", what)
            return {"error": True, "reason": f"Tidemill failed at {what}. The hub's log says why."}
    raise AssertionError  # the last turn has returned
