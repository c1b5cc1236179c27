"""What follows from what forges tell of: the workflow `forge.event`. It reads and writes rows, and asks no forge.

What needs a forge becomes a run of its pull request: one for each cause, however often a forge tells of it.
"""

import logging
from collections.abc import Sequence
from functools import partial
from typing import Protocol, cast
from uuid import UUID

from tidemill.core.errors import TidemillError
from tidemill.core.feedback import Outcome
from tidemill.core.json import Json
from tidemill.core.placed_comment import PlacedComment, PlacedState
from tidemill.core.pull_request import EventKind, ForgeEvent
from tidemill.flows.pull_request import PullRequestFlow
from tidemill.flows.pull_request_outcomes import feedback_of
from tidemill.flows.pull_request_parts import PullRequestParts, lasting
from tidemill.jobs.port import Jobs, Steps
from tidemill.review.commands import command_in
from tidemill.review.markers import marked
from tidemill.store.pull_requests import RunKind, RunState

WORKFLOW = "forge.event"
CONCURRENCY = 4

REVIEWED = frozenset({EventKind.OPENED, EventKind.SYNCHRONIZED, EventKind.REOPENED, EventKind.READY})
ENDED = frozenset({EventKind.MERGED, EventKind.CLOSED})
_THUMBS = {"+1": Outcome.THUMBS_UP, "-1": Outcome.THUMBS_DOWN}

log = logging.getLogger(__name__)


class Deliveries(Protocol):
    """The deliveries that were taken in."""

    async def event(self, delivery_id: UUID) -> ForgeEvent:
        """What a delivery told of. Raises a `TidemillError` where that can't be read any more."""
        ...

    async def end(self, delivery_id: UUID, error: str | None) -> None:
        """Notes that a delivery was worked, or why it could not be."""
        ...


