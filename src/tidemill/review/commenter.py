"""Asks a model about one hunk and keeps only what it can prove."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from tidemill.analysis.syntax import enclosing_definition
from tidemill.core.change import ChangeSet, Hunk
from tidemill.core.chat import ChatRequest
from tidemill.core.deployment import Deployment
from tidemill.core.errors import InvalidInput, ModelFailed, TidemillError
from tidemill.core.finding import Finding
from tidemill.core.ids import new_id
from tidemill.core.inference import InferenceContext
from tidemill.core.review import Rejected
from tidemill.llm.port import ChatModel
from tidemill.llm.prompts import review_comment
from tidemill.review.comment import ENGINE, accept_comments

PAUSES = (1.0, 5.0, 20.0)
"""Seconds before asking a model again that was away, such as one whose process is being restarted."""


@dataclass(frozen=True, slots=True)
class Commented:
    """What a model said about a hunk: what is shown, what is not, and why nothing was said where it failed."""

    findings: tuple[Finding, ...]
    rejected: tuple[Rejected, ...]
    failure: str | None = None


class Commenter:
    """Comments on hunks.

    Args:
        model: the model port, with its recording wrapper.
        deployment: gives the deployment that comments now.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        model: ChatModel,
        deployment: Callable[[], Awaitable[Deployment]],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._model = model
        self._deployment = deployment
        self._sleep = sleep

    async def comment(
        self, change: ChangeSet, hunk: Hunk, findings: Sequence[Finding], *, review_id: UUID
    ) -> Commented:
        """Asks about one hunk. A model that stays away, or can't read the hunk, is said in `failure`.

        Raises:
            TidemillError: something other than the model is wrong.
        """
        try:
            answer = await self._ask(lambda: self._request(change, hunk, findings, review_id))
        except (InvalidInput, ModelFailed) as error:
            return Commented((), (), failure=f"the model could not be asked: {error.message}")
        except TidemillError as error:
            if not error.transient:
                raise
            return Commented((), (), failure=f"the model could not be asked: {error.message}")
        shown, rejected = accept_comments(answer, hunk)
        return Commented(tuple(shown), tuple(rejected))

    async def _ask(self, request: Callable[[], Awaitable[ChatRequest]]) -> str:
        """Every try is a request of its own, since every try leaves an inference row of its own."""
        for pause in (*PAUSES, None):
            try:
                return (await self._model.complete(await request())).text
            except TidemillError as error:
                if not error.transient or pause is None:
                    raise
                await self._sleep(pause)
        raise ModelFailed("The model was not asked.")

    async def _request(
        self, change: ChangeSet, hunk: Hunk, findings: Sequence[Finding], review_id: UUID
    ) -> ChatRequest:
        """The same for the same hunk however often a review runs: a model's own findings are left out of it."""
        deployment = await self._deployment()
        source = change.files.get(hunk.path)
        line = next((one.new for one in hunk.added if one.new), hunk.new_start)
        definition = enclosing_definition(source, hunk.path, line) if source is not None else None
        known = [one for one in findings if one.path == hunk.path and one.engine != ENGINE]
        return ChatRequest(
            model=deployment.model,
            messages=review_comment.build(hunk, definition, known),
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
            ),
        )
