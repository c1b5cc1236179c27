"""What a model does for a person who asked on a pull request: mends a finding, answers a question about the change."""

import json
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID

from tidemill.core.change import ChangeSet, Diff, Hunk
from tidemill.core.deployment import Deployment
from tidemill.core.errors import ModelFailed, ModelNotFound
from tidemill.core.finding import Finding, Suggestion
from tidemill.core.review import ReviewDeployments
from tidemill.core.review_brief import ReviewBrief
from tidemill.core.review_policy import ReviewPolicy
from tidemill.llm.prompts import review_ask
from tidemill.llm.prompts.shipped import Prompts
from tidemill.review.asking import Asking
from tidemill.review.commenter import HunkQuestion
from tidemill.review.markdown import code_span, escape
from tidemill.review.refiner import Refiner

SECONDS = 120.0
"""That a person is made to wait for a model at most."""
MOST_HUNKS = 4
"""That a question is answered from."""

DeploymentsFor = Callable[[str | None], Awaitable[ReviewDeployments]]
AskDeployment = Callable[[str | None], Awaitable[Deployment]]


class Mending:
    """Mends findings as a review does: by the engine's own lines or a model's, tried out before they are offered.

    Args:
        refiner: finds the lines.
        deployments: who is asked.
    """

    def __init__(self, refiner: Refiner, deployments: DeploymentsFor) -> None:
        self._refiner = refiner
        self._deployments = deployments

    async def mend(
        self, finding: Finding, change: ChangeSet, diff: Diff, policy: ReviewPolicy, review_id: UUID
    ) -> Suggestion | str:
        """As the port says."""
        hunk = _hunk_of(diff, finding.path, finding.line)
        if hunk is None:
            return "its line is not part of the diff any more."
        try:
            deployment = (await self._deployments(policy.language)).refine
        except ModelNotFound:
            deployment = None
        question = HunkQuestion(change, hunk, [finding], ReviewBrief(policy=policy))
        refined = await self._refiner.refine(
            question, diff, finding, deployment=deployment, review_id=review_id, seconds=SECONDS
        )
        return refined.suggestion or refined.proposal or f"{refined.reason or 'nothing was found'}."


class AnsweringAboutChanges:
    """Answers questions from the hunks that have most to do with them, and names those that it used.

    Args:
        asking: puts the question to the model.
        prompts: has the prompt.
        deployment: who is asked.
    """

    def __init__(self, asking: Asking, prompts: Prompts, deployment: AskDeployment) -> None:
        self._asking = asking
        self._prompts = prompts
        self._deployment = deployment

    async def answer(self, question: str, change: ChangeSet, diff: Diff, language: str, run_id: UUID) -> str:
        """As the port says.

        Raises:
            ModelNotFound: no model is there.
            ModelFailed: the model did not answer, or with nothing that can be used.
        """
        deployment = await self._deployment(language)
        hunks = about(question, diff)
        if not hunks:
            raise ModelFailed("The change has no text that could be read.")
        prompt = self._prompts.pinned(deployment.prompt_version or "")
        answer = await self._asking.ask(
            review_ask.build(prompt, question, change.title, hunks),
            review_ask.json_schema(len(hunks)),
            deployment=deployment,
            review_id=run_id,
            seconds=SECONDS,
        )
        if answer.failure is not None:
            raise ModelFailed(answer.failure)
        return _told(answer.text, hunks)


def about(question: str, diff: Diff) -> Sequence[Hunk]:
    """The hunks that share most words with a question, as many as one prompt holds; the first ones where none does."""
    words = _words(question)
    ranked = sorted(
        enumerate(diff.hunks),
        key=lambda one: (-len(words & _words(f"{one[1].path} " + " ".join(x.text for x in one[1].lines))), one[0]),
    )
    return [hunk for _, hunk in ranked[:MOST_HUNKS]]


def _words(text: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[^\W_]{3,}", text)}


def _hunk_of(diff: Diff, path: str, line: int) -> Hunk | None:
    """The hunk that shows a line of the new side."""
    return next((one for one in diff.hunks if one.path == path and line in {x.new for x in one.lines}), None)


def _told(text: str, hunks: Sequence[Hunk]) -> str:
    """The answer with the places that it comes from."""
    try:
        document: Any = json.loads(text)
        said, sources = str(document["answer"]).strip(), [int(one) for one in document["sources"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelFailed("The model's answer could not be read.") from error
    if not said:
        raise ModelFailed("The model had no answer.")
    used = [hunks[one - 1] for one in dict.fromkeys(sources) if 1 <= one <= len(hunks)]
    if not used:
        raise ModelFailed("The model found nothing in the change that answers it.")
    places = ", ".join(code_span(f"{hunk.path}:{hunk.new_start}-{_end(hunk)}") for hunk in used)
    paragraphs = "\n\n".join(escape(part) for part in re.split(r"\n\s*\n", said))
    return f"{paragraphs}\n\n{places}"


def _end(hunk: Hunk) -> int:
    return max(hunk.new_start, hunk.new_start + hunk.new_count - 1)
