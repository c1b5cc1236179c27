"""Asks a model about one hunk and keeps only what it can prove."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from tidemill.analysis.syntax import enclosing_definition
from tidemill.core.change import ChangeSet, Hunk
from tidemill.core.chat import ChatRequest
from tidemill.core.context import InferenceContext, Priority
from tidemill.core.deployment import Deployment
from tidemill.core.errors import InvalidInput, ModelFailed, TidemillError
from tidemill.core.finding import Finding
from tidemill.core.ids import new_id
from tidemill.llm.port import ChatModel
from tidemill.llm.prompts import review_comment
from tidemill.llm.prompts.shipped import Prompts
from tidemill.llm.prompts.template import PromptTemplate
from tidemill.review.comment import ENGINE, Accepted, accept_comments
from tidemill.telemetry.request import current_request_id

PAUSES = (1.0, 5.0, 20.0)
"""Seconds before asking a model again that was away, such as one whose process is being restarted."""


@dataclass(frozen=True, slots=True)
class Commented:
    """What is left of a model's answer on a hunk, and why there was none where it failed."""

    accepted: Accepted
    failure: str | None = None


class Commenter:
    """Comments on hunks.

    Args:
        model: the model port, with its recording wrapper.
        prompts: has the prompt that a deployment names.
        sleep: waits so many seconds.
    """

    def __init__(
        self, model: ChatModel, prompts: Prompts, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._model = model
        self._prompts = prompts
        self._sleep = sleep

    async def comment(
        self,
        change: ChangeSet,
        hunk: Hunk,
        findings: Sequence[Finding],
        *,
        deployment: Deployment,
        review_id: UUID,
        seconds: float,
    ) -> Commented:
        """Asks about one hunk, for so many seconds at most.

        A model that stays away, that can't read the hunk or takes too long, is said in `failure`.

        Raises:
            TidemillError: something other than the model is wrong.
        """
        prompt = self._prompts.pinned(deployment.prompt_version or "")
        try:
            async with asyncio.timeout(seconds):
                answer = await self._ask(lambda: _request(change, hunk, findings, deployment, review_id, prompt))
        except TimeoutError:
            return Commented(Accepted(), f"the model did not answer in the {seconds:.0f} s that were left")
        except TidemillError as error:
            if not (error.transient or isinstance(error, InvalidInput | ModelFailed)):
                raise
            return Commented(Accepted(), f"the model could not be asked: {error.message}")
        return Commented(accept_comments(answer, hunk, review_comment.example_messages(prompt)))

    async def _ask(self, request: Callable[[], ChatRequest]) -> str:
        """Every try is a request of its own, since every try leaves an inference row of its own."""
        for pause in PAUSES:
            try:
                return (await self._model.complete(request())).text
            except TidemillError as error:
                if not error.transient:
                    raise
                await self._sleep(pause)
        return (await self._model.complete(request())).text


def _request(
    change: ChangeSet,
    hunk: Hunk,
    findings: Sequence[Finding],
    deployment: Deployment,
    review_id: UUID,
    prompt: PromptTemplate,
) -> ChatRequest:
    """The same for the same hunk however often a review runs: a model's own findings are left out of it."""
    source = change.files.get(hunk.path)
    line = next((one.new for one in hunk.added if one.new), hunk.new_start)
    definition = enclosing_definition(source, hunk.path, line) if source is not None else None
    known = [one for one in findings if one.path == hunk.path and one.engine != ENGINE]
    return ChatRequest(
        model=deployment.model,
        messages=review_comment.build(prompt, hunk, definition, known),
        options={
            **deployment.sampling,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "comments", "strict": True, "schema": review_comment.json_schema(hunk)},
            },
        },
        context=InferenceContext(
            inference_id=new_id(),
            deployment=deployment,
            trace_id=review_id.hex,
            subject=f"review:{review_id}",
            reuse=True,
            priority=Priority.REVIEW,
            request_id=current_request_id(),
        ),
    )
