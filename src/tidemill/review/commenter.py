"""Asks a model about one hunk, keeps what stands up to the checks, and asks what speaks against that."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from tidemill.analysis.syntax import enclosing_definition
from tidemill.core.change import ChangeSet, Hunk
from tidemill.core.deployment import Deployment
from tidemill.core.finding import Finding
from tidemill.core.guidelines import Guideline
from tidemill.core.hunk_context import HunkContext
from tidemill.core.review_brief import ReviewBrief
from tidemill.llm.prompts import review_comment, review_doubt
from tidemill.llm.prompts.review_comment import Beside
from tidemill.llm.prompts.shipped import Prompts
from tidemill.review.asking import Asking
from tidemill.review.checking import Scene
from tidemill.review.comment import ENGINE, Accepted, accept_comments, message_certainty
from tidemill.review.doubt import Doubt, read_doubt
from tidemill.review.opinion import opinion


@dataclass(frozen=True, slots=True)
class Commented:
    """What is left of a model's answer on a hunk, and why there was none where it failed."""

    accepted: Accepted
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class HunkQuestion:
    """One hunk, and all that is known when a model is asked about it.

    Attributes:
        change: what is reviewed.
        hunk: the part of it.
        findings: of engines, and the comments that hold so far.
        brief: what the review is told beside the change.
        context: other code that the hunk touches.
    """

    change: ChangeSet
    hunk: Hunk
    findings: Sequence[Finding] = ()
    brief: ReviewBrief = field(default_factory=ReviewBrief)
    context: HunkContext = field(default_factory=HunkContext)

    def beside(self) -> Beside:
        """What stands in a prompt beside the hunk. The same for the same inputs: a model's findings are left out."""
        source = self.change.files.get(self.hunk.path)
        line = next((one.new for one in self.hunk.added if one.new), self.hunk.new_start)
        return Beside(
            definition=enclosing_definition(source, self.hunk.path, line) if source is not None else None,
            known=[one for one in self.findings if one.path == self.hunk.path and one.engine != ENGINE],
            stated=self.brief.stated,
            guidelines=self.guidelines(),
            excerpts=self.context.excerpts,
            earlier=self.brief.earlier,
        )

    def guidelines(self) -> list[Guideline]:
        """What the repository asks of changes to this file."""
        return [one for one in self.brief.guidelines.chosen if not one.paths or self.hunk.path in one.paths]

    def scene(self, examples: Sequence[str]) -> Scene:
        """What comments on the hunk are held against."""
        stated = self.brief.stated
        return Scene(
            hunk=self.hunk,
            examples=examples,
            texts=(stated.title, stated.description, stated.issue, *(one.text for one in self.guidelines())),
            findings=[one for one in self.findings if one.engine != ENGINE],
            before=[one for one in self.findings if one.engine == ENGINE],
            earlier=self.brief.earlier,
        )


class Commenter:
    """Comments on hunks, and doubts what it said.

    Args:
        asking: puts the questions.
        prompts: has the prompts that deployments name.
    """

    def __init__(self, asking: Asking, prompts: Prompts) -> None:
        self._asking = asking
        self._prompts = prompts

    async def comment(
        self, question: HunkQuestion, *, deployment: Deployment, review_id: UUID, seconds: float
    ) -> Commented:
        """Asks about one hunk, for so many seconds at most.

        A model that stays away, that can't read the hunk or takes too long, is said in `failure`.

        Raises:
            TidemillError: something other than the model is wrong.
        """
        prompt = self._prompts.pinned(deployment.prompt_version or "")
        answer = await self._asking.ask(
            review_comment.build(prompt, question.hunk, question.beside()),
            review_comment.json_schema(question.hunk),
            deployment=deployment,
            review_id=review_id,
            seconds=seconds,
        )
        if answer.failure is not None:
            return Commented(Accepted(), answer.failure)
        scene = question.scene(review_comment.example_messages(prompt))
        accepted = accept_comments(answer.text, scene, message_certainty(answer.tokens))
        named = tuple(
            replace(one, details={**one.details, "inference_id": str(answer.inference_id)}) for one in accepted.findings
        )
        return Commented(replace(accepted, findings=named))

    async def opinion(self, hunk: Hunk, *, deployment: Deployment, review_id: UUID, seconds: float) -> float | None:
        """The probability that a person should look at a hunk, as a model for that says; see `review.opinion`."""
        return await opinion(
            self._asking, self._prompts, hunk, deployment=deployment, review_id=review_id, seconds=seconds
        )

    async def doubt(
        self, question: HunkQuestion, comment: Finding, *, deployment: Deployment, review_id: UUID, seconds: float
    ) -> Doubt:
        """Asks for the strongest reason that a comment is wrong. One that was not answered was not survived.

        Raises:
            TidemillError: something other than the model is wrong.
        """
        prompt = self._prompts.pinned(deployment.prompt_version or "")
        answer = await self._asking.ask(
            review_doubt.build(prompt, question.hunk, comment, question.beside()),
            review_doubt.json_schema(),
            deployment=deployment,
            review_id=review_id,
            seconds=seconds,
        )
        return read_doubt(answer, comment.message)