class ForgeEventFlow:
    """Works deliveries.

    Args:
        jobs: runs the workflow; this registers it there.
        deliveries: gives events by the ids of their deliveries.
        pull_requests: does what needs a forge.
        parts: what that is done with.
    """

    def __init__(
        self, jobs: Jobs, deliveries: Deliveries, pull_requests: PullRequestFlow, parts: PullRequestParts
    ) -> None:
        self._deliveries = deliveries
        self._pull_requests = pull_requests
        self._parts = parts
        jobs.register(WORKFLOW, self.run, concurrency=CONCURRENCY)

    async def run(self, steps: Steps, subject: str) -> None:
        """The workflow. `subject` is a delivery's id, and its attempt."""
        delivery = UUID(subject.partition(":")[0])
        parts = self._parts

        async def runs() -> list[str]:
            return await self.take(await self._deliveries.event(delivery), delivery)

        async def taken() -> Json:
            try:
                return cast(Json, {"runs": await lasting(runs, parts.sleep)})
            except TidemillError as error:
                if error.transient:
                    raise
                return {"error": error.message}

        done = cast(dict[str, Json], await steps.run("event", taken))
        for run_id in cast(Sequence[str], done.get("runs", ())):
            run = await lasting(partial(parts.rows.run, UUID(run_id)), parts.sleep)
            if run is not None and run.state is RunState.QUEUED:
                await self._pull_requests.submit(run)
        error = done.get("error")
        if error is not None:
            log.warning("The delivery %s was not worked: %s", delivery, error)
        said = None if error is None else str(error)
        await lasting(lambda: self._deliveries.end(delivery, said), parts.sleep)

    async def take(self, event: ForgeEvent, delivery: UUID) -> list[str]:
        """Notes what happened and claims what follows; the ids of the runs that are to be queued."""
        key = event.key
        if key is None or event.kind is EventKind.OTHER:
            return []
        if event.kind in REVIEWED:
            return await self._claim(event, RunKind.REVIEW, f"head:{event.head or delivery}")
        if event.kind is EventKind.EDITED and event.target:
            return await self._claim(event, RunKind.REVIEW, f"head:{event.head or delivery}:onto:{event.target}")
        if event.kind in ENDED:
            return await self._claim(event, RunKind.OUTCOMES, f"{event.kind}:{event.head or ''}")
        said = event.kind in {EventKind.COMMENTED, EventKind.REPLIED}
        if event.by_bot or (said and marked(event.body) is not None):
            return []  # a program that answers a program, or itself, never ends
        if said and command_in(event.body) is not None:
            return await self._command(event, delivery)
        if event.kind is EventKind.REPLIED and event.comment is None:
            return await self._untold(event, delivery)
        await self._note(event, delivery)
        return []

    async def _claim(self, event: ForgeEvent, kind: RunKind, cause: str) -> list[str]:
        assert event.key is not None  # noqa: S101 - `take` has seen to it
        run = await self._pull_requests.ask(event.key, kind, cause, head=event.head or "")
        if run is None:
            known = await self._parts.rows.find(event.key)
            run = None if known is None else await self._parts.rows.run_of(known.id, cause)
        return [] if run is None or run.state is not RunState.QUEUED else [str(run.id)]

    async def _command(self, event: ForgeEvent, delivery: UUID) -> list[str]:
        assert event.key is not None  # noqa: S101 - `take` has seen to it
        review = f"review-{event.review or delivery}"  # Gitea gives the text of a review no id
        run = await self._pull_requests.ask(
            event.key,
            RunKind.COMMAND,
            f"comment:{event.comment or review}",
            event={"comment": event.comment, "review": review, "body": event.body},
            asked_by=event.actor or None,
        )
        return [] if run is None else [str(run.id)]

    async def _untold(self, event: ForgeEvent, delivery: UUID) -> list[str]:
        """Has the threads looked through for commands, where the forge does not tell what was said."""
        assert event.key is not None  # noqa: S101 - `take` has seen to it
        run = await self._pull_requests.ask(
            event.key, RunKind.COMMAND, f"threads:{delivery}", event={}, asked_by=event.actor or None
        )
        return [] if run is None else [str(run.id)]

    async def _note(self, event: ForgeEvent, delivery: UUID) -> None:
        """Brings the row of the comment that it is about up to date, and its outcomes."""
        placed = await self._placed(event)
        if placed is None:
            return
        rows = self._parts.placed
        match event.kind:
            case EventKind.THREAD_RESOLVED if placed.state is PlacedState.OPEN:
                await rows.turn(placed.id, PlacedState.RESOLVED)
            case EventKind.THREAD_UNRESOLVED if placed.state is PlacedState.RESOLVED:
                await rows.turn(placed.id, PlacedState.OPEN)
            case EventKind.SUGGESTION_APPLIED:
                await self._add(placed, Outcome.APPLIED, f"comment:{placed.comment}", event)
            case EventKind.REPLIED | EventKind.COMMENTED if event.comment != placed.comment:
                await self._add(placed, Outcome.REPLIED, f"comment:{event.comment}", event)
            case EventKind.REACTED if event.reaction in _THUMBS:
                await self._add(placed, _THUMBS[event.reaction], f"reaction:{event.award or delivery}", event)
            case _:
                pass

    async def _add(self, placed: PlacedComment, outcome: Outcome, source: str, event: ForgeEvent) -> None:
        await self._parts.placed.add_feedback([feedback_of(placed.id, outcome, source, self._parts, event.actor)])

    async def _placed(self, event: ForgeEvent) -> PlacedComment | None:
        """The comment of Tidemill's that an event is about: the one named, the one answered, or its thread's first."""
        assert event.key is not None  # noqa: S101 - `take` has seen to it
        row = await self._parts.rows.find(event.key)
        placed = [] if row is None else await self._parts.placed.of(row.id)
        named = {event.comment, event.reply_to} - {None}
        for one in placed:
            if one.comment in named or (event.thread is not None and one.thread == event.thread):
                return one
        return None
