"""Pull requests on a scripted forge over a real repository, and the flow that reviews them."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from tests.conftest import NOON
from tidemill.analysis.classification import classify_all
from tidemill.core.change import ChangeSet, Diff
from tidemill.core.classification import UseLimits
from tidemill.core.errors import ModelNotFound
from tidemill.core.finding import Severity, Suggestion
from tidemill.core.ids import new_id
from tidemill.core.pull_request import ForgeEvent, Project, PullRequestKey
from tidemill.core.review import ReviewDeployments
from tidemill.flows.forge_events import ForgeEventFlow
from tidemill.flows.pull_request import PullRequestFlow
from tidemill.flows.pull_request_parts import Gates, Mender, PullRequestParts
from tidemill.flows.review import ReviewFlow
from tidemill.flows.review_run import ReviewParts
from tidemill.forges.scripted import ScriptedForge
from tidemill.forges.scripted_site import Occurrence, ScriptedPull, ScriptedSite
from tidemill.jobs.direct import DirectJobs
from tidemill.llm.prompts.shipped import ShippedPrompts
from tidemill.llm.scripted import ScriptedModel
from tidemill.review.asking import Asking
from tidemill.review.commenter import Commenter
from tidemill.review.engines import Engine, EngineResult
from tidemill.review.placing import Remark, place
from tidemill.settings import ReviewSettings
from tidemill.store.blobs import BlobStore
from tidemill.store.database import Pool
from tidemill.store.placed_comments import PlacedCommentRepository
from tidemill.store.pull_requests import PullRequestRepository, RunRow
from tidemill.store.reviews import ReviewRepository
from tidemill.telemetry.spans import Traces

BUNDLE = Path(__file__).resolve().parents[2] / "examples" / "orders.bundle"
PROJECT = "acme/orders"
KEY = PullRequestKey(Project("scripted", PROJECT), 1)
TWO: Mapping[str, bytes | None] = {
    "orders/extra.py": b"import hashlib\n\n\ndef load(text):\n    return eval(text)\n\n\nMARK = hashlib.md5(b'x')\n"
}
NEEDLES = {"eval(": Severity.HIGH, "md5(": Severity.MEDIUM, "print(": Severity.INFO}


class NeedleEngine:
    """Finds words on added lines: an engine that is quick, and whose findings are plain to see."""

    name = "needles"
    version = "1"

    async def run(self, change: ChangeSet, diff: Diff) -> EngineResult:
        remarks = [
            Remark(needle.strip("("), hunk.path, line.new, severity, needle, f"{needle} must not be called here.")
            for hunk in diff.hunks
            for line in hunk.added
            for needle, severity in NEEDLES.items()
            if line.new is not None and needle in line.text
        ]
        return EngineResult(tuple(place(self.name, remarks, diff)))


class Delivered:
    """Deliveries in memory."""

    def __init__(self) -> None:
        self.events: dict[UUID, ForgeEvent] = {}
        self.ended: dict[UUID, str | None] = {}

    async def event(self, delivery_id: UUID) -> ForgeEvent:
        return self.events[delivery_id]

    async def end(self, delivery_id: UUID, error: str | None) -> None:
        self.ended[delivery_id] = error


class PullRequests:
    """A scripted forge whose events are worked at once, unless they are held."""

    def __init__(
        self,
        pool: Pool,
        folder: Path,
        *,
        stop_after: set[str] | None = None,
        forge: Callable[..., Any] = ScriptedForge,
        gates: Gates | None = None,
        mender: Mender | None = None,
        engines: Sequence[Engine] = (NeedleEngine(),),
    ) -> None:
        self.pool = pool
        self.now = NOON
        self.site = ScriptedSite(folder / "site", clock=lambda: self.now)
        self.forge = forge(self.site)
        self.jobs = DirectJobs(stop_after=stop_after)
        self.slept: list[float] = []
        self.observed: list[tuple[str, str]] = []
        self.told: dict[str, int] = {}
        self.deliveries = Delivered()
        self.held = False
        self.site.listeners.append(self._listen)
        self.reviews = ReviewRepository(pool)
        self.rows = PullRequestRepository(pool)
        self.placed = PlacedCommentRepository(pool)
        self.blobs = BlobStore(folder / "blobs")
        reviews = ReviewFlow(self.jobs, self._review_parts(engines), Nobody())
        self.parts = PullRequestParts(
            rows=self.rows,
            placed=self.placed,
            reviews=reviews,
            review_rows=self.reviews,
            blobs=self.blobs,
            forges={"scripted": self.forge},
            settings=ReviewSettings(),
            clock=lambda: self.now,
            sleep=self._sleep,
            link=lambda review: None,
            observe=lambda kind, state: self.observed.append((kind, state)),
            observe_comments=self._count,
            classify=classify_all,
            limits=UseLimits(),
            gates=gates,
            mender=mender,
        )
        self.flow = PullRequestFlow(self.jobs, self.parts)
        self.events = ForgeEventFlow(self.jobs, self.deliveries, self.flow, self.parts)

    async def open(self, files: Mapping[str, bytes | None], **options: Any) -> ScriptedPull:
        """Opens a pull request that changes these files of the orders."""
        project = await self.site.add_project(PROJECT, BUNDLE)
        repository = project.repository
        tip = await repository.commit_of("refs/heads/main")
        await repository.commit("work", files, message="Work", author="author", at=NOON, parent=tip)
        return await self.site.open(PROJECT, "work", title="Work on orders", **options)

    async def deliver(self, event: ForgeEvent) -> UUID:
        """One delivery, worked at once."""
        delivery = new_id()
        self.deliveries.events[delivery] = event
        await self.jobs.submit("forge.event", str(delivery))
        return delivery

    async def wait(self, seconds: float) -> None:
        """Lets time pass, and has what waited taken up."""
        self.now += timedelta(seconds=seconds)
        await self.flow.settle()

    async def runs(self) -> list[RunRow]:
        """Of the one pull request."""
        row = await self.rows.find(PullRequestKey(Project("scripted", PROJECT), 1))
        return [] if row is None else await self.rows.runs(row.id)

    async def _listen(self, occurrence: Occurrence) -> None:
        if not self.held:
            await self.deliver(occurrence.event("scripted"))

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def _count(self, what: str, number: int) -> None:
        self.told[what] = self.told.get(what, 0) + number

    def _review_parts(self, engines: Sequence[Engine]) -> ReviewParts:
        return ReviewParts(
            reviews=self.reviews,
            blobs=self.blobs,
            engines=engines,
            commenter=Commenter(Asking(ScriptedModel([])), ShippedPrompts()),
            deployments=_no_model,
            settings=ReviewSettings(),
            clock=lambda: self.now,
            observe=lambda state: None,
            traces=Traces(10),
        )


class Nobody:
    """Sees no reviews."""

    async def visible_owners(self, caller: object) -> list[UUID]:
        return []


async def _no_model(language: str | None) -> ReviewDeployments:
    raise ModelNotFound("No model is installed.")


def suggestion(line: int, text: str) -> Suggestion:
    """A checked one for one line."""
    return Suggestion(line, line, text, ("applies", "parses"))


def own_comments(pull: ScriptedPull, inline: bool | None = None) -> list[str]:
    """The texts of Tidemill's comments."""
    return [
        said.body
        for said in pull.comments
        if said.author == "tidemill" and (inline is None or (said.path is not None and said.reply_to is None) == inline)
    ]
